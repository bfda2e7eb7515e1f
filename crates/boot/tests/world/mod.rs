//! A machine with its key files, and servers that do what a test scripts.
#![allow(dead_code, reason = "each test program uses a part")]
#![allow(
    clippy::unwrap_used,
    reason = "this is test code, though outside a test function"
)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use nightlatch_core::key_id::KeyId;
use nightlatch_core::secret::Secret;
use nightlatch_core::time::Wall;
use nightlatch_openpgp::{
    Algorithm, GenerateOptions, PublicKey, SecretKey, encrypt_and_sign, generate,
};
use nightlatch_proto::greeting::{LineProgress, LineReader};
use nightlatch_proto::priority::Priority;
use nightlatch_proto::tls::{RawKey, RawKeyKind, ServerTls, authenticated};
use rustls::client::AlwaysResolvesClientRawPublicKeys;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use tempfile::TempDir;

/// Not text, and without an end of line.
pub(crate) const PASSWORD: &[u8] = b"correct horse\0battery\xff staple";

/// Long enough for a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program under test.
pub(crate) fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_nightlatch-boot"))
}

/// A machine to be booted.
pub(crate) struct Machine {
    directory: TempDir,
    pub key_id: KeyId,
}

impl Machine {
    /// A machine with fresh keys.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let tls = RawKey::generate(RawKeyKind::Ed25519).unwrap();
        let openpgp = generate(&GenerateOptions {
            primary: Algorithm::Curve25519,
            encryption: Algorithm::Curve25519,
            name: "test",
            comment: "",
            email: "",
            created: Wall::from_unix_micros(1_700_000_000_000_000),
            expires: None,
        })
        .unwrap();
        for (name, bytes) in [
            ("tls-privkey.pem", tls.private_pem().expose()),
            ("tls-pubkey.pem", tls.public_pem().as_bytes()),
            ("seckey.txt", openpgp.secret_armored.expose()),
            ("pubkey.txt", openpgp.public_armored.as_bytes()),
        ] {
            std::fs::write(directory.path().join(name), bytes).unwrap();
        }
        Self {
            directory,
            key_id: tls.key_id(),
        }
    }

    /// The file `name` beside its keys.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Makes it believe only the servers of `list`.
    pub(crate) fn trust(&self, list: &str) {
        std::fs::write(self.file("trusted-servers"), list).unwrap();
    }

    /// Its OpenPGP key.
    pub(crate) fn secret(&self) -> SecretKey {
        SecretKey::from_armored(&std::fs::read(self.file("seckey.txt")).unwrap()).unwrap()
    }

    /// The password as a server holds it.
    pub(crate) fn payload(&self) -> Vec<u8> {
        self.payload_signed_by(&self.secret())
    }

    /// A password that no server has, which this machine would take for its own.
    pub(crate) fn payload_of_another_password(&self) -> Vec<u8> {
        self.payload_of(b"of an impostor", &self.secret())
    }

    /// The same by another hand.
    pub(crate) fn payload_signed_by(&self, signer: &SecretKey) -> Vec<u8> {
        self.payload_of(PASSWORD, signer)
    }

    fn payload_of(&self, password: &[u8], signer: &SecretKey) -> Vec<u8> {
        let public = std::fs::read(self.file("pubkey.txt")).unwrap();
        let public = PublicKey::from_armored(&public).unwrap();
        let now = Wall::from_unix_micros(1_700_000_000_000_000);
        encrypt_and_sign(&public, signer, &Secret::new(password.to_vec()), now).unwrap()
    }

    /// Options for its keys.
    pub(crate) fn key_options(&self) -> Vec<String> {
        [
            ("--tls-privkey", "tls-privkey.pem"),
            ("--tls-pubkey", "tls-pubkey.pem"),
            ("--seckey", "seckey.txt"),
            ("--pubkey", "pubkey.txt"),
        ]
        .iter()
        .flat_map(|(option, name)| [option.to_string(), self.file(name).display().to_string()])
        .collect()
    }

    /// The client of this machine, that connects to `address` and touches no interface.
    pub(crate) fn client(&self, address: &str) -> Command {
        let mut command = program();
        command
            .args(["client", "--interface", "none", "--retry", "0.3"])
            .args(["--network-hook-dir", "/nonexistent", "--connect", address])
            .args(self.key_options())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

/// Runs a client that must print the password; returns its log.
pub(crate) fn log_of_success(client: &mut Command) -> String {
    let output = client.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.stdout, PASSWORD, "{said}");
    said
}

