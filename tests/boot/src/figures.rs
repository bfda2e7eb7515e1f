//! What was measured on the way: how long from the start of the unlocking to the opened disk.

use std::sync::Mutex;
use std::time::Duration;

use nightlatch_interop::programs::Whose;

use crate::images::BootSystem;

/// One boot.
#[derive(Debug)]
pub struct Unlock {
    /// What unlocked it.
    pub system: BootSystem,
    /// How it found its server.
    pub way: &'static str,
    /// Whose client.
    pub client: Whose,
    /// Whose server.
    pub server: Whose,
    /// When the unlocking began, after the guest's start.
    pub began: Duration,
    /// When the disk was open.
    pub opened: Duration,
    /// The emulator's processor time in between, seconds.
    pub cpu: f64,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Figures {
    unlocks: Mutex<Vec<Unlock>>,
    copies: Mutex<Vec<(Whose, usize)>>,
}

impl Figures {
    /// Adds one.
    pub fn add(&self, unlock: Unlock) {
        self.unlocks.lock().unwrap().push(unlock);
    }

    /// Adds how many copies of the password were in memory after a boot with this client.
    pub fn add_copies(&self, client: Whose, copies: usize) {
        self.copies.lock().unwrap().push((client, copies));
    }

    /// Prints them as tables, if there are any.
    pub fn print(&self) {
        for (client, copies) in &*self.copies.lock().unwrap() {
            println!(
                "copies of the password in memory after a boot with the {client:?} client: {copies}"
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
                unlock.way,
                unlock.began.as_secs_f64(),
                (unlock.opened - unlock.began).as_secs_f64(),
                unlock.cpu
            );
        }
        println!();
    }
}
