//! The admin keys that this machine believes, pinned in `/etc/nightlatch/admin-keys` (docs/decisions/0173): the agent
//! takes named secrets from nobody else.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nightlatch_console::failure::{EX_CANTCREAT, EX_DATAERR, EX_IOERR, EX_NOINPUT, Failure, warn};
use nightlatch_console::output::human;
use nightlatch_core::agent_files::ADMIN_KEYS;
use nightlatch_core::time::Wall;
use nightlatch_openpgp::{AdminKeys, Error, MAX_KEY_FILE, PublicKey};
use rustix::fs::{FlockOperation, OFlags, flock};

use crate::files;

/// Everybody may know whom the machine believes, and the agent is another user than root.
const MODE: u32 = 0o644;

const HEAD: &str =
    "# OpenPGP public keys of the administrators whose named secrets this machine believes.\n";

/// The file, whether it exists or not.
#[derive(Debug)]
pub(crate) struct PinnedAdminKeys(PathBuf);

impl PinnedAdminKeys {
    /// The file of the machine whose files are below `root`.
    pub(crate) fn of(root: &Path) -> Self {
        Self(root.join(ADMIN_KEYS.trim_start_matches('/')))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The keys; `None` without a file.
    ///
    /// # Errors
    /// When it cannot be read, or has something else in it, which the agent refuses too.
    pub(crate) fn read(&self) -> Result<Option<AdminKeys>, Failure> {
        let bytes = match read_file(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.map_err(|error| self.failure("read", error))?,
        };
        let keys = AdminKeys::from_armored(&bytes).map_err(|error| {
            Failure::new(EX_DATAERR, format!("cannot use {}", self.0.display()))
                .because(error)
                .hint("it is armoured public keys, as nightlatch admin-key show prints them, one after the other")
        })?;
        Ok(Some(keys))
    }

    /// The change that pinning each of `keys` would make.
    ///
    /// # Errors
    /// When the file cannot be used, or says that one of them is revoked.
    pub(crate) fn compare<'k>(&self, keys: &'k [PublicKey]) -> Result<Vec<Pinning<'k>>, Failure> {
        let pinned = self.read()?;
        let compare = |key: &'k PublicKey| {
            let mut pinned = pinned.iter().flat_map(AdminKeys::iter);
            let known = pinned.find(|it| it.fingerprint() == key.fingerprint());
            let action = match known {
                None => PinAction::Add,
                Some(known) if known.is_revoked() => return Err(self.revoked(key)),
                Some(known) if key.supersedes(known) => PinAction::Update,
                Some(_) => PinAction::Keep,
            };
            Ok(Pinning { key, action })
        };
        keys.iter().map(compare).collect()
    }

    fn revoked(&self, key: &PublicKey) -> Failure {
        let (what, shown) = (describe(key), self.0.display());
        Failure::new(
            EX_DATAERR,
            format!("{shown} says that the admin key {what} is revoked"),
        )
        .hint("make another one: nightlatch admin-key new --file FILE")
    }

    /// Adds those of `keys` that are not pinned yet, and replaces those that are there in an earlier state; the rest of
    /// the file stays as it is.
    pub(crate) fn pin<'k>(&self, keys: &'k [PublicKey]) -> Result<Vec<Pinning<'k>>, Failure> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let folder = self.0.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(folder).map_err(|error| self.failure("write", error))?;
        // Two that add at the same time would lose one.
        let _lock = lock(folder).map_err(|error| self.failure("write", error))?;
        let pinnings = self.compare(keys)?;
        if pinnings.iter().any(|it| it.action != PinAction::Keep) {
            self.change(&pinnings)?;
        }
        Ok(pinnings)
    }

    fn change(&self, pinnings: &[Pinning<'_>]) -> Result<(), Failure> {
        let text = match fs::read_to_string(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => HEAD.to_owned(),
            text => text.map_err(|error| self.failure("read", error))?,
        };
        let text = changed(&text, pinnings).map_err(|error| {
            Failure::new(EX_DATAERR, "cannot write this admin key").because(error)
        })?;
        if text.len() > MAX_KEY_FILE {
            return Err(self.failure("write", io::ErrorKind::FileTooLarge.into()));
        }
        files::replace(&self.0, &text, MODE).map_err(|error| self.failure("write", error))
    }

    fn failure(&self, what: &str, error: io::Error) -> Failure {
        let exit = if what == "read" {
            EX_IOERR
        } else {
            EX_CANTCREAT
        };
        Failure::new(exit, format!("cannot {what} {}", self.0.display())).because(error)
    }
}

