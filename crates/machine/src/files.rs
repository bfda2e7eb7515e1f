//! Replacing a file as a whole.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// Replaces the file at `path` by one with `text` and the permissions `mode`, whatever the umask is. Its folder is made where
/// it is missing. After a power failure there is the old file or the new one.
///
/// The caller keeps others from replacing the same file meanwhile.
pub(crate) fn replace(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidFilename.into());
    };
    fs::create_dir_all(folder)?;
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(".new");
    let new = folder.join(hidden);
    // One that was left behind by a crash.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&new)?;
    // The umask can only have taken permissions away.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_has_its_mode_whatever_the_umask_is() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("folder/list");
        // No usual umask allows the first.
        for (text, mode) in [("one", 0o666), ("two", 0o644), ("three", 0o600)] {
            replace(&path, text, mode).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            let about = fs::metadata(&path).unwrap();
            assert_eq!(about.permissions().mode() & 0o777, mode);
            fs::write(root.path().join("folder/.list.new"), "left behind").unwrap();
        }
        replace(&path, "four", 0o600).unwrap();
        let names = fs::read_dir(root.path().join("folder")).unwrap().count();
        assert_eq!(names, 1, "nothing is left behind");
        assert!(replace(Path::new("/"), "text", 0o600).is_err());
    }
}
