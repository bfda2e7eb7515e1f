//! Named secrets through the daemon's local socket, from servers of every kind: honest, forging, swapping, going back,
//! slow, and lying.
#![allow(clippy::unwrap_used, reason = "in a test it is the assertion itself")]

mod world;

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::time::Duration;

use nightlatch_core::key_id::KeyId;
use nightlatch_core::sealed_secret::{SealedSecret, SecretHeader};
use nightlatch_proto::release::Request;

use world::site::{
    Administrator, Answers, Site, allow, ask, ask_line, connect, given, given_as, name,
    openpgp_key, read_all, refused, secret_key, start, value, waiting,
};
use world::{Seen, Server, poke, token};

#[test]
fn a_secret_that_the_administrator_has_sealed_is_handed_out_and_its_serial_is_kept() {
    let answers = Answers::default();
    let server = answers.server();
    let site = Site::new(&[&server]);
    let agent = start(&site.machine, 1);
    let mode = |path: &str| {
        let about = fs::metadata(site.machine.path(path)).unwrap();
        about.permissions().mode() & 0o777
    };
    assert_eq!((mode("get"), mode("get/socket")), (0o755, 0o666));
    let five = site.sealed(5);
    for sealed in [&five, &five, &site.sealed(7)] {
        answers.set(given(sealed));
        assert_eq!(ask(&site.machine), value());
        let serial = sealed.header().serial;
        let line = agent.says("gets db");
        assert!(line.contains(&format!("serial {serial}")), "{line}");
        assert!(!line.contains("correct"), "{line}");
        let kept = fs::read_to_string(site.machine.path("state/secrets/db")).unwrap();
        assert!(kept.contains(&format!("\nserial {serial}\n")), "{kept}");
    }
    assert_eq!(mode("state/secrets/db"), 0o600);
    let asked = server
        .requests()
        .into_iter()
        .filter(|it| matches!(it, Request::Get(query) if query.name == name("db")));
    assert_eq!(asked.count(), 3);
    assert_eq!(agent.end(), Some(0));
}

#[test]
fn what_no_administrator_has_made_for_this_machine_is_refused_and_told_to_all_servers() {
    let answers = Answers::default();
    let hostile = answers.server();
    let told = Server::giving(|_| refused("no-such-secret"));
    let site = Site::new(&[&hostile, &told]);
    let agent = start(&site.machine, 2);
    // What it has seen before.
    answers.set(given(&site.sealed(100)));
    assert_eq!(ask(&site.machine), value());
    for server in [&hostile, &told] {
        assert!(server.heartbeat().rejected.is_empty());
    }

    let other_host = KeyId::from_bytes([9; 32]).unwrap();
    let mut header = site.header(200);
    let changed = |change: fn(&mut SecretHeader)| {
        let mut other = header.clone();
        change(&mut other);
        other
    };
    let other_name = changed(|it| it.name = name("pin"));
    let expired = changed(|it| {
        it.created = it.created.before(Duration::from_secs(100));
        it.expires = Some(it.created.after(Duration::from_secs(50)));
    });
    let not_yet = changed(|it| {
        it.created = it.created.after(Duration::from_secs(1000));
        it.expires = Some(it.created.after(Duration::from_secs(50)));
    });
    let seal = |header: &SecretHeader| site.admin.seal(header, &site.host);
    let stranger = Administrator::new();
    let other_key = secret_key(&openpgp_key()).public_key();
    header.host = other_host;
    let for_other_host = seal(&header);
    let header = site.header(200);
    // Its message is genuine, and of an older secret.
    let mut same_serial = site.header(100);
    same_serial.created = same_serial.created.before(Duration::from_secs(7));
    let exchanged = SealedSecret::new(&header, site.sealed(99).message()).unwrap();
    let good = seal(&header);
    let mut flipped = good.as_bytes().to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    for (answer, reason) in [
        (given(&stranger.seal(&header, &site.host)), "forged"),
        (given(&site.admin.seal(&header, &other_key)), "forged"),
        (given_as(200, &flipped), "forged"),
        (given(&for_other_host), "swapped"),
        (given(&seal(&other_name)), "swapped"),
        (given(&exchanged), "swapped"),
        (given_as(201, good.as_bytes()), "swapped"),
        (given(&site.sealed(99)), "rolled-back"),
        (given(&seal(&same_serial)), "rolled-back"),
        (given(&seal(&expired)), "expired"),
        (given(&seal(&not_yet)), "expired"),
        (given_as(200, b"what is no sealed secret"), "malformed"),
    ] {
        answers.set(answer);
        assert_eq!(ask(&site.machine), format!("rejected {reason}\n"));
    }
    for reason in ["forged", "swapped", "rolled-back", "expired", "malformed"] {
        let line = agent.says("ALARM");
        assert!(line.contains(reason) && line.contains("db"), "{line}");
        assert!(line.contains(&hostile.key_id.to_string()), "{line}");
    }
    // Each is told to each server once.
    for server in [&hostile, &told] {
        let mut heard = Vec::new();
        while heard.len() < 5 {
            if let Request::Heartbeat(heartbeat) = server.request() {
                heard.extend(heartbeat.rejected.iter().map(ToString::to_string));
            }
        }
        heard.sort();
        let expected = ["expired", "forged", "malformed", "rolled-back", "swapped"];
        assert_eq!(heard, expected.map(|reason| format!("{reason} db")));
    }
    // Nothing of this was remembered: the true one still comes, also where the hostile server is asked first.
    answers.set(given(&good));
    assert_eq!(ask(&site.machine), value());
    // The same again is no news, for a while.
    answers.set(given(&site.sealed(99)));
    assert_eq!(ask(&site.machine), "rejected rolled-back\n");
    agent.says_without_alarm(": rejected rolled-back");
}

