//! Tells this machine's own enrolments of a disk from those of other systems. A disk may be enrolled by several, each
//! with its own keys, and none removes another's key slot.

use std::path::{Path, PathBuf};

use nightlatch_console::failure::{EX_UNAVAILABLE, Failure, note};

use super::disk::Disk;
use super::token::Enrolment;
use crate::keys::KeyDirectory;

/// The kernel's list of block devices.
const DEVICES: &str = "/sys/class/block";

/// The enrolments of one disk, oldest first.
pub(super) struct Enrolments {
    /// Made with the keys that are here.
    pub(super) own: Vec<Enrolment>,
    /// Made with other keys.
    pub(super) others: Vec<Enrolment>,
}

impl Enrolments {
    /// Those of `disk`; all are others' where there are no keys.
    pub(super) fn of(disk: &Disk, key_id: Option<&str>) -> Result<Self, Failure> {
        let is_own = |it: &Enrolment| key_id == Some(&*it.key_id);
        let (own, others) = disk.enrolments()?.into_iter().partition(is_own);
        Ok(Self { own, others })
    }

    /// Says of each that is not this machine's that nothing happens to it.
    pub(super) fn print_others(&self, disk: &Disk) {
        for it in self.others.iter().filter(|it| !it.slots.is_empty()) {
            note(format_args!(
                "{disk} is enrolled as {:?} in {} with other keys: it stays",
                it.name,
                it.shown()
            ));
        }
    }

    /// Refuses to remove key slots of this machine where no other is left but those of enrolments: what they hold is
    /// known to servers, and what is removed may be the only key that a person knows.
    pub(super) fn check_that_a_person_has_a_key(&self, disk: &Disk) -> Result<(), Failure> {
        if self.own.iter().all(|it| it.slots.is_empty()) {
            return Ok(());
        }
        let marked = |slot: &u32| {
            let mut all = self.own.iter().chain(&self.others);
            all.any(|it| it.slots.contains(slot))
        };
        if !disk.opening_slots()?.iter().all(marked) {
            return Ok(());
        }
        Err(Failure::new(
            EX_UNAVAILABLE,
            format!("no key slot of {disk} but those of enrolments would be left, whose keys nobody may know"),
        )
        .hint(format!(
            "add a passphrase first: cryptsetup luksAddKey {disk}; or keep the earlier key: --add, or rotate --keep-old"
        )))
    }
}

/// The key id of the keys in `directory`; `None` where there are none.
pub(super) fn key_id(directory: &KeyDirectory, dry_run: bool) -> Result<Option<String>, Failure> {
    if !directory.holds_any() {
        return Ok(None);
    }
    let keys = if dry_run {
        directory.read_set()
    } else {
        directory.load()
    };
    Ok(Some(keys?.tls.key_id().to_string()))
}

/// Every LUKS2 disk of this machine with its path.
pub(super) fn disks() -> impl Iterator<Item = (PathBuf, Disk)> {
    let devices = std::fs::read_dir(DEVICES).into_iter().flatten().flatten();
    let places = devices.map(|device| Path::new("/dev").join(device.file_name()));
    places.filter_map(|place| Disk::inspect(&place, None).ok().map(|disk| (place, disk)))
}

/// The name under which a disk of this machine was last enrolled with the boot keys of this id.
pub(super) fn name_of(key_id: &str) -> Option<String> {
    let enrolments = disks().flat_map(|(_, disk)| disk.enrolments().unwrap_or_default());
    let mut own: Vec<Enrolment> = enrolments.filter(|it| it.key_id == key_id).collect();
    own.sort_by(|one, other| one.created.cmp(&other.created));
    own.pop().map(|it| it.name)
}
