//! The admin keys that this machine believes, pinned in `/etc/nightlatch/admin-keys` (docs/decisions/0173): the agent
//! takes named secrets from nobody else.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nightlatch_console::failure::{EX_CANTCREAT, EX_DATAERR, EX_IOERR, EX_NOINPUT, Failure, warn};
use nightlatch_console::output::human;
use nightlatch_core::agent_files::ADMIN_KEYS;
use nightlatch_core::time::Wall;
use nightlatch_openpgp::{AdminKeys, Error, MAX_KEY_FILE, PublicKey};
use rustix::fs::{FlockOperation, OFlags, flock};

/// Everybody may know whom the machine believes; the agent need not be root.
const MODE: u32 = 0o644;

const HEAD: &str =
    "# OpenPGP public keys of the administrators whose named secrets this machine believes.\n";

/// The file, whether it exists or not.
#[derive(Debug)]
pub(crate) struct PinnedAdminKeys(PathBuf);

impl PinnedAdminKeys {
    /// That of the machine whose files are below `root`.
    pub(crate) fn of(root: &Path) -> Self {
        Self(root.join(ADMIN_KEYS.trim_start_matches('/')))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The keys; `None` without a file.
    ///
    /// # Errors
    /// When it cannot be read or has something else in it, as for the agent.
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

    /// Those of `keys` that are not pinned yet.
    pub(crate) fn missing<'k>(&self, keys: &'k [PublicKey]) -> Result<Vec<&'k PublicKey>, Failure> {
        let pinned = self.read()?;
        let is_pinned = |key: &PublicKey| {
            let mut pinned = pinned.iter().flat_map(AdminKeys::iter);
            pinned.any(|it| it.fingerprint() == key.fingerprint())
        };
        Ok(keys.iter().filter(|key| !is_pinned(key)).collect())
    }

    /// Adds those of `keys` that are not pinned yet, and returns them; the rest of the file stays as it is.
    pub(crate) fn pin<'k>(&self, keys: &'k [PublicKey]) -> Result<Vec<&'k PublicKey>, Failure> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let folder = self.0.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(folder).map_err(|error| self.failure("write", error))?;
        // Two that add at the same time would lose one.
        let _lock = lock(folder).map_err(|error| self.failure("write", error))?;
        let missing = self.missing(keys)?;
        if !missing.is_empty() {
            self.add(&missing, folder)?;
        }
        Ok(missing)
    }

    fn add(&self, keys: &[&PublicKey], folder: &Path) -> Result<(), Failure> {
        let mut text = match fs::read_to_string(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => HEAD.to_owned(),
            text => text.map_err(|error| self.failure("read", error))?,
        };
        if !text.ends_with('\n') {
            text.push('\n');
        }
        for key in keys {
            let armored = key.to_armored(&describe(key)).map_err(|error| {
                Failure::new(EX_DATAERR, "cannot write this admin key").because(error)
            })?;
            text.push_str(&armored);
        }
        if text.len() > MAX_KEY_FILE {
            return Err(self.failure("write", io::ErrorKind::FileTooLarge.into()));
        }
        self.replace(&text, folder)
            .map_err(|error| self.failure("write", error))
    }

    fn replace(&self, text: &str, folder: &Path) -> io::Result<()> {
        let new = folder.join(".admin-keys.new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(MODE)
            .open(&new)?;
        // Whatever the umask: the agent is another user.
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(MODE))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &self.0)?;
        File::open(folder)?.sync_all()
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

/// Reads the public keys in `files`, for `enroll --admin-key`: those that may be believed now.
///
/// # Errors
/// A file that cannot be read or has something else in it, a key that is revoked or has expired.
pub(crate) fn read_new(files: &[PathBuf], now: Wall) -> Result<Vec<PublicKey>, Failure> {
    let mut found = Vec::new();
    for file in files {
        let shown = file.display();
        let bytes = read_file(file).map_err(|error| {
            Failure::new(EX_NOINPUT, format!("cannot read the admin key {shown}")).because(error)
        })?;
        let keys = AdminKeys::from_armored(&bytes).map_err(|error| bad(file, error))?;
        for key in keys {
            check(&key, file, now)?;
            found.push(key);
        }
    }
    Ok(found)
}