/// A key that is to be believed, and what that changes.
#[derive(Debug)]
pub(crate) struct Pinning<'k> {
    pub(crate) key: &'k PublicKey,
    pub(crate) action: PinAction,
}

/// The change that pinning a key makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PinAction {
    Add,
    /// The key is pinned in an earlier state, as with another expiry, and is replaced.
    Update,
    /// The key is pinned already.
    Keep,
}

/// The text of the list with `pinnings` carried out. Comments and other keys stay.
fn changed(text: &str, pinnings: &[Pinning<'_>]) -> Result<String, Error> {
    let armored = |key: &PublicKey| key.to_armored(&describe(key));
    let latest = |old: &PublicKey| {
        let mut pinnings = pinnings.iter();
        let update = pinnings
            .find(|it| it.action == PinAction::Update && it.key.fingerprint() == old.fingerprint());
        update.map(|it| it.key)
    };
    let mut new = String::with_capacity(text.len());
    let mut block = String::new();
    for line in text.split_inclusive('\n') {
        if block.is_empty() && line.trim() != BEGIN {
            new.push_str(line);
            continue;
        }
        block.push_str(line);
        if line.trim() != END {
            continue;
        }
        let old = AdminKeys::from_armored(block.as_bytes())?;
        match old.iter().any(|key| latest(key).is_some()) {
            true => {
                for key in old.iter() {
                    new.push_str(&armored(latest(key).unwrap_or(key))?);
                }
            }
            false => new.push_str(&block),
        }
        block.clear();
    }
    new.push_str(&block);
    if !new.ends_with('\n') {
        new.push('\n');
    }
    for pinning in pinnings.iter().filter(|it| it.action == PinAction::Add) {
        new.push_str(&armored(pinning.key)?);
    }
    Ok(new)
}

const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
const END: &str = "-----END PGP PUBLIC KEY BLOCK-----";

/// Reads the public keys in `files`, for `enroll --admin-key`: those that may be believed now.
///
/// # Errors
/// A file that cannot be read or has something else in it, a key that is revoked or has expired.
pub(crate) fn read_new(files: &[PathBuf], now: Wall) -> Result<Vec<PublicKey>, Failure> {
    let mut found: Vec<PublicKey> = Vec::new();
    for file in files {
        let shown = file.display();
        let bytes = read_file(file).map_err(|error| {
            Failure::new(EX_NOINPUT, format!("cannot read the admin key {shown}")).because(error)
        })?;
        let keys = AdminKeys::from_armored(&bytes).map_err(|error| bad(file, error))?;
        for key in keys {
            check(&key, file, now)?;
            let fingerprint = key.fingerprint();
            match found.iter_mut().find(|it| it.fingerprint() == fingerprint) {
                Some(known) if key.supersedes(known) => *known = key,
                Some(_) => {}
                None => found.push(key),
            }
        }
    }
    Ok(found)
}

fn check(key: &PublicKey, file: &Path, now: Wall) -> Result<(), Failure> {
    let shown = file.display();
    let what = describe(key);
    let refuse = |why: &str| {
        let text = format!("{shown}: the admin key {what} {why}");
        Failure::new(EX_DATAERR, text).hint(format!(
            "if {ADMIN_KEYS} has an earlier copy, take it out of there, or it may be believed"
        ))
    };
    if key.is_revoked() {
        return Err(refuse("is revoked"));
    }
    match key.expires() {
        Some(expires) if expires <= now => {
            Err(refuse(&format!("has expired, at {}", human::time(expires))))
        }
        Some(expires) => {
            warn(format_args!(
                "the admin key {what} expires at {}: this machine then refuses all secrets that it has signed",
                human::time(expires)
            ));
            Ok(())
        }
        None => Ok(()),
    }
}

fn bad(file: &Path, error: Error) -> Failure {
    let what = format!("cannot use the admin key {}", file.display());
    Failure::new(EX_DATAERR, what).because(error).hint(
        "it is an armoured public key, as printed by: nightlatch admin-key show, or gpg --armor --export --export-options \
         export-minimal",
    )
}

/// The fingerprint and the name of a key.
pub(crate) fn describe(key: &PublicKey) -> String {
    match key.user_id() {
        Some(name) => format!("{} ({name})", key.fingerprint()),
        None => key.fingerprint().to_string(),
    }
}

fn lock(folder: &Path) -> io::Result<File> {
    let folder = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::DIRECTORY.bits().cast_signed())
        .open(folder)?;
    flock(&folder, FlockOperation::LockExclusive)?;
    Ok(folder)
}

/// Reads one byte past the limit at most, which tells the reader of keys that there is more.
fn read_file(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = MAX_KEY_FILE as u64 + 1;
    File::open(file)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