/// Waits until a client has logged something.
pub(crate) fn wait_for_log(client: &mut Child) {
    let log = client.stderr.as_mut().unwrap();
    log.read_exact(&mut [0; 20]).unwrap();
}

/// Asks a client to end.
pub(crate) fn terminate(client: &Child) {
    let pid = rustix::process::Pid::from_raw(client.id().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
}

/// Ends a process at once.
pub(crate) fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// The behaviour of a server towards one client.
#[derive(Clone)]
pub(crate) enum Answer {
    /// Sends this in good order.
    Give(Vec<u8>),
    /// Closes in good order.
    Refuse,
    /// Closes within the payload.
    CutOff,
    /// Keeps the client waiting until it goes.
    Wait,
}

/// A server that answers one client after another, then closes its port.
pub(crate) struct Server {
    pub address: String,
    served: Receiver<KeyId>,
    connected: Receiver<()>,
}

impl Server {
    /// A server on loopback, with a key of its own or none.
    pub(crate) fn start(own: Option<&RawKey>, answers: Vec<Answer>) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), own, answers)
    }

    /// The same on a socket that listens already.
    pub(crate) fn on(listener: TcpListener, own: Option<&RawKey>, answers: Vec<Answer>) -> Self {
        let tls = ServerTls::new(own, &Priority::default()).unwrap();
        let serve = |answer| (tls.config(), answer);
        Self::of_several(listener, answers.into_iter().map(serve).collect())
    }

    /// Each answer by a server of its own, all of them at one place.
    pub(crate) fn of_several(
        listener: TcpListener,
        answers: Vec<(Arc<ClientConfig>, Answer)>,
    ) -> Self {
        let address = listener.local_addr().unwrap().to_string();
        let (sender, served) = channel();
        let (accepted, connected) = channel();
        thread::spawn(move || {
            for (tls, answer) in answers {
                let (socket, _) = listener.accept().unwrap();
                let _ = accepted.send(());
                serve(tls, socket, answer, &sender);
            }
        });
        Self {
            address,
            served,
            connected,
        }
    }

    /// Waits until that many clients have been shaken hands with.
    pub(crate) fn wait_served(&self, count: usize) {
        for _ in 0..count {
            self.served.recv_timeout(PATIENCE).unwrap();
        }
    }

    /// Waits until a client has connected.
    pub(crate) fn wait_connected(&self) {
        self.connected.recv_timeout(PATIENCE).unwrap();
    }

    /// All clients that were, at the end.
    pub(crate) fn served(&self) -> Vec<KeyId> {
        std::iter::from_fn(|| self.served.recv_timeout(PATIENCE).ok()).collect()
    }
}

/// The TLS of a server that shows the key `shown` and does not hold it.
pub(crate) fn impostor(shown: &RawKey) -> Arc<ClientConfig> {
    let own = RawKey::generate(RawKeyKind::Ed25519).unwrap();
    let private = PrivateKeyDer::from_pem_slice(own.private_pem().expose()).unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let signer = provider.key_provider.load_private_key(private).unwrap();
    let key = CertificateDer::from(shown.spki().to_vec());
    let certified = Arc::new(CertifiedKey::new(vec![key], signer));
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(certified)));
    Arc::new(config)
}

/// Takes each key of a machine for good.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

fn serve(tls: Arc<ClientConfig>, mut socket: TcpStream, answer: Answer, served: &Sender<KeyId>) {
    let mut line = LineReader::new();
    loop {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        if let LineProgress::Done(greeting) = line.push(&byte).unwrap() {
            assert_eq!(greeting.version, 1);
            break;
        }
    }
    let mut connection = ClientConnection::new(tls, ServerTls::peer_name()).unwrap();
    while connection.is_handshaking() {
        if connection.complete_io(&mut socket).is_err() {
            return;
        }
    }
    let Ok(who) = authenticated(&connection) else {
        return;
    };
    let _ = served.send(who.key_id());
    let mut stream = StreamOwned::new(connection, socket);
    // A client that does not believe us may be gone at any moment.
    match answer {
        Answer::Give(payload) => {
            let _ = stream.write_all(&payload);
        }
        Answer::Refuse => {}
        Answer::CutOff => {
            let _ = stream.write_all(b"half");
            let _ = stream.flush();
            return;
        }
        Answer::Wait => {
            let _ = stream.read(&mut [0]);
        }
    }
    stream.conn.send_close_notify();
    let _ = stream.flush();
}
