//! An encrypted secret in a file: an OpenPGP message, byte for byte as the server keeps it.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use nightlatch_core::secret::{Secret, SecretBuffer};
use zeroize::Zeroizing;

/// Limit on an encrypted secret, in bytes. It is larger than its password by a few hundred bytes.
const MAX_SECRET: usize = 1 << 20;

/// Bytes read at once.
const PART: usize = 4096;

/// Reads all of `file`; `-` is standard input.
///
/// # Errors
/// Those of reading; `InvalidData` when it is empty, `FileTooLarge` when it is no secret by its size.
pub(crate) fn read(file: &Path) -> io::Result<Secret> {
    if file == Path::new("-") {
        return read_all(io::stdin().lock());
    }
    read_all(File::open(file)?)
}

fn read_all(mut from: impl Read) -> io::Result<Secret> {
    let mut secret = SecretBuffer::default();
    let mut part = Zeroizing::new([0; PART]);
    loop {
        match from.read(part.as_mut_slice()) {
            Ok(0) if secret.is_empty() => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "it is empty, expected an encrypted secret",
                ));
            }
            Ok(0) => return Ok(secret.finish()),
            Ok(length) => secret.append(&part[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if secret.len() > MAX_SECRET {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!(
                    "it is too large for an encrypted secret, expected at most {MAX_SECRET} bytes"
                ),
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_read_within_bounds() {
        let bytes = vec![7; 10_000];
        assert_eq!(read_all(&bytes[..]).unwrap().expose(), bytes);
        assert!(read_all(&[][..]).is_err());
        assert!(read_all(io::repeat(7)).is_err());
    }
}
