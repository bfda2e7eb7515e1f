//! `nightlatch reload`: has the server read its configuration anew.

use nightlatch_bus::proxy::MandosProxy;

use crate::bus;
use crate::cli::clients::Reload;
use crate::failure::{Failure, note};

/// Carries the verb out: durable when it returns.
pub(crate) async fn run(options: &Reload, server: &MandosProxy) -> Result<u8, Failure> {
    let reloaded = server.reload(options.accept_fewer_clients).await;
    reloaded.map_err(bus::failure)?;
    note("the configuration was reloaded");
    bus::tell_warnings(server).await;
    Ok(0)
}
