//! Any message of Plymouth's daemon is read or refused, with the same result in one piece and in several.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightlatch_boot::plymouth::protocol::{PlymouthReply, ask_for_password, reply};
use nightlatch_core::secret::SecretBuffer;

fuzz_target!(|input: (&[u8], &str)| {
    let (bytes, question) = input;
    let mut came = SecretBuffer::default();
    let mut first = None;
    for byte in bytes {
        came.append(&[*byte]);
        first = first.or_else(|| reply(&came).transpose());
    }
    assert_eq!(reply(&came).transpose(), first);
    if let Some(Ok(PlymouthReply::Answer(answer))) = &first {
        assert!(bytes.len() >= answer.len() + 5);
    }
    // The kind, a mark, the length with the final NUL in one byte, the question and the NUL.
    let asked = ask_for_password(question);
    assert_eq!(usize::from(asked[2]), asked.len() - 3);
    assert_eq!(asked.iter().filter(|byte| **byte == 0).count(), 1);
    assert_eq!(asked.last(), Some(&0));
});
