//! Files: reading what only root may have written, and replacing what this program writes.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

use nightlatch_sys::part_file::PartFile;
use rustix::fs::OFlags;
use zeroize::Zeroizing;

/// Permissions of the group and of all users.
const OTHERS: u32 = 0o077;

/// Permissions of the group and of all users to write.
const OTHERS_WRITE: u32 = 0o022;

/// The access to a file that users other than root and this program's have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    /// Nobody may read or write it.
    Private,
    /// Nobody may write it.
    ReadByAll,
    /// The service manager has put it into a folder of its own.
    Credential,
    /// This program has written it; a link in its place is refused, as root reads it too.
    Own,
}

/// Reads a file of at most `max` bytes into memory that is wiped.
///
/// # Errors
/// `InvalidData`, with what was found, for a file that others could have changed, or read where it is private.
pub(crate) fn read(path: &Path, max: usize, access: Access) -> io::Result<Zeroizing<Vec<u8>>> {
    // A FIFO must not block the start.
    let flags = match access {
        Access::Own => OFlags::NONBLOCK | OFlags::NOFOLLOW,
        Access::Private | Access::ReadByAll | Access::Credential => OFlags::NONBLOCK,
    };
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    let about = file.metadata()?;
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    if !about.is_file() {
        return Err(invalid("expected a regular file".to_owned()));
    }
    let own = rustix::process::geteuid().as_raw();
    let forbidden = match access {
        Access::Private => OTHERS,
        Access::ReadByAll => OTHERS_WRITE,
        Access::Credential | Access::Own => 0,
    };
    if forbidden != 0 && about.uid() != 0 && about.uid() != own {
        let owner = about.uid();
        return Err(invalid(format!(
            "it belongs to user {owner}, expected root"
        )));
    }
    if about.mode() & forbidden != 0 {
        let mode = about.mode() & 0o7777;
        let expected = 0o666 & !forbidden;
        return Err(invalid(format!(
            "it has the mode {mode:04o}, expected {expected:04o} or less"
        )));
    }
    // All the room at once, so that no outgrown copy of a key stays behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(max + 1));
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes)?;
    if bytes.len() > max {
        let what = format!("expected at most {max} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
    }
    Ok(bytes)
}

/// Replaces `path` by a file with `content` that only its owner can read: the owner of the folder, whoever writes it.
/// After a power failure there is the old content or the new.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    // No secret has a hidden name.
    let mut part = PartFile::create(path, "new", 0o600)?;
    let owner = fs::metadata(path.parent().unwrap_or(Path::new("/")))?;
    if part.file().metadata()?.uid() != owner.uid() {
        fchown(part.file(), Some(owner.uid()), Some(owner.gid()))?;
    }
    part.write(content)?;
    part.replace()
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_that_others_can_change_is_refused_and_a_private_one_that_they_can_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "text").unwrap();
        for (mode, private, readable) in [
            (0o600, true, true),
            (0o644, false, true),
            (0o664, false, false),
        ] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(read(&path, 4, Access::Private).is_ok(), private, "{mode:o}");
            assert_eq!(
                read(&path, 4, Access::ReadByAll).is_ok(),
                readable,
                "{mode:o}"
            );
            assert!(read(&path, 4, Access::Credential).is_ok());
        }
        let error = read(&path, 4, Access::Private).unwrap_err();
        assert_eq!(
            error.to_string(),
            "it has the mode 0664, expected 0600 or less"
        );
        assert!(read(&path, 3, Access::Credential).is_err());
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(read(&path, 4, Access::Own).is_ok() && read(&link, 4, Access::Own).is_err());
        assert!(read(folder.path(), 3, Access::Credential).is_err());
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(folder.path().join(".file.new"), "left behind").unwrap();
        for content in ["one", "two"] {
            replace(&path, content.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
