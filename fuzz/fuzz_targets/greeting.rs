//! A first line means the same in whatever pieces it comes, and takes bounded room.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightlatch_proto::greeting::{LineProgress, LineReader, MAX_LINE, VERSION};

fuzz_target!(|input: (&[u8], u8)| {
    let (bytes, cut) = input;
    let whole = LineReader::new().push(bytes);
    let (head, tail) = bytes.split_at(usize::from(cut).min(bytes.len()));
    let mut reader = LineReader::new();
    let pieces = match reader.push(head) {
        Ok(LineProgress::More) => reader.push(tail),
        done => done,
    };
    assert_eq!(pieces, whole);
    match whole {
        Ok(LineProgress::More) => {
            assert!(bytes.len() < MAX_LINE);
            let _ = reader.finish();
        }
        Ok(LineProgress::Done(greeting)) => assert!(greeting.version <= VERSION),
        Err(_) => {}
    }
});
