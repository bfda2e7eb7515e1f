//! `nightlatch keygen`: makes a client's keys, or encrypts a password with those that are there.

mod options;

use std::io::Write as _;
use std::path::Path;

use nightlatch_console::failure::{EX_IOERR, EX_SOFTWARE, EX_USAGE, Failure, note};
use nightlatch_core::secret::Secret;
use nightlatch_openpgp::{Algorithm, encrypt_and_sign};
use nightlatch_proto::tls::RawKeyKind;
use nightlatch_sys::clock;

use crate::expiry;
use crate::host_keys::HostKeys;
use crate::keys::{self, Existing, KeyDirectory, KeySet, NewKeys};
use crate::passphrase;
use crate::section::{self, ClientSection, HostIdentity, SectionChecker};
use crate::ssh;
pub use options::KeygenOptions;

/// Bits of an RSA key when nothing else is asked for, as in mandos-keygen(8).
const RSA_BITS: u32 = 4096;

/// Carries the verb out.
pub fn run(options: &KeygenOptions) -> Result<(), Failure> {
    let directory = match &options.dir {
        Some(path) => KeyDirectory::new(path),
        None => KeyDirectory::default_place(),
    };
    if options.password || options.passfile.is_some() {
        print_section(options, &directory)
    } else {
        make(options, &directory)
    }
}

fn make(options: &KeygenOptions, directory: &KeyDirectory) -> Result<(), Failure> {
    let created = clock::now().wall;
    let name = section::check_name(&keys::name_or_host(options.name.as_deref())?)?;
    let primary = algorithm("--type", options.key_type.as_deref(), options.length)?;
    // Alone, --type chooses both, as nobody wants an RSA key for the sake of half of it.
    let subtype = options.subtype.as_deref();
    let subtype = subtype.or(options
        .key_type
        .as_deref()
        .filter(|_| options.sublength.is_none()));
    let encryption = match (subtype, options.sublength) {
        (None, None) => match primary {
            Algorithm::Rsa { .. } => Algorithm::Rsa { bits: RSA_BITS },
            Algorithm::Curve25519 => Algorithm::Curve25519,
        },
        (subtype, length) => algorithm("--subtype", subtype, length)?,
    };
    let expires = expiry::parse(&options.expire, created).map_err(|error| {
        Failure::new(EX_USAGE, format!("--expire {:?}", options.expire)).because(error)
    })?;
    let new = NewKeys {
        name: name.as_str(),
        email: &options.email,
        comment: &options.comment,
        primary,
        encryption,
        expires,
        tls: tls_kind(&options.tls_keytype)?,
        created,
    };
    let existing = if options.force {
        Existing::Replace
    } else {
        Existing::Refuse
    };
    let key_id = directory.make(&new, existing)?;
    note(format_args!(
        "made keys for {name} in {}, key id {key_id}",
        directory.path().display()
    ));
    Ok(())
}

fn print_section(options: &KeygenOptions, directory: &KeyDirectory) -> Result<(), Failure> {
    let name = section::check_name(&keys::name_or_host(options.name.as_deref())?)?;
    let keys = directory.load()?;
    let password = match &options.passfile {
        Some(file) => passphrase::read(file)?,
        None => passphrase::ask_new("Enter passphrase: ")?,
    };
    if password.expose().ends_with(b"\n") {
        note("the password ends with a line break, which is part of it");
    }
    let message = encrypt(&keys, &password)?;
    let host_key = if options.no_ssh {
        None
    } else {
        ssh::host_key()
    };
    let section = ClientSection {
        name: &name,
        host: name.as_str(),
        key_id: keys.tls.key_id(),
        host_keys: host_keys(options)?,
        fingerprint: keys.public.fingerprint(),
        message: &message,
        checker: host_key
            .as_ref()
            .map_or(SectionChecker::Default, SectionChecker::BySsh),
    };
    print(&section)
}

/// The public halves of this machine's host keys, for a section that takes the place of an earlier one: without it the server
/// would forget them. None are meant with keys in a directory of their own.
fn host_keys(options: &KeygenOptions) -> Result<Option<HostIdentity>, Failure> {
    let host = HostKeys::of(Path::new("/"));
    if options.dir.is_some() || !host.exist() {
        return Ok(None);
    }
    host.identity().map(Some)
}

/// The password, encrypted to the client's own key and signed with it.
pub(crate) fn encrypt(keys: &KeySet, password: &Secret) -> Result<Vec<u8>, Failure> {
    encrypt_and_sign(&keys.public, &keys.secret, password, clock::now().wall).map_err(|error| {
        Failure::new(EX_SOFTWARE, "cannot encrypt with these keys")
            .because(error)
            .hint("make new ones: nightlatch keygen --force")
    })
}

/// Puts the section on standard output, whole.
pub(crate) fn print(section: &ClientSection<'_>) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(section.to_string().as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| {
            Failure::new(EX_IOERR, "cannot write the section to standard output").because(error)
        })
}

/// The kind of an OpenPGP key or subkey, in the words of gpg(1) too.
fn algorithm(option: &str, kind: Option<&str>, length: Option<u32>) -> Result<Algorithm, Failure> {
    let curve = match kind.map(str::to_ascii_lowercase).as_deref() {
        None => length.is_none(),
        Some("curve25519" | "cv25519" | "ed25519" | "x25519" | "eddsa" | "ecdh") => true,
        Some("rsa" | "1") => false,
        Some(_) => {
            return Err(Failure::new(
                EX_USAGE,
                format!(
                    "{option} {:?}: expected Curve25519 or RSA",
                    kind.unwrap_or_default()
                ),
            )
            .hint("DSA and ElGamal are no longer safe; leave it to the default"));
        }
    };
    match (curve, length) {
        (true, None) => Ok(Algorithm::Curve25519),
        (true, Some(_)) => Err(Failure::new(
            EX_USAGE,
            format!("{option} Curve25519 has one length only"),
        )
        .hint("leave --length and --sublength out, or choose RSA")),
        (false, bits) => match bits.unwrap_or(RSA_BITS) {
            bits @ 2048..=4096 => Ok(Algorithm::Rsa { bits }),
            bits => Err(Failure::new(
                EX_USAGE,
                format!("{bits} bits: expected 2048 to 4096 for RSA"),
            )),
        },
    }
}

fn tls_kind(text: &str) -> Result<RawKeyKind, Failure> {
    match text.to_ascii_lowercase().as_str() {
        "ed25519" => Ok(RawKeyKind::Ed25519),
        "ecdsa" | "ecc" | "secp256r1" => Ok(RawKeyKind::EcdsaP256),
        _ => Err(Failure::new(
            EX_USAGE,
            format!("--tls-keytype {text:?}: expected ed25519 or ecdsa"),
        )),
    }
}
