//! The public keys of administrators that a machine believes: several in one file.

use crate::{Error, MAX_KEY_FILE, PublicKey};

const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
const END: &str = "-----END PGP PUBLIC KEY BLOCK-----";
const EXPECTED: &str = "public key";

/// The admin keys that are pinned, each once, in its latest state and in the order of the file; never empty.
#[derive(Debug)]
pub struct AdminKeys(Vec<PublicKey>);

impl AdminKeys {
    /// Reads ASCII-armoured public keys, one block after the other, with nothing between them but blank lines and lines
    /// that begin with `#`. A block, or a file without armour, may have several keys.
    ///
    /// # Errors
    /// Anything else, and a key that is unusable or cannot sign: of a file that is damaged nothing is believed.
    pub fn from_armored(file: &[u8]) -> Result<Self, Error> {
        if file.len() > MAX_KEY_FILE {
            return Err(Error::KeyTooLarge {
                limit: MAX_KEY_FILE,
            });
        }
        let mut keys: Vec<PublicKey> = Vec::new();
        let mut number = 0;
        for block in blocks(file)? {
            for key in PublicKey::all(block)? {
                number += 1;
                let key = key.and_then(signing);
                let key = key.map_err(|error| Error::InList {
                    number,
                    error: Box::new(error),
                })?;
                add(&mut keys, key);
            }
        }
        match keys.is_empty() {
            true => Err(bad("there is none in it")),
            false => Ok(Self(keys)),
        }
    }

    /// The keys, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &PublicKey> {
        self.0.iter()
    }
}

impl IntoIterator for AdminKeys {
    type Item = PublicKey;
    type IntoIter = std::vec::IntoIter<PublicKey>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl From<PublicKey> for AdminKeys {
    fn from(key: PublicKey) -> Self {
        Self(vec![key])
    }
}

/// Adds a key that is not there, or puts a later state of it into its place.
fn add(keys: &mut Vec<PublicKey>, key: PublicKey) {
    let fingerprint = key.fingerprint();
    match keys.iter_mut().find(|it| it.fingerprint() == fingerprint) {
        Some(known) if key.supersedes(known) => *known = key,
        Some(_) => {}
        None => keys.push(key),
    }
}

fn signing(key: PublicKey) -> Result<PublicKey, Error> {
    match key.can_sign() {
        true => Ok(key),
        false => Err(Error::Incapable { what: "sign" }),
    }
}

const fn bad(problem: &'static str) -> Error {
    Error::BadKey {
        expected: EXPECTED,
        problem,
    }
}

/// The blocks of armour, or the whole of a binary file.
fn blocks(file: &[u8]) -> Result<Vec<&[u8]>, Error> {
    if file.first().is_some_and(|first| first & 0x80 != 0) {
        return Ok(vec![file]);
    }
    let text = std::str::from_utf8(file).map_err(|_| bad("it is no text"))?;
    let mut blocks = Vec::new();
    let mut start = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let end = at + line.len();
        match (start, line.trim()) {
            (None, BEGIN) => start = Some(at),
            (None, "") => {}
            (None, comment) if comment.starts_with('#') => {}
            (None, _) => {
                return Err(bad(
                    "expected armoured keys, blank lines and lines that begin with '#' only",
                ));
            }
            (Some(from), END) => {
                blocks.push(&file[from..end]);
                start = None;
            }
            (Some(_), BEGIN) => return Err(bad("a block of armour in it has no end")),
            (Some(_), _) => {}
        }
        at = end;
    }
    match start {
        None => Ok(blocks),
        Some(_) => Err(bad("a block of armour in it has no end")),
    }
}
