//! The TLS roles alone against GnuTLS: both of ours with the stock programs, and the keys that
//! `certtool` and we write.
// unwrap in a test is the assertion itself, in its helpers too.
#![allow(clippy::unwrap_used)]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use nightlatch_core::boot_nonce::BootSeed;
use nightlatch_core::key_id::KeyId;
use nightlatch_interop::client;
use nightlatch_interop::dbus::Bus;
use nightlatch_interop::machine::{MachineKeys, TestMachine};
use nightlatch_interop::process::RunningProgram;
use nightlatch_interop::programs::Project;
use nightlatch_interop::server::{ExpectedRefusal, Home, TestServer};
use nightlatch_proto::priority::Priority;
use nightlatch_proto::tls::{
    BootTls, FetchError, FetchedSecret, PeerError, RawKey, RawKeyKind, ServerTls, authenticated,
};
use nightlatch_test_support::programs::succeed;
use rustls::{NamedGroup, StreamOwned};

const PASSWORD: &[u8] = b"correct horse battery staple";
const MAX_PAYLOAD: usize = 64 * 1024;

#[test]
fn the_stock_client_is_served_whether_the_server_proves_a_key_or_not() {
    let machine = TestMachine::new("web1", Project::Stock, MachineKeys::Rsa4096, PASSWORD);
    for own in [None, Some(key())] {
        let (address, server) = serve_once(own, payload(&machine));
        let output = client::fetch(Project::Stock, &machine, &address);
        let said = String::from_utf8_lossy(&output.stderr);
        let served = server.join().unwrap().unwrap();
        assert_eq!(output.stdout, PASSWORD, "{said}");
        assert_eq!(
            served.key_id.to_string().to_uppercase(),
            machine.key_id().to_uppercase()
        );
        let group = served.group;
        assert!(
            [NamedGroup::X25519, NamedGroup::secp256r1].contains(&group),
            "{group:?}"
        );
        assert!(served.closed_in_order);
    }
}

#[test]
fn the_stock_client_is_served_with_keys_of_ours() {
    let machine = TestMachine::new("web2", Project::Stock, MachineKeys::Rsa4096, PASSWORD);
    let key = key();
    write(
        &machine.key_file("tls-privkey.pem"),
        key.private_pem().expose(),
    );
    write(
        &machine.key_file("tls-pubkey.pem"),
        key.public_pem().as_bytes(),
    );
    let (address, server) = serve_once(None, payload(&machine));
    let output = client::fetch(Project::Stock, &machine, &address);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.stdout, PASSWORD, "{said}");
    assert_eq!(server.join().unwrap().unwrap().key_id, key.key_id());
}

#[test]
fn the_stock_server_serves_our_boot_role_and_refuses_it_in_good_order() {
    let machine = TestMachine::new("web3", Project::Stock, MachineKeys::Rsa4096, PASSWORD);
    let bus = Bus::start();
    let home = Home::new(&machine.section("checker = true"), Some(bus.address()));
    let server = TestServer::start(Project::Stock, home);
    let key = || read_key(machine.key_dir());

    let mut stream = connect(&server.address());
    let fetched = fetch(key(), vec![], &mut stream).unwrap();
    assert_eq!(fetched.payload.expose(), payload(&machine));
    assert_eq!(fetched.server_key, None);
    assert_eq!(
        stream.read(&mut [0]).unwrap(),
        0,
        "it closes the connection too"
    );

    let unproven = fetch(key(), vec![key().key_id()], &mut connect(&server.address()));
    assert!(
        matches!(unproven, Err(FetchError::ServerUnproven)),
        "{unproven:?}"
    );

    let stranger = RawKey::generate(RawKeyKind::Ed25519).unwrap();
    let refused = fetch(stranger, vec![], &mut connect(&server.address()));
    assert!(matches!(refused, Err(FetchError::Refused)), "{refused:?}");
    server.wait_for_refusal(ExpectedRefusal::UnknownKey);
}

