//! `nightlatch rotate`: a new key for disks that are enrolled, in place of the old one.

use nightlatch_console::failure::{EX_UNAVAILABLE, EX_USAGE, Failure};

use super::disk::Disk;
use super::host_keys::{self, HostKeyPart};
use super::options::{EnrollOptions, RotateOptions};
use super::ownership::{self, Enrolments};
use super::{EnrollPlan, note};
use crate::keys::KeyDirectory;

/// Carries the verb out.
pub fn run(options: &RotateOptions) -> Result<(), Failure> {
    if options.host_key {
        return host_keys::rotate(options);
    }
    let header = options.place.header.as_deref();
    let disks = options
        .device
        .iter()
        .map(|device| Disk::inspect(device, header))
        .collect::<Result<Vec<_>, _>>()?;
    let directory = options.place.boot_keys();
    let key_id = ownership::key_id(&directory, options.dry_run)?;
    let mut enrolments = Vec::new();
    for disk in &disks {
        let of_disk = Enrolments::of(disk, key_id.as_deref())?;
        if of_disk.own.is_empty() {
            return Err(not_enrolled(disk, &directory));
        }
        enrolments.push(of_disk);
    }
    let mut both = disks.iter().zip(&enrolments);
    if options.finish {
        return both.try_for_each(|(disk, of_disk)| finish(disk, of_disk, options.dry_run));
    }
    let options = as_enrolment(options, name(both)?);
    let plan = EnrollPlan::new(&options, HostKeyPart::of_rotation(&options.place))?;
    plan.print_earlier();
    if options.dry_run {
        return plan.describe();
    }
    plan.carry_out()?;
    note(format_args!(
        "{} has a new key: put the printed section, or its secret alone, in the place of the old one on the server",
        plan.name
    ));
    if options.add {
        note(
            "when the server hands it out (nightlatch check), remove the old one: nightlatch rotate --finish",
        );
    }
    Ok(())
}

/// Removes all of this machine's keys but the newest.
fn finish(disk: &Disk, enrolments: &Enrolments, dry_run: bool) -> Result<(), Failure> {
    enrolments.print_others(disk);
    let own = &enrolments.own;
    let Some(newest) = own.iter().rposition(|it| !it.slots.is_empty()) else {
        return Err(Failure::new(
            EX_UNAVAILABLE,
            format!("{disk} has no key slot of this machine any more"),
        )
        .hint(format!("enroll it: nightlatch enroll {disk}")));
    };
    if own.iter().filter(|it| !it.slots.is_empty()).count() > 1 {
        enrolments.check_that_a_person_has_a_key(disk)?;
    }
    for (place, enrolment) in own.iter().enumerate() {
        if place == newest {
            continue;
        }
        if dry_run {
            note(format_args!(
                "dry run: remove {} of {disk}",
                enrolment.shown()
            ));
            continue;
        }
        disk.remove(enrolment)?;
        note(format_args!("removed {} of {disk}", enrolment.shown()));
    }
    Ok(())
}

/// The one name under which all disks are enrolled.
fn name<'a>(disks: impl Iterator<Item = (&'a Disk, &'a Enrolments)>) -> Result<String, Failure> {
    let mut name: Option<String> = None;
    for (disk, enrolments) in disks {
        let Some(enrolment) = enrolments.own.last() else {
            continue;
        };
        let earlier = name.get_or_insert_with(|| enrolment.name.clone());
        if *earlier != enrolment.name {
            return Err(Failure::new(
                EX_USAGE,
                format!(
                    "{disk} is enrolled as {:?}, another device as {earlier:?}",
                    enrolment.name
                ),
            )
            .hint("rotate one after the other"));
        }
    }
    name.ok_or_else(|| Failure::new(EX_USAGE, "no device is given"))
}

fn not_enrolled(disk: &Disk, directory: &KeyDirectory) -> Failure {
    Failure::new(
        EX_UNAVAILABLE,
        format!(
            "{disk} has no key slot that nightlatch enroll made and marked with the keys in {}",
            directory.path().display()
        ),
    )
    .hint(format!("enroll it: nightlatch enroll {disk}"))
}

fn as_enrolment(options: &RotateOptions, name: String) -> EnrollOptions {
    EnrollOptions {
        device: options.device.clone(),
        place: options.place.clone(),
        name: Some(name),
        host: options.host.clone(),
        checker: options.checker.clone(),
        no_ssh: options.no_ssh,
        server_key_id: Vec::new(),
        admin_key: Vec::new(),
        passphrase: false,
        change: options.change.clone(),
        add: options.keep_old,
        host_key: false,
        no_host_key: false,
        force: false,
        dry_run: options.dry_run,
    }
}
