mod host;
mod machines;
mod release;
mod sessions;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use std::sync::Arc;

use nightlatch_core::boot_nonce::BootSeed;
use rustls::client::{AlwaysResolvesClientRawPublicKeys, ResolvesClientCert};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, ConnectionCommon, SignatureScheme, StreamOwned,
};

use super::verifier::AnyRawKey;
use super::*;

fn key() -> RawKey {
    RawKey::generate(RawKeyKind::Ed25519).unwrap()
}

/// Serves one machine as the server does, then runs `finish`.
fn serve(
    own: Option<RawKey>,
    boot: &BootTls,
    finish: fn(StreamOwned<ClientConnection, TcpStream>),
) -> (
    Result<FetchedSecret, FetchError>,
    Result<Authenticated, PeerError>,
) {
    let tls = ServerTls::new(own.as_ref(), &Priority::default()).unwrap();
    serve_by(tls.connection().unwrap(), boot, finish)
}

fn serve_by(
    mut connection: ClientConnection,
    boot: &BootTls,
    finish: fn(StreamOwned<ClientConnection, TcpStream>),
) -> (
    Result<FetchedSecret, FetchError>,
    Result<Authenticated, PeerError>,
) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        assert!(first_line(&mut socket).starts_with(b"1"));
        while connection.is_handshaking() {
            if let Err(error) = connection.complete_io(&mut socket) {
                return Err(PeerError::from_io(&error).unwrap_or(PeerError::Closed));
            }
        }
        let who = authenticated(&connection)?;
        finish(StreamOwned::new(connection, socket));
        Ok(who)
    });
    let fetched = boot.fetch(&mut TcpStream::connect(address).unwrap(), 1000);
    (fetched, server.join().unwrap())
}

/// Nothing after it is read.
fn first_line(socket: &mut TcpStream) -> Vec<u8> {
    let mut line = Vec::new();
    let mut byte = [0];
    while byte != *b"\n" {
        socket.read_exact(&mut byte).unwrap();
        line.extend(byte);
    }
    line
}

fn give(mut stream: StreamOwned<ClientConnection, TcpStream>) {
    stream.write_all(b"payload").unwrap();
    refuse(stream);
}

fn refuse(mut stream: StreamOwned<ClientConnection, TcpStream>) {
    stream.conn.send_close_notify();
    // A machine that does not trust this server may be gone already.
    let _ = stream.flush();
}

fn cut_off(mut stream: StreamOwned<ClientConnection, TcpStream>) {
    stream.write_all(b"payl").unwrap();
    stream.flush().unwrap();
}

fn boot(key: RawKey, trusted: Vec<KeyId>) -> BootTls {
    BootTls::new(
        key,
        trusted,
        &Priority::default(),
        BootSeed::from_bytes([7; 32]),
    )
    .unwrap()
}

#[test]
fn each_kind_of_key_is_proved_and_survives_its_pem() {
    for kind in [RawKeyKind::Ed25519, RawKeyKind::EcdsaP256] {
        let key = RawKey::generate(kind).unwrap();
        let who = authenticate_in_memory(&key).unwrap();
        assert_eq!(who.key_id(), key.key_id());
        let (private, public) = (key.private_pem(), key.public_pem());
        let again = RawKey::from_pem(private.expose(), Some(public.as_bytes())).unwrap();
        assert_eq!(again.key_id(), key.key_id());
    }
}

#[test]
fn the_public_file_must_belong_to_the_private_one() {
    let error = RawKey::from_pem(
        key().private_pem().expose(),
        Some(key().public_pem().as_bytes()),
    );
    assert_eq!(error.unwrap_err(), RawKeyError::Mismatch);
}

#[test]
fn an_anonymous_server_serves_a_machine() {
    let key = key();
    let id = key.key_id();
    let (fetched, who) = serve(None, &boot(key, vec![]), give);
    let fetched = fetched.unwrap();
    assert_eq!(fetched.payload.expose(), b"payload");
    assert_eq!(fetched.server_key, None);
    assert_eq!(who.map(|who| who.key_id()), Ok(id));
}

