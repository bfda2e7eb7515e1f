//! Files that hold secrets, or that secrets pass through.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use zeroize::Zeroizing;

/// Where the initramfs has keys and settings: ours, and Mandos's.
const CONFIGURATION: [&str; 2] = ["/conf/conf.d/nightlatch", "/conf/conf.d/mandos"];

/// The first of these folders that exists. Files of both are never mixed: they would be of different
/// machines.
pub fn configuration() -> &'static Path {
    let [ours, mandos] = CONFIGURATION.map(Path::new);
    // What cannot be looked at exists, so that reading it says why.
    match ours.try_exists() {
        Ok(false) => mandos,
        _ => ours,
    }
}

/// Reads a file into memory that is reserved once, so that no outgrown copy stays behind unwiped.
///
/// # Errors
/// `FileTooLarge` when it has more than `max` bytes.
pub fn read_bounded(path: &Path, max: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(max + 1));
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    if bytes.len() > max {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("expected at most {max} bytes"),
        ));
    }
    Ok(bytes)
}

/// Whether nobody but root and this program's own user can do anything with a file.
pub fn is_private(file: &Metadata) -> bool {
    let myself = rustix::process::geteuid().as_raw();
    file.mode() & 0o077 == 0 && [0, myself].contains(&file.uid())
}

/// Whether a file is root's or this program's own user's, and nobody else can change it.
pub fn is_owned(file: &Metadata) -> bool {
    let myself = rustix::process::geteuid().as_raw();
    file.mode() & 0o022 == 0 && [0, myself].contains(&file.uid())
}
