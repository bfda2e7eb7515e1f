//! A client's keys on disk: the directory, its four files, how they are read and made.

mod place;
pub(crate) mod trusted;
mod write;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nightlatch_console::failure::{
    EX_DATAERR, EX_IOERR, EX_NOINPUT, EX_SOFTWARE, EX_USAGE, Failure,
};
use nightlatch_core::key_id::KeyId;
use nightlatch_core::secret::Secret;
use nightlatch_core::time::Wall;
use nightlatch_openpgp::{
    Algorithm, GenerateOptions, MAX_KEY_FILE, PublicKey, SecretKey, generate,
};
use nightlatch_proto::tls::{RawKey, RawKeyKind};
use nightlatch_sys::clock;
use zeroize::Zeroizing;

use crate::section::HostIdentity;

pub use place::KeyDirectory;
pub(crate) use trusted::TRUSTED;
pub use write::Existing;
use write::Writer;

/// Help of `--dir`.
pub(crate) const DIR_HELP: &str = "Directory of the key files [default: /etc/nightlatch/keys; if that holds \
    no keys, /etc/keys/mandos or /etc/mandos/keys when one of them does]";

/// The OpenPGP key that the password is encrypted to.
const PUBLIC: &str = "pubkey.txt";
/// The OpenPGP key that opens it.
pub(crate) const SECRET: &str = "seckey.txt";
/// The TLS key by which the server knows the client.
const TLS_PUBLIC: &str = "tls-pubkey.pem";
/// The TLS key by which the client proves itself.
pub(crate) const TLS_PRIVATE: &str = "tls-privkey.pem";
/// All of them: a set is whole or of no use.
pub(crate) const FILES: [&str; 4] = [PUBLIC, SECRET, TLS_PUBLIC, TLS_PRIVATE];

/// A client's keys, read and found to belong together.
#[derive(Debug)]
pub(crate) struct KeySet {
    pub(crate) public: PublicKey,
    pub(crate) secret: SecretKey,
    pub(crate) tls: RawKey,
}

/// Parameters of a new key set.
#[derive(Debug)]
pub(crate) struct NewKeys<'a> {
    pub(crate) name: &'a str,
    pub(crate) email: &'a str,
    pub(crate) comment: &'a str,
    pub(crate) primary: Algorithm,
    pub(crate) encryption: Algorithm,
    pub(crate) expires: Option<Duration>,
    pub(crate) tls: RawKeyKind,
    pub(crate) created: Wall,
}

impl<'a> NewKeys<'a> {
    /// Those that are made when nobody chooses: Curve25519 and Ed25519, which never expire.
    pub(crate) fn usual(name: &'a str) -> Self {
        Self {
            name,
            email: "",
            comment: "",
            primary: Algorithm::Curve25519,
            encryption: Algorithm::Curve25519,
            expires: None,
            tls: RawKeyKind::Ed25519,
            created: clock::now().wall,
        }
    }
}

impl KeyDirectory {
    /// Makes a set of keys and puts it in place; its key id.
    pub(crate) fn make(&self, new: &NewKeys<'_>, existing: Existing) -> Result<KeyId, Failure> {
        let writer = self.writer()?;
        Self::make_by(&writer, new, existing)
    }

    /// Makes a set of keys unless one turns up when what was cut short earlier is finished.
    pub(crate) fn make_missing(&self, new: &NewKeys<'_>) -> Result<Option<KeyId>, Failure> {
        let writer = self.writer()?;
        if self.holds_any() {
            return Ok(None);
        }
        Self::make_by(&writer, new, Existing::Refuse).map(Some)
    }

    fn make_by(
        writer: &Writer<'_>,
        new: &NewKeys<'_>,
        existing: Existing,
    ) -> Result<KeyId, Failure> {
        // Before the work: RSA keys take seconds.
        writer.check(existing)?;
        let openpgp = generate(&GenerateOptions {
            primary: new.primary,
            encryption: new.encryption,
            name: new.name,
            comment: new.comment,
            email: new.email,
            created: new.created,
            expires: new.expires,
        })
        .map_err(|error| Failure::new(EX_USAGE, "cannot make an OpenPGP key").because(error))?;
        let tls = RawKey::generate(new.tls)
            .map_err(|error| Failure::new(EX_SOFTWARE, "cannot make a TLS key").because(error))?;
        let private = tls.private_pem();
        writer.place(
            &[
                (PUBLIC, openpgp.public_armored.as_bytes()),
                (SECRET, openpgp.secret_armored.expose()),
                (TLS_PUBLIC, tls.public_pem().as_bytes()),
                (TLS_PRIVATE, private.expose()),
            ],
            existing,
        )?;
        Ok(tls.key_id())
    }

