//! Named secrets on the wire: put over D-Bus, asked for by a machine in the role of its agent.
#![forbid(unsafe_code)]

use std::net::{Ipv6Addr, TcpStream};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nightlatch_bus::block_on;
use nightlatch_bus::named_secrets::PutOptions;
use nightlatch_core::boot_nonce::BootNonce;
use nightlatch_core::key_id::KeyId;
use nightlatch_core::sealed_secret::{SealedSecret, SecretHeader, whole_seconds};
use nightlatch_core::secret_name::SecretName;
use nightlatch_core::secret_rejection::{Rejection, RejectionReason};
use nightlatch_interop::administered::Administered;
use nightlatch_interop::machine::{MachineKeys, TestMachine};
use nightlatch_interop::programs::{Project, ours};
use nightlatch_interop::screen::TmuxScreen;
use nightlatch_proto::priority::Priority;
use nightlatch_proto::release::{Heartbeat, Request, SecretQuery};
use nightlatch_proto::tls::{HostTls, NamedSecret, RawKey, RawKeyKind, ReportError};
use nightlatch_sys::clock;

const SETTINGS: &str = "checker = false\ninterval = PT12H\ntimeout = P1D";
const BOOT: BootNonce = BootNonce::from_bytes([7; 16]);
/// No step takes longer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Scene {
    site: Administered,
    machine: TestMachine,
    host: RawKey,
}

impl Scene {
    fn new() -> Self {
        let kind = MachineKeys::Curve25519;
        let machine = TestMachine::new("web1", Project::Ours, kind, b"a password");
        let host = RawKey::generate(RawKeyKind::Ed25519).unwrap();
        let settings = format!("{SETTINGS}\nhost_key_id = {}", host.key_id());
        let site = Administered::start(Project::Ours, &machine.section(&settings));
        Self {
            site,
            machine,
            host,
        }
    }

    fn put(&self, serial: u64, approval: bool) -> SealedSecret {
        let header = SecretHeader {
            host: self.host.key_id(),
            name: name(),
            serial,
            created: whole_seconds(clock::now().wall),
            expires: None,
        };
        let sealed = SealedSecret::new(&header, b"an OpenPGP message").unwrap();
        let options = PutOptions {
            dry_run: false,
            approval: Some(approval),
        };
        block_on(async {
            let server = self.site.connect().await;
            let put = server.put_secret("web1", sealed.as_bytes(), options);
            put.await.unwrap();
        });
        sealed
    }

    fn get(&self) -> Result<NamedSecret, ReportError> {
        get(&self.host, self.server(), |_| ())
    }

    /// The port of the server, and its key.
    fn server(&self) -> (u16, KeyId) {
        let key = self.site.server.key_id().parse().unwrap();
        (self.site.server.port(), key)
    }

    /// The word that refuses the host key.
    fn refusal(&self) -> String {
        match self.get() {
            Err(ReportError::RefusedFor { reason, .. }) => reason.to_string(),
            other => panic!("{other:?}"),
        }
    }

