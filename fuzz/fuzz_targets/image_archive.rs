//! Any bytes are read as an image's archives or refused, and what is read is no more than there was.
#![no_main]

use std::io::BufReader;

use libfuzzer_sys::fuzz_target;
use nightlatch_admin::check::archive::{Members, Want, What, read_unpacked};

/// The fixed part of a member (cpio(5), "New ASCII Format").
const HEADER: usize = 110;

fuzz_target!(|bytes: &[u8]| {
    for want in [Want::Presence, Want::Digest, Want::Text] {
        let mut members = Members::new();
        // Small pieces, as they come by a pipe.
        let from = BufReader::with_capacity(64, bytes);
        let _ = read_unpacked(from, &|_| want, &mut members);
        assert!(members.len() * HEADER <= bytes.len());
        for (path, member) in &members {
            assert!(path.starts_with('/'));
            if let What::Text(text) | What::Link(text) = &member.what {
                // A byte that is no text is shown by three.
                assert!(text.len() <= 3 * bytes.len());
            }
        }
    }
});
