//! Machines that use another machine's public key, before a server of ours, which releases secrets by the key.

use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::{ServerConfig, ServerConnection};

use super::*;

/// The error that a server meets with a machine that shows the keys `shown` and signs by another.
fn met_by_server(shown: &[&RawKey], signs: &RawKey) -> PeerError {
    let priority = Priority::default();
    let machine = ServerConfig::builder_with_provider(provider(&priority))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(shows(
            shown, signs,
        ))));
    let mut machine = ServerConnection::new(Arc::new(machine)).unwrap();
    let server = ServerTls::new(None, &priority).unwrap();
    let mut server = server.offering_release().connection().unwrap();
    pass_on(&mut server, &mut machine).unwrap();
    let error = pass_on(&mut machine, &mut server).unwrap_err();
    assert_eq!(authenticated(&server), Err(PeerError::Incomplete));
    error.into()
}

#[test]
fn who_shows_the_key_of_a_machine_without_holding_it_is_not_authenticated() {
    for kind in [RawKeyKind::Ed25519, RawKeyKind::EcdsaP256] {
        let shown = RawKey::generate(kind).unwrap();
        for signs in [RawKeyKind::Ed25519, RawKeyKind::EcdsaP256] {
            let signs = RawKey::generate(signs).unwrap();
            let error = met_by_server(&[&shown], &signs);
            assert_eq!(error, PeerError::BadSignature, "{kind:?}");
        }
    }
}

#[test]
fn the_key_of_a_machine_beside_another_is_not_authenticated() {
    let (shown, own) = (key(), key());
    for both in [[&shown, &own], [&own, &shown]] {
        let error = met_by_server(&both, &own);
        assert_eq!(error, PeerError::Key(SpkiError::Malformed));
    }
}
