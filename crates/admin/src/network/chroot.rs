//! Whether this process sees the kernel of another system than that whose files it has.

use std::fs;
use std::os::unix::fs::MetadataExt;

/// The root of the first process, for whom the network is set up.
const FIRST: &str = "/proc/1/root";

/// Whether the root is another one than the first process's. Where that cannot be told, as without /proc, it is taken for
/// a chroot: there nothing is learned.
pub(super) fn is_chroot() -> bool {
    let identity = |path: &str| fs::metadata(path).map(|it| (it.dev(), it.ino())).ok();
    match (identity(FIRST), identity("/")) {
        (Some(first), Some(own)) => first != own,
        // An ordinary user may not look, and is nobody who builds images.
        _ => !std::path::Path::new("/proc/1").exists(),
    }
}
