//! The output of `nightlatch import-mandos`, as files below `transcripts/`.

use std::fs;

use nightlatch_interop::machine::{MachineKeys, TestMachine};
use nightlatch_interop::programs::Project;
use nightlatch_test_support::transcript::{Transcript, file};

use crate::client::client;
use crate::fixture::{Move, UP};

fn run(seen: &mut Transcript, fixture: &Move, options: &[&str]) {
    let words = [&["nightlatch", "import-mandos"], options].concat();
    seen.add(&words.join(" "), &fixture.import(options));
}

#[test]
fn a_server_and_a_client_are_taken_over() {
    let mut seen = Transcript::of(file(env!("CARGO_MANIFEST_DIR"), "import-mandos.txt"));
    seen.explain("Each command also names the folders: --from MANDOS --to NIGHTLATCH.");
    seen.explain("Nothing of Mandos is there.");
    run(&mut seen, &Move::new(), &["--yes"]);

    let tower = TestMachine::new("tower", Project::Stock, MachineKeys::Rsa4096, b"password");
    let sections = format!(
        "[other]\nfingerprint =\nsecret = b3RoZXI=\n{UP}\n{}",
        tower.section(UP)
    );
    let fixture = Move::of_story(&sections, |site| {
        let changed = site.mandos_ctl(&["--timeout", "PT2H", "tower"]);
        let disabled = site.mandos_ctl(&["--disable", "other"]);
        assert!(changed.status.success() && disabled.status.success());
    });
    seen.explain("A server with two clients: one was changed at run time, one was disabled.");
    for options in [&["--dry-run"][..], &[], &["--yes"], &["--yes"]] {
        run(&mut seen, &fixture, options);
    }

    seen.explain("The state is missing.");
    fs::remove_file(fixture.pickle()).unwrap();
    run(&mut seen, &fixture, &["--yes", "--force"]);

    seen.explain("A client.");
    let fixture = client(&tower);
    run(&mut seen, &fixture, &["--yes"]);
    seen.assert();
}
