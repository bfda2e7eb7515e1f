//! A message of `nightlatch/1` that was read can be written and read again; its header bounds what is read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightlatch_proto::release::{Header, MAX_BODY, MAX_SECRET_BODY, Poke, Reply, Request};

fuzz_target!(|bytes: &[u8]| {
    let _ = Poke::parse(bytes);
    let Some((header, body)) = bytes.split_first_chunk() else {
        return;
    };
    if let Ok(header) = Header::of_request(*header) {
        assert!(header.body_len() <= MAX_BODY);
        if let Ok(request) = Request::parse(header, body) {
            let again = request.to_bytes();
            let (header, body) = again.split_first_chunk().unwrap();
            let header = Header::of_request(*header).unwrap();
            assert_eq!(header.body_len(), body.len());
            assert_eq!(Request::parse(header, body), Ok(request));
        }
    }
    if let Ok(header) = Header::of_reply(*header) {
        assert!(header.body_len() <= MAX_SECRET_BODY);
        if let Ok(reply) = Reply::parse(header, body) {
            let again = reply.to_bytes();
            let (header, body) = again.split_first_chunk().unwrap();
            let header = Header::of_reply(*header).unwrap();
            assert_eq!(Reply::parse(header, body), Ok(reply));
        }
    }
});
