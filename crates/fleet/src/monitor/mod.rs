//! `nightlatch monitor`: all clients on one screen, with a key for each action.
//!
//! `event::MonitorEvent` and the time go into `state::State`, which returns requests for the server; `draw` shows the state. All of
//! that is pure: only `event_loop`, `screen` and `link` know clocks, the terminal and D-Bus.

mod draw;
mod encoding;
mod event;
mod event_loop;
mod fleet;
mod help;
mod key;
mod keys;
mod layout;
mod link;
mod recording;
mod screen;
mod state;
#[cfg(test)]
mod tests;
mod text;
mod theme;

use std::fs::OpenOptions;
use std::io::{self, IsTerminal};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use clap::Args;
use nightlatch_console::failure::{EX_CANTCREAT, EX_OSERR, EX_USAGE, Failure};

/// The options of `monitor`.
#[derive(Args, Debug)]
pub struct MonitorOptions {
    /// Write everything that happens on the screen to a new FILE, for a report of a fault. It has the
    /// names, hosts and key ids of all clients, and no secret
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
}

/// Shows the screen until the person ends it.
pub fn run(options: &MonitorOptions) -> Result<(), Failure> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(Failure::new(EX_USAGE, "the monitor needs a terminal")
            .hint("run it from one (ssh -t); `nightlatch list` and `nightlatch log` need none"));
    }
    let recording = match &options.record {
        None => None,
        Some(file) => {
            // It has names, hosts and key ids of all clients.
            let mut create = OpenOptions::new();
            let opened = create.write(true).create_new(true).mode(0o600).open(file);
            let opened = opened.map_err(|error| {
                let what = format!("cannot make {}", file.display());
                Failure::new(EX_CANTCREAT, what).because(error)
            })?;
            Some(opened)
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(EX_OSERR, "cannot wait for events").because(error))?;
    let ended = runtime.block_on(event_loop::run(recording));
    let ended =
        ended.map_err(|error| Failure::new(EX_OSERR, "the terminal failed").because(error))?;
    // The thread that reads the keyboard waits for a key that nobody will press.
    runtime.shutdown_background();
    if let event_loop::ExitReason::Signal(signal) = ended {
        nightlatch_sys::signals::die_of(signal);
    }
    Ok(())
}
