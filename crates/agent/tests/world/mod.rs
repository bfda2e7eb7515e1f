//! A booted machine with its files, and peers in the role of the server: small TLS clients that do what a test says, as
//! no nightlatchd would. The tests of the agent with nightlatchd are in `tests/interop`.
#![allow(dead_code, reason = "each test program uses a part")]
#![allow(
    clippy::unwrap_used,
    reason = "this is test code, though outside a test function"
)]

pub(crate) mod site;

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use nightlatch_core::key_id::KeyId;
use nightlatch_proto::priority::Priority;
use nightlatch_proto::release::{
    Accepted, HEADER_LEN, Header, Heartbeat, Poke, Reply, Request, SecretQuery, Token,
};
use nightlatch_proto::tls::{RawKey, RawKeyKind, ServerTls, authenticated};
use nightlatch_test_support::programs::agent_places;
use rustls::StreamOwned;
use rustls::client::ClientConnection;
use tempfile::TempDir;

/// Long enough for a machine that is busy with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn key() -> RawKey {
    RawKey::generate(RawKeyKind::Ed25519).unwrap()
}

/// A booted machine. Its keys lie where the service manager would put them, so that the program stays the user that
/// runs the test.
pub(crate) struct Machine {
    folder: TempDir,
    pub key_id: KeyId,
}

impl Machine {
    /// A machine that trusts `servers` and connects to them.
    pub(crate) fn new(servers: &[&Server]) -> Self {
        let machine = Self::bare();
        let trusted: Vec<String> = servers
            .iter()
            .map(|it| format!("{}\n", it.key_id))
            .collect();
        machine.write("trusted", &trusted.concat());
        machine.connect(servers, "");
        machine
    }

    /// A machine with a host key alone.
    pub(crate) fn bare() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = key();
        let machine = Self {
            folder,
            key_id: key.key_id(),
        };
        fs::create_dir(machine.path("keys")).unwrap();
        let pem = key.private_pem();
        fs::write(machine.path("keys/tls-privkey.pem"), pem.expose()).unwrap();
        machine
    }

    /// Writes its agent.conf.
    pub(crate) fn connect(&self, servers: &[&Server], more: &str) {
        let places: Vec<String> = servers.iter().map(|it| it.address.clone()).collect();
        let text = format!("[agent]\nconnect = {}\n{more}\n", places.join(", "));
        self.write("agent.conf", &text);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file as root would make it.
    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), Permissions::from_mode(0o644)).unwrap();
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nightlatch-agent"));
        agent_places(&mut command, self.folder.path())
            .arg("--debug")
            .stdin(Stdio::null());
        command
    }

    /// The result of a run that ends by itself.
    pub(crate) fn output(&self, arguments: &[&str]) -> (i32, String) {
        let output: Output = self.command().args(arguments).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let code = output.status.code().unwrap_or(-1);
        (code, String::from_utf8(said).unwrap())
    }

    pub(crate) fn start(&self) -> Agent {
        self.start_by(|command| command)
    }

    pub(crate) fn start_by(&self, change: impl Fn(&mut Command) -> &mut Command) -> Agent {
        let mut command = self.command();
        Self::started(change(&mut command))
    }

    /// Starts it with a resolv.conf(5) of its own. Needs root.
    pub(crate) fn start_with_resolver(&self, configuration: &str) -> Agent {
        self.write("resolv.conf", configuration);
        let agent = self.command();
        let script = r#"mount --bind "$0" /etc/resolv.conf && exec "$@""#;
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", script])
            .arg(self.path("resolv.conf"))
            .arg(agent.get_program())
            .args(agent.get_args())
            .stdin(Stdio::null());
        for (name, value) in agent.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        Self::started(&mut command)
    }

    fn started(command: &mut Command) -> Agent {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Agent { child, lines }
    }

    /// The next boot: what belongs to one boot is gone.
    pub(crate) fn reboot(&self) {
        for folder in ["run", "runtime"] {
            fs::remove_dir_all(self.path(folder)).unwrap();
        }
    }
}

