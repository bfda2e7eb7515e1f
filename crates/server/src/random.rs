//! The server's only randomness of its own: when first checks come.

use std::time::Duration;

/// A random length of time from zero up to `longest`.
pub(crate) fn up_to(longest: Duration) -> Duration {
    let mut bytes = [0; 4];
    // Without randomness all first checks come at once, which is no worse than untidy.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    let part = f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX);
    longest.mul_f64(part).min(longest)
}
