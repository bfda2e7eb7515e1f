use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use rustls::{ClientConnection, StreamOwned};

use super::*;

fn key() -> RawKey {
    RawKey::generate(KeyKind::Ed25519).unwrap()
}

/// Serves one machine as the server does, then ends as `finish` says.
fn serve(
    own: Option<RawKey>,
    boot: &BootTls,
    finish: fn(StreamOwned<ClientConnection, TcpStream>),
) -> (
    Result<Fetched, FetchError>,
    Result<Authenticated, PeerError>,
) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut line = [0; 3];
        socket.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"1\r\n");
        let tls = ServerTls::new(own.as_ref(), &Priority::default()).unwrap();
        let mut connection = tls.connection().unwrap();
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

fn give(mut stream: StreamOwned<ClientConnection, TcpStream>) {
    stream.write_all(b"payload").unwrap();
    refuse(stream);
}

fn refuse(mut stream: StreamOwned<ClientConnection, TcpStream>) {
    stream.conn.send_close_notify();
    // A machine that does not believe us may be gone already.
    let _ = stream.flush();
}

fn cut_off(mut stream: StreamOwned<ClientConnection, TcpStream>) {
    stream.write_all(b"payl").unwrap();
    stream.flush().unwrap();
}

fn boot(key: RawKey, trusted: Vec<KeyId>) -> BootTls {
    BootTls::new(key, trusted, &Priority::default()).unwrap()
}

#[test]
fn each_kind_of_key_is_proved_and_survives_its_pem() {
    for kind in [KeyKind::Ed25519, KeyKind::EcdsaP256] {
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
