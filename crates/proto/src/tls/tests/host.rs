//! The agent of a booted machine before servers of every kind. The server's side is made of [`ServerTls`] here.

use std::num::NonZeroU16;
use std::time::Duration;

use nightlatch_core::boot_nonce::{BootMark, BootNonce};
use nightlatch_core::secret_name::SecretName;

use super::*;
use crate::release::{
    Accepted, HEADER_LEN, Header, Heartbeat, MessageError, ReasonWord, Refused, Reply, Request,
    SecretHead, Token,
};

/// All that a server has after its part: the plaintext that the machine sent, or the error of the handshake.
type Received = Result<Vec<u8>, PeerError>;

fn heartbeat() -> Request {
    Request::Heartbeat(Heartbeat {
        boot: BootNonce::from_bytes([1; 16]),
        resumes: 2,
        poke_port: NonZeroU16::new(3),
        earlier_boots: vec![BootMark::from_bytes([4; 16])],
        poked: None,
        program: "5".to_owned(),
    })
}

fn accepted() -> Accepted {
    Accepted {
        next: Duration::from_secs(60),
        token: Token::from_bytes([7; Token::LEN]),
        window: None,
    }
}

fn offering(own: Option<&RawKey>) -> ClientConnection {
    let tls = ServerTls::new(own, &Priority::default()).unwrap();
    tls.offering_release().connection().unwrap()
}

/// Reports to a server with the handshake `connection`, which answers a request with `answer` and closes.
fn report(
    host: &HostTls,
    mut connection: ClientConnection,
    answer: Vec<u8>,
) -> (Result<Accepted, ReportError>, Received) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let server = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        assert_eq!(first_line(&mut socket), b"1 agent\r\n");
        while connection.is_handshaking() {
            if let Err(error) = connection.complete_io(&mut socket) {
                return Err(PeerError::from_io(&error).unwrap_or(PeerError::Closed));
            }
        }
        let mut stream = StreamOwned::new(connection, socket);
        let mut received = vec![0; HEADER_LEN];
        if stream.read_exact(&mut received).is_err() {
            return Ok(Vec::new());
        }
        let header = Header::of_request(received[..].try_into().unwrap()).unwrap();
        let mut body = vec![0; header.body_len()];
        stream.read_exact(&mut body).unwrap();
        received.extend(body);
        let _ = stream.write_all(&answer);
        refuse(stream);
        Ok(received)
    });
    let result = host
        .connect(&mut stream)
        .and_then(|server| server.report(&heartbeat(), &mut stream));
    drop(stream);
    (result, server.join().unwrap())
}

fn host(trusted: Vec<KeyId>) -> HostTls {
    HostTls::new(&key(), trusted, &Priority::default()).unwrap()
}

#[test]
fn a_trusted_server_reads_one_request_and_answers() {
    let own = key();
    let host = host(vec![key().key_id(), own.key_id()]);
    let reply = Reply::Accepted(accepted()).to_bytes();
    let (result, read) = report(&host, offering(Some(&own)), reply);
    assert_eq!(result.unwrap(), accepted());
    assert_eq!(read, Ok(heartbeat().to_bytes()));
}

/// A stock server, one without a key, and one of a later version only: the machine sends its first line and leaves.
#[test]
fn nothing_is_proved_to_a_server_that_does_not_offer_the_protocol() {
    let own = key();
    let stock = || ServerTls::new(None, &Priority::default()).unwrap();
    let ours = || ServerTls::new(Some(&own), &Priority::default()).unwrap();
    let mut later = ClientConfig::clone(&ours().config());
    later.alpn_protocols = vec![b"nightlatch/2".to_vec()];
    let later = ClientConnection::new(Arc::new(later), ServerTls::peer_name()).unwrap();
    for mut connection in [
        stock().connection().unwrap(),
        ours().connection().unwrap(),
        stock().offering_release().connection().unwrap(),
        later,
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut socket, _) = listener.accept().unwrap();
        connection.write_tls(&mut socket).unwrap();
        let left = host(vec![own.key_id()]).connect(&mut stream).err();
        assert!(matches!(left, Some(ReportError::NoRelease)), "{left:?}");
        drop(stream);
        let mut all = Vec::new();
        socket.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"1 agent\r\n");
    }
}

