//! `nightlatch import-mandos`: takes over a stock server or client (docs/decisions/0065).
//!
//! Says line by line what it would do before it does anything. What it takes over is only ever read.
#![forbid(unsafe_code)]

mod client;
mod conf;
mod daemon;
mod edit;
mod files;
mod judge;
mod options;
pub mod pickle;
mod report;
mod running;
mod secret;
mod server;
mod state;
mod take;

use std::path::PathBuf;

use nightlatch_console::ask;
use nightlatch_console::failure::{EX_CANTCREAT, EX_IOERR, EX_NOINPUT, Failure, note};

use client::ClientPlan;
pub use client::KeyFolders;
pub use options::ImportOptions;
use report::ImportReport;
use server::ServerPlan;

/// Carries the verb out.
pub fn run(options: &ImportOptions, key_folders: &dyn KeyFolders) -> Result<(), Failure> {
    let (from, to) = (options.from.as_path(), options.to.as_path());
    let mut report = ImportReport::default();
    let server = if server::is_there(from) {
        Some(ServerPlan::new(
            from,
            to,
            options.without_state,
            options.ssh_hostkey,
            &mut report,
        )?)
    } else {
        None
    };
    let client = ClientPlan::new(from, to, key_folders, &mut report)?;
    if server.is_none() && client.is_none() {
        return Err(Failure::new(
            EX_NOINPUT,
            format!(
                "there is neither a Mandos server nor a Mandos client in {}",
                from.display()
            ),
        )
        .hint("--from names the folder that holds etc and var, not the folder of the files"));
    }
    report.print().map_err(|error| {
        Failure::new(EX_IOERR, "cannot write to standard output").because(error)
    })?;
    let places = server.iter().flat_map(ServerPlan::in_the_way);
    let places = places.chain(client.iter().flat_map(|it| it.in_the_way(key_folders)));
    refuse_to_overwrite(&places.collect::<Vec<_>>(), options.force)?;
    if !agreed(options) {
        note("nothing was changed; add --yes to do it");
        return Ok(());
    }
    if let Some(server) = &server {
        server.carry_out(options.force)?;
    }
    if let Some(client) = &client {
        client.carry_out(key_folders, options.force)?;
    }
    note("taken over; Mandos's own files are as they were");
    if server.is_some() {
        note("now keep Mandos from starting (systemctl disable mandos), and start nightlatchd");
    }
    Ok(())
}

fn refuse_to_overwrite(places: &[PathBuf], force: bool) -> Result<(), Failure> {
    if places.is_empty() || force {
        return Ok(());
    }
    let places: Vec<String> = places.iter().map(|it| it.display().to_string()).collect();
    Err(Failure::new(
        EX_CANTCREAT,
        format!(
            "nothing was changed, for there are already: {}",
            places.join(", ")
        ),
    )
    .hint("keep them, or replace them with --force; a backup of each stays beside it"))
}

/// True with `--yes`, or after a yes at the terminal.
fn agreed(options: &ImportOptions) -> bool {
    if options.dry_run || options.yes {
        return options.yes;
    }
    ask::yes("Take this over?").unwrap_or(false)
}
