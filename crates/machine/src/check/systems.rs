//! Recognises the boot system of an image, and what starts the client there. Pure, but for listing our scripts.

use std::fs;
use std::path::Path;

use super::archive::Members;
use crate::accounts::Owner;
use crate::image::{FileSource, ImagePlan, PlannedFile};

/// Folder of the scripts of initramfs-tools on the machine.
const SCRIPTS: &str = "usr/share/initramfs-tools/scripts";

/// The name of ours among them.
const SCRIPT: &str = "nightlatch";

/// A file of ours that is not a script of a stage.
const ADDRESSES: &str = "nightlatch-addresses";

/// The boot system of an image.
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

/// Programs of the network modules of dracut, one for each of its handlers, in `/usr/sbin` or `/usr/bin`.
const ADDRESSING: [&str; 4] = ["NetworkManager", "connmand", "ifup", "wicked"];

/// Files of others that configure addresses: systemd's, and the hook of mkinitcpio.
const ADDRESSING_FILES: [&str; 2] = ["/usr/lib/systemd/systemd-networkd", "/hooks/net"];

impl System {
    /// The system of an image; `None` for one that is not known.
    pub(super) fn of(members: &Members) -> Option<Self> {
        let mark = MARKS.iter().find(|(mark, _)| members.contains_key(*mark));
        mark.map(|(_, system)| *system)
    }

    /// True when an image of this system can give an interface an address. initramfs-tools always can; of dracut and
    /// mkinitcpio a module has to be in the image.
    pub(super) fn configures_addresses(self, members: &Members) -> bool {
        let has = |path: &str| members.contains_key(path);
        let has_program =
            |name: &&str| has(&format!("/usr/sbin/{name}")) || has(&format!("/usr/bin/{name}"));
        self == Self::InitramfsTools
            || ADDRESSING.iter().any(has_program)
            || ADDRESSING_FILES.into_iter().any(has)
    }

    /// Adds what starts the client, where it is in an image as it is on the machine.
    pub(super) fn add_to(self, plan: &mut ImagePlan, root: &Path) {
        match self {
            Self::Systemd => plan.add_units(),
            Self::InitramfsTools => add_scripts(plan, root),
            Self::Dracut | Self::Mkinitcpio => {}
        }
    }

    /// The file that starts the client, where its presence is enough.
    pub(super) fn starter(self) -> &'static str {
        match self {
            Self::Systemd => "/usr/lib/systemd/system/nightlatch-ask.service",
            Self::InitramfsTools => "/scripts/init-premount/nightlatch",
            Self::Dracut => "/usr/lib/dracut/hooks/initqueue/settled/05-modules.sh",
            Self::Mkinitcpio => "/hooks/nightlatch",
        }
    }
}

fn add_scripts(plan: &mut ImagePlan, root: &Path) {
    let folder = root.join(SCRIPTS);
    let stages = fs::read_dir(&folder).into_iter().flatten().flatten();
    let names = stages.filter_map(|stage| stage.file_name().into_string().ok());
    let of_stages = names.map(|stage| format!("{stage}/{SCRIPT}"));
    for script in of_stages.chain([ADDRESSES.to_owned()]) {
        let source = folder.join(&script);
        if source.is_file() {
            plan.files.push(PlannedFile {
                path: format!("/scripts/{script}"),
                source: FileSource::Copy(source),
                mode: 0o755,
                owner: Owner::ROOT,
            });
        }
    }
}
