//! The file by which a boot of this machine is recognized in the initramfs and in the booted system.
//!
//! `/run` is the same file system before and after the switch of root with initramfs-tools, dracut and mkinitcpio, and
//! empty at the next boot. The kernel's own boot ID would not do: every user of the machine can read it, and with it
//! whoever copied a boot key could pass his own request off as that of this boot.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nightlatch_core::boot_nonce::{BootSeed, SEED_LEN};
use nightlatch_core::digits::Hex;
use rustix::fs::OFlags;

use crate::random;

/// The file, readable by root only.
pub const PATH: &str = "/run/nightlatch/boot-seed";

/// Reads the seed of this boot at `path`, usually [`PATH`]; makes it first where it is missing. Whoever comes second
/// gets the seed of the first.
///
/// Fails for a file that is not a regular file of the caller, that others may read or write, or that does not hold
/// [`SEED_LEN`] bytes.
pub fn read_or_make(path: &Path) -> io::Result<BootSeed> {
    match read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        result => return result,
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::DirBuilder::new()
        .recursive(true)
        // As the socket for key files has it, which lies there too.
        .mode(0o700)
        .create(folder)?;
    // Another name each time: what a run that was killed left behind is in nobody's way.
    let whole = folder.join(format!(".boot-seed.{}", Hex(&random::bytes::<8>()?)));
    let seed = fresh()?;
    let linked = write(&whole, &seed).and_then(|()| fs::hard_link(&whole, path));
    let _ = fs::remove_file(&whole);
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => read(path),
    }
}

/// A seed that no file has: a request with it belongs to no other request.
pub fn fresh() -> io::Result<BootSeed> {
    random::bytes().map(BootSeed::from_bytes)
}

fn write(path: &Path, seed: &BootSeed) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    // Whatever the umask of who started it: others of root's programs read it too.
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(seed.as_bytes())
}

fn read(path: &Path) -> io::Result<BootSeed> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut file: File = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(invalid("expected a regular file of this user"));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(invalid(
            "other users may read or write it, expected mode 0600",
        ));
    }
    if metadata.len() != SEED_LEN as u64 {
        return Err(invalid("expected 32 bytes"));
    }
    let mut seed = [0; SEED_LEN];
    file.read_exact(&mut seed)?;
    Ok(BootSeed::from_bytes(seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_has_one_seed_whoever_comes_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nightlatch/boot-seed");
        let seeds = [(); 2].map(|()| read_or_make(&path).unwrap());
        assert_eq!(seeds[0], seeds[1]);
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        let other = folder.path().join("other");
        assert_ne!(seeds[0], read_or_make(&other).unwrap());
    }

    #[test]
    fn a_file_that_another_could_have_made_or_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seed");
        read_or_make(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(
            read_or_make(&path).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(read_or_make(&link).is_err());
        fs::write(&path, [7; SEED_LEN - 1]).unwrap();
        assert_eq!(
            read_or_make(&path).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
        assert!(read_or_make(folder.path()).is_err());
    }
}
