//! The daemon as a whole process, with peers in the role of its servers.
#![allow(clippy::unwrap_used, reason = "in a test it is the assertion itself")]

mod world;

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::net::UdpSocket;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixDatagram;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use nightlatch_core::boot_nonce::{BootNonce, BootSeed};
use nightlatch_core::guard::GoodbyeKind;
use nightlatch_proto::release::Request;

use world::{Behaviour, Machine, Seen, Server, TcpForward, key, poke, token};

/// The seed of the boot that is up, as the boot client would know it.
fn seed(machine: &Machine) -> BootSeed {
    let bytes = fs::read(machine.path("run/boot-seed")).unwrap();
    BootSeed::from_bytes(bytes.try_into().unwrap())
}

#[test]
fn each_trusted_server_hears_of_the_machine_at_once() {
    let servers = [(); 2].map(|()| Server::new(Behaviour::Accepts(3600)));
    let machine = Machine::new(&servers.each_ref());
    let agent = machine.start();
    for server in &servers {
        let mut seen = Vec::new();
        let heartbeat = loop {
            match server.sees() {
                Seen::Line(line) => assert_eq!(line, "1 agent\r\n"),
                Seen::Request(Request::Heartbeat(heartbeat)) => break heartbeat,
                other => seen.push(other),
            }
        };
        let proved = |it: &Seen| matches!(it, Seen::Machine(key) if *key == machine.key_id);
        assert!(seen.iter().any(proved), "{seen:?}");
        let nonce = BootNonce::new(&seed(&machine), Some(&server.key_id));
        assert_eq!(heartbeat.boot, nonce);
        assert_eq!((heartbeat.resumes, heartbeat.earlier_boots), (0, vec![]));
        assert!(heartbeat.poke_port.is_some());
        assert!(heartbeat.program.starts_with("nightlatch-agent "));
    }
    agent.says("knows that this machine is up; again within 3600 s");
    agent.says("knows that this machine is up; again within 3600 s");
    let mode = |name: &str| {
        fs::metadata(machine.path(name))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode("state/boots"), 0o600);
    let remembered = fs::read_to_string(machine.path("state/remembered-servers")).unwrap();
    let addresses: BTreeSet<&str> = servers.iter().map(|it| it.address.as_str()).collect();
    assert_eq!(remembered.lines().collect::<BTreeSet<_>>(), addresses);
    assert_eq!((mode("state"), mode("runtime")), (0o700, 0o700));
    // Not while the system is stopping: nothing is said.
    assert_eq!(agent.end(), Some(0));
    for server in &servers {
        assert_eq!(server.requests(), []);
    }
    assert!(!machine.path("runtime/control").exists());
}

#[test]
fn a_restart_forgets_no_server_that_it_has_not_reached() {
    let servers = [(); 2].map(|()| Server::new(Behaviour::Accepts(3600)));
    let machine = Machine::new(&servers.each_ref());
    let remembered = || {
        let text = fs::read_to_string(machine.path("state/remembered-servers")).unwrap();
        let lines = text.lines().map(str::to_owned);
        lines.collect::<BTreeSet<_>>()
    };
    let both: BTreeSet<String> = servers.iter().map(|it| it.address.clone()).collect();
    let agent = machine.start();
    for _ in &servers {
        agent.says("knows that this machine is up");
    }
    assert_eq!(agent.end(), Some(0));
    assert_eq!(remembered(), both);
    machine.connect(&[&servers[0]], "search = no");
    let agent = machine.start();
    agent.says("knows that this machine is up");
    assert_eq!(agent.end(), Some(0));
    assert_eq!(remembered(), both);
    // Each server is told at another place: the old ones are forgotten.
    let moved = TcpForward::to(&servers[1].address);
    machine.write(
        "agent.conf",
        &format!(
            "[agent]\nsearch = no\nconnect = {}, {}\n",
            servers[0].address, moved.address
        ),
    );
    let agent = machine.start();
    for _ in &servers {
        agent.says("knows that this machine is up");
    }
    assert_eq!(agent.end(), Some(0));
    let now = [servers[0].address.clone(), moved.address];
    assert_eq!(remembered(), now.into_iter().collect());
}

