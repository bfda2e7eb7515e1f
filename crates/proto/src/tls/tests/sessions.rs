//! Sessions are never resumed, in either role: each handshake proves the key.

use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;
use rustls::server::ServerSessionMemoryCache;
use rustls::{HandshakeKind, NamedGroup, ServerConfig, ServerConnection};

use super::machine_handshake::KeyRequest;
use super::*;

/// Shakes hands in memory, and has both sides read what came after the handshake.
fn handshake<A, B>(client: &mut ConnectionCommon<A>, server: &mut ConnectionCommon<B>) {
    for _ in 0..10 {
        pass_on(client, server).unwrap();
        pass_on(server, client).unwrap();
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
}

/// A resumed session would prove nothing but the possession of a ticket.
#[test]
fn a_machine_gives_no_ticket_and_takes_none() {
    for key_request in [
        KeyRequest::Nothing,
        KeyRequest::Optional,
        KeyRequest::Mandatory,
    ] {
        let boot = machine_handshake::config(&key(), &Priority::default(), key_request).unwrap();
        assert_eq!(boot.send_tls13_tickets, 0);
        assert_eq!(boot.max_early_data_size, 0);
        assert!(!boot.session_storage.can_cache() && !boot.ticketer.enabled());
        // One without a key is asked for nothing.
        let own = (key_request != KeyRequest::Nothing).then(key);
        let server = ServerTls::new(own.as_ref(), &Priority::default());
        let mut server = ClientConfig::clone(&server.unwrap().config());
        let tickets = Arc::new(CountsTickets::default());
        server.resumption = Resumption::store(tickets.clone());
        let server = Arc::new(server);
        for _ in 0..2 {
            let mut server = ClientConnection::new(server.clone(), ServerTls::peer_name()).unwrap();
            let mut boot = ServerConnection::new(boot.clone()).unwrap();
            handshake(&mut server, &mut boot);
            assert_eq!(boot.handshake_kind(), Some(HandshakeKind::Full));
        }
        assert_eq!(tickets.0.load(Ordering::Relaxed), 0);
    }
}

/// Stores no sessions.
#[derive(Default, Debug)]
struct CountsTickets(AtomicUsize);

impl ClientSessionStore for CountsTickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}
    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }
    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}
    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }
    fn remove_tls12_session(&self, _: &ServerName<'static>) {}
    fn insert_tls13_ticket(&self, _: ServerName<'static>, _: Tls13ClientSessionValue) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        None
    }
}

/// All machines have one name for the server: it would go on with one as if it were another.
#[test]
fn a_server_goes_on_with_no_session_whatever_tickets_it_got() {
    let tls = ServerTls::new(None, &Priority::default()).unwrap();
    let key = key();
    let mut generous = ServerConfig::clone(
        &machine_handshake::config(&key, &Priority::default(), KeyRequest::Nothing).unwrap(),
    );
    generous.session_storage = ServerSessionMemoryCache::new(10);
    generous.send_tls13_tickets = 4;
    let generous = Arc::new(generous);
    for tls in [tls.clone(), tls.clone().offering_release()] {
        for _ in 0..2 {
            let mut server = tls.connection().unwrap();
            let mut boot = ServerConnection::new(generous.clone()).unwrap();
            handshake(&mut server, &mut boot);
            assert_eq!(server.handshake_kind(), Some(HandshakeKind::Full));
            assert_eq!(authenticated(&server).unwrap().key_id(), key.key_id());
        }
    }
    // Were it to, it would go on: the test can fail.
    let mut trusting = ClientConfig::clone(&tls.config());
    trusting.resumption = Resumption::default();
    let trusting = Arc::new(trusting);
    for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let mut server = ClientConnection::new(trusting.clone(), ServerTls::peer_name()).unwrap();
        let mut boot = ServerConnection::new(generous.clone()).unwrap();
        handshake(&mut server, &mut boot);
        assert_eq!(server.handshake_kind(), Some(expected));
    }
}
