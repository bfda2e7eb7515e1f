//! Measurements of the boots: the time from the start of the unlocking to the opened disk.

use std::sync::Mutex;
use std::time::Duration;

use nightlatch_interop::programs::Project;

use crate::images::BootSystem;

/// The measurements of one boot.
#[derive(Debug)]
pub struct UnlockMeasurement {
    pub system: BootSystem,
    /// `mdns` or `connect`.
    pub lookup: &'static str,
    pub client: Project,
    pub server: Project,
    /// The beginning of the unlocking, from the guest's start.
    pub began: Duration,
    /// The time of the opened disk, from the guest's start.
    pub opened: Duration,
    /// The emulator's processor time in between, seconds.
    pub cpu: f64,
}

/// The result of one attack with copied boot keys.
#[derive(Debug)]
pub struct AttackResult {
    /// The state of the machine, and who asks.
    pub attack: String,
    pub released: &'static str,
    /// The alarms and the rest that an administrator is told, in order.
    pub told: String,
    /// Times between events.
    pub times: String,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Measurements {
    unlocks: Mutex<Vec<UnlockMeasurement>>,
    copies: Mutex<Vec<(Project, Vec<usize>)>>,
    attacks: Mutex<Vec<AttackResult>>,
    notes: Mutex<Vec<String>>,
}

impl Measurements {
    pub fn add(&self, unlock: UnlockMeasurement) {
        self.unlocks.lock().unwrap().push(unlock);
    }

    /// Adds where copies of the password were in memory after a boot with this client, as bytes from the start
    /// of a page: what went through a pipe stands at the start of one.
    pub fn add_copies(&self, client: Project, places: Vec<usize>) {
        self.copies.lock().unwrap().push((client, places));
    }

    pub fn add_attack(&self, result: AttackResult) {
        self.attacks.lock().unwrap().push(result);
    }

    /// Adds a line.
    pub fn add_note(&self, note: String) {
        self.notes.lock().unwrap().push(note);
    }

    /// Prints them as tables, if there are any.
    pub fn print(&self) {
        for note in &*self.notes.lock().unwrap() {
            println!("{note}");
        }
        self.print_attacks();
        for (client, places) in &*self.copies.lock().unwrap() {
            let count = places.len();
            println!(
                "{client:?} client: {count} copies of the password in memory after a boot, in their pages at {places:?}"
            );
        }
        let unlocks = self.unlocks.lock().unwrap();
        if unlocks.is_empty() {
            return;
        }
        println!(
            "\n| boot system | client | server | found by | began, s | to the open disk, s | CPU, s |"
        );
        println!("|---|---|---|---|---|---|---|");
        for unlock in &*unlocks {
            println!(
                "| {:?} | {:?} | {:?} | {} | {:.1} | {:.1} | {:.1} |",
                unlock.system,
                unlock.client,
                unlock.server,
                unlock.lookup,
                unlock.began.as_secs_f64(),
                (unlock.opened - unlock.began).as_secs_f64(),
                unlock.cpu
            );
        }
        println!();
    }

    fn print_attacks(&self) {
        let attacks = self.attacks.lock().unwrap();
        if attacks.is_empty() {
            return;
        }
        println!("\n| attack with the copied boot keys | released | told | when |");
        println!("|---|---|---|---|");
        for it in &*attacks {
            println!(
                "| {} | {} | {} | {} |",
                it.attack, it.released, it.told, it.times
            );
        }
        println!();
    }
}
