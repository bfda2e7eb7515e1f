//! Units for an image that has systemd in it, the same under dracut and mkinitcpio.

use super::plan::{FileSource, ImagePlan, PlannedFile, PlannedLink};
use crate::accounts::Owner;

const FOLDER: &str = "/usr/lib/systemd/system";

/// Starts the service when somebody asks for a password.
const PATH: &str = "nightlatch-ask.path";

/// Both, with what stands in them.
const UNITS: [(&str, &str); 2] = [
    (
        PATH,
        include_str!("../../../../dist/initrd/nightlatch-ask.path"),
    ),
    (
        "nightlatch-ask.service",
        include_str!("../../../../dist/initrd/nightlatch-ask.service"),
    ),
];

impl ImagePlan {
    /// Adds the units, and lets systemd start them.
    pub(crate) fn add_units(&mut self) {
        for (name, text) in UNITS {
            self.files.push(PlannedFile {
                path: format!("{FOLDER}/{name}"),
                source: FileSource::Text(text.to_owned()),
                mode: 0o644,
                owner: Owner::ROOT,
            });
        }
        self.links.push(PlannedLink {
            path: format!("{FOLDER}/sysinit.target.wants/{PATH}"),
            target: format!("../{PATH}"),
        });
    }
}
