//! `nightlatch admin-key`: makes and shows the key that signs named secrets. Machines believe only secrets that a pinned
//! one has signed.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use nightlatch_console::failure::{
    EX_CANTCREAT, EX_DATAERR, EX_NOINPUT, EX_NOPERM, EX_SOFTWARE, EX_USAGE, Failure, note,
};
use nightlatch_console::output;
use nightlatch_core::secret::Secret;
use nightlatch_core::time::Wall;
use nightlatch_openpgp::{
    AdminKeyOptions, Error, MAX_KEY_FILE, PublicKey, SecretKey, generate_admin_key,
};
use nightlatch_sys::clock;

use crate::config_folder::{self, ConfigFolder};
use crate::{input, passphrase};

/// Name of the file in the administrator's folder.
const FILE: &str = "admin-key";

/// The file of each machine with the public halves that it believes.
const PINNED: &str = nightlatch_core::agent_files::ADMIN_KEYS;

/// Number of attempts at typing the passphrase.
const TRIES: usize = 3;

/// `nightlatch admin-key`.
#[derive(Args, Debug)]
pub struct AdminKeyVerbs {
    #[command(subcommand)]
    verb: AdminKeyVerb,
}

#[derive(Subcommand, Debug)]
enum AdminKeyVerb {
    /// Make an admin key, and print its public half
    ///
    /// The key signs named secrets. It is made in ~/.config/nightlatch/admin-key, for you alone, and asks for a
    /// passphrase. An existing file is never overwritten.
    #[command(after_help = "Examples:
  nightlatch admin-key new > alice.asc
  nightlatch enroll --admin-key alice.asc /dev/sda3      on each machine")]
    New(NewOptions),
    /// Print the public half of the admin key
    #[command(after_help = "Examples:
  nightlatch admin-key show > alice.asc
  nightlatch admin-key show | gpg --show-keys")]
    Show(ShowOptions),
}

/// The options of `admin-key new`.
#[derive(Args, Debug)]
struct NewOptions {
    /// Where to make it [default: ~/.config/nightlatch/admin-key]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// Your name in the key [default: your user and host name]
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,

    /// Read the passphrase from this file; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "no_passphrase")]
    passphrase_file: Option<PathBuf>,

    /// Make it without a passphrase: whoever can read the file can sign with it
    #[arg(long)]
    no_passphrase: bool,
}

/// The options of `admin-key show`.
#[derive(Args, Debug)]
struct ShowOptions {
    /// Where it is [default: ~/.config/nightlatch/admin-key]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Carries a verb of `nightlatch admin-key` out; gives the exit status.
///
/// # Errors
/// When the key cannot be made or read.
pub fn run(options: &AdminKeyVerbs) -> Result<u8, Failure> {
    match &options.verb {
        AdminKeyVerb::New(options) => new(options, clock::now().wall),
        AdminKeyVerb::Show(options) => show(options),
    }
}

fn new(options: &NewOptions, now: Wall) -> Result<u8, Failure> {
    let file = place(options.file.as_deref())?;
    let shown = file.display();
    let taken = || {
        Failure::new(EX_CANTCREAT, format!("{shown} is there already")).hint(
            "print its public half: nightlatch admin-key show. A key that is replaced is believed by machines until it \
             is taken out of their admin-keys",
        )
    };
    // Before anything is asked.
    if file.symlink_metadata().is_ok() {
        return Err(taken());
    }
    let name = match &options.name {
        Some(name) => name.clone(),
        None => user_at_host(),
    };
    let passphrase = new_passphrase(options)?;
    let pair = generate_admin_key(&AdminKeyOptions {
        name: &name,
        created: now,
        passphrase: passphrase.as_ref(),
    })
    .map_err(|error| Failure::new(EX_USAGE, "cannot make an admin key").because(error))?;
    if options.file.is_none() {
        drop(ConfigFolder::of_user()?.lock()?);
    }
    config_folder::create(&file, pair.secret_armored.expose()).map_err(|error| {
        match error.kind() {
            io::ErrorKind::AlreadyExists => taken(),
            _ => Failure::new(EX_CANTCREAT, format!("cannot make {shown}")).because(error),
        }
    })?;
    output::print(&pair.public_armored)?;
    note(format_args!(
        "made the admin key {} in {shown}; its public half is printed",
        pair.fingerprint
    ));
    note(format_args!(
        "on each machine that is to believe it: nightlatch enroll --host-key --admin-key FILE, with the public half in \
         FILE, or append that to {PINNED} there"
    ));
    Ok(0)
}

fn new_passphrase(options: &NewOptions) -> Result<Option<Secret>, Failure> {
    match &options.passphrase_file {
        _ if options.no_passphrase => Ok(None),
        Some(file) => passphrase::read(file).map(Some),
        None => passphrase::ask_twice("New passphrase of the admin key: ", "Repeat passphrase: ")
            .map(Some),
    }
}

/// The default name of a new key: USER@HOST.
fn user_at_host() -> String {
    let user = ["LOGNAME", "USER"].into_iter().find_map(|name| {
        let name = std::env::var(name).ok();
        name.filter(|it| !it.is_empty())
    });
    let uname = rustix::system::uname();
    let host = uname.nodename().to_string_lossy().into_owned();
    format!("{}@{host}", user.as_deref().unwrap_or("admin"))
}

fn show(options: &ShowOptions) -> Result<u8, Failure> {
    let file = place(options.file.as_deref())?;
    let key = PublicKey::of_secret_key(read(&file)?.expose()).map_err(|error| bad(&file, error))?;
    let comment = format!(
        "Nightlatch admin key of {}",
        key.user_id().as_deref().unwrap_or("nobody")
    );
    let text = key
        .to_armored(&comment)
        .map_err(|error| Failure::new(EX_SOFTWARE, "cannot write the public key").because(error))?;
    output::print(&text)?;
    note(format_args!("admin key {}", key.fingerprint()));
    Ok(0)
}

/// The choice of an admin key to sign with.
#[derive(Args, Debug, Default)]
pub(crate) struct SigningOptions {
    /// The admin key to sign with [default: ~/.config/nightlatch/admin-key]
    #[arg(long, value_name = "FILE")]
    pub(crate) admin_key: Option<PathBuf>,