#[test]
fn a_rejection_that_a_server_has_not_heard_of_survives_a_restart() {
    let answers = Answers::default();
    let hostile = answers.server();
    let honest = Server::giving(|_| refused("no-such-secret"));
    let site = Site::new(&[&hostile, &honest]);
    let machine = &site.machine;
    machine.connect(&[&hostile], &format!("search = no\n{}", allow()));
    let agent = start(machine, 1);
    let stranger = Administrator::new();
    answers.set(given(&stranger.seal(&site.header(1), &site.host)));
    assert_eq!(ask(machine), "unreached 1\nrejected forged\n");
    assert!(hostile.heartbeat().rejected.is_empty());
    let told = |server: &Server| loop {
        if let Request::Heartbeat(heartbeat) = server.request() {
            let rejected = heartbeat.rejected.iter().map(ToString::to_string);
            return rejected.collect::<Vec<_>>();
        }
    };
    assert_eq!(told(&hostile), ["forged db"]);
    agent.says("ALARM");
    agent.says("knows that this machine is up");
    assert_eq!(agent.end(), Some(0));
    machine.connect(&[&honest], "search = no");
    let agent = start(machine, 1);
    assert_eq!(told(&honest), ["forged db"]);
    let kept = fs::read_to_string(machine.path("state/rejections")).unwrap();
    assert_eq!(kept, "");
    assert_eq!(agent.end(), Some(0));
}

#[test]
fn a_server_that_floods_the_machine_with_notices_is_left() {
    let answers = Answers::default();
    let server = answers.server();
    let site = Site::new(&[&server]);
    let agent = start(&site.machine, 1);
    let sealed = given(&site.sealed(1));
    for (notices, end) in [
        (60, value()),
        (61, "unreached 1\nfailed no-server".to_owned()),
    ] {
        answers.set([waiting().repeat(notices), sealed.clone()].concat());
        let said = ask(&site.machine);
        let rest = said.trim_start_matches("waiting approval 58 4711\n");
        let rest = rest.trim_start_matches("trying\n");
        assert!(rest.starts_with(&end), "{notices}: {rest}");
    }
    agent.says("more than 60 notices to wait within 60 s");
}