    fn stdout(&self, arguments: &[&str]) -> String {
        let output = self.site.nightlatch(arguments);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

fn name() -> SecretName {
    SecretName::new("card.pin").unwrap()
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Asks for the secret with `key`; `waits` gets the number of the request with each notice to wait.
fn get(
    key: &RawKey,
    (port, server): (u16, KeyId),
    mut waits: impl FnMut(u64),
) -> Result<NamedSecret, ReportError> {
    let tls = HostTls::new(key, vec![server], &Priority::default()).unwrap();
    let mut stream = connect(port);
    let query = SecretQuery {
        name: name(),
        boot: BOOT,
    };
    let connected = tls.connect(&mut stream)?;
    connected.get(query, &mut stream, &mut |waiting, _| {
        waits(waiting.reference);
        Ok(())
    })
}

#[test]
fn the_host_key_gets_what_was_put_and_nobody_else_does() {
    let scene = Scene::new();
    assert_eq!(scene.refusal(), "no-such-secret");
    let sealed = scene.put(5, false);
    let expected = NamedSecret {
        serial: 5,
        payload: sealed.as_bytes().to_vec(),
    };
    assert_eq!(scene.get().unwrap(), expected);

    // The boot key is told nothing, even with the nonce of the boot that is up.
    let pem = std::fs::read(scene.machine.key_file("tls-privkey.pem")).unwrap();
    let boot = RawKey::from_pem(&pem, None).unwrap();
    let told = get(&boot, scene.server(), |_| ());
    assert!(matches!(told, Err(ReportError::Refused)), "{told:?}");
    let stranger = RawKey::generate(RawKeyKind::Ed25519).unwrap();
    let told = get(&stranger, scene.server(), |_| ());
    assert!(told.is_err(), "{told:?}");

    scene.stdout(&["disable", "web1"]);
    assert_eq!(scene.refusal(), "disabled");
    scene.stdout(&["enable", "web1"]);

    // A crash keeps it, and a removal is kept over the next one.
    let Scene {
        site,
        machine,
        host,
    } = scene;
    let site = Administered::start_again(site.server.kill(), site.bus);
    let scene = Scene {
        site,
        machine,
        host,
    };
    assert_eq!(scene.get().unwrap(), expected);
    block_on(async {
        let server = scene.site.connect().await;
        server.remove_secret("web1", &name(), 0).await.unwrap();
        let options = PutOptions::default();
        let again = server.put_secret("web1", sealed.as_bytes(), options).await;
        let error = again.unwrap_err().to_string();
        assert!(error.contains("not greater than 5"), "{error}");
        assert!(server.secrets(None).await.unwrap().is_empty());
    });
    assert_eq!(scene.refusal(), "no-such-secret");
    let log = scene.stdout(&["log"]);
    for kind in ["secret-put", "secret-removed", "not-for-boot-key"] {
        assert!(log.contains(kind), "{kind}: {log}");
    }
}

#[test]
fn a_person_sees_which_secret_a_request_is_for_and_decides_on_it() {
    let scene = Scene::new();
    let sealed = scene.put(5, true);
    let server = scene.server();
    let (noticed, notices) = mpsc::channel();
    thread::scope(|threads| {
        let host = &scene.host;
        let waiting =
            threads.spawn(move || get(host, server, |number| noticed.send(number).unwrap()));
        let number = notices.recv_timeout(PATIENCE).unwrap();
        block_on(async {
            let server = scene.site.connect().await;
            let requests = server.requests(Some("web1")).await.unwrap();
            let [request] = &requests[..] else {
                panic!("{requests:?}");
            };
            assert_eq!(request.number, number);
            assert_eq!(request.secret.as_deref(), Some("card.pin"));
            assert!(!request.approved_by_default);
        });
        let why = scene.stdout(&["why", "web1"]);
        assert!(why.contains("for the secret card.pin"), "{why}");
        let show = scene.stdout(&["show", "web1"]);
        assert!(show.contains("named secret card.pin"), "{show}");
        // A pattern approves only boots.
        for which in [&["approve", "web*"][..], &["approve", "--all", "--yes"]] {
            let told = scene.site.nightlatch(which);
            let said = String::from_utf8_lossy(&told.stderr).into_owned();
            assert!(told.status.success(), "{said}");
            let expected = "requests for named secrets wait, and stay: web1.";
            assert!(said.contains(expected), "{said}");
        }
        let list = scene.stdout(&["list", "--json"]);
        let list: serde_json::Value = serde_json::from_str(&list).unwrap();
        assert_eq!(list[0]["state"], "waiting");
        assert_eq!(list[0]["approval_pending"], false);
        assert_eq!(list[0]["waiting_secrets"], serde_json::json!(["card.pin"]));
        let approved = scene.site.nightlatch(&["approve", "web1"]);
        let said = String::from_utf8_lossy(&approved.stderr).into_owned();
        assert!(said.contains("for the secret card.pin"), "{said}");
        let secret = waiting.join().unwrap().unwrap();
        assert_eq!(secret.payload, sealed.as_bytes());
    });
    let log = scene.stdout(&["log"]);
    for line in ["waits", "approved", "released"] {
        let of = |text: &&str| text.contains(line) && text.contains("secret card.pin");
        assert!(log.lines().any(|text| of(&text)), "{line}: {log}");
    }
}

#[test]
fn one_key_of_the_monitor_approves_no_named_secret() {
    let scene = Scene::new();
    let sealed = scene.put(5, true);
    let server = scene.server();
    let (noticed, notices) = mpsc::channel();
    let mut monitor = Command::new(ours("nightlatch"));
    monitor.arg("monitor");
    monitor.env("DBUS_SYSTEM_BUS_ADDRESS", scene.site.bus.address());
    monitor.env("LC_ALL", "C.UTF-8");
    let screen = TmuxScreen::start(&monitor, 120, 24);
    screen.wait_for_text("web1");
    thread::scope(|threads| {
        let host = &scene.host;
        let waiting =
            threads.spawn(move || get(host, server, |number| noticed.send(number).unwrap()));
        let number = notices.recv_timeout(PATIENCE).unwrap();
        screen.wait_for_text("card.pin");
        screen.press(&["a"]);
        // The person sees what it is for, and says so.
        screen.wait_for_text("for the secret card.pin: approve web1?");
        assert!(screen.text().contains(&number.to_string()));
        while !waiting.is_finished() {
            screen.press(&["y"]);
            thread::sleep(Duration::from_millis(200));
        }
        assert_eq!(waiting.join().unwrap().unwrap().payload, sealed.as_bytes());
    });
}

#[test]
fn what_an_agent_refused_is_an_alarm_with_its_reason() {
    let scene = Scene::new();
    let heartbeat = Request::Heartbeat(Heartbeat {
        boot: BOOT,
        resumes: 0,
        poke_port: None,
        earlier_boots: Vec::new(),
        poked: None,
        program: "test".to_owned(),
        rejected: vec![Rejection {
            reason: RejectionReason::RolledBack,
            name: name(),
        }],
    });
    let (port, server) = scene.server();
    let tls = HostTls::new(&scene.host, vec![server], &Priority::default()).unwrap();
    let mut stream = connect(port);
    let connected = tls.connect(&mut stream).unwrap();
    connected.report(&heartbeat, &mut stream).unwrap();
    let log = scene.stdout(&["log", "--alarms"]);
    for part in ["secret-rejected", "card.pin", "rolled-back"] {
        assert!(log.contains(part), "{part}: {log}");
    }
}
