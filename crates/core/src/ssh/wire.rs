//! Parsing and writing of SSH's data types (RFC 4251, 5), without reading past the end.

/// The value is truncated, or has a form that the protocol forbids.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected a longer or a well-formed SSH message")]
pub struct Malformed;

/// Parses values from the front of a message.
#[derive(Clone, Copy, Debug)]
pub struct WireReader<'b>(&'b [u8]);

impl<'b> WireReader<'b> {
    /// A reader at the start of `bytes`.
    pub fn new(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }

    /// The next `count` bytes.
    pub fn bytes(&mut self, count: usize) -> Result<&'b [u8], Malformed> {
        let (bytes, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(bytes)
    }

    /// Reads a `byte`.
    pub fn byte(&mut self) -> Result<u8, Malformed> {
        self.bytes(1)?.first().copied().ok_or(Malformed)
    }

    /// Reads a `uint32`.
    pub fn number(&mut self) -> Result<u32, Malformed> {
        let bytes = self.bytes(4)?.try_into().map_err(|_| Malformed)?;
        Ok(u32::from_be_bytes(bytes))
    }

    /// Reads a `string`.
    pub fn string(&mut self) -> Result<&'b [u8], Malformed> {
        let length = usize::try_from(self.number()?).map_err(|_| Malformed)?;
        self.bytes(length)
    }

    /// Reads an `mpint` that is not negative; returns its magnitude without leading zeros.
    pub fn magnitude(&mut self) -> Result<&'b [u8], Malformed> {
        match self.string()? {
            [0, rest @ ..] if rest.first().is_some_and(|first| *first >= 0x80) => Ok(rest),
            [first, ..] if *first == 0 || *first >= 0x80 => Err(Malformed),
            number => Ok(number),
        }
    }

    /// Reads a `name-list`.
    pub fn names(&mut self) -> Result<impl Iterator<Item = &'b str> + Clone + use<'b>, Malformed> {
        let list = std::str::from_utf8(self.string()?).map_err(|_| Malformed)?;
        Ok(list.split(',').filter(|name| !name.is_empty()))
    }

    /// Number of bytes that were not read yet.
    pub fn remaining(&self) -> usize {
        self.0.len()
    }

    /// Fails unless all bytes were read.
    pub fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Malformed)
        }
    }
}

/// Appends a `string`, which must be shorter than 4 GiB.
pub fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Appends an `mpint` of a magnitude, which may have leading zeros.
pub fn put_magnitude(out: &mut Vec<u8>, magnitude: &[u8]) {
    let zeros = magnitude.iter().take_while(|byte| **byte == 0).count();
    let digits = magnitude.get(zeros..).unwrap_or_default();
    match digits.first() {
        Some(first) if *first >= 0x80 => put_string(out, &[&[0], digits].concat()),
        _ => put_string(out, digits),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_standard() {
        // RFC 4251, 5, the examples of mpint that are not negative.
        for (magnitude, text) in [
            (&[][..], &[0, 0, 0, 0][..]),
            (&[0x80], &[0, 0, 0, 2, 0, 0x80]),
            (
                &[0x09, 0xa3, 0x78, 0xf9, 0xb2, 0xe3, 0x32, 0xa7],
                &[0, 0, 0, 8, 0x09, 0xa3, 0x78, 0xf9, 0xb2, 0xe3, 0x32, 0xa7],
            ),
        ] {
            let mut out = Vec::new();
            put_magnitude(&mut out, &[&[0, 0], magnitude].concat());
            assert_eq!(out, text);
            assert_eq!(WireReader::new(text).magnitude(), Ok(magnitude));
        }
        for odd in [
            &[0, 0, 0, 1, 0x80][..],
            &[0, 0, 0, 2, 0, 1],
            &[0, 0, 0, 1, 0],
        ] {
            assert_eq!(WireReader::new(odd).magnitude(), Err(Malformed));
        }
    }

    #[test]
    fn reading_past_the_end_fails() {
        for short in [&[][..], &[0, 0, 0], &[0, 0, 0, 5, 1, 2, 3, 4], &[0xff; 8]] {
            assert_eq!(WireReader::new(short).string(), Err(Malformed));
        }
    }
}
