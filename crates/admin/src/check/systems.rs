//! Which system an image boots by, and what there starts the client. Pure, but for listing our scripts.

use std::fs;
use std::path::Path;

use super::archive::Members;
use crate::image::{Owner, Plan, PlannedFile, Source};

/// Where initramfs-tools finds scripts on the machine.
const SCRIPTS: &str = "usr/share/initramfs-tools/scripts";

/// The name of ours among them.
const SCRIPT: &str = "nightlatch";

/// What runs in an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum System {
    /// systemd: of dracut, mkinitcpio or another builder.
    Systemd,
    /// The scripts of initramfs-tools.
    InitramfsTools,
    /// The scripts of dracut.
    Dracut,
    /// The scripts of mkinitcpio.
    Mkinitcpio,
}

/// By which file each is known.
const MARKS: [(&str, System); 4] = [
    ("/usr/lib/systemd/systemd", System::Systemd),
    ("/conf/initramfs.conf", System::InitramfsTools),
    ("/usr/lib/dracut-lib.sh", System::Dracut),
    ("/init_functions", System::Mkinitcpio),
];

/// Files of the network modules of dracut (each of its handlers) and mkinitcpio.
const ADDRESSING: [&str; 6] = [
    "/usr/lib/systemd/systemd-networkd",
    "/usr/sbin/NetworkManager",
    "/usr/sbin/connmand",
    "/usr/sbin/ifup",
    "/usr/bin/ifup",
    "/hooks/net",
];

impl System {
    /// The system of an image; `None` for one that is not known.
    pub(super) fn of(members: &Members) -> Option<Self> {
        let mark = MARKS.iter().find(|(mark, _)| members.contains_key(*mark));
        mark.map(|(_, system)| *system)
    }

    /// True when an image of this system can give an interface an address. initramfs-tools always can; of dracut and
    /// mkinitcpio a module has to be in the image.
    pub(super) fn configures_addresses(self, members: &Members) -> bool {
        self == Self::InitramfsTools || ADDRESSING.iter().any(|it| members.contains_key(*it))
    }

    /// Adds what starts the client, where it is in an image as it is on the machine.
    pub(super) fn add_to(self, plan: &mut Plan, root: &Path) {
        match self {
            Self::Systemd => plan.add_units(),
            Self::InitramfsTools => add_scripts(plan, root),
            Self::Dracut | Self::Mkinitcpio => {}
        }
    }

    /// What starts the client, where its presence has to do.
    pub(super) fn starter(self) -> &'static str {
        match self {
            Self::Systemd => "/usr/lib/systemd/system/nightlatch-ask.service",
            Self::InitramfsTools => "/scripts/init-premount/nightlatch",
            Self::Dracut => "/usr/lib/dracut/hooks/initqueue/settled/05-modules.sh",
            Self::Mkinitcpio => "/hooks/nightlatch",
        }
    }
}

fn add_scripts(plan: &mut Plan, root: &Path) {
    let stages = fs::read_dir(root.join(SCRIPTS)).into_iter().flatten();
    for stage in stages.flatten() {
        let source = stage.path().join(SCRIPT);
        let name = stage.file_name();
        if let (Some(stage), true) = (name.to_str(), source.is_file()) {
            plan.files.push(PlannedFile {
                path: format!("/scripts/{stage}/{SCRIPT}"),
                source: Source::Copy(source),
                mode: 0o755,
                owner: Owner::ROOT,
            });
        }
    }
}
