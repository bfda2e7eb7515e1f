//! A machine whose agent is known, as people and tools see it: on the bus beside a stock tool, and in the verbs.
#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::net::{Ipv6Addr, TcpStream};
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use nightlatch_bus::block_on;
use nightlatch_bus::client::ClientView;
use nightlatch_bus::names::ClientPath;
use nightlatch_bus::property::{Property, PropertyValue};
use nightlatch_bus::signal::{ServerSignal, SignalStream};
use nightlatch_core::boot_nonce::BootNonce;
use nightlatch_core::guard::{GoodbyeKind, GuardState, Suspicion};
use nightlatch_interop::administered::Administered;
use nightlatch_interop::client;
use nightlatch_interop::machine::{MachineKeys, TestMachine};
use nightlatch_interop::programs::Project;
use nightlatch_proto::release::{Goodbye, Heartbeat, Request};
use nightlatch_proto::tls::{RawKey, RawKeyKind};
use nightlatch_test_support::transcript::{Transcript, file};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, ServerConfig, ServerConnection,
    SignatureScheme, Stream,
};

/// Long, so that nothing changes by itself; the checker fails, so that only the agent proves anything.
const SETTINGS: &str = "checker = false\ninterval = PT12H\ntimeout = P1D\nextended_timeout = P1D";
const BOOT: BootNonce = BootNonce::from_bytes([7; 16]);

/// The agent of a machine: what the tests need of one.
struct TestAgent {
    key: RawKey,
}

impl TestAgent {
    fn new() -> Self {
        let key = RawKey::generate(RawKeyKind::Ed25519).unwrap();
        Self { key }
    }

    fn setting(&self) -> String {
        format!("{SETTINGS}\nhost_key_id = {}", self.key.key_id())
    }

    fn heartbeat(&self, site: &Administered) {
        let heartbeat = Heartbeat {
            boot: BOOT,
            resumes: 0,
            poke_port: None,
            earlier_boots: Vec::new(),
            poked: None,
            program: "test".to_owned(),
            rejected: Vec::new(),
        };
        self.say(site, &Request::Heartbeat(heartbeat));
    }

    fn goodbye(&self, site: &Administered) {
        let goodbye = Goodbye {
            boot: BOOT,
            resumes: 0,
            kind: GoodbyeKind::Reboot,
        };
        self.say(site, &Request::Goodbye(goodbye));
    }

    /// Says it on a connection of its own; returns when the server has answered.
    fn say(&self, site: &Administered, request: &Request) {
        let provider = Arc::new(default_provider());
        let private = PrivateKeyDer::from_pem_slice(self.key.private_pem().expose()).unwrap();
        let signer = provider.key_provider.load_private_key(private).unwrap();
        let shown = vec![self.key.spki().to_vec().into()];
        let certified = Arc::new(CertifiedKey::new(shown, signer));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_client_cert_verifier(Arc::new(AnyServer))
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(certified)));
        config.alpn_protocols = vec![b"nightlatch/1".to_vec()];
        let address = (Ipv6Addr::LOCALHOST, site.server.port());
        let mut socket = TcpStream::connect(address).unwrap();
        socket.write_all(b"1\r\n").unwrap();
        let mut connection = ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = Stream::new(&mut connection, &mut socket);
        stream.write_all(&request.to_bytes()).unwrap();
        let mut answer = Vec::new();
        // A connection that ends without close_notify is an error, and what came before it counts.
        let _ = stream.read_to_end(&mut answer);
        assert!(!answer.is_empty());
    }
}

/// Takes any server for a trusted one: which one is on the port is known here.
#[derive(Debug)]
struct AnyServer;