#[test]
fn a_poke_with_the_right_token_brings_a_heartbeat_and_no_other_does() {
    let server = Server::new(Behaviour::Accepts(3600));
    let machine = Machine::new(&[&server]);
    let agent = machine.start();
    let port = server.heartbeat().poke_port.unwrap().get();
    agent.says("again within");
    poke(port, token(99));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for number in 0..2000u32 {
        socket
            .send_to(&number.to_be_bytes(), ("127.0.0.1", port))
            .unwrap();
    }
    // As a server does, until it is answered: the first ones may be lost in the flood.
    let (answered, is_answered) = channel::<()>();
    let pokes = std::thread::spawn(move || {
        let pause = Duration::from_millis(100);
        poke(port, token(1));
        while is_answered.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            poke(port, token(1));
        }
    });
    agent.says("a server asks for a heartbeat");
    server.heartbeat();
    agent.says("again within");
    // The token is used; the new one is not.
    drop(answered);
    pokes.join().unwrap();
    poke(port, token(2));
    agent.says("a server asks for a heartbeat");
    server.heartbeat();
    agent.says("again within");
    assert_eq!(agent.end(), Some(0));
    assert_eq!(server.requests(), []);
}

#[test]
fn a_port_that_is_closed_is_not_told() {
    let server = Server::new(Behaviour::Accepts(3600));
    let machine = Machine::new(&[&server]);
    machine.connect(&[&server], "poke_port = no");
    let _agent = machine.start();
    assert_eq!(server.heartbeat().poke_port, None);
}

/// Dead, silent, refusing, hanging and mad servers beside one that is well: that one hears of the machine, and nothing
/// is said to the others that is not for them.
#[test]
fn a_server_that_is_well_does_not_wait_for_others() {
    let silent = Server::new(Behaviour::Silent);
    let garbage = Server::new(Behaviour::Garbage);
    let inside = Server::new(Behaviour::GarbageInside);
    let refuses = Server::new(Behaviour::Refuses);
    let hangs = Server::new(Behaviour::Hangs);
    let well = Server::new(Behaviour::Accepts(3600));
    let all = [&silent, &garbage, &inside, &refuses, &hangs, &well];
    let machine = Machine::new(&all);
    let agent = machine.start();
    well.heartbeat();
    agent.says(&format!("the server {} at", well.key_id));
    drop(agent);
    agent_says(&machine, &garbage, "does not keep to the TLS protocol");
    agent_says(&machine, &inside, "a message that is not valid");
    agent_says(
        &machine,
        &refuses,
        "closed the connection without an answer",
    );
}

/// A daemon with this server alone says this about it.
fn agent_says(machine: &Machine, server: &Server, what: &str) {
    machine.connect(&[server], "");
    let agent = machine.start();
    let line = agent.says(&format!("cannot report to {}", server.address));
    assert!(line.contains(what), "{line}");
}

#[test]
fn a_stock_server_is_left_before_anything_is_proved() {
    let stock = Server::new(Behaviour::Stock);
    let machine = Machine::new(&[&stock]);
    let agent = machine.start();
    agent.says("the server does not offer nightlatch/1");
    assert!(matches!(stock.sees(), Seen::Line(line) if line == "1 agent\r\n"));
    assert!(matches!(stock.sees(), Seen::End(0)));
}

#[test]
fn an_untrusted_server_gets_no_request() {
    let server = Server::new(Behaviour::Accepts(3600));
    let machine = Machine::new(&[&server]);
    machine.write("trusted", &format!("{}\n", key().key_id()));
    let agent = machine.start();
    agent.says("is not among the trusted ones");
    for _ in 0..2 {
        assert!(matches!(server.sees(), Seen::Line(_)));
        let end = loop {
            match server.sees() {
                Seen::Machine(_) => {}
                other => break other,
            }
        };
        assert!(matches!(end, Seen::End(0)), "{end:?}");
    }
}

