//! A message of an SSH client that is read means the same when it is written again; no bytes to sign are a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightlatch_card::agent_protocol::AgentRequest;
use nightlatch_card::purpose::Purpose;

fuzz_target!(|frame: &[u8]| {
    let Ok(request) = AgentRequest::parse(frame) else {
        return;
    };
    if let AgentRequest::Sign(request) = &request {
        let _ = Purpose::parse(&request.data);
    }
    assert_eq!(AgentRequest::parse(&request.encode()), expected(request));
});

/// Of an extension that is not understood only its type is kept.
fn expected(request: AgentRequest) -> Result<AgentRequest, nightlatch_core::ssh::wire::Malformed> {
    match request {
        AgentRequest::Other(27) => Err(nightlatch_core::ssh::wire::Malformed),
        request => Ok(request),
    }
}