    /// Copies the set of keys in `source`, which is only read, and puts the copy in place.
    pub fn copy_from(&self, source: &Self, existing: Existing) -> Result<(), Failure> {
        let content: Vec<Secret> = FILES
            .iter()
            .map(|file| source.read(file))
            .collect::<Result<_, _>>()?;
        let files = FILES.into_iter().zip(content.iter().map(Secret::expose));
        self.writer()?.place(&files.collect::<Vec<_>>(), existing)
    }

    /// Reads the set of keys, after finishing one whose placing was cut short.
    pub(crate) fn load(&self) -> Result<KeySet, Failure> {
        if self.path().is_dir() {
            self.writer()?;
        }
        self.read_set()
    }

    /// The key id of the set of keys, which is only read.
    ///
    /// # Errors
    /// When a file cannot be read, or the keys do not belong together.
    pub fn key_id(&self) -> Result<KeyId, Failure> {
        Ok(self.read_set()?.tls.key_id())
    }

    /// The public halves of the set of keys, which is only read.
    pub(crate) fn identity(&self) -> Result<HostIdentity, Failure> {
        let set = self.read_set()?;
        let openpgp = set.public.to_base64().map_err(|error| {
            Failure::new(EX_SOFTWARE, "cannot write the public key").because(error)
        })?;
        Ok(HostIdentity {
            key_id: set.tls.key_id(),
            openpgp,
        })
    }

    /// Reads the set of keys as it is, and changes nothing.
    pub(crate) fn read_set(&self) -> Result<KeySet, Failure> {
        let bad = |file: &str| Failure::new(EX_DATAERR, format!("cannot use {}", self.show(file)));
        let public = PublicKey::from_armored(self.read(PUBLIC)?.expose())
            .map_err(|error| bad(PUBLIC).because(error))?;
        let secret = SecretKey::from_armored(self.read(SECRET)?.expose())
            .map_err(|error| bad(SECRET).because(error))?;
        if public.fingerprint() != secret.fingerprint() {
            return Err(bad(PUBLIC).because(nightlatch_openpgp::Error::KeysDiffer));
        }
        let private = self.read(TLS_PRIVATE)?;
        let tls = RawKey::from_pem(private.expose(), Some(self.read(TLS_PUBLIC)?.expose()))
            .map_err(|error| bad(TLS_PRIVATE).because(error))?;
        Ok(KeySet {
            public,
            secret,
            tls,
        })
    }

    fn show(&self, file: &str) -> String {
        self.path().join(file).display().to_string()
    }

    fn read(&self, file: &str) -> Result<Secret, Failure> {
        read_file(&self.path().join(file)).map_err(|error| {
            let missing = error.kind() == io::ErrorKind::NotFound;
            let exit = if missing { EX_NOINPUT } else { EX_IOERR };
            let failure =
                Failure::new(exit, format!("cannot read {}", self.show(file))).because(error);
            if missing {
                failure
                    .hint("make the keys first (nightlatch keygen), or say where they are (--dir)")
            } else {
                failure
            }
        })
    }
}

fn read_file(path: &Path) -> io::Result<Secret> {
    let limit = MAX_KEY_FILE + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit));
    File::open(path)?
        .take(limit as u64)
        .read_to_end(&mut bytes)?;
    Ok(Secret::new(std::mem::take(&mut *bytes)))
}

/// The name asked for, else this machine's full host name, else its plain one.
pub(crate) fn name_or_host(name: Option<&str>) -> Result<String, Failure> {
    if let Some(name) = name {
        return Ok(name.to_owned());
    }
    let full = Command::new("hostname")
        .arg("--fqdn")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty() && !text.starts_with("localhost"));
    if let Some(full) = full {
        return Ok(full);
    }
    let uname = rustix::system::uname();
    uname.nodename().to_str().map(str::to_owned).map_err(|_| {
        Failure::new(EX_DATAERR, "this machine's host name is no text").hint("give one with --name")
    })
}
