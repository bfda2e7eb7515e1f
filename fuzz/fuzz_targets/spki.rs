//! A public key of a peer, in DER: recognised or refused, and one that is recognised has a key id.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightlatch_core::key_id::KeyId;
use nightlatch_proto::tls::algorithm;

fuzz_target!(|der: &[u8]| {
    if algorithm(der).is_ok() {
        KeyId::of_spki(der).expect("a key id");
    }
});