#[test]
fn another_server_is_asked_when_one_refuses_fails_or_is_not_believed() {
    for bad in [
        refused("disabled"),
        given_as(9, b"nonsense"),
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        Vec::new(),
        // A secret that is too long for one, of which nothing is read.
        b"\x84\xf0\x00\x00".to_vec(),
        waiting(),
    ] {
        let honest = Answers::default();
        let servers = [Server::giving(move |_| bad.clone()), honest.server()];
        let site = Site::new(&servers.each_ref());
        honest.set(given(&site.sealed(1)));
        let _agent = start(&site.machine, 2);
        let said = ask(&site.machine);
        assert!(said.ends_with(&value()), "{said}");
    }
}

#[test]
fn a_server_that_lets_a_request_wait_keeps_it_from_no_other() {
    let honest = Answers::default();
    let second = honest.server();
    // Servers are asked in the order of their keys.
    let first = std::iter::repeat_with(|| Server::new(world::Behaviour::LetsWait))
        .find(|server| server.key_id < second.key_id)
        .unwrap();
    let site = Site::new(&[&first, &second]);
    let _agent = start(&site.machine, 2);
    for (serial, answer) in [(1, Vec::new()), (2, waiting())] {
        // It gives the secret at once, or lets the request wait too.
        honest.set([answer, given(&site.sealed(serial))].concat());
        let said = ask(&site.machine);
        assert!(said.starts_with("waiting approval 58 4711\n"), "{said}");
        assert!(said.ends_with(&value()), "{said}");
        // The request at the first one ends with that.
        while !matches!(first.sees(), Seen::Request(Request::Get(_))) {}
        while !matches!(first.sees(), Seen::End(_)) {}
    }
}