#[test]
fn boots_that_no_server_heard_of_are_listed_until_one_has() {
    let server = Server::new(Behaviour::Accepts(3600));
    let machine = Machine::new(&[&server]);
    // Two boots that ended before the network was up.
    let mut earlier = Vec::new();
    for _ in 0..2 {
        assert_eq!(machine.output(&["note-boot"]).0, 0);
        earlier.push(BootNonce::new(&seed(&machine), Some(&server.key_id)).mark());
        fs::remove_dir_all(machine.path("run")).unwrap();
    }
    assert_eq!(machine.output(&["note-boot"]).0, 0);
    let agent = machine.start();
    assert_eq!(server.heartbeat().earlier_boots, earlier);
    agent.says("again within");
    assert_eq!(agent.end(), Some(0));
    // The next start in this boot, and the next boot, have nothing to tell.
    for _ in 0..2 {
        let agent = machine.start();
        assert_eq!(server.heartbeat().earlier_boots, []);
        agent.says("again within");
        drop(agent);
        machine.reboot();
    }
}

#[test]
fn a_goodbye_reaches_all_servers_and_no_heartbeat_follows() {
    let well = [(); 2].map(|()| Server::new(Behaviour::Accepts(3600)));
    let hangs = Server::new(Behaviour::Hangs);
    let machine = Machine::new(&[&well[0], &hangs, &well[1]]);
    let agent = machine.start();
    let ports = well.each_ref().map(|it| it.heartbeat().poke_port);
    let port = ports[0].unwrap().get();
    agent.says("again within");
    agent.says("again within");
    let (code, said) = machine.output(&["goodbye", "hibernate"]);
    assert_eq!(code, 69, "{said}");
    assert!(
        said.contains("2 of 3 servers know that this machine goes down"),
        "{said}"
    );
    for server in &well {
        let Request::Goodbye(goodbye) = server.request() else {
            panic!("a heartbeat after the goodbye");
        };
        assert_eq!(goodbye.kind, GoodbyeKind::Hibernate);
        let nonce = BootNonce::new(&seed(&machine), Some(&server.key_id));
        assert_eq!(goodbye.boot, nonce);
    }
    agent.says("saying goodbye");
    agent.said();
    // A heartbeat would be due to each of them now, and another goodbye shows that the daemon has looked.
    for number in 1..4 {
        poke(port, token(number));
    }
    agent.says("a server asks for a heartbeat");
    machine.output(&["goodbye", "hibernate"]);
    assert_eq!(
        agent.said().iter().find(|line| line.contains("trying")),
        None
    );
    let heartbeat = |it: &Request| matches!(it, Request::Heartbeat(_));
    for server in &well {
        assert!(!server.requests().iter().any(heartbeat));
    }
    assert_eq!(agent.end(), Some(0));
}

/// The systemd of this host, if there is one, is not stopping it: nothing is said. That a real shutdown is seen cannot be
/// shown here; it is for the tests of packages and guests.
#[test]
fn a_machine_that_is_not_stopping_says_no_goodbye() {
    let server = Server::new(Behaviour::Accepts(3600));
    let machine = Machine::new(&[&server]);
    let agent = machine.start();
    server.heartbeat();
    agent.says("again within");
    let (code, said) = machine.output(&["stopping"]);
    assert!(code == 0 || code == 71, "{said}");
    assert_eq!(agent.end(), Some(0));
    assert_eq!(server.requests(), []);
}

#[test]
fn commands_without_a_daemon_say_so() {
    let machine = Machine::bare();
    let (code, said) = machine.output(&["goodbye", "reboot"]);
    assert_eq!(code, 69);
    assert!(said.contains("no daemon answers in"), "{said}");
    assert!(
        said.contains("hint: start it with `systemctl start nightlatch-agent`"),
        "{said}"
    );
}

