//! A first line means the same in whatever pieces it comes, takes bounded room, and what it means can
//! be said again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightlatch_proto::greeting::{LineReader, MAX_LINE, LineProgress, client_line};

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
        Ok(LineProgress::Done(greeting)) => {
            let line = client_line(&greeting.options);
            let again = LineReader::new().push(line.as_bytes());
            let Ok(LineProgress::Done(again)) = again else {
                panic!("{line:?}: {again:?}");
            };
            assert_eq!(again.options, greeting.options);
        }
        Err(_) => {}
    }
});
