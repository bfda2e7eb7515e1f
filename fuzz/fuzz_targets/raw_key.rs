//! Key files: text as it is, and DER in PEM. What is accepted survives being written and read again.
#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use nightlatch_proto::tls::RawKey;

fuzz_target!(|input: (&[u8], &[u8])| {
    let (private, public) = input;
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(private)
    );
    for text in [private, pem.as_bytes()] {
        let _ = RawKey::from_pem(text, Some(public));
        if let Ok(key) = RawKey::from_pem(text, None) {
            let (private, public) = (key.private_pem(), key.public_pem());
            let again = RawKey::from_pem(private.expose(), Some(public.as_bytes()));
            assert_eq!(again.expect("our own PEM").key_id(), key.key_id());
        }
    }
});