#[test]
fn a_server_that_is_not_reached_is_told_with_the_refusal_of_another() {
    let servers = [
        Server::giving(|_| refused("no-such-secret")),
        Server::giving(|_| b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
    ];
    let site = Site::new(&servers.each_ref());
    let _agent = start(&site.machine, 2);
    assert_eq!(
        ask(&site.machine),
        "unreached 1\nrefused no-such-secret 60\n"
    );
}

#[test]
fn the_refusal_that_says_most_is_told() {
    let servers = [
        Server::giving(|_| refused("no-such-secret")),
        Server::giving(|_| refused("denied")),
        Server::giving(|_| Vec::new()),
    ];
    let site = Site::new(&servers.each_ref());
    let _agent = start(&site.machine, 3);
    assert_eq!(ask(&site.machine), "refused denied-before 60\n");
}

#[test]
fn one_server_cannot_have_its_denial_told_where_another_says_less() {
    for other in [refused("denied"), Vec::new()] {
        let servers = [
            Server::giving(|_| [waiting(), refused("denied")].concat()),
            Server::giving(move |_| other.clone()),
        ];
        let site = Site::new(&servers.each_ref());
        let _agent = start(&site.machine, 2);
        let said = ask(&site.machine);
        assert!(!said.contains("refused denied "), "{said}");
    }
    let alone = Server::giving(|_| [waiting(), refused("denied")].concat());
    let site = Site::new(&[&alone]);
    let _agent = start(&site.machine, 1);
    let said = ask(&site.machine);
    assert!(said.ends_with("refused denied 60\n"), "{said}");
}

#[test]
fn a_server_that_was_lost_while_the_request_waited_counts_more_than_a_forged_secret() {
    let forging = Answers::default();
    let servers = [Server::giving(|_| waiting()), forging.server()];
    let site = Site::new(&servers.each_ref());
    let forged = Administrator::new().seal(&site.header(9), &site.host);
    forging.set(given(&forged));
    let agent = start(&site.machine, 2);
    let said = ask(&site.machine);
    let expected = "unreached 1\nfailed no-server a server at which the request waited was lost";
    assert!(said.contains(expected), "{said}");
    agent.says("ALARM");
}

#[test]
fn a_server_that_was_lost_while_the_request_waited_is_asked_again_while_it_waits_elsewhere() {
    let lost = Answers::default();
    let servers = [lost.server(), Server::new(world::Behaviour::LetsWait)];
    let site = Site::new(&servers.each_ref());
    lost.set(waiting());
    let _agent = start(&site.machine, 2);
    let mut caller = connect(&site.machine);
    caller.write_all(b"get db\n").unwrap();
    hears_of_waits(&mut caller, 2);
    lost.set(given(&site.sealed(1)));
    let said = String::from_utf8(read_all(&mut caller)).unwrap();
    assert!(said.ends_with(&value()), "{said}");
}

#[test]
fn a_server_that_is_lost_again_and_again_has_no_other_asked_more_often() {
    let answers = [Answers::default(), Answers::default()];
    let servers = answers.each_ref().map(Answers::server);
    // Servers are asked in the order of their keys.
    let (first, last) = match servers[0].key_id < servers[1].key_id {
        true => (0, 1),
        false => (1, 0),
    };
    answers[first].set(refused("no-such-secret"));
    answers[last].set(waiting());
    let (refusing, lost) = (&servers[first], &servers[last]);
    let waits = Server::new(world::Behaviour::LetsWait);
    let site = Site::new(&[lost, refusing, &waits]);
    let _agent = start(&site.machine, 3);
    let mut caller = connect(&site.machine);
    caller.write_all(b"get db\n").unwrap();
    // It waits at two of them, and once more at the one that was lost.
    hears_of_waits(&mut caller, 3);
    let is_get = |request: &Request| matches!(request, Request::Get(_));
    assert_eq!(lost.requests().into_iter().filter(is_get).count(), 2);
    assert_eq!(refusing.requests().into_iter().filter(is_get).count(), 1);
}

/// Reads until the caller was told so many times that its request waits.
fn hears_of_waits(caller: &mut UnixStream, times: usize) {
    let mut lines = BufReader::new(caller).lines().map(Result::unwrap);
    let waits = lines.by_ref().filter(|line| line.starts_with("waiting"));
    assert_eq!(waits.take(times).count(), times);
}

#[test]
fn an_admin_key_that_was_removed_is_not_believed_by_a_request_under_way() {
    let (answer, may_answer) = std::sync::mpsc::channel::<()>();
    let may_answer = Mutex::new(may_answer);
    let answers = Answers::default();
    let given_later = answers.clone();
    let server = Server::giving(move |_| {
        let _ = may_answer.lock().unwrap().recv();
        given_later.0.lock().unwrap().clone()
    });
    let site = Site::new(&[&server]);
    answers.set(given(&site.sealed(1)));
    let _agent = start(&site.machine, 1);
    let mut caller = connect(&site.machine);
    caller.write_all(b"get db\n").unwrap();
    while !matches!(server.sees(), Seen::Request(Request::Get(_))) {}
    let others = Administrator::new().public;
    site.machine.write("admin-keys", &others);
    drop(answer);
    let said = String::from_utf8(read_all(&mut caller)).unwrap();
    assert!(said.ends_with("rejected forged\n"), "{said}");
}

#[test]
fn a_name_server_that_never_answers_keeps_a_request_from_no_end() {
    if !nightlatch_test_support::is_root() {
        return;
    }
    // Port 53 of an address of loopback that nothing else uses.
    let [high, low] = u16::try_from(std::process::id() % 65_000)
        .unwrap()
        .to_be_bytes();
    let silent = UdpSocket::bind((Ipv4Addr::new(127, 53, high, low), 53)).unwrap();
    let configuration = format!(
        "nameserver {}\noptions timeout:30 attempts:5\n",
        silent.local_addr().unwrap().ip()
    );
    let servers = [
        Server::giving(|_| refused("no-such-secret")),
        Server::new(world::Behaviour::Silent),
    ];
    let site = Site::new(&servers.each_ref());
    let reached = &servers[0].address;
    let conf = format!(
        "[agent]\nconnect = slow.example:5, {reached}\nsearch = no\n{}\n",
        allow()
    );
    site.machine.write("agent.conf", &conf);
    let agent = site.machine.start_with_resolver(&configuration);
    agent.says("knows that this machine is up");
    assert_eq!(
        ask(&site.machine),
        "unreached 1\nrefused no-such-secret 60\n"
    );
    // The resolver is still asked: by the thread of the heartbeats, and by one of requests.
    let threads = fs::read_dir(format!("/proc/{}/task", agent.child.id())).unwrap();
    let names = threads.map(|it| fs::read_to_string(it.unwrap().path().join("comm")).unwrap());
    assert_eq!(names.filter(|name| name == "lookup\n").count(), 1);
}

#[test]
fn no_server_is_a_failure_of_its_own() {
    let gone = {
        let server = Server::new(world::Behaviour::Silent);
        let site = Site::new(&[&server]);
        let conf = format!("[agent]\nconnect = 127.0.0.1:1\n{}\n", allow());
        site.machine.write("agent.conf", &conf);
        site
    };
    let agent = gone.machine.start();
    agent.says("cannot report to 127.0.0.1:1");
    let said = ask(&gone.machine);
    assert!(
        said.starts_with("unreached 1\nfailed no-server no trusted server could be reached"),
        "{said}"
    );
}

#[test]
fn a_wait_is_told_and_ends_when_the_caller_leaves() {
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let receiver = Mutex::new(receiver);
    let server = Server::giving(move |_| {
        // The test is done when its end is dropped.
        let _ = receiver.lock().unwrap().recv();
        waiting().repeat(2)
    });
    let site = Site::new(&[&server]);
    let agent = start(&site.machine, 1);
    let mut stream = connect(&site.machine);
    stream.write_all(b"get db\n").unwrap();
    let mut first = [0; 7];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"trying\n");
    drop(stream);
    sender.send(()).unwrap();
    agent.says("is gone");
    drop(sender);
    let said = ask(&site.machine);
    // It may have joined the request of the first caller after the first notice.
    assert!(said.starts_with("waiting approval 58 4711\n"), "{said}");
    // The server was lost at the wait, which is no refusal.
    assert!(said.contains("\nunreached 1\nfailed no-server"), "{said}");
}