#[test]
fn an_untrusted_server_gets_no_inner_byte() {
    let own = key();
    for trusted in [vec![], vec![key().key_id()]] {
        let (result, read) = report(&host(trusted), offering(Some(&own)), Vec::new());
        assert!(
            matches!(
                result,
                Err(ReportError::Server(FetchError::ServerUntrusted(id))) if id == own.key_id()
            ),
            "{result:?}"
        );
        assert_eq!(read, Ok(Vec::new()));
    }
}

/// It offers a key in its ClientHello, and then shows none.
#[test]
fn a_server_that_shows_no_key_after_all_gets_no_inner_byte() {
    let mut config = ClientConfig::clone(&server_config(Arc::new(ShowsNoKey)));
    config.alpn_protocols = vec![b"nightlatch/1".to_vec()];
    let connection = ClientConnection::new(Arc::new(config), ServerTls::peer_name()).unwrap();
    let (result, read) = report(&host(vec![key().key_id()]), connection, Vec::new());
    assert!(
        matches!(
            result,
            Err(ReportError::Server(FetchError::Peer(PeerError::NoKey)))
        ),
        "{result:?}"
    );
    assert_eq!(read, Ok(Vec::new()));
}

#[test]
fn answers_other_than_an_acceptance_are_told_apart() {
    let refused = |reason: Option<&str>| {
        Reply::Refused(Refused {
            name: SecretName::boot(),
            reason: reason.and_then(ReasonWord::new),
            retry: Some(Duration::from_secs(9)),
        })
        .to_bytes()
    };
    let secret = |length| {
        let head = SecretHead {
            name: SecretName::boot(),
            serial: 0,
        };
        Reply::Secret(head, &vec![7; length]).to_bytes()
    };
    let own = key();
    let host = host(vec![own.key_id()]);
    let error = |answer| report(&host, offering(Some(&own)), answer).0.unwrap_err();
    assert!(matches!(error(Vec::new()), ReportError::Refused));
    assert!(matches!(error(refused(None)), ReportError::Refused));
    let told = error(refused(Some("disabled")));
    assert!(
        matches!(&told, ReportError::RefusedFor { reason, retry }
            if reason.as_str() == "disabled" && *retry == Some(Duration::from_secs(9))),
        "{told:?}"
    );
    for answer in [secret(10), secret(100_000)] {
        let other = error(answer);
        assert!(
            matches!(
                other,
                ReportError::Server(FetchError::OtherReply("a secret"))
            ),
            "{other:?}"
        );
    }
    let whole = Reply::Accepted(accepted()).to_bytes();
    for end in 1..whole.len() {
        let cut = error(whole[..end].to_vec());
        assert!(matches!(cut, ReportError::Cut), "{cut:?}");
    }
    let garbage = error(b"HTTP/1.1 200 OK\r\n".to_vec());
    assert!(
        matches!(
            garbage,
            ReportError::Server(FetchError::Message(MessageError::UnknownType(b'H')))
        ),
        "{garbage:?}"
    );
}

/// The server has made it durable by then, however the connection ends.
#[test]
fn an_acceptance_counts_without_the_end_of_the_connection() {
    let own = key();
    let host = host(vec![own.key_id()]);
    let mut answer = Reply::Accepted(accepted()).to_bytes();
    answer.extend(b"more");
    let (result, _) = report(&host, offering(Some(&own)), answer);
    assert_eq!(result.unwrap(), accepted());
}

#[test]
fn a_connection_can_be_left_without_a_word() {
    let own = key();
    let host = host(vec![own.key_id()]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let connection = offering(Some(&own));
    let server = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        first_line(&mut socket);
        let mut stream = StreamOwned::new(connection, socket);
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        all
    });
    let connected = host.connect(&mut stream).unwrap();
    assert_eq!(connected.server_key(), own.key_id());
    connected.leave(&mut stream);
    drop(stream);
    assert_eq!(server.join().unwrap(), []);
}
