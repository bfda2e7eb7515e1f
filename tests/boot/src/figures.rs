//! What was measured on the way: how long from the start of the unlocking to the opened disk.

use std::sync::Mutex;
use std::time::Duration;

use nightlatch_interop::programs::Project;

use crate::images::BootSystem;

/// One boot.
#[derive(Debug)]
pub struct Unlock {
    /// What unlocked it.
    pub system: BootSystem,
    /// How it found its server.
    pub way: &'static str,
    /// The project of the client.
    pub client: Project,
    /// The project of the server.
    pub server: Project,
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
    copies: Mutex<Vec<(Project, Vec<usize>)>>,
}

impl Figures {
    /// Adds one.
    pub fn add(&self, unlock: Unlock) {
        self.unlocks.lock().unwrap().push(unlock);
    }

    /// Adds where copies of the password were in memory after a boot with this client, as bytes from the start
    /// of a page: what went through a pipe stands at the start of one.
    pub fn add_copies(&self, client: Project, places: Vec<usize>) {
        self.copies.lock().unwrap().push((client, places));
    }

    /// Prints them as tables, if there are any.
    pub fn print(&self) {
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
                unlock.way,
                unlock.began.as_secs_f64(),
                (unlock.opened - unlock.began).as_secs_f64(),
                unlock.cpu
            );
        }
        println!();
    }
}
