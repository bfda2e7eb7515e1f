//! The main job in all four pairings: {nightlatchd, mandos} x {nightlatch-boot client, mandos-client}.
//!
//! Each test says what a user of Mandos relies on, and holds for every pairing and both kinds of keys.

use nightlatch_interop::client;
use nightlatch_interop::dbus::Bus;
use nightlatch_interop::machine::{MachineKeys, TestMachine};
use nightlatch_interop::programs::Project;
use nightlatch_interop::server::{ExpectedRefusal, Home, TestServer};

/// The programs of one pairing: server, client, key generator, and the kind of keys.
#[derive(Clone, Copy, Debug)]
struct Pairing {
    server: Project,
    client: Project,
    keygen: Project,
    keys: MachineKeys,
}

/// A password with all that is allowed: white space at both ends, a quote, a zero byte, bytes that are no text.
const PASSWORD: &[u8] = b" correct horse\t'battery'\0staple\xff\n";

/// A check that always succeeds, one that does so every second, and one that never does.
const UP: &str = "checker = true";
const TICKING: &str = "checker = true\ninterval = PT1S";
const DOWN: &str = "checker = false\ntimeout = PT1S\ninterval = PT1S";

fn a_machine_gets_its_password(pairing: Pairing) {
    let machine = pairing.machine("web1.example.org");
    let (server, _bus) = pairing.serve(&[machine.section(UP)]);
    pairing.assert_served(&machine, &server);
}

fn a_machine_is_approved_by_default_after_the_delay(pairing: Pairing) {
    let machine = pairing.machine("slow");
    let approval = format!("{UP}\napproval_delay = PT1S\napproved_by_default = True");
    let (server, _bus) = pairing.serve(&[machine.section(&approval)]);
    pairing.assert_served(&machine, &server);
    let asked = server
        .running()
        .log()
        .iter()
        .any(|line| line.contains("approval"));
    assert!(asked, "the server never said that it waits for approval");
}

fn a_machine_that_nobody_approves_gets_nothing(pairing: Pairing) {
    let machine = pairing.machine("doubtful");
    let approval = format!("{UP}\napproval_delay = PT1S\napproved_by_default = False");
    let (server, _bus) = pairing.serve(&[machine.section(&approval)]);
    pairing.assert_refused(&machine, &server, ExpectedRefusal::NotApproved);
}

fn a_disabled_machine_gets_nothing(pairing: Pairing) {
    let machine = pairing.machine("retired");
    let (server, _bus) = pairing.serve(&[machine.section("checker = true\nenabled = False")]);
    pairing.assert_refused(&machine, &server, ExpectedRefusal::Disabled);
}

fn an_unknown_machine_gets_nothing(pairing: Pairing) {
    let known = pairing.machine("known");
    let stranger = pairing.machine("stranger");
    let (server, _bus) = pairing.serve(&[known.section(UP)]);
    pairing.assert_refused(&stranger, &server, ExpectedRefusal::UnknownKey);
}

fn a_machine_that_was_away_too_long_gets_nothing_not_even_after_a_restart(pairing: Pairing) {
    let machine = pairing.machine("stolen");
    let neighbour = pairing.machine("neighbour");
    let (server, _bus) = pairing.serve(&[machine.section(DOWN), neighbour.section(TICKING)]);
    // The stock server does not log that a client expires. The neighbour's checks serve as a clock: four of them are
    // three seconds, and the deadline is at most two seconds after the start.
    let mut seen = 0;
    for _ in 0..4 {
        (seen, ()) = server
            .running()
            .wait_from(seen, "a check of the neighbour", |line| {
                (line.contains("neighbour") && line.contains("succeeded")).then_some(())
            });
    }
    pairing.assert_refused(&machine, &server, ExpectedRefusal::Disabled);
    let server = server.restart();
    pairing.assert_refused(&machine, &server, ExpectedRefusal::Disabled);
    pairing.assert_served(&neighbour, &server);
}

