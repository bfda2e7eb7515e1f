//! TLS: each way to fail to prove a raw public key. None leads to a request.
//!
//! `PeerError::KeyId` is missing: it takes a key of no bytes, which is refused as malformed before.

use std::io::Write;

use nightlatch_proto::priority::Priority;
use nightlatch_proto::tls::{
    BootTls, FetchError, PeerError, RawKey, ServerTls, SpkiError, authenticated,
};
use nightlatch_server::session::{SessionEnd, Sessions};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;

use crate::gate::Gate;
use crate::hostile::{
    Recorder, alert, answer_hello, certificate, fetch, hello_of_tls12, key, read_record, seed,
    shake_hands, shows, signer, x509,
};
use crate::{meet, meet_with, patient};

/// The error of the session with a peer of this configuration; the peer must not get a byte.
async fn failure(config: ServerConfig) -> PeerError {
    let gate = Gate::releasing(b"secret");
    let (ended, got) = meet(&gate, patient(), |stream| shake_hands(stream, config)).await;
    assert!(got.is_err(), "the peer was not told: {got:?}");
    assert!(gate.calls().is_empty());
    failed(ended)
}

/// The error of the session with a peer that answers the ClientHello with these bytes.
async fn answered(bytes: &[u8]) -> PeerError {
    let gate = Gate::releasing(b"secret");
    let bytes = bytes.to_vec();
    let (ended, ()) = meet(&gate, patient(), move |stream| answer_hello(stream, &bytes)).await;
    assert!(gate.calls().is_empty());
    failed(ended)
}

fn failed(ended: SessionEnd) -> PeerError {
    match ended {
        SessionEnd::Handshake(error) => error,
        other => panic!("{other:?}"),
    }
}

fn spki(key: &RawKey) -> CertificateDer<'static> {
    key.spki().to_vec().into()
}

#[tokio::test]
async fn a_peer_that_would_use_a_certificate_is_refused() {
    // It finds nothing in our ClientHello that it could use, and says so.
    let error = failure(x509()).await;
    assert_eq!(error, PeerError::Alert("HandshakeFailure".to_owned()));
}

#[tokio::test]
async fn a_certificate_in_the_place_of_a_raw_key_is_refused() {
    let (certificate, signer) = certificate();
    let error = failure(shows(vec![certificate], signer)).await;
    assert_eq!(error, PeerError::NotRawKey);
}

#[tokio::test]
async fn a_peer_without_a_key_is_refused() {
    let error = failure(shows(vec![], signer(&key()))).await;
    assert_eq!(error, PeerError::NoKey);
}

#[tokio::test]
async fn a_key_of_an_unusable_kind_is_refused() {
    // Ed448 (RFC 8410, 4): 57 bytes after the identifier 1.3.101.113.
    let mut ed448 = vec![
        0x30, 0x43, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x71, 0x03, 0x3a, 0,
    ];
    ed448.extend([9; 57]);
    for spki in [ed448, b"no key".to_vec(), Vec::new()] {
        let error = failure(shows(vec![spki.clone().into()], signer(&key()))).await;
        assert!(matches!(error, PeerError::Key(_)), "{spki:?}: {error:?}");
    }
}

#[tokio::test]
async fn more_than_one_key_is_refused() {
    let own = key();
    let error = failure(shows(vec![spki(&own), spki(&key())], signer(&own))).await;
    assert_eq!(error, PeerError::Key(SpkiError::Malformed));
}

#[tokio::test]
async fn somebody_elses_key_is_of_no_use_without_its_private_half() {
    let error = failure(shows(vec![spki(&key())], signer(&key()))).await;
    assert_eq!(error, PeerError::BadSignature);
}

#[tokio::test]
async fn old_versions_of_tls_are_refused() {
    assert_eq!(answered(&hello_of_tls12()).await, PeerError::OldTls);
    // protocol_version
    assert_eq!(answered(&alert(70)).await, PeerError::OldTls);
}

#[tokio::test]
async fn an_alert_ends_the_handshake() {
    let error = answered(&alert(40)).await;
    assert_eq!(error, PeerError::Alert("HandshakeFailure".to_owned()));
    // unsupported_certificate
    assert_eq!(answered(&alert(43)).await, PeerError::NotRawKey);
}

#[tokio::test]
async fn what_is_no_tls_is_refused() {
    let answers: [&[u8]; 5] = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        &[0; 100],
        &[0xff; 100_000],
        // Longer than a record may be (RFC 8446, 5.2).
        &[22, 3, 3, 0xff, 0xff, 2, 0, 0, 0],
        // A ServerHello that says it is 16 MB long.
        &[22, 3, 3, 0, 4, 2, 0xff, 0xff, 0xff],
    ];
    for bytes in answers {
        let error = answered(bytes).await;
        let start = &bytes[..9];
        assert!(
            matches!(error, PeerError::Protocol(_)),
            "{start:?}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_peer_that_leaves_during_the_handshake_is_noticed() {
    let gate = Gate::releasing(b"secret");
    let (ended, ()) = meet(&gate, patient(), |mut stream| {
        stream.write_all(b"1\r\n").unwrap();
        read_record(&mut stream);
    })
    .await;
    assert_eq!(failed(ended), PeerError::Closed);
}

#[tokio::test]
async fn bytes_of_an_honest_machine_are_worth_nothing_a_second_time() {
    let gate = Gate::releasing(b"secret");
    let (ended, recorded) = meet(&gate, patient(), |stream| {
        let mut recorder = Recorder {
            stream,
            sent: Vec::new(),
        };
        fetch(key(), &mut recorder).unwrap();
        recorder.sent
    })
    .await;
    assert!(matches!(ended, SessionEnd::Delivered), "{ended:?}");

    let (ended, ()) = meet(&gate, patient(), move |stream| {
        answer_hello(stream, recorded.strip_prefix(b"1\r\n").unwrap());
    })
    .await;
    let error = failed(ended);
    assert!(matches!(error, PeerError::Protocol(_)), "{error:?}");
    assert_eq!(gate.calls(), ["requested", "delivered"]);
}

#[tokio::test]
async fn without_parameters_in_common_both_ends_say_so() {
    let gate = Gate::releasing(b"secret");
    let priority = |suite: &str| -> Priority {
        let text = format!("NORMAL:-CIPHER-ALL:+{suite}");
        text.parse().unwrap()
    };
    let tls = ServerTls::new(None, &priority("AES-256-GCM")).unwrap();
    let sessions = Sessions::new(gate.clone(), &tls, patient());
    let boot = BootTls::new(key(), vec![], &priority("CHACHA20-POLY1305"), seed()).unwrap();
    let (ended, fetched) =
        meet_with(&sessions, move |mut stream| boot.fetch(&mut stream, 1000)).await;
    assert!(
        matches!(
            fetched,
            Err(FetchError::Peer(PeerError::NothingInCommon(_)))
        ),
        "{fetched:?}"
    );
    assert!(matches!(failed(ended), PeerError::Alert(_)));
    assert!(gate.calls().is_empty());
}

#[test]
fn before_the_handshake_nobody_is_authenticated() {
    let tls = ServerTls::new(None, &Priority::default()).unwrap();
    let fresh = tls.connection().unwrap();
    assert_eq!(authenticated(&fresh), Err(PeerError::Incomplete));
}