fn check(key: &PublicKey, file: &Path, now: Wall) -> Result<(), Failure> {
    let shown = file.display();
    let what = describe(key);
    let refuse =
        |why: &str| Failure::new(EX_DATAERR, format!("{shown}: the admin key {what} {why}"));
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

/// One byte past the limit tells the reader of keys that there is more.
fn read_file(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = MAX_KEY_FILE as u64 + 1;
    File::open(file)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use nightlatch_openpgp::{
        AdminKeyOptions, Algorithm, GenerateOptions, generate, generate_admin_key,
    };

    use super::*;

    const NOW: Wall = Wall::from_unix_micros(1_796_000_000_000_000);

    fn admin(name: &str) -> String {
        let options = AdminKeyOptions {
            name,
            created: NOW,
            passphrase: None,
        };
        generate_admin_key(&options).unwrap().public_armored
    }

    fn machine(name: &str, expires: Option<Duration>) -> String {
        let options = GenerateOptions {
            primary: Algorithm::Curve25519,
            encryption: Algorithm::Curve25519,
            name,
            comment: "",
            email: "",
            created: NOW,
            expires,
        };
        generate(&options).unwrap().public_armored
    }

    fn read(folder: &Path, text: &str) -> Result<Vec<PublicKey>, String> {
        let file = folder.join("given");
        fs::write(&file, text).unwrap();
        read_new(&[file], NOW).map_err(|failure| failure.to_string())
    }

    #[test]
    fn the_list_grows_and_has_each_key_once() {
        let root = tempfile::tempdir().unwrap();
        let pinned = PinnedAdminKeys::of(root.path());
        assert!(pinned.read().unwrap().is_none());
        let (alice, bob) = (admin("alice"), admin("bob"));
        let one = read(root.path(), &alice).unwrap();
        let both = read(root.path(), &format!("{alice}\n{bob}")).unwrap();
        assert_eq!(pinned.pin(&one).unwrap().len(), 1);
        assert_eq!(pinned.pin(&both).unwrap().len(), 1);
        let before = fs::read(pinned.path()).unwrap();
        assert!(pinned.pin(&both).unwrap().is_empty());
        assert_eq!(fs::read(pinned.path()).unwrap(), before);
        let keys = pinned.read().unwrap().unwrap();
        let names: Vec<_> = keys.iter().map(PublicKey::user_id).collect();
        assert_eq!(names, [Some("alice".to_owned()), Some("bob".to_owned())]);
        let mode = fs::metadata(pinned.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
    }

    #[test]
    fn a_damaged_list_is_neither_believed_nor_replaced() {
        let root = tempfile::tempdir().unwrap();
        let pinned = PinnedAdminKeys::of(root.path());
        fs::create_dir_all(pinned.path().parent().unwrap()).unwrap();
        fs::write(pinned.path(), "what is this\n").unwrap();
        let keys = read(root.path(), &admin("alice")).unwrap();
        assert!(pinned.read().is_err());
        assert!(pinned.pin(&keys).is_err());
        assert_eq!(fs::read(pinned.path()).unwrap(), b"what is this\n");
    }

    #[test]
    fn a_key_that_is_over_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let minute = Duration::from_secs(60);
        assert!(read(folder.path(), &machine("later", Some(minute))).is_ok());
        let file = folder.path().join("given");
        let failure = read_new(&[file], NOW.after(minute))
            .unwrap_err()
            .to_string();
        assert!(failure.contains("has expired"), "{failure}");
        assert!(read(folder.path(), "no key").is_err());
        assert!(read_new(&[folder.path().join("none")], NOW).is_err());
    }
}
