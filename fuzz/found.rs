//! What must hold for whatever a reader of the host's network files found.

use nightlatch_admin::network::found::Found;
use nightlatch_admin::network::resolve::resolve;
use nightlatch_core::network::Definition;

/// Each remark is about a line of the text or its end, and what goes into the image is what the client reads there.
pub fn check(text: &str, found: Found) {
    // YAML has lines that end in a carriage return alone.
    let lines = 1..=text.split(['\n', '\r']).count();
    for remark in &found.remarks {
        assert!(lines.contains(&remark.place.line), "{remark:?}");
    }
    let definition = resolve(vec![found], &[], &[]).definition;
    let written = definition.to_string();
    assert_eq!(Definition::parse(&written), Ok(definition), "{written}");
}