fn two_machines_at_once_get_each_their_own(pairing: Pairing) {
    let first = pairing.machine("first");
    let second = TestMachine::new("second", pairing.keygen, pairing.keys, b"another password");
    let (server, _bus) = pairing.serve(&[first.section(UP), second.section(UP)]);
    let one = client::start(pairing.client, &first, &server.address());
    let two = client::start(pairing.client, &second, &server.address());
    assert_eq!(one.finish().stdout, first.password);
    assert_eq!(two.finish().stdout, second.password);
}

fn a_machine_is_served_again_after_the_server_restarted(pairing: Pairing) {
    let machine = pairing.machine("patient");
    let (server, _bus) = pairing.serve(&[machine.section(UP)]);
    pairing.assert_served(&machine, &server);
    let server = server.restart();
    pairing.assert_served(&machine, &server);
}

impl Pairing {
    fn machine(self, name: &str) -> TestMachine {
        TestMachine::new(name, self.keygen, self.keys, PASSWORD)
    }

    /// A server for these sections, and the system bus that the stock one needs.
    fn serve(self, sections: &[String]) -> (TestServer, Option<Bus>) {
        let bus = (self.server == Project::Stock).then(Bus::start);
        let home = Home::new(&sections.join("\n"), bus.as_ref().map(Bus::address));
        (TestServer::start(self.server, home), bus)
    }

    fn assert_served(self, machine: &TestMachine, server: &TestServer) {
        let output = client::fetch(self.client, machine, &server.address());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.success(),
            "{self:?}: {:?}\n{said}\n{}",
            output.status,
            server.running().log().join("\n")
        );
        assert_eq!(output.stdout, machine.password, "{self:?}: {said}");
    }

    /// The server refuses for this reason, and the client goes on trying without a word on its output.
    fn assert_refused(self, machine: &TestMachine, server: &TestServer, reason: ExpectedRefusal) {
        let client = client::start(self.client, machine, &server.address());
        server.wait_for_refusal(reason);
        assert!(client.is_running(), "{self:?}: the client gave up");
        let output = client.terminate();
        assert_eq!(output.stdout, b"", "{self:?}");
    }
}

/// One module of tests for each pairing, so that they run in parallel with different names.
macro_rules! pairings {
    ($($name:ident: $server:ident serves $client:ident, keys by $keygen:ident $keys:ident;)*) => {$(
        mod $name {
            use super::*;

            const PAIRING: Pairing = Pairing {
                server: Project::$server,
                client: Project::$client,
                keygen: Project::$keygen,
                keys: MachineKeys::$keys,
            };

            pairings!(@tests a_machine_gets_its_password
                a_machine_is_approved_by_default_after_the_delay
                a_machine_that_nobody_approves_gets_nothing
                a_disabled_machine_gets_nothing
                an_unknown_machine_gets_nothing
                a_machine_that_was_away_too_long_gets_nothing_not_even_after_a_restart
                two_machines_at_once_get_each_their_own
                a_machine_is_served_again_after_the_server_restarted);
        }
    )*};
    (@tests $($test:ident)*) => {$(
        #[test]
        fn $test() {
            super::$test(PAIRING);
        }
    )*};
}

pairings! {
    ours_serves_ours: Ours serves Ours, keys by Ours Curve25519;
    ours_serves_ours_with_rsa: Ours serves Ours, keys by Stock Rsa4096;
    ours_serves_stock: Ours serves Stock, keys by Ours Curve25519;
    ours_serves_stock_with_rsa: Ours serves Stock, keys by Stock Rsa4096;
    stock_serves_ours: Stock serves Ours, keys by Ours Curve25519;
    stock_serves_ours_with_rsa: Stock serves Ours, keys by Stock Rsa4096;
    stock_serves_stock: Stock serves Stock, keys by Stock Rsa4096;
    stock_serves_stock_with_our_keys: Stock serves Stock, keys by Ours Curve25519;
}