/// A daemon that runs. Killed when it is dropped.
pub(crate) struct Agent {
    pub child: Child,
    lines: Receiver<String>,
}

impl Agent {
    /// The next line of its log that has `part`.
    pub(crate) fn says(&self, part: &str) -> String {
        let mut before = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(part) => return line,
                Ok(line) => before.push(line),
                Err(_) => panic!("it never said {part:?}, but: {before:#?}"),
            }
        }
    }

    /// The lines of its log so far.
    pub(crate) fn said(&self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    /// The next line of its log that has `part`, with no alarm before it.
    pub(crate) fn says_without_alarm(&self, part: &str) -> String {
        loop {
            let line = self.says("");
            assert!(!line.contains("ALARM"), "{line}");
            if line.contains(part) {
                return line;
            }
        }
    }

    pub(crate) fn terminate(&self) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    }

    /// Its exit status after SIGTERM.
    pub(crate) fn end(mut self) -> Option<i32> {
        self.terminate();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The behaviour of a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Behaviour {
    /// Accepts each request, with a new token each time and this many seconds to the next heartbeat.
    Accepts(u64),
    /// Reads the request and closes the connection.
    Refuses,
    /// Accepts the connection, and never says a word.
    Silent,
    /// Completes the handshake, reads the request, and never answers.
    Hangs,
    /// Accepts heartbeats, and lets each request for a secret wait for ever.
    LetsWait,
    /// Sends something else than TLS.
    Garbage,
    /// Answers the request with something else than a reply.
    GarbageInside,
    /// A server as Mandos's: it offers neither a key nor the protocol.
    Stock,
}

/// One thing that a server saw.
#[derive(Debug)]
pub(crate) enum Seen {
    /// A connection with this first line.
    Line(String),
    /// The handshake is complete; the machine proved this key.
    Machine(KeyId),
    Request(Request),
    /// The connection ended, and this many bytes came after the first line that were not read as TLS.
    End(usize),
}

/// A peer in the role of the server.
pub(crate) struct Server {
    pub key_id: KeyId,
    pub address: String,
    seen: Receiver<Seen>,
}

/// What a server sends to a machine that asks for a named secret. Then it closes the connection.
pub(crate) type Answer = Arc<dyn Fn(&SecretQuery) -> Vec<u8> + Send + Sync>;

impl Server {
    pub(crate) fn new(behaviour: Behaviour) -> Self {
        Self::with(behaviour, Arc::new(|_| Vec::new()))
    }

    /// Accepts each heartbeat, and answers each request for a named secret so.
    pub(crate) fn giving(answer: impl Fn(&SecretQuery) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::with(Behaviour::Accepts(3600), Arc::new(answer))
    }

    fn with(behaviour: Behaviour, answer: Answer) -> Self {
        let key = key();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (sender, seen) = channel();
        let tls = match behaviour {
            Behaviour::Stock => ServerTls::new(None, &Priority::default()).unwrap(),
            _ => ServerTls::new(Some(&key), &Priority::default())
                .unwrap()
                .offering_release(),
        };
        thread::spawn(move || {
            for (number, socket) in (1..).zip(listener.incoming().map_while(Result::ok)) {
                let (sender, connection) = (sender.clone(), tls.connection().unwrap());
                let answer = Arc::clone(&answer);
                thread::spawn(move || {
                    let tell = |seen| {
                        let _ = sender.send(seen);
                    };
                    serve(socket, connection, (behaviour, &answer), number, &tell);
                });
            }
        });
        Self {
            key_id: key.key_id(),
            address,
            seen,
        }
    }

    /// The next thing that it sees.
    pub(crate) fn sees(&self) -> Seen {
        self.seen.recv_timeout(PATIENCE).expect("nothing came")
    }

    /// The next request.
    pub(crate) fn request(&self) -> Request {
        loop {
            if let Seen::Request(request) = self.sees() {
                return request;
            }
        }
    }

    pub(crate) fn heartbeat(&self) -> Heartbeat {
        match self.request() {
            Request::Heartbeat(heartbeat) => heartbeat,
            other => panic!("{other:?}"),
        }
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        let seen = self.seen.try_iter();
        let requests = seen.filter_map(|it| match it {
            Seen::Request(request) => Some(request),
            _ => None,
        });
        requests.collect()
    }
}

/// Another address of a server: each connection is passed on to it.
pub(crate) struct TcpForward {
    pub address: String,
}

impl TcpForward {
    pub(crate) fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = server.to_owned();
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let far = TcpStream::connect(&server).unwrap();
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Write);
                    });
                }
            }
        });
        Self { address }
    }
}