#[test]
fn a_machine_takes_the_suite_that_costs_the_server_least_if_the_server_offers_it() {
    fn expect(stream: StreamOwned<ClientConnection, TcpStream>, expected: CipherSuite) {
        let taken = stream.conn.negotiated_cipher_suite().unwrap();
        assert_eq!(taken.suite(), expected);
        give(stream);
    }
    let quick: fn(_) = |it| expect(it, CipherSuite::TLS13_CHACHA20_POLY1305_SHA256);
    let other: fn(_) = |it| expect(it, CipherSuite::TLS13_AES_256_GCM_SHA384);
    for (offered, finish) in [
        ("SECURE256", quick),
        ("PERFORMANCE", quick),
        ("SECURE256:-CHACHA20-POLY1305", other),
    ] {
        let server = ServerTls::new(None, &offered.parse().unwrap()).unwrap();
        let (fetched, _) = serve_by(server.connection().unwrap(), &boot(key(), vec![]), finish);
        assert!(fetched.is_ok(), "{offered}: {fetched:?}");
    }
}

#[test]
fn a_trusted_server_proves_its_key() {
    let own = key();
    let id = own.key_id();
    let (fetched, _) = serve(Some(own), &boot(key(), vec![key().key_id(), id]), give);
    assert_eq!(fetched.unwrap().server_key, Some(id));
}

#[test]
fn a_server_without_a_trusted_key_is_not_believed() {
    let trusted = key().key_id();
    let (fetched, _) = serve(Some(key()), &boot(key(), vec![trusted]), refuse);
    assert!(
        matches!(fetched, Err(FetchError::ServerUntrusted(_))),
        "{fetched:?}"
    );
    let (fetched, _) = serve(None, &boot(key(), vec![trusted]), refuse);
    assert!(
        matches!(fetched, Err(FetchError::ServerUnproven)),
        "{fetched:?}"
    );
}

/// The keys `shown`, with signatures of another key, of whatever kind.
fn shows(shown: &[&RawKey], signs: &RawKey) -> Arc<CertifiedKey> {
    let private = PrivateKeyDer::from_pem_slice(signs.private_pem().expose()).unwrap();
    let signer = rustls::crypto::aws_lc_rs::default_provider()
        .key_provider
        .load_private_key(private)
        .unwrap();
    let shown = shown
        .iter()
        .map(|key| CertificateDer::from(key.spki().to_vec()));
    Arc::new(CertifiedKey::new(shown.collect(), signer))
}

/// A server that shows the keys `shown` and signs by another.
fn impostor(shown: &[&RawKey], signs: &RawKey) -> ClientConnection {
    let certified = shows(shown, signs);
    server_with(Arc::new(AlwaysResolvesClientRawPublicKeys::new(certified)))
}

fn server_with(resolver: Arc<dyn ResolvesClientCert>) -> ClientConnection {
    ClientConnection::new(server_config(resolver), ServerTls::peer_name()).unwrap()
}

fn server_config(resolver: Arc<dyn ResolvesClientCert>) -> Arc<ClientConfig> {
    let priority = Priority::default();
    let config = ClientConfig::builder_with_provider(provider(&priority))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(AnyRawKey::new(priority.schemes(), true))
        .with_client_cert_resolver(resolver);
    Arc::new(config)
}

/// A server that only shows a key without its private half is never taken for its holder: not with a list of trusted
/// keys, and not without one, where the key identifies the addresses of one server.
#[test]
fn who_shows_a_trusted_key_without_holding_it_is_not_believed() {
    for kind in [RawKeyKind::Ed25519, RawKeyKind::EcdsaP256] {
        let trusted = RawKey::generate(kind).unwrap();
        for list in [vec![trusted.key_id()], vec![]] {
            for signs in [kind, RawKeyKind::Ed25519, RawKeyKind::EcdsaP256] {
                let signs = RawKey::generate(signs).unwrap();
                let boot = boot(key(), list.clone());
                let (fetched, _) = serve_by(impostor(&[&trusted], &signs), &boot, give);
                assert!(
                    matches!(fetched, Err(FetchError::Peer(PeerError::BadSignature))),
                    "{kind:?}: {fetched:?}"
                );
            }
        }
    }
}

#[test]
fn a_trusted_key_beside_another_is_not_believed() {
    let (trusted, own) = (key(), key());
    for shown in [[&trusted, &own], [&own, &trusted]] {
        for list in [vec![trusted.key_id()], vec![]] {
            let boot = boot(key(), list);
            let (fetched, _) = serve_by(impostor(&shown, &own), &boot, give);
            assert!(
                matches!(
                    fetched,
                    Err(FetchError::Peer(PeerError::Key(SpkiError::Malformed)))
                ),
                "{fetched:?}"
            );
        }
    }
}

