//! The client with `--connect`, as a program, against a server made of the server's TLS role.

mod world;

use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;

use nightlatch_core::digits::Hex;
use nightlatch_proto::priority::Priority;
use nightlatch_proto::tls::{RawKey, RawKeyKind, ServerTls};

use world::{Answer, Machine, PASSWORD, Server, log_of_success};

#[test]
fn the_password_comes_out_byte_for_byte() {
    let machine = Machine::new();
    let server = Server::start(None, vec![Answer::Give(machine.payload())]);
    let output = machine.client(&server.address).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout, PASSWORD);
    assert_eq!(server.served(), [machine.key_id]);
}

#[test]
fn a_refused_client_asks_again() {
    let machine = Machine::new();
    let answers = vec![
        Answer::Refuse,
        Answer::CutOff,
        Answer::Give(machine.payload()),
    ];
    let server = Server::start(None, answers);
    log_of_success(&mut machine.client(&server.address));
    assert_eq!(server.served().len(), 3);
}

#[test]
fn a_try_has_a_process_without_privileges_and_its_end_is_one_failed_try() {
    let machine = Machine::new();
    let server = Server::start(None, vec![Answer::Wait, Answer::Give(machine.payload())]);
    let client = machine.client(&server.address).spawn().unwrap();
    server.wait_served(1);
    let parent = client.id();
    let children = format!("/proc/{parent}/task/{parent}/children");
    let child = std::fs::read_to_string(children).unwrap().trim().to_owned();
    let status = std::fs::read_to_string(format!("/proc/{child}/status")).unwrap();
    for line in [
        "CapPrm:\t0000000000000000",
        "CapEff:\t0000000000000000",
        "NoNewPrivs:\t1",
    ] {
        assert!(status.contains(line), "{status}");
    }
    // Standard input, the pipe, standard error, and the socket.
    let descriptors = std::fs::read_dir(format!("/proc/{child}/fd")).map(Iterator::count);
    // Only root may look into a process that is not dumpable.
    assert!(descriptors.is_err() || descriptors.unwrap() == 4);
    world::kill(child.parse().unwrap());
    let output = client.wait_with_output().unwrap();
    assert_eq!(output.stdout, PASSWORD);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("ended by a fault, or was ended"), "{said}");
}

#[test]
fn names_are_resolved_and_dead_servers_waited_for() {
    let machine = Machine::new();
    let place = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = place.local_addr().unwrap().port();
    drop(place);
    let mut client = machine
        .client(&format!("localhost:{port}"))
        .spawn()
        .unwrap();
    // It has said that it cannot connect: only now there is a server.
    world::wait_for_log(&mut client);
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let _server = Server::on(listener, None, vec![Answer::Give(machine.payload())]);
    let output = client.wait_with_output().unwrap();
    assert_eq!(output.stdout, PASSWORD);
}

#[test]
fn a_bad_server_takes_no_good_one_along_and_is_told() {
    let machine = Machine::new();
    let server = Server::start(None, vec![Answer::Give(machine.payload())]);
    let mut command = machine.client("nowhere");
    command.args(["--connect", &server.address, "--connect", &server.address]);
    let said = log_of_success(&mut command);
    let again = format!("--connect {} is given twice", server.address);
    for part in ["\"nowhere\" names no server: expected ADDRESS:PORT", &again] {
        assert!(said.contains(part), "{part}\n{said}");
    }
}

/// The keys hold for each of the servers.
#[test]
fn of_several_servers_only_a_trusted_one_is_believed() {
    let machine = Machine::new();
    let own = RawKey::generate(RawKeyKind::Ed25519).unwrap();
    let foreign = RawKey::generate(RawKeyKind::Ed25519).unwrap();
    let stranger = |key| {
        let answers = vec![Answer::Give(machine.payload_of_another_password()); 5];
        Server::start(key, answers)
    };
    let strangers = [stranger(Some(&foreign)), stranger(None)];
    let late = TcpListener::bind("127.0.0.1:0").unwrap();
    let right = late.local_addr().unwrap().to_string();
    let mut command = machine.client(&right);
    command.args(["--server-key-id", &own.key_id().to_string()]);
    for stranger in &strangers {
        command.args(["--connect", &stranger.address]);
    }
    let client = command.spawn().unwrap();
    // Both strangers have had their turn before the right one says a word.
    strangers
        .iter()
        .for_each(|stranger| stranger.wait_connected());
    let _server = Server::on(late, Some(&own), vec![Answer::Give(machine.payload())]);
    let output = client.wait_with_output().unwrap();
    assert_eq!(output.stdout, PASSWORD, "{output:?}");
}

