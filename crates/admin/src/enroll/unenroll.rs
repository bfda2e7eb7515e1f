//! `nightlatch unenroll`: takes back what `enroll` did here, and says what is left to do elsewhere.
//!
//! The keys go first: whatever ends the program after that, the same command finishes it.

use std::path::{Path, PathBuf};

use super::disk::Disk;
use super::token::Enrolment;
use crate::cli::Unenroll;
use crate::failure::{EX_UNAVAILABLE, Failure, note};
use crate::keys::Directory;

/// Where the kernel lists block devices.
const DEVICES: &str = "/sys/class/block";

/// Carries the verb out.
pub(crate) fn run(options: &Unenroll) -> Result<(), Failure> {
    let header = options.header.as_deref();
    let mut disks = Vec::new();
    for device in &options.device {
        let disk = Disk::inspect(device, header)?;
        let ours = disk.enrolments()?;
        check(&disk, &ours)?;
        disks.push((disk, ours));
    }
    let directory = options
        .dir
        .as_deref()
        .map_or_else(Directory::default_place, Directory::new);
    let step = |text: String| {
        let dry = if options.dry_run { "dry run: " } else { "" };
        note(format_args!("{dry}{text}"));
    };
    let place = directory.path().display();
    if options.keep_keys || !directory.holds_any() {
        step(format!("the keys in {place} stay as they are"));
    } else if let Some(other) = still_enrolled(&disks) {
        step(format!(
            "the keys in {place} stay: {} is enrolled too",
            other.display()
        ));
    } else {
        if !options.dry_run {
            directory.remove_keys()?;
        }
        step(format!("removed the keys in {place}"));
    }
    for (disk, ours) in &disks {
        for enrolment in ours {
            if !options.dry_run {
                disk.remove(enrolment)?;
            }
            step(format!("removed {} of {disk}", enrolment.shown()));
        }
    }
    tell_the_rest(&disks, &directory);
    Ok(())
}

/// Refuses a disk that was not enrolled, and one that nothing else opens.
fn check(disk: &Disk, ours: &[Enrolment]) -> Result<(), Failure> {
    if ours.is_empty() {
        return Err(Failure::new(
            EX_UNAVAILABLE,
            format!("{disk} has no key slot that nightlatch enroll made and marked"),
        )
        .hint(format!(
            "one that an older version made is shown by cryptsetup luksDump {disk}, and removed by cryptsetup luksKillSlot"
        )));
    }
    let is_ours = |slot: &u32| ours.iter().any(|it| it.slots.contains(slot));
    if disk.opening_slots()?.iter().all(is_ours) {
        return Err(
            Failure::new(EX_UNAVAILABLE, format!("nothing else opens {disk}")).hint(format!(
                "add a passphrase first: cryptsetup luksAddKey {disk}"
            )),
        );
    }
    Ok(())
}

/// A device of this machine that is enrolled with the same keys and not among `disks`.
fn still_enrolled(disks: &[(Disk, Vec<Enrolment>)]) -> Option<PathBuf> {
    let is_same_key = |other: &Enrolment| {
        let mut given = disks.iter().flat_map(|(_, ours)| ours);
        given.any(|enrolment| enrolment.key_id == other.key_id)
    };
    let devices = std::fs::read_dir(DEVICES).ok()?.filter_map(Result::ok);
    let mut places = devices.map(|device| Path::new("/dev").join(device.file_name()));
    places.find(|place| {
        let Ok(other) = Disk::inspect(place, None) else {
            return false;
        };
        let given = disks.iter().any(|(disk, _)| disk.is_same(&other));
        let enrolled = other.enrolments().unwrap_or_default();
        !given && enrolled.iter().any(is_same_key)
    })
}

/// What this program cannot do from here.
fn tell_the_rest(disks: &[(Disk, Vec<Enrolment>)], directory: &Directory) {
    let mut clients: Vec<(&str, &str)> = disks
        .iter()
        .flat_map(|(_, ours)| ours)
        .map(|it| (it.name.as_str(), it.key_id.as_str()))
        .collect();
    clients.sort_unstable();
    clients.dedup();
    for (name, key_id) in clients {
        note(format_args!(
            "on the server: nightlatch remove {name}, and take its section out of clients.conf (key_id = {key_id})"
        ));
    }
    note("make a new initramfs here: the one there is has the keys");
    for (disk, _) in disks {
        let saved = directory
            .path()
            .join(format!("luks-header-{}*.img", disk.uuid()));
        note(format_args!(
            "destroy saved headers of {disk} ({}): the key that was handed out opens them",
            saved.display()
        ));
    }
}
