//! A priority string is refused, or TLS can be set up with what it leaves.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightlatch_proto::priority::Priority;
use nightlatch_proto::tls::ServerTls;

fuzz_target!(|text: &str| {
    if let Ok(priority) = text.parse::<Priority>() {
        let tls = ServerTls::new(None, &priority).expect("a usable priority");
        tls.connection().expect("a ClientHello");
    }
});
