//! The agent of a booted machine before servers of every kind. The server's side is made of [`ServerTls`] here.

use std::io;
use std::num::NonZeroU16;
use std::thread::JoinHandle;
use std::time::Duration;

use nightlatch_core::boot_nonce::{BootMark, BootNonce};
use nightlatch_core::sealed_secret::MAX_SEALED;
use nightlatch_core::secret_name::SecretName;

use super::*;
use crate::release::{
    Accepted, HEADER_LEN, Header, Heartbeat, MessageError, ReasonWord, Refused, Reply, Request,
    SecretHead, SecretQuery, Token, WaitReason, Waiting,
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
        rejected: Vec::new(),
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
    connection: ClientConnection,
    answer: Vec<u8>,
) -> (Result<Accepted, ReportError>, Received) {
    let (mut stream, server) = serve_request(connection, answer);
    let result = host
        .connect(&mut stream)
        .and_then(|server| server.report(&heartbeat(), &mut stream));
    drop(stream);
    (result, server.join().unwrap())
}

/// The machine's end of a connection to a server with the handshake `connection`, which answers a request with `answer`
/// and closes.
fn serve_request(
    mut connection: ClientConnection,
    answer: Vec<u8>,
) -> (TcpStream, JoinHandle<Received>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
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
    (stream, server)
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

/// Asks a server for the secret `db`, which answers with `answer` and closes. The result, the number of notices that came
/// before it, and the bytes of the request.
fn get(
    host: &HostTls,
    own: &RawKey,
    answer: Vec<u8>,
    waiting: &mut dyn FnMut(&Waiting) -> io::Result<()>,
) -> (Result<NamedSecret, ReportError>, usize, Received) {
    let (mut stream, server) = serve_request(offering(Some(own)), answer);
    let mut notices = 0;
    let result = host.connect(&mut stream).and_then(|server| {
        server.get(query(), &mut stream, &mut |notice, _| {
            notices += 1;
            waiting(notice)
        })
    });
    drop(stream);
    (result, notices, server.join().unwrap())
}

fn query() -> SecretQuery {
    SecretQuery {
        name: SecretName::new("db").unwrap(),
        boot: BootNonce::from_bytes([1; 16]),
    }
}

fn secret(name: &str, payload: &[u8]) -> Vec<u8> {
    let name = SecretName::new(name).unwrap();
    Reply::Secret(SecretHead { name, serial: 7 }, payload).to_bytes()
}

fn notice() -> Vec<u8> {
    Reply::Waiting(Waiting {
        reason: Some(WaitReason::Approval),
        left: Some(Duration::from_secs(60)),
        reference: 4711,
    })
    .to_bytes()
}

#[test]
fn a_named_secret_comes_after_notices_to_wait() {
    let own = key();
    let host = host(vec![own.key_id()]);
    let largest = vec![9; MAX_SEALED];
    // A server sends one every 30 s, and may let a request wait for a day.
    for (before, payload) in [(0, &b"sealed"[..]), (3, &largest[..]), (3000, b"sealed")] {
        let answer = [notice().repeat(before), secret("db", payload)].concat();
        let (result, notices, received) = get(&host, &own, answer, &mut |notice| {
            assert_eq!(notice.reference, 4711);
            Ok(())
        });
        let payload = payload.to_vec();
        assert_eq!(result.unwrap(), NamedSecret { serial: 7, payload });
        assert_eq!(notices, before);
        assert_eq!(received, Ok(Request::Get(query()).to_bytes()));
    }
}

#[test]
fn the_wait_for_a_named_secret_ends_when_the_machine_wants_no_more() {
    let own = key();
    let host = host(vec![own.key_id()]);
    let answer = [notice(), notice(), secret("db", b"sealed")].concat();
    let (result, notices, _) = get(&host, &own, answer, &mut |_| {
        Err(io::ErrorKind::TimedOut.into())
    });
    let error = result.unwrap_err();
    assert!(
        matches!(&error, ReportError::Server(FetchError::Io(error)) if error.kind() == io::ErrorKind::TimedOut),
        "{error:?}"
    );
    assert_eq!(notices, 1);
}

#[test]
fn anything_but_the_named_secret_or_its_refusal_is_an_error() {
    let own = key();
    let host = host(vec![own.key_id()]);
    let refused = |name: &str, reason: Option<&str>| {
        Reply::Refused(Refused {
            name: SecretName::new(name).unwrap(),
            reason: reason.and_then(ReasonWord::new),
            retry: None,
        })
        .to_bytes()
    };
    let error = |answer| get(&host, &own, answer, &mut |_| Ok(())).0.unwrap_err();
    let other = |answer| match error(answer) {
        ReportError::Server(FetchError::OtherReply(what)) => what,
        other => panic!("{other:?}"),
    };
    assert!(matches!(error(Vec::new()), ReportError::Refused));
    assert!(matches!(error(notice()), ReportError::Refused));
    assert!(matches!(error(refused("db", None)), ReportError::Refused));
    assert!(matches!(
        error([notice(), refused("db", Some("unknown-secret"))].concat()),
        ReportError::RefusedFor { reason, retry: None } if reason.as_str() == "unknown-secret"
    ));
    assert_eq!(
        other(refused("boot", None)),
        "the refusal of another secret"
    );
    assert_eq!(other(secret("boot", b"x")), "a secret of another name");
    assert_eq!(
        other(Reply::Accepted(accepted()).to_bytes()),
        "an acceptance"
    );
    for length in [MAX_SEALED + 1, MAX_SEALED + 5000] {
        let long = error(secret("db", &vec![9; length]));
        assert!(
            matches!(
                long,
                ReportError::Server(FetchError::TooLong { max: MAX_SEALED })
            ),
            "{long:?}"
        );
    }
    let whole = [notice(), secret("db", b"sealed")].concat();
    for end in notice().len() + 1..whole.len() {
        let cut = error(whole[..end].to_vec());
        assert!(matches!(cut, ReportError::Cut), "{cut:?}");
    }
    let garbage = error(b"HTTP/1.1 200 OK\r\n".to_vec());
    assert!(
        matches!(garbage, ReportError::Server(FetchError::Message(_))),
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
