//! Hostile peers: TLS servers with something wrong, and bytes by hand.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use nightlatch_core::boot_nonce::BootSeed;
use nightlatch_proto::priority::Priority;
use nightlatch_proto::tls::{BootTls, FetchError, FetchedSecret, RawKey, RawKeyKind};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::version::TLS13;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

pub(crate) const GREETING: &[u8] = b"1\r\n";

pub(crate) fn key() -> RawKey {
    RawKey::generate(RawKeyKind::Ed25519).unwrap()
}

/// Of the boot in which the machines of these tests ask.
pub(crate) fn seed() -> BootSeed {
    BootSeed::from_bytes([7; 32])
}

/// Fetches a secret as an honest machine does.
pub(crate) fn fetch(
    key: RawKey,
    stream: &mut (impl Read + Write),
) -> Result<FetchedSecret, FetchError> {
    let boot = BootTls::new(key, vec![], &Priority::default(), seed()).unwrap();
    boot.fetch(stream, 1 << 20)
}

/// Sends `bytes`, closes this direction, and returns everything that is received until the end or a reset.
pub(crate) fn say(mut stream: &TcpStream, bytes: &[u8]) -> Vec<u8> {
    // The other end may close before it has read all.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

/// Greets, waits for the ClientHello, answers with `bytes`, and waits for the end.
pub(crate) fn answer_hello(mut stream: TcpStream, bytes: &[u8]) {
    stream.write_all(GREETING).unwrap();
    read_record(&mut stream);
    let _ = stream.write_all(bytes);
    let _ = io::copy(&mut stream, &mut io::sink());
}

/// Reads one TLS record, as the ClientHello comes in.
pub(crate) fn read_record(stream: &mut TcpStream) {
    let mut header = [0; 5];
    stream.read_exact(&mut header).unwrap();
    assert_eq!(header[0], 22, "a handshake record");
    let length = u16::from_be_bytes([header[3], header[4]]);
    stream.read_exact(&mut vec![0; length.into()]).unwrap();
}

/// A ServerHello of TLS 1.2 (RFC 5246, 7.4.1.3), for TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256.
pub(crate) fn hello_of_tls12() -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0xc0, 0x2b, 0]);
    let mut record = vec![22, 3, 3, 0, 4 + body.len() as u8, 2, 0, 0, body.len() as u8];
    record.extend(body);
    record
}

/// A fatal alert in a record of its own (RFC 8446, 6).
pub(crate) fn alert(description: u8) -> [u8; 7] {
    [21, 3, 3, 0, 2, 2, description]
}

/// The private half of `key`.
pub(crate) fn signer(key: &RawKey) -> Arc<dyn SigningKey> {
    load(PrivateKeyDer::from_pem_slice(key.private_pem().expose()).unwrap())
}

fn load(key: PrivateKeyDer<'static>) -> Arc<dyn SigningKey> {
    default_provider()
        .key_provider
        .load_private_key(key)
        .unwrap()
}

/// An X.509 certificate and the private key that belongs to it.
pub(crate) fn certificate() -> (CertificateDer<'static>, Arc<dyn SigningKey>) {
    let made = rcgen::generate_simple_self_signed(["machine".to_owned()]).unwrap();
    let private = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    (made.cert.der().clone(), load(private))
}

/// Shows `shown` as raw public keys and signs with `signer`, which need not fit.
pub(crate) fn shows(
    shown: Vec<CertificateDer<'static>>,
    signer: Arc<dyn SigningKey>,
) -> ServerConfig {
    let certified = Arc::new(CertifiedKey::new(shown, signer));
    let resolver = Arc::new(AlwaysResolvesServerRawPublicKeys::new(certified));
    builder().with_cert_resolver(resolver)
}

/// Offers X.509 only.
pub(crate) fn x509() -> ServerConfig {
    let made = rcgen::generate_simple_self_signed(["machine".to_owned()]).unwrap();
    let private = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    builder()
        .with_single_cert(vec![made.cert.der().clone()], private)
        .unwrap()
}

fn builder() -> rustls::ConfigBuilder<ServerConfig, rustls::server::WantsServerCert> {
    ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
}

/// Greets, shakes hands and reads the payload.
pub(crate) fn shake_hands(mut stream: TcpStream, config: ServerConfig) -> io::Result<Vec<u8>> {
    stream.write_all(GREETING)?;
    let mut connection = ServerConnection::new(Arc::new(config)).map_err(io::Error::other)?;
    let mut payload = Vec::new();
    rustls::Stream::new(&mut connection, &mut stream).read_to_end(&mut payload)?;
    Ok(payload)
}

/// Ways in which a peer can leave while the server waits, each a name and a step after its handshake.
pub(crate) const WAYS_TO_LEAVE: [(&str, Leave); 4] = [
    ("closes in order", |mut tls| {
        tls.conn.send_close_notify();
        tls.flush().unwrap();
        let _ = tls.read(&mut [0]);
    }),
    ("closes the connection", drop),
    ("closes its half", |mut tls| {
        tls.sock.shutdown(std::net::Shutdown::Write).unwrap();
        let _ = tls.read(&mut [0]);
    }),
    ("says something", |mut tls| {
        tls.write_all(b"!").unwrap();
        let _ = tls.read(&mut [0]);
    }),
];

type Leave = fn(StreamOwned<ServerConnection, TcpStream>);

/// Greets and shakes hands; the caller does the rest.
pub(crate) fn connected(mut stream: TcpStream) -> StreamOwned<ServerConnection, TcpStream> {
    let key = key();
    let config = shows(vec![key.spki().to_vec().into()], signer(&key));
    stream.write_all(GREETING).unwrap();
    let mut connection = ServerConnection::new(Arc::new(config)).unwrap();
    while connection.is_handshaking() {
        connection.complete_io(&mut stream).unwrap();
    }
    // Its last message is on its way.
    while connection.wants_write() {
        connection.write_tls(&mut stream).unwrap();
    }
    StreamOwned::new(connection, stream)
}

/// Keeps a copy of everything that is written.
pub(crate) struct Recorder {
    pub(crate) stream: TcpStream,
    pub(crate) sent: Vec<u8>,
}

impl Read for Recorder {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl Write for Recorder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.stream.write(bytes)?;
        self.sent.extend_from_slice(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
