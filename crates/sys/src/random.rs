//! Random bytes of the kernel (getrandom(2)).

use std::io;

use rustix::rand::{GetRandomFlags, getrandom};

/// `N` bytes that nobody can guess. Waits until the kernel has gathered enough randomness, early in a boot.
pub fn bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        // A signal may cut a long read short, and another interrupt one that waits.
        match getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes)
}
