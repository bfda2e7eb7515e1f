//! `nightlatch unenroll`: takes back what `enroll` did here, and says what is left to do elsewhere.
//!
//! Key slots go first, then the keys, then the tokens: whatever ends the program in between, the same command finishes
//! it. Without keys, what has lost its key slots is this machine's to finish, and nothing else.

use std::path::PathBuf;

use nightlatch_console::failure::{EX_UNAVAILABLE, Failure, note};
use nightlatch_core::name::shell_word;

use super::disk::Disk;
use super::host_keys;
use super::options::UnenrollOptions;
use super::ownership::{self, Enrolments};
use super::token::Enrolment;
use crate::keys::KeyDirectory;

/// Carries the verb out.
pub fn run(options: &UnenrollOptions) -> Result<(), Failure> {
    let header = options.place.header.as_deref();
    let directory = options.place.boot_keys();
    // A set of which some files were removed already cannot be read, and has no key slots any more.
    let key_id = ownership::key_id(&directory, options.dry_run).unwrap_or_default();
    let mut disks = Vec::new();
    for device in &options.device {
        let disk = Disk::inspect(device, header)?;
        let Enrolments { mut own, others } = Enrolments::of(&disk, key_id.as_deref())?;
        let (unfinished, others): (Vec<_>, Vec<_>) = others
            .into_iter()
            .partition(|it| key_id.is_none() && it.slots.is_empty());
        own.extend(unfinished);
        let enrolments = Enrolments { own, others };
        check(&disk, &enrolments, &directory)?;
        enrolments.print_others(&disk);
        disks.push((disk, enrolments.own));
    }
    for (disk, ours) in &disks {
        for enrolment in ours.iter().filter(|it| !it.slots.is_empty()) {
            if !options.dry_run {
                disk.remove_slots(enrolment)?;
            }
            let slots = enrolment.shown();
            step(options, format_args!("removed {slots} of {disk}"));
        }
    }
    remove_keys(options, &directory, &disks)?;
    for (disk, ours) in disks.iter().filter(|_| !options.dry_run) {
        ours.iter()
            .try_for_each(|enrolment| disk.remove_token(enrolment.token))?;
    }
    print_remaining_steps(&disks, &directory);
    Ok(())
}

/// Removes boot keys and host keys, unless something needs them.
fn remove_keys(
    options: &UnenrollOptions,
    directory: &KeyDirectory,
    disks: &[(Disk, Vec<Enrolment>)],
) -> Result<(), Failure> {
    let place = directory.path().display();
    if options.keep_keys {
        step(
            options,
            format_args!("the keys in {place} stay as they are"),
        );
        return Ok(());
    }
    if let Some(other) = still_enrolled(disks) {
        let other = other.display();
        step(
            options,
            format_args!("the keys in {place} stay: {other} is enrolled too"),
        );
        return Ok(());
    }
    if directory.holds_any() {
        if !options.dry_run {
            directory.remove_keys()?;
        }
        step(options, format_args!("removed the keys in {place}"));
    } else {
        step(
            options,
            format_args!("the keys in {place} stay as they are"),
        );
    }
    host_keys::unenroll(&options.place, options.dry_run)
}

fn step(options: &UnenrollOptions, text: std::fmt::Arguments<'_>) {
    let dry = if options.dry_run { "dry run: " } else { "" };
    note(format_args!("{dry}{text}"));
}

/// Refuses a disk that was not enrolled, and one that nothing else opens.
fn check(disk: &Disk, enrolments: &Enrolments, directory: &KeyDirectory) -> Result<(), Failure> {
    enrolments_exist(disk, enrolments, directory)?;
    let ours = &enrolments.own;
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

fn enrolments_exist(
    disk: &Disk,
    enrolments: &Enrolments,
    directory: &KeyDirectory,
) -> Result<(), Failure> {
    if !enrolments.own.is_empty() {
        return Ok(());
    }
    enrolments.print_others(disk);
    Err(Failure::new(
        EX_UNAVAILABLE,
        format!(
            "{disk} has no key slot that nightlatch enroll made and marked with the keys in {}",
            directory.path().display()
        ),
    )
    .hint(format!(
        "another one is shown by cryptsetup luksDump {disk}, and removed by cryptsetup luksKillSlot"
    )))
}

/// A device of this machine that is enrolled with the same keys and not among `disks`.
fn still_enrolled(disks: &[(Disk, Vec<Enrolment>)]) -> Option<PathBuf> {
    let is_same_key = |other: &Enrolment| {
        let mut given = disks.iter().flat_map(|(_, ours)| ours);
        given.any(|enrolment| enrolment.key_id == other.key_id)
    };
    let mut others = ownership::disks();
    others.find_map(|(place, other)| {
        let given = disks.iter().any(|(disk, _)| disk.is_same(&other));
        let enrolled = other.enrolments().unwrap_or_default();
        (!given && enrolled.iter().any(is_same_key)).then_some(place)
    })
}

/// Prints the steps that are left to do elsewhere.
fn print_remaining_steps(disks: &[(Disk, Vec<Enrolment>)], directory: &KeyDirectory) {
    let mut clients: Vec<(&str, &str)> = disks
        .iter()
        .flat_map(|(_, ours)| ours)
        .map(|it| (it.name.as_str(), it.key_id.as_str()))
        .collect();
    clients.sort_unstable();
    clients.dedup();
    for (name, key_id) in clients {
        note(format_args!(
            "on the server: nightlatch remove {}, and take its section out of clients.conf (key_id = {key_id})",
            shell_word(name)
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