#[test]
fn an_unsigned_or_foreign_payload_gives_nothing_and_the_next_one_is_taken() {
    let machine = Machine::new();
    let answers = vec![
        Answer::Give(machine.payload_signed_by(&Machine::new().secret())),
        Answer::Give(b"no payload at all".to_vec()),
        Answer::Give(Machine::new().payload()),
        Answer::Give(machine.payload()),
    ];
    let server = Server::start(None, answers);
    let said = log_of_success(&mut machine.client(&server.address));
    assert!(said.contains("signed by another key"), "{said}");
    assert!(said.contains("encrypted to another key"), "{said}");
    assert_eq!(server.served().len(), 4);
}

#[test]
fn only_a_trusted_server_is_believed() {
    let machine = Machine::new();
    let own = RawKey::generate(RawKeyKind::Ed25519).unwrap();
    let id = own.key_id().to_string();
    let foreign = RawKey::generate(RawKeyKind::Ed25519).unwrap();
    for (key, list) in [(Some(&foreign), true), (None, false)] {
        let server = Server::start(key, vec![Answer::Give(machine.payload()); 2]);
        let mut command = machine.client(&server.address);
        if list {
            machine.trust(&id);
        } else {
            command.args(["--server-key-id", &id]);
        }
        let mut client = command.spawn().unwrap();
        world::wait_for_log(&mut client);
        world::terminate(&client);
        assert_eq!(client.wait_with_output().unwrap().stdout, b"");
    }
    let server = Server::start(Some(&own), vec![Answer::Give(machine.payload())]);
    log_of_success(&mut machine.client(&server.address));
}

/// The list beside the keys and the option are one rule: each is tried alone. The server that holds the
/// key comes second at the same place.
#[test]
fn who_shows_a_trusted_key_without_holding_it_is_not_believed() {
    let own = RawKey::generate(RawKeyKind::Ed25519).unwrap();
    let id = own.key_id().to_string();
    for list in [true, false] {
        let machine = Machine::new();
        let genuine = ServerTls::new(Some(&own), &Priority::default()).unwrap();
        let false_payload = machine.payload_of_another_password();
        let server = Server::of_several(
            TcpListener::bind("127.0.0.1:0").unwrap(),
            vec![
                (world::impostor(&own), Answer::Give(false_payload)),
                (genuine.config(), Answer::Give(machine.payload())),
            ],
        );
        let mut command = machine.client(&server.address);
        if list {
            machine.trust(&id);
        } else {
            command.args(["--server-key-id", &id]);
        }
        let said = log_of_success(&mut command);
        assert!(said.contains("signature does not belong"), "{said}");
    }
}

#[test]
fn an_empty_list_of_trusted_servers_is_a_fault() {
    let machine = Machine::new();
    machine.trust("# nobody yet");
    let output = machine.client("127.0.0.1:9").output().unwrap();
    assert_eq!(
        (output.status.code(), &output.stdout[..]),
        (Some(78), &b""[..])
    );
}

#[test]
fn a_missing_key_is_a_fault() {
    let machine = Machine::new();
    let mut command = machine.client("127.0.0.1:9");
    command.args(["--seckey", "/nonexistent"]);
    assert_eq!(command.output().unwrap().status.code(), Some(69));
}

#[test]
fn nonsense_is_refused_and_help_is_none() {
    let run = |arguments: &[&str]| world::program().args(arguments).output().unwrap();
    for bad in [&["client", "--connect", "nowhere"][..], &["unknown"], &[]] {
        assert_eq!(run(bad).status.code(), Some(64), "{bad:?}");
    }
    for good in [
        &["client", "--help"][..],
        &["mandos-client", "-V"],
        &["--help"],
        &["--version"],
    ] {
        let output = run(good);
        assert!(
            output.status.success() && !output.stdout.is_empty(),
            "{good:?}"
        );
    }
}

#[test]
fn a_signal_ends_it_by_that_signal() {
    let machine = Machine::new();
    let server = Server::start(None, vec![Answer::Wait]);
    let client = machine.client(&server.address).spawn().unwrap();
    server.wait_served(1);
    world::terminate(&client);
    let output = client.wait_with_output().unwrap();
    assert_eq!(output.status.signal(), Some(15));
    assert_eq!(output.stdout, b"");
}

#[test]
fn nothing_secret_is_told_even_with_debug() {
    let machine = Machine::new();
    let server = Server::start(None, vec![Answer::Refuse, Answer::Give(machine.payload())]);
    let said = log_of_success(machine.client(&server.address).arg("--debug"));
    let hex = Hex(&PASSWORD[..8]).to_string();
    let said_bare: String = said.to_lowercase().split_whitespace().collect();
    assert!(
        !said.contains("correct horse") && !said_bare.contains(&hex),
        "{said}"
    );
}

#[test]
fn a_reader_that_is_gone_is_an_error() {
    let machine = Machine::new();
    let server = Server::start(None, vec![Answer::Give(machine.payload())]);
    let mut client = machine.client(&server.address).spawn().unwrap();
    drop(client.stdout.take());
    assert_eq!(client.wait().unwrap().code(), Some(74));
}
