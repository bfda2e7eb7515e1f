//! The output of `nightlatch check` and `nightlatch network`, as a file.

use nightlatch_interop::site::SiteKind;
use nightlatch_test_support::transcript::{Transcript, file};

use crate::UP;
use crate::machine::CheckedMachine;

/// Checks the machine, and adds what it says.
fn check(fixture: &CheckedMachine, seen: &mut Transcript, what: &str, options: &[&str]) {
    seen.explain(what);
    let (status, said) = fixture.check(options);
    let line = [&["nightlatch", "check"], options].concat().join(" ");
    seen.add_text(&line, &said, status);
}

#[test]
fn a_check_reads_as_in_its_transcript() {
    let Some(fixture) = CheckedMachine::new(UP) else {
        return;
    };
    let mut seen = Transcript::of(file(env!("CARGO_MANIFEST_DIR"), "check.txt"));
    seen.name(fixture.path("").display().to_string(), "/");
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    seen.name(kernel.trim(), "KERNEL");
    check(
        &fixture,
        &mut seen,
        "A machine in order. The rehearsal was not announced to the server.",
        &[],
    );
    fixture.configure("[client]\ndowntime = PT1H\n");
    check(&fixture, &mut seen, "A reboot takes too long.", &[]);
    fixture.configure("[client]\n");
    fixture.let_everybody_read_the_image();
    fixture.lock_volume_with("root", "another password");
    check(
        &fixture,
        &mut seen,
        "The image can be read by everybody, and the volume has another password.",
        &[],
    );
    fixture.stop_server();
    fixture.remove_image();
    check(
        &fixture,
        &mut seen,
        "No image, and no server.",
        &["--wait", "1"],
    );
    seen.assert();
}

#[test]
fn a_server_of_mandos_reads_as_in_its_transcript() {
    let Some(fixture) = CheckedMachine::with(SiteKind::StockByAvahi, UP) else {
        return;
    };
    let mut seen = Transcript::of(file(env!("CARGO_MANIFEST_DIR"), "check-stock.txt"));
    seen.name(fixture.path("").display().to_string(), "/");
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    seen.name(kernel.trim(), "KERNEL");
    check(&fixture, &mut seen, "A machine of a stock server.", &[]);
    check(
        &fixture,
        &mut seen,
        "It may release the password to a rehearsal.",
        &["--stock-server"],
    );
    seen.assert();
}