#[test]
fn a_gnutls_client_without_and_with_a_key_is_read_to_its_end() {
    let own = key();
    let folder = tempfile::tempdir().unwrap();
    let (private, public) = (folder.path().join("key"), folder.path().join("pub"));
    write(&private, own.private_pem().expose());
    write(&public, own.public_pem().as_bytes());
    // One that offers raw keys and has none gives up when it is asked for one.
    for (proves, types) in [
        (false, "+CTYPE-SRV-RAWPK:+CTYPE-CLI-X509"),
        (true, "+CTYPE-RAWPK"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut command = Command::new("gnutls-cli");
        command
            .args([
                "--insecure",
                "--no-ca-verification",
                "--disable-sni",
                "--priority",
            ])
            .arg(format!("NORMAL:-VERS-ALL:+VERS-TLS1.3:-CTYPE-ALL:{types}"))
            .arg("--port")
            .arg(listener.local_addr().unwrap().port().to_string())
            .arg("127.0.0.1");
        if proves {
            command
                .arg("--rawpkkeyfile")
                .arg(&private)
                .arg("--rawpkfile")
                .arg(&public);
        }
        // Ends its side in good order at the end of its input.
        let input = folder.path().join("payload");
        write(&input, b"payload");
        let input = Stdio::from(std::fs::File::open(input).unwrap());
        let gnutls = RunningProgram::start_with("gnutls-cli", &mut command, input);
        let (stream, _) = listener.accept().unwrap();
        // It speaks TLS from the first byte on, so the greeting must not reach it.
        let mut stream = Ungreeted {
            stream,
            greeting: 3,
        };
        let fetched = fetch(key(), vec![], &mut stream);
        drop(stream);
        let said = gnutls.finish();
        let fetched = fetched.unwrap_or_else(|error| panic!("{error:?}: {said:?}"));
        assert_eq!(fetched.payload.expose(), b"payload");
        assert_eq!(fetched.server_key, proves.then(|| own.key_id()));
    }
}

#[test]
fn an_openssl_server_is_refused_for_its_certificate_or_its_old_tls() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["machine".to_owned()]).unwrap();
    let (private, certificate) = (folder.path().join("key"), folder.path().join("cert"));
    write(&private, made.signing_key.serialize_pem().as_bytes());
    write(&certificate, made.cert.pem().as_bytes());
    for (version, expected) in [
        ("-tls1_3", PeerError::NotRawKey),
        ("-tls1_2", PeerError::OldTls),
    ] {
        let mut command = Command::new("openssl");
        // It says on which port it accepts on its standard output.
        command
            .args([
                "s_server",
                "-accept",
                "127.0.0.1:0",
                "-naccept",
                "1",
                version,
            ])
            .arg("-cert")
            .arg(&certificate)
            .arg("-key")
            .arg(&private)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut openssl = command.spawn().unwrap();
        let port = BufReader::new(openssl.stdout.take().unwrap())
            .lines()
            .find_map(|line| {
                line.unwrap()
                    .strip_prefix("ACCEPT ")?
                    .rsplit_once(':')?
                    .1
                    .parse()
                    .ok()
            });
        let theirs = TcpStream::connect(("127.0.0.1", port.unwrap_or(0))).unwrap();
        let (address, server) = serve_once(None, b"secret".to_vec());
        let mut ours = connect(&address);
        ours.write_all(b"1\r\n").unwrap();
        relay(ours, theirs);
        let refused = server.join().unwrap().map(|served| served.key_id);
        openssl.kill().unwrap();
        openssl.wait().unwrap();
        assert_eq!(refused, Err(expected), "{version}");
    }
}

#[test]
fn a_hybrid_key_exchange_is_agreed_between_ours() {
    for own in [None, Some(key())] {
        let server_key = own.as_ref().map(RawKey::key_id);
        let (address, server) = serve_once(own, b"payload".to_vec());
        let fetched = fetch(key(), vec![], &mut connect(&address)).unwrap();
        assert_eq!(fetched.server_key, server_key);
        let served = server.join().unwrap().unwrap();
        assert_eq!(served.group, NamedGroup::X25519MLKEM768);
        assert!(served.closed_in_order);
    }
}

#[test]
fn keys_of_certtool_are_read_and_ours_by_certtool() {
    for (kind, name) in [
        (RawKeyKind::Ed25519, "ed25519"),
        (RawKeyKind::EcdsaP256, "ecdsa"),
    ] {
        let theirs = certtool(
            &[
                "--generate-privkey",
                "--pkcs8",
                "--password=",
                "--no-text",
                "--key-type",
                name,
            ],
            b"",
        );
        let key = RawKey::from_pem(&theirs, Some(&certtool_public(&theirs)));
        let key = key.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(key.key_id(), certtool_key_id(&theirs), "{name}");

        let ours = RawKey::generate(kind).unwrap();
        let pem = ours.private_pem();
        assert_eq!(certtool_public(pem.expose()), ours.public_pem().as_bytes());
        assert_eq!(certtool_key_id(pem.expose()), ours.key_id());
    }
}

#[test]
fn an_rsa_key_of_certtool_is_read() {
    let args = [
        "--generate-privkey",
        "--pkcs8",
        "--password=",
        "--no-text",
        "--key-type",
        "rsa",
        "--bits",
        "2048",
    ];
    let theirs = certtool(&args, b"");
    let key = RawKey::from_pem(&theirs, Some(&certtool_public(&theirs))).unwrap();
    assert_eq!(key.key_id(), certtool_key_id(&theirs));
}

