//! States in every protocol that Python writes, and states that are more than data.

use std::fs;
use std::path::Path;

use crate::fixture::{Move, python};

/// Writes the state again in another protocol of pickle.
const AGAIN: &str = "
import pickle, sys
state = pickle.load(open(sys.argv[1], 'rb'))
pickle.dump(state, open(sys.argv[1], 'wb'), protocol=int(sys.argv[2]))
";

/// Puts an object into the state that runs a command when it is read.
const HOSTILE: &str = "
import os, pickle, sys
class Hostile:
    def __reduce__(self):
        return os.system, ('touch ' + sys.argv[3],)
clients, settings = pickle.load(open(sys.argv[1], 'rb'))
clients['one']['host'] = Hostile()
pickle.dump((clients, settings), open(sys.argv[1], 'wb'), protocol=int(sys.argv[2]))
";

/// A client that nobody has the key of.
fn section() -> String {
    "[one]\nfingerprint =\nhost = h\u{f6}st\nsecret = YWJj\nchecker = true\n".to_owned()
}

#[test]
fn every_protocol_says_the_same() {
    let fixture = Move::of_stock(&section());
    let mut told = Vec::new();
    for protocol in ["2", "3", "4", "5"] {
        python(AGAIN, &[&fixture.pickle(), Path::new(protocol)]);
        let output = fixture.import(&["--dry-run"]);
        assert!(output.status.success(), "protocol {protocol}: {output:?}");
        told.push(output.stdout);
    }
    told.dedup();
    assert_eq!(told.len(), 1);
    // A protocol of before bytes were bytes.
    python(AGAIN, &[&fixture.pickle(), Path::new("1")]);
    assert!(
        fixture
            .refuse(65, &[])
            .contains("expected a pickle of protocol 2 to 5")
    );
}

#[test]
fn a_state_that_would_run_a_command_is_refused_by_the_commands_name() {
    let original = Move::of_stock(&section());
    for protocol in ["2", "4", "5"] {
        let marker = original.from("marker");
        let state = fs::read(original.pickle()).unwrap();
        python(HOSTILE, &[&original.pickle(), Path::new(protocol), &marker]);
        let said = original.refuse(65, &[]);
        assert!(
            said.contains("expected plain data, but the file asks for posix.system"),
            "{said}"
        );
        assert!(!marker.exists(), "the command ran");
        fs::write(original.pickle(), state).unwrap();
    }
}

#[test]
fn a_state_cut_short_is_refused() {
    let fixture = Move::of_stock(&section());
    let state = fs::read(fixture.pickle()).unwrap();
    fs::write(fixture.pickle(), &state[..state.len() / 2]).unwrap();
    assert!(fixture.refuse(65, &[]).contains("cut short"));
    fs::write(fixture.pickle(), b"\x80\x04}.").unwrap();
    assert!(fixture.refuse(65, &[]).contains("two dictionaries"));
}
