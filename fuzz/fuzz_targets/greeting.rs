//! A first line means the same in whatever pieces it comes, takes bounded room, and what it means can
//! be said again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightlatch_proto::greeting::{LineReader, MAX_LINE, Progress, client_line};

fuzz_target!(|input: (&[u8], u8)| {
    let (bytes, cut) = input;
    let whole = LineReader::new().push(bytes);
    let (head, tail) = bytes.split_at(usize::from(cut).min(bytes.len()));
    let mut reader = LineReader::new();
    let pieces = match reader.push(head) {
        Ok(Progress::More) => reader.push(tail),
        done => done,
    };
    assert_eq!(pieces, whole);
    match whole {
        Ok(Progress::More) => {
            assert!(bytes.len() < MAX_LINE);
            let _ = reader.finish();
        }
        Ok(Progress::Done(greeting)) => {
            let line = client_line(&greeting.words);
            let again = LineReader::new().push(line.as_bytes());
            let Ok(Progress::Done(again)) = again else {
                panic!("{line:?}: {again:?}");
            };
            assert_eq!(again.words, greeting.words);
        }
        Err(_) => {}
    }
});
