//! The secrets in a stock server's state: each is encrypted by a passphrase that is made of the
//! configured secret of the same client.
//!
//! Watched: the stock server hands gpg(1) the passphrase in a file, of which gpg reads the first line.

use std::num::NonZero;
use std::thread;

use nightlatch_core::secret::{Secret, SecretBuffer};
use nightlatch_openpgp::{Error, decrypt_with_passphrase};

/// Prefix of every passphrase.
const PREFIX: &[u8] = b"mandos";

/// The longest passphrase that is written in hexadecimal.
const MAX_HEXADECIMAL: usize = 2048;

/// A secret of more than this opens no disk, and no server of ours reads it.
const MAX_SECRET: usize = 1 << 20;

/// A secret to be opened.
pub(crate) struct EncryptedSecret<'a> {
    /// As it stands in the state.
    pub(crate) encrypted: &'a [u8],
    /// The secret in `clients.conf`.
    pub(crate) configured: &'a Secret,
}

/// Opens them all, in order. The derivation of the key is slow on purpose, so all cores take part.
pub(crate) fn open_all(secrets: &[EncryptedSecret<'_>]) -> Vec<Result<Secret, Error>> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let share = secrets.len().div_ceil(cores).max(1);
    thread::scope(|scope| {
        let shares: Vec<_> = secrets
            .chunks(share)
            .map(|share| scope.spawn(move || share.iter().map(open).collect::<Vec<_>>()))
            .collect();
        let opened = shares.into_iter().zip(secrets.chunks(share));
        opened
            .flat_map(|(worker, share)| {
                // A worker that died has opened none of its share.
                let died = |_| share.iter().map(|_| Err(Error::Library("open"))).collect();
                worker.join().unwrap_or_else(died)
            })
            .collect()
    })
}

fn open(secret: &EncryptedSecret<'_>) -> Result<Secret, Error> {
    decrypt_with_passphrase(
        &passphrase(secret.configured.expose()),
        secret.encrypted,
        MAX_SECRET,
    )
}

/// In hexadecimal as long as that is not too long, else raw with an escape for what would end the line.
fn passphrase(secret: &[u8]) -> Secret {
    let mut phrase = SecretBuffer::default();
    phrase.append(PREFIX);
    let hexadecimal = PREFIX.len() + 2 * secret.len() <= MAX_HEXADECIMAL;
    for byte in secret {
        match byte {
            byte if hexadecimal => {
                let digit = |value: u8| b"0123456789abcdef"[usize::from(value)];
                phrase.append(&[digit(byte >> 4), digit(byte & 0x0f)]);
            }
            b'\\' => phrase.append(b"\\\\"),
            b'\n' => phrase.append(b"\\n"),
            b'\0' => phrase.append(b"\\x00"),
            byte => phrase.append(&[*byte]),
        }
    }
    phrase.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_secrets_are_written_in_hexadecimal_and_long_ones_escaped() {
        assert_eq!(passphrase(b"\x00Az\xff").expose(), b"mandos00417aff");
        let longest = passphrase(&[0xab; 1021]);
        assert_eq!(longest.len(), MAX_HEXADECIMAL);
        let mut raw = vec![b'x'; 1022];
        raw[..4].copy_from_slice(b"\\\n\0\r");
        let mut expected = b"mandos\\\\\\n\\x00\r".to_vec();
        expected.extend(vec![b'x'; 1018]);
        assert_eq!(passphrase(&raw).expose(), expected);
    }
}
