//! The random numbers of the server: the times of first checks, and the number of the first request.

use std::time::Duration;

/// A random length of time from zero up to `longest`.
pub(crate) fn up_to(longest: Duration) -> Duration {
    // Without random numbers all first checks come at once, which is harmless.
    let part = f64::from(number()) / f64::from(u32::MAX);
    longest.mul_f64(part).min(longest)
}

/// The number of the first request. People decide by number: a number noted before a restart must not be that
/// of another request after it. Short enough to be typed.
pub(crate) fn first_number() -> u64 {
    100_000 + u64::from(number() % 900_000)
}

/// A token that nobody else knows. Without random numbers it is all zeros, as every peer may know: it asks for a
/// heartbeat, and no more.
pub(crate) fn token() -> [u8; 16] {
    nightlatch_sys::random::bytes().unwrap_or_default()
}

/// A random number; 0 if the kernel gives none.
fn number() -> u32 {
    let mut bytes = [0; 4];
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    u32::from_ne_bytes(bytes)
}
