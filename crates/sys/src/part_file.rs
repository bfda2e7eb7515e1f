//! Files that have their name only when they are whole and on the disk (rename(2), fsync(2)).

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// A new file beside its place, under the hidden name `.NAME.SUFFIX`. Its drop removes it, unless it has got its place.
#[derive(Debug)]
pub struct PartFile<'p> {
    place: &'p Path,
    part: PathBuf,
    file: File,
}

impl<'p> PartFile<'p> {
    /// Makes the file for `place`, empty, with exactly the permissions `mode`. One of the same suffix that was left behind
    /// by a crash is removed: callers that may write at the same time have suffixes of their own.
    ///
    /// # Errors
    /// `InvalidFilename` for a place without a name, and those of making a file in its folder.
    pub fn create(place: &'p Path, suffix: &str, mode: u32) -> io::Result<Self> {
        let name = place.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(".");
        hidden.push(suffix);
        let part = place.with_file_name(hidden);
        match fs::remove_file(&part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&part)?;
        let new = Self { place, part, file };
        // The umask can only have taken permissions away.
        new.file.set_permissions(Permissions::from_mode(mode))?;
        Ok(new)
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The present name.
    pub fn path(&self) -> &Path {
        &self.part
    }

    /// Writes the content to the disk.
    pub fn write(&mut self, content: &[u8]) -> io::Result<()> {
        self.file.write_all(content)?;
        self.file.sync_all()
    }

    /// Puts it in its place, whatever is there. After a power failure there is the old file or the new one.
    pub fn replace(self) -> io::Result<()> {
        fs::rename(&self.part, self.place)?;
        sync_folder(self.place)
    }
}

impl Drop for PartFile<'_> {
    fn drop(&mut self) {
        // It is gone after a rename.
        let _ = fs::remove_file(&self.part);
    }
}

/// Sees the names in the folder of `path` onto the disk.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replace(path: &Path, text: &str, mode: u32) -> io::Result<()> {
        let mut part = PartFile::create(path, "new", mode)?;
        part.write(text.as_bytes())?;
        part.replace()
    }

    fn names(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_has_its_mode_whatever_the_umask_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list");
        // No usual umask allows the first.
        for (text, mode) in [("one", 0o666), ("two", 0o644), ("three", 0o600)] {
            fs::write(folder.path().join(".list.new"), "left behind").unwrap();
            replace(&path, text, mode).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            let about = fs::metadata(&path).unwrap();
            assert_eq!(about.permissions().mode() & 0o777, mode);
        }
        assert_eq!(names(folder.path()), 1, "nothing is left behind");
        assert!(replace(Path::new("/"), "text", 0o600).is_err());
    }

    #[test]
    fn what_does_not_get_its_place_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("folder");
        fs::create_dir(&taken).unwrap();
        assert!(replace(&taken, "text", 0o600).is_err());
        let path = folder.path().join("list");
        drop(PartFile::create(&path, "new", 0o600).unwrap());
        assert_eq!(names(folder.path()), 1);
    }
}