    /// Read the passphrase of the admin key from this file; - is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

impl SigningOptions {
    /// Reads the admin key, and asks for its passphrase if it has one.
    pub(crate) fn load(&self) -> Result<SecretKey, Failure> {
        let file = place(self.admin_key.as_deref())?;
        let text = read(&file)?;
        let key = match SecretKey::from_armored(text.expose()) {
            Err(Error::Locked) => self.unlock(&file, &text)?,
            key => key.map_err(|error| bad(&file, error))?,
        };
        match key.can_sign() {
            true => Ok(key),
            false => Err(bad(&file, Error::Incapable { what: "sign" })),
        }
    }

    fn unlock(&self, file: &Path, text: &Secret) -> Result<SecretKey, Failure> {
        if let Some(passphrase) = &self.passphrase_file {
            let passphrase = passphrase::read(passphrase)?;
            let key = SecretKey::unlock(text.expose(), &passphrase);
            return key.map_err(|error| bad(file, error));
        }
        let prompt = format!("Passphrase of the admin key {}: ", file.display());
        for _ in 1..TRIES {
            let passphrase = passphrase::ask(&prompt)?;
            match SecretKey::unlock(text.expose(), &passphrase) {
                Err(error @ Error::WrongKeyPassphrase) => note(format_args!("{error}, try again")),
                key => return key.map_err(|error| bad(file, error)),
            }
        }
        let key = SecretKey::unlock(text.expose(), &passphrase::ask(&prompt)?);
        key.map_err(|error| bad(file, error))
    }
}

fn place(given: Option<&Path>) -> Result<PathBuf, Failure> {
    match given {
        Some(file) => Ok(file.to_owned()),
        None => Ok(ConfigFolder::of_user()?.file(FILE)),
    }
}

fn read(file: &Path) -> Result<Secret, Failure> {
    let shown = file.display();
    let about = file.metadata().and_then(|about| {
        let text = input::read(file, MAX_KEY_FILE)?;
        Ok((about, text))
    });
    let (about, text) = about.map_err(|error| {
        let missing = error.kind() == io::ErrorKind::NotFound;
        let failure =
            Failure::new(EX_NOINPUT, format!("cannot read the admin key {shown}")).because(error);
        match missing {
            true => {
                failure.hint("make one: nightlatch admin-key new; or name its file, as --help says")
            }
            false => failure,
        }
    })?;
    let mode = about.mode() & 0o777;
    if about.is_file() && mode & 0o077 != 0 {
        return Err(Failure::new(
            EX_NOPERM,
            format!("others may use the admin key {shown}, which has the mode {mode:04o}"),
        )
        .hint(format!("chmod 600 {shown}")));
    }
    Ok(text)
}

fn bad(file: &Path, error: Error) -> Failure {
    let what = format!("cannot use the admin key {}", file.display());
    Failure::new(EX_DATAERR, what).because(error)
}