/// The configuration files that are wrong, and what the daemon says about them.
#[test]
fn each_fault_of_the_configuration_is_quoted_with_what_was_expected() {
    let server = Server::new(Behaviour::Accepts(3600));
    let id = server.key_id.to_string();
    let ok = format!("[agent]\nconnect = {}\n", server.address);
    for (conf, trusted, code, parts) in [
        (
            Some("[agent]\npoke_port = 0\n"),
            Some(&*id),
            78,
            &[
                "agent.conf:2: [agent] poke_port: expected a port from 1 to 65535, any or no; found \"0\"",
            ][..],
        ),
        (
            Some("[agent]\nconnect = server\n"),
            Some(&id),
            78,
            &["\"server\" names no server: expected ADDRESS:PORT"],
        ),
        (
            Some("[agent]\nsearch = no\n"),
            Some(&id),
            78,
            &["expected servers in connect, or search = yes"],
        ),
        (None, Some(&id), 78, &["cannot read", "agent.conf"]),
        (
            Some(&ok),
            None,
            78,
            &[
                "there is no list of trusted servers",
                "hint:",
                "echo KEY_ID >>",
            ],
        ),
        (
            Some(&ok),
            Some("# nobody\n"),
            78,
            &[
                "names none: nothing would ever be reported",
                "echo KEY_ID >>",
            ],
        ),
        (
            Some(&ok),
            Some("12\n"),
            78,
            &[
                "trusted:1: expected a key id of 64 hexadecimal digits",
                "write one key id in each line",
            ],
        ),
    ] {
        let machine = Machine::bare();
        if let Some(conf) = conf {
            machine.write("agent.conf", conf);
        }
        if let Some(trusted) = trusted {
            machine.write("trusted", trusted);
        }
        for arguments in [&["--check"][..], &[]] {
            let (found, said) = machine.output(arguments);
            assert_eq!(found, code, "{said}");
            assert!(said.contains("hint: "), "{said}");
            for part in parts {
                assert!(said.contains(part), "{part:?} is not in {said}");
            }
        }
    }
    assert_eq!(server.requests(), []);
}

#[test]
fn a_list_that_others_can_write_and_a_key_that_others_can_read_are_refused() {
    let server = Server::new(Behaviour::Accepts(3600));
    let machine = Machine::new(&[&server]);
    let chmod = |name: &str, mode| {
        fs::set_permissions(machine.path(name), Permissions::from_mode(mode)).unwrap();
    };
    let keys = machine.path("keys").display().to_string();
    let check = || machine.output(&["--check", "--keys", &keys]);
    chmod("keys/tls-privkey.pem", 0o644);
    let (code, said) = check();
    assert_eq!(code, 69, "{said}");
    assert!(
        said.contains("it has the mode 0644, expected 0600 or less"),
        "{said}"
    );
    assert!(
        said.contains("hint: chown root: ") && said.contains("chmod 0600"),
        "{said}"
    );
    chmod("keys/tls-privkey.pem", 0o600);
    let (code, said) = check();
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains(&format!("host key {}", machine.key_id)),
        "{said}"
    );
    assert!(
        said.contains(&format!("reports to {}", server.key_id)),
        "{said}"
    );
    chmod("trusted", 0o666);
    let (code, said) = check();
    assert_eq!(code, 78, "{said}");
    assert!(
        said.contains("it has the mode 0666, expected 0644 or less"),
        "{said}"
    );
    chmod("trusted", 0o644);
    fs::remove_file(machine.path("keys/tls-privkey.pem")).unwrap();
    let (code, said) = check();
    assert_eq!(code, 69, "{said}");
    assert!(said.contains("there is no host key"), "{said}");
    assert!(said.contains("`nightlatch enroll --host-key`"), "{said}");
}

