//! Replacing a file as a whole.

use std::fs;
use std::io;
use std::path::Path;

use nightlatch_sys::part_file::PartFile;

/// Replaces the file at `path` by one with `text` and the permissions `mode`, whatever the umask is. Its folder is made where
/// it is missing. After a power failure there is the old file or the new one.
///
/// The caller keeps others from replacing the same file meanwhile.
pub(crate) fn replace(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut part = PartFile::create(path, "new", mode)?;
    part.write(text.as_bytes())?;
    part.replace()
}
