//! Host keys, certificates, lists of known hosts and binds of a client: no bytes are a panic, no bind counts without a signature of
//! its host, and no list without a key makes one known.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightlatch_card::agent_protocol::{AgentRequest, SessionBind};
use nightlatch_card::binds::ClientBinds;
use nightlatch_core::settings::hosts::HostRule;
use nightlatch_core::ssh::HostKey;
use nightlatch_ssh::certificate::HostIdentity;
use nightlatch_ssh::known_hosts::KnownHosts;
use nightlatch_ssh::verify_by_any;

/// A key that no input has the private half of.
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIqGYmuIYC3eGQXO4SHTPNyD54K+fXG8vHPqsSVNvHkk";

fuzz_target!(|bytes: &[u8]| {
    let key: HostKey = KEY.parse().unwrap();
    let text = String::from_utf8_lossy(bytes);
    let mut known = KnownHosts::default();
    known.add(&text);
    let plain = HostIdentity::Plain(key.clone());
    let is_named = text.contains(KEY.split(' ').nth(1).unwrap_or_default());
    assert!(is_named || known.check(&plain, "web1", "web1", 1_790_000_000).is_err());
    if let Ok(identity) = HostIdentity::parse(bytes) {
        let _ = known.check(&identity, "web1", "web1", 1_790_000_000);
        let read = HostKey::from_blob(identity.key().blob());
        assert_eq!(read.as_ref(), Ok(identity.key()));
    }
    if let Ok(rule) = text.parse::<HostRule>() {
        assert_eq!(rule.to_string().parse(), Ok(rule));
    }
    assert!(verify_by_any(&key, b"data", bytes).is_err());
    let mut client = ClientBinds::default();
    if let Ok(AgentRequest::SessionBind(bind)) = AgentRequest::parse(bytes) {
        let _ = client.bind(&bind);
    }
    let forged = SessionBind {
        host_key: key.blob().to_vec(),
        session: vec![5; 32],
        signature: bytes.to_vec(),
        forwarding: false,
    };
    assert!(client.bind(&forged).is_err());
    assert!(client.own_session(&[5; 32], None).is_err());
});
