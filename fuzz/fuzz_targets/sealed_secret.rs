//! A sealed secret that is read has one form, as bytes and as text, and the same header inside as outside.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightlatch_core::sealed_secret::{SealedSecret, SecretHeader};
use nightlatch_core::secret::Secret;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(sealed) = SealedSecret::from_bytes(bytes.to_vec()) {
        assert_eq!(sealed.as_bytes(), bytes);
        let again = SealedSecret::new(sealed.header(), sealed.message()).unwrap();
        assert_eq!(again, sealed);
        assert_eq!(SealedSecret::from_text(&sealed.to_text()), Ok(again));
        let value = Secret::new(sealed.message().to_vec());
        if let Ok(plaintext) = sealed.header().plaintext(&value) {
            let (header, rest) = SecretHeader::split(plaintext.expose()).unwrap();
            assert_eq!((&header, rest), (sealed.header(), value.expose()));
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(sealed) = SealedSecret::from_text(text)
    {
        assert_eq!(SealedSecret::from_text(&sealed.to_base64()), Ok(sealed));
    }
});
