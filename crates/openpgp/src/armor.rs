//! ASCII armour and its headers. It is taken off before anything is parsed: so the parser is compiled for one kind of input,
//! which keeps the boot client small.

use std::io::{self, Read};

use pgp::armor::Headers;
use pgp::composed::MessageReader;
use zeroize::Zeroizing;

/// Reads `packets`, of a key as of a message. The library below has a copy of its parsers for each type of reader; messages
/// have this one.
pub(crate) fn packet_reader(packets: &[u8]) -> MessageReader<'_> {
    MessageReader::Reader(Box::new(packets))
}

/// The binary form of what is in ASCII armour; `None` when it is binary already, which shows in its
/// first bit (RFC 9580, 4.2).
pub(crate) fn dearmor(file: &[u8]) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    if file.first().is_none_or(|first| first & 0x80 != 0) {
        return Ok(None);
    }
    // The content is never longer than the armour, so the buffer never grows and leaves a copy behind.
    let mut binary = Zeroizing::new(Vec::with_capacity(file.len()));
    pgp::armor::Dearmor::new(file).read_to_end(&mut binary)?;
    Ok(Some(binary))
}

/// The header with a comment, on one line.
pub(crate) fn comment_header(comment: &str) -> Headers {
    let comment = comment.replace(char::is_control, " ");
    Headers::from([("Comment".to_owned(), vec![comment])])
}