/// Whatever another program reads of a process that holds keys is refused by the kernel.
#[test]
fn the_daemon_leaves_no_core_dump() {
    let server = Server::new(Behaviour::Accepts(3600));
    let machine = Machine::new(&[&server]);
    let agent = machine.start();
    server.heartbeat();
    let limits = fs::read_to_string(format!("/proc/{}/limits", agent.child.id())).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let words: Vec<&str> = core.unwrap().split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"]);
    // And no thread stays behind a heartbeat: there is the daemon, and the one that accepts callers.
    agent.says("again within");
    let threads = |agent: &world::Agent| -> BTreeSet<String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", agent.child.id())).unwrap();
        tasks
            .map(|task| task.unwrap().file_name().into_string().unwrap())
            .collect()
    };
    let deadline = nightlatch_test_support::Deadline::start();
    while threads(&agent).len() > 2 {
        assert!(!deadline.passed(), "{:?}", threads(&agent));
        std::thread::yield_now();
    }
}

/// Without a service manager that does it, as from an init script.
#[test]
fn started_by_root_it_becomes_its_user_and_keeps_no_privilege() {
    if !nightlatch_test_support::is_root() {
        return;
    }
    let server = Server::new(Behaviour::Accepts(3600));
    let machine = Machine::new(&[&server]);
    for (name, mode) in [
        ("", 0o755),
        ("keys", 0o700),
        ("keys/tls-privkey.pem", 0o600),
    ] {
        fs::set_permissions(machine.path(name), Permissions::from_mode(mode)).unwrap();
    }
    let keys = machine.path("keys").display().to_string();
    let as_user = ["--user", "nobody", "--keys", &keys];
    // As that of start-stop-daemon(8), whose folder its user cannot enter.
    fs::create_dir(machine.path("notify")).unwrap();
    fs::set_permissions(machine.path("notify"), Permissions::from_mode(0o700)).unwrap();
    let socket = machine.path("notify/socket");
    let manager = UnixDatagram::bind(&socket).unwrap();
    let agent = machine.start_by(|command| {
        command
            .env_remove("CREDENTIALS_DIRECTORY")
            .env("NOTIFY_SOCKET", &socket)
            .args(as_user)
    });
    manager.set_read_timeout(Some(world::PATIENCE)).unwrap();
    let mut message = [0; 64];
    let length = manager.recv(&mut message).unwrap();
    assert_eq!(&message[..length], b"READY=1\n");
    server.heartbeat();
    agent.says("again within");
    let status = fs::read_to_string(format!("/proc/{}/status", agent.child.id())).unwrap();
    let line = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap()
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let nobody = fs::metadata(machine.path("state/boots")).unwrap().uid();
    assert_ne!(nobody, 0);
    assert_eq!(line("Uid:"), [(); 4].map(|()| nobody.to_string()));
    for set in ["CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(line(set), ["0000000000000000"], "{set}");
    }
    // Noted by root at the next boot, and read by the user.
    let mut note = machine.command();
    note.env_remove("CREDENTIALS_DIRECTORY")
        .args(as_user)
        .arg("note-boot");
    fs::remove_dir_all(machine.path("run")).unwrap();
    assert!(note.status().unwrap().success());
    assert_eq!(
        fs::metadata(machine.path("state/boots")).unwrap().uid(),
        nobody
    );
    let (code, said) = machine.output(&["goodbye", "reboot"]);
    assert_eq!(code, 0, "{said}");
    // A user that does not exist is an error, and not a reason to stay root.
    let mut missing = machine.command();
    missing.env_remove("CREDENTIALS_DIRECTORY").args([
        "--user",
        "nobody-of-that-name",
        "--keys",
        &keys,
    ]);
    let output = missing.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(69), "{said}");
    assert!(
        said.contains("this system has no user nobody-of-that-name"),
        "{said}"
    );
}