impl ClientCertVerifier for AnyServer {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = default_provider().signature_verification_algorithms;
        algorithms.supported_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

fn machine() -> TestMachine {
    let kind = MachineKeys::Curve25519;
    TestMachine::new("web1", Project::Ours, kind, b"a password")
}

fn site(machine: &TestMachine, agent: &TestAgent) -> Administered {
    let settings = [("check_on_release", "no")];
    let section = machine.section(&agent.setting());
    Administered::start_with(Project::Ours, &section, &settings)
}

fn view(site: &Administered) -> ClientView {
    block_on(async {
        let clients = site.connect().await.clients().await.unwrap();
        clients.into_iter().next().unwrap()
    })
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Lets somebody with the boot key ask, and the agent answer for the machine.
fn caught(machine: &TestMachine, agent: &TestAgent, site: &Administered) {
    let thief = client::start(Project::Ours, machine, &site.server.address());
    let running = site.server.running();
    let held = |line: &str| line.contains("held while its agent is asked").then_some(());
    running.wait_for("held", held);
    agent.heartbeat(site);
    running.wait_for("alarm: refused", |line| {
        line.contains("alarm: refused").then_some(())
    });
    thief.terminate();
}

/// Lets somebody with the boot key have the secret by the goodbye of the machine, which then goes on.
fn served(machine: &TestMachine, agent: &TestAgent, site: &Administered) {
    agent.goodbye(site);
    let thief = client::fetch(Project::Ours, machine, &site.server.address());
    assert_eq!(thief.stdout, machine.password, "{thief:?}");
    agent.heartbeat(site);
}

#[test]
fn a_guarded_machine_in_the_verbs() {
    let (machine, agent) = (machine(), TestAgent::new());
    let site = site(&machine, &agent);
    let file = file(env!("CARGO_MANIFEST_DIR"), "guard.txt");
    let mut seen = Transcript::of(file);
    let run = |seen: &mut Transcript, line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        seen.add(&format!("nightlatch {line}"), &site.nightlatch(&words));
    };
    seen.explain("A machine with a host key, whose agent was never heard.");
    run(&mut seen, "list");
    run(&mut seen, "why web1");
    agent.heartbeat(&site);
    seen.explain("Its agent was heard.");
    for line in [
        "list",
        "show web1",
        "check-now web1",
        "check-now --all",
        "trust web1",
    ] {
        run(&mut seen, line);
    }
    agent.goodbye(&site);
    seen.explain("The machine said goodbye.");
    run(&mut seen, "list");
    run(&mut seen, "why web1");
    agent.heartbeat(&site);
    caught(&machine, &agent, &site);
    seen.explain("It did not go down, and somebody used its boot key.");
    run(&mut seen, "list --state suspect");
    run(&mut seen, "why web1");
    run(&mut seen, "trust web1");
    run(&mut seen, "list");
    served(&machine, &agent, &site);
    seen.explain(
        "Somebody used its boot key after a goodbye, and got the secret; the machine went on.",
    );
    run(&mut seen, "why web1");
    run(&mut seen, "trust web1");
    run(&mut seen, "trust web1 --yes");
    run(&mut seen, "list");
    seen.assert();
}

#[test]
fn a_script_reads_the_guard() {
    let (machine, agent) = (machine(), TestAgent::new());
    let site = site(&machine, &agent);
    agent.heartbeat(&site);
    served(&machine, &agent, &site);
    let read = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_str(&stdout(&site.nightlatch(arguments))).unwrap()
    };
    let client = &read(&["list", "--json"])[0];
    assert_eq!(client["host_key_id"], agent.key.key_id().to_string());
    assert_eq!(client["guard_state"], "up");
    assert_eq!(client["suspect"], "served-impostor");
    assert_eq!(client["last_heartbeat"], client["last_checked_ok"]);
    assert_eq!(client["leaving_until"], serde_json::Value::Null);
    assert_eq!(client["unaccounted"], 0);
    assert_eq!(client["pokeable"], false);
    let why = &read(&["why", "web1", "--json"])[0];
    assert_eq!(
        (&why["verdict"], &why["reason"]),
        (&"asks".into(), &"suspect".into())
    );
    let trusted = &read(&["trust", "web1", "--yes", "--json"])[0];
    assert_eq!(trusted["done"], true);
    assert_eq!(
        read(&["list", "--json"])[0]["suspect"],
        serde_json::Value::Null
    );
    let log = stdout(&site.nightlatch(&["log"]));
    for kind in ["armed", "goodbye", "served-impostor", "trusted"] {
        assert!(log.contains(kind), "{kind}: {log}");
    }
}

/// The next change of our own interface.
async fn next_change(signals: &mut SignalStream) -> Vec<(Property, PropertyValue)> {
    loop {
        match signals.next().await.unwrap() {
            ServerSignal::Changed { values, .. }
                if values
                    .iter()
                    .any(|(it, _)| Property::own().any(|own| own == *it)) =>
            {
                return values;
            }
            _ => {}
        }
    }
}