#[test]
fn callers_that_say_nothing_delay_neither_others_nor_heartbeats_and_make_room() {
    let answers = Answers::default();
    let server = answers.server();
    let site = Site::new(&[&server]);
    answers.set(given(&site.sealed(1)));
    let agent = start(&site.machine, 1);
    let port = server.heartbeat().poke_port.unwrap().get();
    // Other users have eight places.
    if !nightlatch_test_support::is_root() {
        return;
    }
    let silent: Vec<UnixStream> = (0..40).map(|_| connect(&site.machine)).collect();
    let mut slow = connect(&site.machine);
    slow.write_all(b"get d").unwrap();
    assert_eq!(ask(&site.machine), value());
    poke(port, token(1));
    agent.says("a server asks for a heartbeat");
    loop {
        if let Seen::Request(Request::Heartbeat(_)) = server.sees() {
            break;
        }
    }
    // However many there are.
    let more: Vec<UnixStream> = (0..200).map(|_| connect(&site.machine)).collect();
    assert_eq!(ask(&site.machine), value());
    assert_eq!(read_all(&mut slow), b"");
    for mut stream in silent.into_iter().chain(more) {
        assert_eq!(read_all(&mut stream), b"");
    }
}

#[test]
fn callers_of_one_secret_share_one_request_to_the_server() {
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let receiver = Mutex::new(receiver);
    let answers = Answers::default();
    let set = answers.clone();
    let server = Server::giving(move |_| {
        let _ = receiver.lock().unwrap().recv();
        set.0.lock().unwrap().clone()
    });
    let site = Site::new(&[&server]);
    answers.set(given(&site.sealed(1)));
    let _agent = start(&site.machine, 1);
    // A user other than root has eight places.
    let mut callers: Vec<UnixStream> = (0..8).map(|_| connect(&site.machine)).collect();
    for caller in &mut callers {
        caller.write_all(b"get db\n").unwrap();
        // The first is the agent's own, the second that of the request that they share.
        let mut lines = [0; 14];
        caller.read_exact(&mut lines).unwrap();
        assert_eq!(&lines, b"trying\ntrying\n");
    }
    drop(sender);
    for mut caller in callers {
        let said = String::from_utf8(read_all(&mut caller)).unwrap();
        assert!(said.ends_with(&value()), "{said}");
    }
    let gets = server.requests();
    let gets = gets.iter().filter(|it| matches!(it, Request::Get(_)));
    assert_eq!(gets.count(), 1);
}

