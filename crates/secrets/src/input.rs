//! Reads secrets from files and standard input, whole and within a limit, into memory that is wiped.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use nightlatch_core::secret::Secret;
use zeroize::Zeroizing;

/// Reads all of `file`, at most `limit` bytes; `-` is standard input.
///
/// # Errors
/// Those of reading; `FileTooLarge` past the limit.
pub(crate) fn read(file: &Path, limit: usize) -> io::Result<Secret> {
    if file == Path::new("-") {
        return read_all(io::stdin().lock(), limit);
    }
    read_all(File::open(file)?, limit)
}

/// Reads all, at most `limit` bytes. The buffer has its whole size from the start, as one that grows leaves copies behind;
/// one byte more than the limit shows that the input is too large.
pub(crate) fn read_all(from: impl Read, limit: usize) -> io::Result<Secret> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit + 1));
    from.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > limit {
        let text = format!("it is too large: expected at most {limit} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(Secret::new(std::mem::take(&mut *bytes)))
}

/// The secret without a line feed at its end.
pub(crate) fn without_line_feed(secret: Secret) -> Secret {
    match secret.expose() {
        [rest @ .., b'\n'] => Secret::new(rest.to_vec()),
        _ => secret,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_read_within_the_limit() {
        assert_eq!(read_all(&b"ab\n"[..], 3).unwrap().expose(), b"ab\n");
        let error = read_all(&b"abcd"[..], 3).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert!(read_all(io::repeat(7), 100).is_err());
    }

    #[test]
    fn one_line_feed_is_taken_off() {
        for (text, rest) in [("a\n\n", "a\n"), ("a", "a"), ("\n", ""), ("", "")] {
            let secret = Secret::new(text.as_bytes().to_vec());
            assert_eq!(without_line_feed(secret).expose(), rest.as_bytes());
        }
    }
}