#[test]
fn the_bus_tells_what_the_guard_knows() {
    let (machine, agent) = (machine(), TestAgent::new());
    let site = site(&machine, &agent);
    let before = view(&site);
    assert_eq!(before.guard.state, Some(GuardState::Unarmed));
    assert_eq!(before.guard.host_key_id, agent.key.key_id().to_string());
    let word = |word: &str| PropertyValue::Text(word.to_owned());
    block_on(async {
        let server = site.connect().await;
        let mut signals = server.signals().await.unwrap();
        agent.heartbeat(&site);
        let armed = next_change(&mut signals).await;
        assert_eq!(armed, [(Property::GuardState, word("up"))]);
        // This one moves times alone, which Mandos's interface tells.
        agent.heartbeat(&site);
        agent.goodbye(&site);
        let leaving = next_change(&mut signals).await;
        let names: Vec<Property> = leaving.iter().map(|(property, _)| *property).collect();
        assert_eq!(names, [Property::GuardState, Property::LeavingUntil]);
        let missing = server.trust("nobody").await.unwrap_err();
        assert!(
            missing.to_string().contains("no client [nobody]"),
            "{missing}"
        );
    });
    let after = view(&site);
    assert_eq!(after.guard.state, Some(GuardState::Leaving));
    assert!(after.last_heartbeat() > before.last_heartbeat());
    assert_eq!(after.last_heartbeat(), after.guard.last_heartbeat);
    let path = ClientPath::of_name("web1");
    let refused = block_on(async { site.connect().await.checked_ok(&path).await });
    let error = refused.unwrap_err().to_string();
    assert!(error.contains("its agent"), "{error}");
}

#[test]
fn a_suspicion_and_its_end_are_told_at_once() {
    let (machine, agent) = (machine(), TestAgent::new());
    let site = site(&machine, &agent);
    agent.heartbeat(&site);
    caught(&machine, &agent, &site);
    assert_eq!(view(&site).guard.suspect, Some(Suspicion::Impostor));
    block_on(async {
        let server = site.connect().await;
        let mut signals = server.signals().await.unwrap();
        server.trust("web1").await.unwrap();
        // Before the reply.
        let change = next_change(&mut signals).await;
        let none = PropertyValue::Text(String::new());
        assert_eq!(change, [(Property::Suspect, none)]);
    });
    let again = Administered::start_again(site.server.kill(), site.bus);
    assert_eq!(view(&again).guard.suspect, None);
}

/// Whoever approves must know that the request may be somebody else's, and until when it waits.
#[test]
fn an_approval_of_a_suspect_says_so() {
    let (machine, agent) = (machine(), TestAgent::new());
    let site = site(&machine, &agent);
    agent.heartbeat(&site);
    caught(&machine, &agent, &site);
    block_on(async {
        let mut signals = site.connect().await.signals().await.unwrap();
        let boot = client::start(Project::Ours, &machine, &site.server.address());
        let (delay, by_default) = loop {
            if let ServerSignal::NeedApproval {
                delay,
                approved_by_default,
                ..
            } = signals.next().await.unwrap()
            {
                break (delay, approved_by_default);
            }
        };
        assert!(!by_default);
        assert!(delay > Duration::from_secs(12 * 3600), "{delay:?}");
        let waiting = signals.snapshot().await.unwrap().remove(0);
        assert_eq!(waiting.decided_at(), waiting.expires);
        assert!(!waiting.granted_by_default());
        let approved = site.nightlatch(&["approve", "web1"]);
        assert!(approved.status.success(), "{approved:?}");
        let said = String::from_utf8_lossy(&approved.stderr);
        let warning = "warning: web1 is suspect, impostor: its boot key was used while it was up";
        assert!(said.contains(warning), "{said}");
        drop(boot);
    });
}

#[test]
fn stock_tools_administer_a_guarded_machine() {
    let (machine, agent) = (machine(), TestAgent::new());
    let site = site(&machine, &agent);
    agent.heartbeat(&site);
    let table = stdout(&site.mandos_ctl(&[]));
    assert!(table.contains("web1"), "{table}");
    let json = stdout(&site.mandos_ctl(&["--dump-json"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["web1"]["Enabled"], true);
    assert!(json["web1"].get("GuardState").is_none(), "{json}");
    stdout(&site.mandos_ctl(&["--disable", "web1"]));
    assert!(!view(&site).enabled);
    stdout(&site.mandos_ctl(&["--enable", "web1"]));
    assert!(view(&site).enabled);
    // Only its agent is a proof of life.
    let refused = site.mandos_ctl(&["--start-checker", "web1"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("its agent"), "{refused:?}");
}
