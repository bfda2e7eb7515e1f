//! What must hold of all that a reader of the host's network files finds.

use nightlatch_admin::network::found::Found;
use nightlatch_admin::network::resolve::resolve;
use nightlatch_core::network::Definition;

/// Every remark has a line that exists, and what goes into the image is read there as it is meant.
pub fn check(found: Found, text: &str) {
    let lines = text.matches('\n').count() + 1;
    let places = found.remarks.iter().map(|remark| remark.place.line);
    assert!(places.into_iter().all(|line| (1..=lines).contains(&line)));
    let resolved = resolve(vec![found], &[], &[]);
    let printed = resolved.definition.to_string();
    assert_eq!(Definition::parse(&printed), Ok(resolved.definition));
}