#[test]
fn users_that_are_missing_are_told_by_the_daemon_and_looked_up_by_no_check() {
    let server = Server::giving(|_| refused("no-such-secret"));
    let site = Site::new(&[&server]);
    let allow = "allow.db = no-such-user-of-this-test";
    site.machine.connect(&[&server], allow);
    let (code, said) = site.machine.output(&["--check"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("gives db to user no-such-user"), "{said}");
    assert!(!said.contains("this machine has no"), "{said}");
    let agent = site.machine.start();
    agent.says("this machine has no user no-such-user-of-this-test now");
}

#[test]
fn other_lines_are_answered_with_what_was_expected() {
    let server = Server::giving(|_| refused("no-such-secret"));
    let site = Site::new(&[&server]);
    let _agent = start(&site.machine, 1);
    for (line, part) in [
        (
            "put db\n",
            "expected `get` and the name of a secret, found \"put db\"",
        ),
        ("get boot\n", "no named secret"),
        ("get ../db\n", "name"),
        ("get db now\n", "name"),
    ] {
        let said = String::from_utf8(ask_line(&site.machine, line)).unwrap();
        assert!(said.starts_with("failed request "), "{said}");
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(ask_line(&site.machine, &"x".repeat(600)), b"");
    let gets = server.requests();
    assert!(
        !gets.iter().any(|it| matches!(it, Request::Get(_))),
        "{gets:?}"
    );
}

#[test]
fn missing_keys_are_told_and_pinning_one_needs_no_restart() {
    let answers = Answers::default();
    let server = answers.server();
    let site = Site::new(&[&server]);
    answers.set(given(&site.sealed(1)));
    let admin_keys = site.machine.path("admin-keys");
    fs::remove_file(&admin_keys).unwrap();
    let agent = start(&site.machine, 1);
    let fails = |part: &str| {
        let said = ask(&site.machine);
        assert!(said.starts_with("failed setup "), "{said}");
        assert!(said.contains(part), "{said}");
    };
    fails("nightlatch enroll --host-key --admin-key FILE");
    site.machine.write("admin-keys", "");
    fails("cannot use");
    site.machine.write("admin-keys", &site.admin.public);
    fs::set_permissions(&admin_keys, Permissions::from_mode(0o664)).unwrap();
    fails("chmod 0644");
    fs::set_permissions(&admin_keys, Permissions::from_mode(0o644)).unwrap();
    assert_eq!(ask(&site.machine), value());
    drop(agent);
    // Without the OpenPGP key it says that it is up all the same.
    for content in [None, Some(""), Some("nonsense")] {
        let seckey = site.machine.path("keys/seckey.txt");
        fs::remove_file(&seckey).ok();
        if let Some(content) = content {
            fs::write(&seckey, content).unwrap();
        }
        let agent = site.machine.start();
        let line = agent.says("no named secrets");
        assert!(line.contains("OpenPGP host key"), "{line}");
        agent.says("knows that this machine is up");
        fails("nightlatch rotate --host-key");
    }
}

#[test]
fn what_cannot_be_remembered_is_not_handed_out() {
    let answers = Answers::default();
    let server = answers.server();
    let site = Site::new(&[&server]);
    answers.set(given(&site.sealed(1)));
    let agent = start(&site.machine, 1);
    let secrets = site.machine.path("state/secrets");
    fs::create_dir(&secrets).unwrap();
    fs::create_dir(secrets.join(".db.new")).unwrap();
    let said = ask(&site.machine);
    assert!(said.starts_with("failed state cannot write"), "{said}");
    fs::remove_dir(secrets.join(".db.new")).unwrap();
    fs::write(secrets.join("db"), "damaged").unwrap();
    let said = ask(&site.machine);
    assert!(
        said.starts_with("failed state") && said.contains("is damaged"),
        "{said}"
    );
    fs::remove_file(secrets.join("db")).unwrap();
    assert_eq!(ask(&site.machine), value());
    // A fault of this machine is no alarm about a server.
    agent.says_without_alarm("gets db");
}