/// Offers a key in its ClientHello, and shows none.
#[derive(Debug)]
struct ShowsNoKey;

impl ResolvesClientCert for ShowsNoKey {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }
    fn only_raw_public_keys(&self) -> bool {
        true
    }
    fn has_certs(&self) -> bool {
        true
    }
}

/// To a server without a key a rehearsal is a boot, which would be answered with the secret.
#[test]
fn a_server_that_only_claims_to_have_a_key_is_believed_in_no_rehearsal_and_by_no_list() {
    let fetch = |list: Vec<KeyId>, rehearsal| {
        let boot = boot(key(), list);
        let boot = if rehearsal { boot.rehearsing() } else { boot };
        let (fetched, _) = serve_by(server_with(Arc::new(ShowsNoKey)), &boot, give);
        fetched
    };
    assert_eq!(fetch(vec![], false).unwrap().server_key, None);
    let refused = fetch(vec![], true);
    assert!(
        matches!(refused, Err(FetchError::NoRehearsal)),
        "{refused:?}"
    );
    let refused = fetch(vec![key().key_id()], false);
    assert!(
        matches!(refused, Err(FetchError::Peer(PeerError::NoKey))),
        "{refused:?}"
    );
}

/// Moves all pending TLS bytes from one side to the other.
fn pass_on<A, B>(
    from: &mut ConnectionCommon<A>,
    to: &mut ConnectionCommon<B>,
) -> Result<(), rustls::Error> {
    let mut wire = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut wire).unwrap();
    }
    let mut wire = wire.as_slice();
    while !wire.is_empty() {
        to.read_tls(&mut wire).unwrap();
        to.process_new_packets()?;
    }
    Ok(())
}

#[test]
fn nothing_at_all_is_a_refusal() {
    let (fetched, _) = serve(None, &boot(key(), vec![]), refuse);
    assert!(matches!(fetched, Err(FetchError::Refused)), "{fetched:?}");
}

#[test]
fn a_payload_that_is_cut_off_is_no_payload() {
    let (fetched, _) = serve(None, &boot(key(), vec![]), cut_off);
    assert!(
        matches!(fetched, Err(FetchError::Truncated { received: 4 })),
        "{fetched:?}"
    );
}

/// Until it asks, the machine has not shown its key.
#[test]
fn a_server_that_does_not_wait_gets_no_handshake_before_it_is_asked() {
    for own in [None, Some(key())] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut socket, _) = listener.accept().unwrap();
        let tls = ServerTls::new(own.as_ref(), &Priority::default()).unwrap();
        let mut connection = tls.connection().unwrap();
        connection.write_tls(&mut socket).unwrap();
        let boot = boot(key(), vec![]);
        let connected = boot.connect(&mut stream).unwrap();
        assert_eq!(connected.server_key(), None);
        let server = thread::spawn(move || {
            let mut line = [0; 3];
            socket.read_exact(&mut line).unwrap();
            let mut before = [0; 1];
            socket.set_nonblocking(true).unwrap();
            let silent = socket.peek(&mut before).unwrap_err();
            assert_eq!(silent.kind(), std::io::ErrorKind::WouldBlock);
            socket.set_nonblocking(false).unwrap();
            (connection, socket)
        });
        let (mut connection, mut socket) = server.join().unwrap();
        let server = thread::spawn(move || {
            while connection.is_handshaking() {
                connection.complete_io(&mut socket).unwrap();
            }
            give(StreamOwned::new(connection, socket));
        });
        let fetched = connected
            .ask(&mut stream)
            .unwrap()
            .payload(&mut stream, 1000, &mut |_| {});
        assert_eq!(fetched.unwrap().payload.expose(), b"payload");
        server.join().unwrap();
    }
}

/// The server's ClientHello shows that it has no key: the machine does not show its own.
#[test]
fn with_a_list_of_trusted_servers_one_without_a_key_is_left_at_its_first_word() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut socket, _) = listener.accept().unwrap();
    let tls = ServerTls::new(None, &Priority::default()).unwrap();
    tls.connection().unwrap().write_tls(&mut socket).unwrap();
    let boot = boot(key(), vec![key().key_id()]);
    let refused = boot.connect(&mut stream).err();
    assert!(
        matches!(refused, Some(FetchError::ServerUnproven)),
        "{refused:?}"
    );
    drop(stream);
    let mut all = Vec::new();
    socket.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"1\r\n");
}
