//! The key files of this machine, and the list of servers it believes.
//!
//! A list that exists and cannot be used is an error: it must never come to mean "everyone".

use std::io;
use std::path::{Path, PathBuf};

use nightlatch_core::key_id::{KeyId, KeyIdError};
use nightlatch_core::trusted_servers;
use nightlatch_openpgp::{MAX_KEY_FILE, PublicKey, SecretKey};
use nightlatch_proto::tls::{RawKey, RawKeyError};
use zeroize::Zeroizing;

use super::files::Files;
use super::options::KeyPaths;
use crate::exit::Exit;
use crate::files::configuration;

/// The list beside the TLS private key.
const TRUSTED_SERVERS: &str = "trusted-servers";

/// Longest list of trusted servers: some thousand lines.
const MAX_LIST: usize = 128 * 1024;

/// The keys of this machine, and those of its servers.
#[derive(Debug)]
pub(super) struct ClientKeys {
    pub tls: RawKey,
    /// Its OpenPGP secret key.
    pub secret: SecretKey,
    /// Its OpenPGP public key.
    pub public: PublicKey,
    /// The servers of the list; none when there is no list.
    pub trusted_servers: Vec<KeyId>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum KeysError {
    /// A key file cannot be read.
    #[error("cannot read {0}")]
    Read(PathBuf, #[source] io::Error),
    /// The TLS key files hold no key pair.
    #[error("cannot use {0}")]
    Tls(PathBuf, #[source] RawKeyError),
    /// An OpenPGP key file holds no such key.
    #[error("cannot use {0}")]
    OpenPgp(PathBuf, #[source] nightlatch_openpgp::Error),
    /// The OpenPGP keys are not of one pair.
    #[error("{0} and {1} do not belong together")]
    Differ(PathBuf, PathBuf),
    /// The list of trusted servers cannot be read.
    #[error("cannot read the list of trusted servers {0}")]
    ReadList(PathBuf, #[source] io::Error),
    /// A line of the list is no key id.
    #[error("{0}:{1}: expected a key id")]
    Line(PathBuf, usize, #[source] KeyIdError),
    /// The list has no key id.
    #[error("the list of trusted servers {0} names none")]
    EmptyList(PathBuf),
}

impl KeysError {
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::ReadList(..) | Self::Line(..) | Self::EmptyList(_) => Exit::Config,
            _ => Exit::Unavailable,
        }
    }

    pub(super) fn hint(&self) -> &'static str {
        match self {
            Self::ReadList(..) | Self::Line(..) | Self::EmptyList(_) => {
                "write one key id of 64 hexadecimal digits in each line, or remove the file"
            }
            _ => "make keys with `nightlatch keygen` and rebuild the initramfs",
        }
    }
}

/// Reads all keys, from `paths` or from the default directory, by `files`.
pub(super) fn read(paths: &KeyPaths, files: Files) -> Result<ClientKeys, KeysError> {
    let read_key = |path: &Path| read_key(path, files);
    let directory = configuration();
    let place =
        |given: &Option<PathBuf>, name: &str| given.clone().unwrap_or_else(|| directory.join(name));
    let pubkey = place(&paths.pubkey, "pubkey.txt");
    let seckey = place(&paths.seckey, "seckey.txt");
    let tls_privkey = place(&paths.tls_privkey, "tls-privkey.pem");
    let tls_pubkey = place(&paths.tls_pubkey, "tls-pubkey.pem");

    let private = read_key(&tls_privkey)?;
    let tls = RawKey::from_pem(&private, Some(&read_key(&tls_pubkey)?))
        .map_err(|error| KeysError::Tls(tls_privkey.clone(), error))?;
    let secret = SecretKey::from_armored(&read_key(&seckey)?)
        .map_err(|error| KeysError::OpenPgp(seckey.clone(), error))?;
    let public = PublicKey::from_armored(&read_key(&pubkey)?)
        .map_err(|error| KeysError::OpenPgp(pubkey.clone(), error))?;
    if public.fingerprint() != secret.fingerprint() {
        return Err(KeysError::Differ(pubkey, seckey));
    }
    Ok(ClientKeys {
        tls,
        secret,
        public,
        trusted_servers: read_trusted_servers(&tls_privkey.with_file_name(TRUSTED_SERVERS), files)?,
    })
}

fn read_key(path: &Path, files: Files) -> Result<Zeroizing<Vec<u8>>, KeysError> {
    files
        .read(path, MAX_KEY_FILE)
        .map_err(|error| KeysError::Read(path.to_owned(), error))
}

fn read_trusted_servers(path: &Path, files: Files) -> Result<Vec<KeyId>, KeysError> {
    let unreadable = |error| KeysError::ReadList(path.to_owned(), error);
    let bytes = match files.read(path, MAX_LIST) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.map_err(unreadable)?,
    };
    let text = std::str::from_utf8(&bytes)
        .map_err(|error| unreadable(io::Error::new(io::ErrorKind::InvalidData, error)))?;
    let servers = trusted_servers::parse(text)
        .map_err(|it| KeysError::Line(path.to_owned(), it.number, it.error))?;
    match servers.is_empty() {
        true => Err(KeysError::EmptyList(path.to_owned())),
        false => Ok(servers),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &[u8]) -> Result<Vec<KeyId>, KeysError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(TRUSTED_SERVERS);
        std::fs::write(&path, text).unwrap();
        read_trusted_servers(&path, Files::AS_OURSELVES)
    }

    #[test]
    fn a_list_has_comments_and_empty_lines() {
        let id = "5".repeat(64);
        let text = format!("# servers\n\n{id} # the one in the cellar\n");
        assert_eq!(list(text.as_bytes()).unwrap(), [id.parse().unwrap()]);
    }

    #[test]
    fn a_list_that_cannot_be_used_is_refused() {
        for text in [&b""[..], b"# nobody\n", b"12\n", b"\xff\n"] {
            assert_eq!(list(text).unwrap_err().exit(), Exit::Config, "{text:?}");
        }
        let directory = tempfile::tempdir().unwrap();
        let error = read_trusted_servers(directory.path(), Files::AS_OURSELVES).unwrap_err();
        assert_eq!(error.exit(), Exit::Config);
    }

    #[test]
    fn without_a_list_every_server_is_believed() {
        let nowhere = Path::new("/nonexistent/trusted-servers");
        assert_eq!(
            read_trusted_servers(nowhere, Files::AS_OURSELVES).unwrap(),
            []
        );
    }
}