/// The result of our server role for a peer.
struct Served {
    key_id: KeyId,
    group: NamedGroup,
    closed_in_order: bool,
}

/// Gives `payload` to the first who comes to `::1:PORT`, as our server does.
fn serve_once(
    own: Option<RawKey>,
    payload: Vec<u8>,
) -> (String, thread::JoinHandle<Result<Served, PeerError>>) {
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let address = format!("::1:{}", listener.local_addr().unwrap().port());
    let serving = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut line = [0; 3];
        socket.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"1\r\n");
        let tls = ServerTls::new(own.as_ref(), &Priority::default()).unwrap();
        let mut connection = tls.connection().unwrap();
        while connection.is_handshaking() {
            connection
                .complete_io(&mut socket)
                .map_err(|error| PeerError::from_io(&error).unwrap_or(PeerError::Closed))?;
        }
        let who = authenticated(&connection)?;
        let group = connection.negotiated_key_exchange_group().unwrap().name();
        let mut stream = StreamOwned::new(connection, socket);
        stream.write_all(&payload).unwrap();
        stream.conn.send_close_notify();
        stream.flush().unwrap();
        let end = stream.read(&mut [0]);
        Ok(Served {
            key_id: who.key_id(),
            group,
            closed_in_order: matches!(end, Ok(0)),
        })
    });
    (address, serving)
}

fn fetch(
    key: RawKey,
    trusted: Vec<KeyId>,
    stream: &mut (impl Read + Write),
) -> Result<FetchedSecret, FetchError> {
    let boot = BootTls::new(
        key,
        trusted,
        &Priority::default(),
        BootSeed::from_bytes([7; 32]),
    )
    .unwrap();
    boot.fetch(stream, MAX_PAYLOAD)
}

/// Passes everything on in both directions, up to the end of both.
fn relay(one: TcpStream, other: TcpStream) {
    let pass = |mut from: &TcpStream, mut to: &TcpStream| {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    };
    thread::scope(|scope| {
        scope.spawn(|| pass(&one, &other));
        pass(&other, &one);
    });
}

fn connect(address: &str) -> TcpStream {
    let port = address
        .strip_prefix("::1:")
        .unwrap()
        .parse::<u16>()
        .unwrap();
    TcpStream::connect(("::1", port)).unwrap()
}

fn key() -> RawKey {
    RawKey::generate(RawKeyKind::Ed25519).unwrap()
}

/// The TLS key of a machine.
fn read_key(folder: &Path) -> RawKey {
    let read = |name| std::fs::read(folder.join(name)).unwrap();
    RawKey::from_pem(&read("tls-privkey.pem"), Some(&read("tls-pubkey.pem"))).unwrap()
}

/// The encrypted password, as the machine's section has it.
fn payload(machine: &TestMachine) -> Vec<u8> {
    let section = machine.section("");
    let (_, secret) = section.split_once("secret =").unwrap();
    let base64: String = secret
        .lines()
        .take_while(|line| line.is_empty() || line.starts_with(char::is_whitespace))
        .collect();
    succeed(
        Command::new("base64").args(["--decode", "--ignore-garbage"]),
        base64.as_bytes(),
    )
}

fn certtool(args: &[&str], input: &[u8]) -> Vec<u8> {
    succeed(Command::new("certtool").args(args), input)
}

fn certtool_public(private: &[u8]) -> Vec<u8> {
    let all = certtool(
        &["--load-privkey", "/dev/stdin", "--pubkey-info", "--no-text"],
        private,
    );
    let text = String::from_utf8(all).unwrap();
    let begin = text.find("-----BEGIN PUBLIC KEY-----").unwrap();
    text[begin..]
        .trim_end()
        .as_bytes()
        .iter()
        .copied()
        .chain([b'\n'])
        .collect()
}

fn certtool_key_id(private: &[u8]) -> KeyId {
    let id = certtool(
        &["--key-id", "--hash=sha256", "--load-privkey", "/dev/stdin"],
        private,
    );
    String::from_utf8(id).unwrap().trim().parse().unwrap()
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
}

/// A stream that drops the first bytes written.
struct Ungreeted {
    stream: TcpStream,
    greeting: usize,
}

impl Read for Ungreeted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl Write for Ungreeted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.greeting == 0 {
            return self.stream.write(bytes);
        }
        let lost = self.greeting.min(bytes.len());
        self.greeting -= lost;
        Ok(lost)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
