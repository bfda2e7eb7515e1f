//! The file `trusted-servers`: the servers that the boot client believes, one hexadecimal key id a
//! line; `#` begins a comment.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nightlatch_console::failure::{EX_CANTCREAT, Failure};
use nightlatch_core::key_id::KeyId;

use super::KeyDirectory;

/// Name of the file.
pub(crate) const TRUSTED: &str = "trusted-servers";

/// The name until it is complete.
const NEW: &str = ".trusted-servers.new";

const HEAD: &str = "# Key ids of the servers that this machine believes, one a line.\n";

impl KeyDirectory {
    /// Adds those of `servers` that are not there yet; the rest of the file stays as it is.
    pub(crate) fn trust(&self, servers: &[KeyId]) -> Result<(), Failure> {
        if servers.is_empty() {
            return Ok(());
        }
        // Two that add at the same time would lose one.
        let _writer = self.writer()?;
        add(self.path(), servers).map_err(|error| {
            let file = self.path().join(TRUSTED);
            Failure::new(EX_CANTCREAT, format!("cannot write {}", file.display())).because(error)
        })
    }
}

fn add(directory: &Path, servers: &[KeyId]) -> io::Result<()> {
    let place = directory.join(TRUSTED);
    let mut text = match fs::read_to_string(&place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => HEAD.to_owned(),
        other => other?,
    };
    let before = text.len();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for server in servers {
        if !ids(&text).any(|known| known == *server) {
            text += &format!("{server}\n");
        }
    }
    if place.exists() && text.len() == before {
        return Ok(());
    }
    let new = directory.join(NEW);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, &place)?;
    fs::File::open(directory)?.sync_all()
}

fn ids(text: &str) -> impl Iterator<Item = KeyId> {
    text.lines()
        .filter_map(|line| line.split('#').next()?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_added_once_and_comments_stay() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = KeyDirectory::new(temporary.path());
        let server = |byte| KeyId::from_bytes([byte; 32]).unwrap();
        directory.trust(&[server(1)]).unwrap();
        let file = temporary.path().join(TRUSTED);
        let text = fs::read_to_string(&file).unwrap() + "# the other room";
        fs::write(&file, &text).unwrap();
        directory.trust(&[server(1), server(2)]).unwrap();
        let after = fs::read_to_string(&file).unwrap();
        assert_eq!(after, format!("{text}\n{}\n", server(2)));
        assert_eq!(ids(&after).collect::<Vec<_>>(), [server(1), server(2)]);
    }
}
