//! `/etc/nightlatch/network.conf`: reading it, telling whether it was edited, and putting another in its place.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nightlatch_console::failure::{EX_CANTCREAT, EX_IOERR, EX_NOPERM, Failure};
use nightlatch_core::digits::Hex;
use nightlatch_core::network::{Definition, NetworkConfError};
use nightlatch_sys::part_file::PartFile;
use sha2::{Digest, Sha256};

/// Path below the root of a machine.
const PLACE: &str = "etc/nightlatch/network.conf";

/// Limit of the boot client.
const MAX_BYTES: usize = 64 * 1024;

/// The line that tells whether what follows it was edited.
const CHECKSUM: &str = "# checksum: ";

/// Bytes of the checksum: against accidents, not against anybody.
const CHECKSUM_BYTES: usize = 8;

#[derive(Debug)]
pub(crate) struct ConfFile {
    pub(crate) path: PathBuf,
    /// All of it.
    pub(crate) text: String,
    pub(crate) definition: Definition,
    pub(crate) faults: Vec<NetworkConfError>,
}

impl ConfFile {
    /// Reads the file of the machine whose files are below `root`; none where there is none.
    pub(crate) fn read(root: &Path) -> Result<Option<Self>, Failure> {
        let path = root.join(PLACE);
        let failed = |error: io::Error| {
            let what = format!("cannot read {}", path.display());
            Failure::new(EX_IOERR, what).because(error)
        };
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        if bytes.len() > MAX_BYTES {
            let message = format!("it is too large, expected at most {MAX_BYTES} bytes");
            return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, message)));
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (definition, faults) = Definition::recover(&text);
        Ok(Some(Self {
            path,
            text,
            definition,
            faults,
        }))
    }

    /// True when somebody changed it since it was learned.
    pub(crate) fn is_edited(&self) -> bool {
        let mut rest = self.text.as_str();
        while let Some((line, after)) = rest.split_once('\n') {
            if let Some(sum) = line.strip_prefix(CHECKSUM) {
                return sum.trim() != checksum(after);
            }
            rest = after;
        }
        true
    }
}

/// The text of a file with these links; `how` says how a server is reached.
pub(super) fn text(definition: &Definition, how: &[String]) -> String {
    let mut body = String::new();
    for line in how {
        let _ = writeln!(body, "# {line}");
    }
    if !how.is_empty() {
        body.push('\n');
    }
    let _ = write!(body, "{definition}");
    let sum = checksum(&body);
    format!(
        "# How a boot reaches a server: network.conf(5). Learned by: nightlatch network --learn\n\
         # Edit it as you like; then it is only overwritten with --force. Each image has a copy, so rebuild the images\n\
         # after a change: update-initramfs -u -k all, or dracut --force --regenerate-all, or mkinitcpio -P\n\
         {CHECKSUM}{sum}\n{body}"
    )
}

fn checksum(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    Hex(&digest[..CHECKSUM_BYTES]).to_string()
}

/// Puts a text in the file's place, all of it or nothing.
pub(super) fn write(root: &Path, text: &str) -> Result<PathBuf, Failure> {
    let path = root.join(PLACE);
    let failed = |error: io::Error| {
        let exit = match error.kind() {
            io::ErrorKind::PermissionDenied => EX_NOPERM,
            _ => EX_CANTCREAT,
        };
        let failure = Failure::new(exit, format!("cannot write {}", path.display()));
        match exit {
            EX_NOPERM => failure.because(error).hint("run this as root"),
            _ => failure.because(error),
        }
    };
    replace(&path, text).map_err(failed)?;
    Ok(path)
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    // Its name tells nobody's reader that it is a configuration, whenever this ends.
    let mut part = PartFile::create(path, &std::process::id().to_string(), 0o644)?;
    part.write(text.as_bytes())?;
    part.replace()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edited_file_is_known_by_its_checksum() {
        let root = tempfile::tempdir().unwrap();
        assert!(ConfFile::read(root.path()).unwrap().is_none());
        let definition = Definition::parse("[eth0]\nmtu = 9000\n").unwrap();
        let text = text(&definition, &["A server is found on eth0.".to_owned()]);
        let path = write(root.path(), &text).unwrap();
        let read = || ConfFile::read(root.path()).unwrap().unwrap();
        assert!(!read().is_edited());
        assert_eq!((read().definition, read().faults), (definition, Vec::new()));
        // A comment is an edit too: it would be lost.
        fs::write(&path, format!("{text}# mine\n")).unwrap();
        assert!(read().is_edited());
        // So is one above the checksum, which is as it was: nothing of it is lost but that line.
        fs::write(&path, "[eth0]\n").unwrap();
        assert!(read().is_edited());
        let names = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(names, 1, "nothing is left behind");
    }

    #[test]
    fn a_file_that_is_no_text_has_faults_and_no_panic() {
        let root = tempfile::tempdir().unwrap();
        let path = write(root.path(), "").unwrap();
        fs::write(&path, [0xff, 0xfe, b'\n', b'[']).unwrap();
        let read = ConfFile::read(root.path()).unwrap().unwrap();
        assert_eq!(read.faults.len(), 2);
        fs::write(&path, vec![b'#'; MAX_BYTES + 1]).unwrap();
        assert!(ConfFile::read(root.path()).is_err());
    }
}
