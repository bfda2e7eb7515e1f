//! A machine with an OpenPGP host key and an administrator, servers that give it sealed secrets, and programs that ask its
//! agent for one.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nightlatch_core::sealed_secret::{SealedSecret, SecretHeader, whole_seconds};
use nightlatch_core::secret::Secret;
use nightlatch_core::secret_name::SecretName;
use nightlatch_core::time::Wall;
use nightlatch_openpgp::{
    AdminKeyOptions, Algorithm, GenerateOptions, KeyPair, PublicKey, SecretKey, generate,
    generate_admin_key, seal,
};
use nightlatch_proto::release::{
    ReasonWord, Refused, Reply, SecretHead, SecretQuery, WaitReason, Waiting,
};
use nightlatch_sys::clock;

use super::{Agent, Machine, PATIENCE, Server};

pub(crate) const VALUE: &[u8] = b"correct horse\n\0battery";

/// An administrator with an admin key.
pub(crate) struct Administrator {
    pub(crate) secret: SecretKey,
    pub(crate) public: String,
}

impl Administrator {
    pub(crate) fn new() -> Self {
        let pair = generate_admin_key(&AdminKeyOptions {
            name: "admin",
            created: now(),
            passphrase: None,
        });
        let pair = pair.unwrap();
        Self {
            secret: secret_key(&pair),
            public: pair.public_armored,
        }
    }

    pub(crate) fn seal(&self, header: &SecretHeader, host: &PublicKey) -> SealedSecret {
        let value = Secret::new(VALUE.to_vec());
        seal(&value, header, host, &self.secret, now()).unwrap()
    }
}

pub(crate) fn now() -> Wall {
    whole_seconds(clock::now().wall)
}

pub(crate) fn secret_key(pair: &KeyPair) -> SecretKey {
    SecretKey::from_armored(pair.secret_armored.expose()).unwrap()
}

pub(crate) fn openpgp_key() -> KeyPair {
    let options = GenerateOptions {
        primary: Algorithm::Curve25519,
        encryption: Algorithm::Curve25519,
        name: "web1",
        comment: "",
        email: "",
        created: now(),
        expires: None,
    };
    generate(&options).unwrap()
}

pub(crate) fn name(text: &str) -> SecretName {
    SecretName::new(text).unwrap()
}

/// The line of agent.conf by which the user who runs this test may ask for `db`. Root needs none.
pub(crate) fn allow() -> String {
    let user = Command::new("id").arg("-un").output().unwrap().stdout;
    match String::from_utf8(user).unwrap().trim() {
        "root" => String::new(),
        user => format!("allow.db = {user}"),
    }
}

/// A machine with an OpenPGP host key and one pinned administrator.
pub(crate) struct Site {
    pub(crate) machine: Machine,
    pub(crate) host: PublicKey,
    pub(crate) admin: Administrator,
}

impl Site {
    pub(crate) fn new(servers: &[&Server]) -> Self {
        let machine = Machine::new(servers);
        machine.connect(servers, &allow());
        let pair = openpgp_key();
        fs::write(
            machine.path("keys/seckey.txt"),
            pair.secret_armored.expose(),
        )
        .unwrap();
        let admin = Administrator::new();
        machine.write("admin-keys", &admin.public);
        Self {
            machine,
            host: secret_key(&pair).public_key(),
            admin,
        }
    }

    pub(crate) fn header(&self, serial: u64) -> SecretHeader {
        SecretHeader {
            host: self.machine.key_id,
            name: name("db"),
            serial,
            created: now(),
            expires: None,
        }
    }

    pub(crate) fn sealed(&self, serial: u64) -> SealedSecret {
        self.admin.seal(&self.header(serial), &self.host)
    }
}

pub(crate) fn given(sealed: &SealedSecret) -> Vec<u8> {
    given_as(sealed.header().serial, sealed.as_bytes())
}

pub(crate) fn given_as(serial: u64, payload: &[u8]) -> Vec<u8> {
    let name = name("db");
    Reply::Secret(SecretHead { name, serial }, payload).to_bytes()
}

pub(crate) fn refused(reason: &str) -> Vec<u8> {
    Reply::Refused(Refused {
        name: name("db"),
        reason: ReasonWord::new(reason),
        retry: Some(Duration::from_secs(60)),
    })
    .to_bytes()
}

pub(crate) fn waiting() -> Vec<u8> {
    Reply::Waiting(Waiting {
        reason: Some(WaitReason::Approval),
        left: Some(Duration::from_secs(58)),
        reference: 4711,
    })
    .to_bytes()
}

/// A server whose answer a test can set at any time.
#[derive(Clone, Default)]
pub(crate) struct Answers(pub(crate) Arc<Mutex<Vec<u8>>>);

impl Answers {
    pub(crate) fn set(&self, answer: Vec<u8>) {
        *self.0.lock().unwrap() = answer;
    }

    pub(crate) fn server(&self) -> Server {
        let answers = self.clone();
        Server::giving(move |_: &SecretQuery| answers.0.lock().unwrap().clone())
    }
}

pub(crate) fn connect(machine: &Machine) -> UnixStream {
    let stream = UnixStream::connect(machine.path("get/socket")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// All that the daemon sends to a caller with this line, without the lines that say that it tries.
pub(crate) fn ask_line(machine: &Machine, line: &str) -> Vec<u8> {
    let mut stream = connect(machine);
    // It may have been turned away already.
    let _ = stream.write_all(line.as_bytes());
    let mut all = read_all(&mut stream);
    while let Some(rest) = all.strip_prefix(b"trying\n") {
        all = rest.to_vec();
    }
    all
}

/// A line that the daemon has not read is lost when it closes the connection, which the kernel tells after what it sent.
pub(crate) fn read_all(stream: &mut UnixStream) -> Vec<u8> {
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => panic!("{error}"),
        _ => all,
    }
}

pub(crate) fn ask(machine: &Machine) -> String {
    String::from_utf8_lossy(&ask_line(machine, "get db\n")).into_owned()
}

pub(crate) fn value() -> String {
    let value = String::from_utf8_lossy(VALUE);
    format!("value {}\n{value}", VALUE.len())
}

/// Starts the daemon, and waits until it serves callers and its servers have heard of it.
pub(crate) fn start(machine: &Machine, servers: usize) -> Agent {
    let agent = machine.start();
    for _ in 0..servers {
        agent.says("knows that this machine is up");
    }
    agent
}
