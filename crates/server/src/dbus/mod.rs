//! Administration over the system bus: `se.recompile.Mandos` with its deprecated twin, and
//! `org.nightlatch.Nightlatch1`.
//!
//! Nothing is decided here. Calls become commands for the driver, its updates become signals, and reads are
//! answered from the last updates. Without the bus the server goes on, and reconnects when it is back.

mod answer;
mod call;
mod caller;
mod client_cache;
mod connection;
mod explain;
mod heartbeats;
mod introspection;
mod lookup;
mod named_secrets;
mod nightlatch;
mod signals;
mod wire;

use std::num::NonZeroUsize;

use nightlatch_bus::names::{MANDOS, MANDOS_OLD, NIGHTLATCH};
use tokio::task::JoinHandle;
use tracing::{info, warn};
use zbus::Connection;
use zbus::connection::Builder;
use zbus::fdo::RequestNameFlags;

use crate::backoff::Backoff;
use crate::driver::Handle;
use connection::BusConnection;
pub(crate) use nightlatch::ServerStatus;

/// The names that tools look for. Our own first: a tool that sees the name of Mandos appear checks at once
/// for ours.
const NAMES: [&str; 3] = [NIGHTLATCH, MANDOS, MANDOS_OLD];

/// Number of messages that may wait to be read.
const QUEUE: NonZeroUsize = NonZeroUsize::new(1024).expect("not zero");

/// Serves administration until `stopped` is ready.
pub(crate) fn spawn(
    driver: Handle,
    info: ServerStatus,
    stopped: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        tokio::select! {
            () = connect(driver, info) => {}
            () = stopped => {}
        }
    })
}

async fn connect(driver: Handle, info: ServerStatus) {
    let mut backoff = Backoff::default();
    loop {
        let ended = match Builder::system().max_queued(QUEUE).build().await {
            Ok(connection) => serve(&connection, &driver, &info, &mut backoff).await,
            Err(error) => Err(error),
        };
        if let Err(error) = ended
            && backoff.is_first()
        {
            let hint = hint(&error);
            warn!(reason = %error, hint, "no administration over D-Bus for now; trying again");
        }
        backoff.wait().await;
    }
}

/// Tells the administrator how to mend it.
fn hint(error: &zbus::Error) -> Option<&'static str> {
    match error {
        zbus::Error::NameTaken => {
            Some("another server, ours or one of Mandos, has the name on this bus: stop it")
        }
        zbus::Error::FDO(error) if matches!(**error, zbus::fdo::Error::AccessDenied(_)) => Some(
            "the bus does not let this user have the names: dist/dbus/nightlatch.conf belongs into \
             /etc/dbus-1/system.d",
        ),
        zbus::Error::Connection(..) => {
            Some("no system bus runs here; use_dbus = no says that this is meant")
        }
        _ => None,
    }
}

/// Serves on one connection until it breaks.
async fn serve(
    connection: &Connection,
    driver: &Handle,
    info: &ServerStatus,
    backoff: &mut Backoff,
) -> zbus::Result<()> {
    let mut served = BusConnection::new(connection.clone(), driver.clone(), info.clone()).await?;
    for name in NAMES {
        request_name(connection, name).await?;
    }
    backoff.reset();
    info!("administration over D-Bus: {}", NAMES.join(", "));
    served.run().await
}

/// Requests a name, without queueing for it.
async fn request_name(connection: &Connection, name: &str) -> zbus::Result<()> {
    connection
        .request_name_with_flags(name, RequestNameFlags::DO_NOT_QUEUE)
        .await
        .map(drop)
}