/// The token that a server gives with its answer on connection `number`.
pub(crate) fn token(number: u8) -> Token {
    Token::from_bytes([number; Token::LEN])
}

/// Sends a poke.
pub(crate) fn poke(port: u16, token: Token) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let datagram = Poke(token).to_bytes();
    socket.send_to(&datagram, ("127.0.0.1", port)).unwrap();
}

fn serve(
    mut socket: TcpStream,
    mut connection: ClientConnection,
    (behaviour, answer): (Behaviour, &Answer),
    number: u8,
    tell: &dyn Fn(Seen),
) {
    let mut line = Vec::new();
    let mut byte = [0];
    while byte != *b"\n" && socket.read_exact(&mut byte).is_ok() {
        line.extend(byte);
    }
    tell(Seen::Line(String::from_utf8(line).unwrap()));
    let drain = |socket: &mut TcpStream| {
        let mut rest = Vec::new();
        let _ = socket.read_to_end(&mut rest);
        tell(Seen::End(rest.len()));
    };
    match behaviour {
        Behaviour::Silent => return drain(&mut socket),
        Behaviour::Garbage => {
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            return drain(&mut socket);
        }
        Behaviour::Stock => {
            connection.write_tls(&mut socket).unwrap();
            return drain(&mut socket);
        }
        _ => {}
    }
    while connection.is_handshaking() {
        if connection.complete_io(&mut socket).is_err() {
            return tell(Seen::End(0));
        }
    }
    tell(Seen::Machine(authenticated(&connection).unwrap().key_id()));
    let mut stream = StreamOwned::new(connection, socket);
    let mut header = [0; HEADER_LEN];
    if stream.read_exact(&mut header).is_err() {
        return tell(Seen::End(0));
    }
    let header = Header::of_request(header).unwrap();
    let mut body = vec![0; header.body_len()];
    stream.read_exact(&mut body).unwrap();
    let request = Request::parse(header, &body).unwrap();
    tell(Seen::Request(request.clone()));
    let accepted = |seconds| {
        let accepted = Accepted {
            next: Duration::from_secs(seconds),
            token: token(number),
            window: None,
        };
        Reply::Accepted(accepted).to_bytes()
    };
    let answer = match (behaviour, &request) {
        (Behaviour::Accepts(_), Request::Get(query)) => answer(query),
        (Behaviour::Accepts(seconds), _) => accepted(seconds),
        (Behaviour::LetsWait, Request::Get(_)) => {
            stream.write_all(&site::waiting()).unwrap();
            return drain(&mut stream.sock);
        }
        (Behaviour::LetsWait, _) => accepted(60),
        (Behaviour::GarbageInside, _) => b"\xff\xff\xff\xff\xff\xff".to_vec(),
        (Behaviour::Hangs, _) => return drain(&mut stream.sock),
        _ => Vec::new(),
    };
    let _ = stream.write_all(&answer);
    stream.conn.send_close_notify();
    let _ = stream.flush();
    let _ = stream.read(&mut [0]);
    tell(Seen::End(0));
}
