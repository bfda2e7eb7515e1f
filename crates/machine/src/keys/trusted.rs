//! Lists of trusted servers: one hexadecimal key id a line, `#` begins a comment. The boot client's is the file
//! `trusted-servers` beside its keys; the agent has its own.

use std::fs;
use std::io;
use std::path::Path;

use nightlatch_console::failure::{EX_CANTCREAT, EX_DATAERR, EX_IOERR, Failure};
use nightlatch_core::key_id::KeyId;
use nightlatch_core::trusted_servers::{self, InvalidLine};

use super::KeyDirectory;
use crate::files;

/// Name of the boot client's list.
pub(crate) const TRUSTED: &str = "trusted-servers";

/// Mode of the boot client's list.
const MODE: u32 = 0o600;

const HEAD: &str = "# Key ids of the servers that this machine believes, one a line.\n";

impl KeyDirectory {
    /// Adds those of `servers` that the boot client's list does not have yet; the rest of the file stays as it is.
    pub(crate) fn trust(&self, servers: &[KeyId]) -> Result<(), Failure> {
        self.trust_in(&self.path().join(TRUSTED), servers, MODE)
    }

    /// The same for the list in `file`, which is made with `mode`. Holds the lock of this directory meanwhile.
    pub(crate) fn trust_in(
        &self,
        file: &Path,
        servers: &[KeyId],
        mode: u32,
    ) -> Result<(), Failure> {
        if servers.is_empty() {
            return Ok(());
        }
        // Two that add at the same time would lose one.
        let _writer = self.writer()?;
        add(file, servers, mode).map_err(|error| {
            Failure::new(EX_CANTCREAT, format!("cannot write {}", file.display())).because(error)
        })
    }

    /// The boot client's list; empty where there is none.
    ///
    /// # Errors
    /// When it cannot be read or a line of it is wrong, as for the boot client.
    pub(crate) fn trusted(&self) -> Result<Vec<KeyId>, Failure> {
        read(&self.path().join(TRUSTED))
    }
}

/// The list in `file`; empty where there is none.
pub(crate) fn read(file: &Path) -> Result<Vec<KeyId>, Failure> {
    let shown = file.display();
    let text = match fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(Failure::new(EX_IOERR, format!("cannot read {shown}")).because(error));
        }
        Ok(text) => text,
    };
    trusted_servers::parse(&text).map_err(|InvalidLine { number, error }| {
        let line = text.lines().nth(number.saturating_sub(1));
        let line = line.and_then(|line| line.split('#').next());
        let line = line.unwrap_or_default().trim();
        Failure::new(EX_DATAERR, format!("{shown}:{number}: {line:?}"))
            .because(error)
            .hint("give one key id a line: 64 hexadecimal digits, which the server logs when it starts")
    })
}

fn add(place: &Path, servers: &[KeyId], mode: u32) -> io::Result<()> {
    let mut text = match fs::read_to_string(place) {
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
    files::replace(place, &text, mode)
}

/// The key ids in the list, whatever else stands there.
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
        assert_eq!(directory.trusted().unwrap(), [server(1), server(2)]);
        let entries = fs::read_dir(temporary.path()).unwrap();
        assert_eq!(entries.count(), 1, "nothing else is left");
    }

    #[test]
    fn a_line_that_is_no_key_id_is_quoted_with_its_number() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = KeyDirectory::new(temporary.path());
        assert_eq!(directory.trusted().unwrap(), []);
        fs::write(temporary.path().join(TRUSTED), "# ours\n\nabc # web\n").unwrap();
        let failure = directory.trusted().unwrap_err().to_string();
        assert!(
            failure.contains("trusted-servers:3: \"abc\": "),
            "{failure}"
        );
    }
}
