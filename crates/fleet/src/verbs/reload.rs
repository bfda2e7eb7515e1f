//! `nightlatch reload`: has the server read its configuration again.

use clap::Args;
use nightlatch_bus::proxy::MandosProxy;
use nightlatch_console::failure::{Failure, note};

use crate::bus;

/// The options of `reload`.
#[derive(Args, Debug)]
pub struct ReloadOptions {
    /// Also when the configuration misses all clients that are known, or most of them
    #[arg(long)]
    pub(crate) accept_fewer_clients: bool,
}

/// Carries the verb out: durable when it returns.
pub(crate) async fn run(options: &ReloadOptions, server: &MandosProxy) -> Result<u8, Failure> {
    let reloaded = server.reload(options.accept_fewer_clients).await;
    reloaded.map_err(bus::failure)?;
    note("the configuration was reloaded");
    bus::print_warnings(server).await;
    Ok(0)
}
