//! The changes that an enrolment made so far, to be undone after an error.

use std::path::{Path, PathBuf};

use nightlatch_console::failure::{EX_OSERR, EX_UNAVAILABLE, Failure, note, warn};
use nightlatch_core::calendar::DateTime;
use nightlatch_core::secret::Secret;
use nightlatch_sys::clock;
use nightlatch_sys::signals::{EndSignals, Signal, die_of};

use super::disk::{Disk, Kdf};
use super::token::NewToken;

/// The key that every disk gets.
pub(super) struct NewKey<'a> {
    pub(super) password: &'a Secret,
    pub(super) kdf: Kdf,
    /// The client's name and key id, for the token.
    pub(super) name: &'a str,
    pub(super) key_id: &'a str,
}

/// The changes so far. Signals that would end the program wait until they are complete or undone.
pub(super) struct EnrollChanges<'a> {
    signals: EndSignals,
    caught: Option<Signal>,
    added: Vec<(&'a Disk, u32)>,
    saved: Vec<PathBuf>,
}

impl<'a> EnrollChanges<'a> {
    pub(super) fn begin() -> Result<Self, Failure> {
        let signals = EndSignals::hold()
            .map_err(|error| Failure::new(EX_OSERR, "cannot hold signals").because(error))?;
        Ok(Self {
            signals,
            caught: None,
            added: Vec::new(),
            saved: Vec::new(),
        })
    }

    /// Saves the header of a disk before it is changed.
    pub(super) fn save_header(&mut self, disk: &Disk, backup: &Path) -> Result<(), Failure> {
        self.check()?;
        disk.save_header(backup)?;
        self.saved.push(backup.to_owned());
        note(format_args!(
            "saved the header of {disk} to {}",
            backup.display()
        ));
        Ok(())
    }

    /// Adds the key to a free slot, tries it, and marks the slot as ours.
    pub(super) fn add(
        &mut self,
        disk: &'a Disk,
        opener: &Secret,
        new: &NewKey<'_>,
    ) -> Result<(), Failure> {
        self.check()?;
        let before = disk.slots()?;
        let outcome = disk.add_key(opener, new.password, new.kdf);
        // Whatever it says, what counts is what is on the disk now.
        let slots: Vec<u32> = match disk.slots() {
            Ok(after) => after.difference(&before).copied().collect(),
            Err(failure) => {
                warn(format_args!(
                    "cannot tell whether {disk} has a new key slot"
                ));
                return Err(failure);
            }
        };
        if let [slot] = slots[..] {
            self.added.push((disk, slot));
        }
        outcome?;
        let [slot] = slots[..] else {
            return Err(Failure::new(
                EX_UNAVAILABLE,
                format!("{disk} was changed by another program at the same time"),
            )
            .hint(format!("look at its key slots: cryptsetup luksDump {disk}")));
        };
        if !disk.opens(new.password, Some(slot))? {
            return Err(Failure::new(
                EX_UNAVAILABLE,
                format!("the new key does not open key slot {slot} of {disk}"),
            ));
        }
        disk.mark(&NewToken {
            slot,
            name: new.name,
            key_id: new.key_id.to_owned(),
            created: DateTime::from(clock::now().wall).to_rfc3339(),
        })?;
        note(format_args!(
            "added the key to key slot {slot} of {disk} and tested it"
        ));
        Ok(())
    }

    /// Fails when the program was asked to end.
    pub(super) fn check(&mut self) -> Result<(), Failure> {
        match self.signals.next() {
            Ok(None) => Ok(()),
            Ok(Some(signal)) => {
                self.caught = Some(signal);
                Err(Failure::new(EX_UNAVAILABLE, "stopped by a signal"))
            }
            Err(error) => Err(Failure::new(EX_OSERR, "cannot read signals").because(error)),
        }
    }

    /// Takes the new key slots away again, last first, then the saved headers, and says so.
    pub(super) fn undo(mut self) {
        let mut whole = true;
        for (disk, slot) in self.added.drain(..).rev() {
            match remove(disk, slot) {
                Ok(()) => note(format_args!("removed key slot {slot} of {disk} again")),
                Err(failure) => {
                    whole = false;
                    warn(format_args!(
                        "key slot {slot} of {disk} is still there: {failure}"
                    ));
                    note(format_args!(
                        "remove it with: cryptsetup luksKillSlot {disk} {slot}"
                    ));
                }
            }
        }
        // The headers are as they were: what leads back to them is of no use.
        for backup in self.saved.iter().filter(|_| whole) {
            match std::fs::remove_file(backup) {
                Ok(()) => note(format_args!("removed {} again", backup.display())),
                Err(error) => warn(format_args!("{} is still there: {error}", backup.display())),
            }
        }
        if let Some(signal) = self.caught {
            note("stopped by a signal; the disks open as before");
            die_of(signal);
        }
    }
}

/// Removes a key slot, and the token that says that it is ours, if it got that far.
fn remove(disk: &Disk, slot: u32) -> Result<(), Failure> {
    let ours = disk.enrolments()?;
    match ours.iter().find(|enrolment| enrolment.slots == [slot]) {
        Some(enrolment) => disk.remove(enrolment),
        None => disk.remove_slot(slot),
    }
}
