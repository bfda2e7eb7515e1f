//! Administration over the system bus: `se.recompile.Mandos` with its deprecated twin, and
//! `org.nightlatch.Nightlatch1`.
//!
//! Nothing is decided here. Calls become orders for the driver, what the driver tells becomes signals,
//! and reads are answered from what was told last. When the bus goes away the server goes on without,
//! and finds it again.

mod answer;
mod call;
mod caller;
mod explain;
mod house;
mod look;
mod own;
mod shadow;
mod tell;
mod wire;

use std::num::NonZeroUsize;

use nightlatch_bus::names::{MANDOS, MANDOS_OLD, NIGHTLATCH};
use tokio::task::JoinHandle;
use tracing::{info, warn};
use zbus::Connection;
use zbus::connection::Builder;
use zbus::fdo::RequestNameFlags;

use crate::driver::Handle;
use crate::pause::Pause;
use house::House;
pub(crate) use own::About;

/// The names that tools look for. Our own first: a tool that sees a Mandos server come asks it at once
/// whether it is one of ours.
const NAMES: [&str; 3] = [NIGHTLATCH, MANDOS, MANDOS_OLD];

/// Messages that may wait to be read.
const QUEUE: NonZeroUsize = NonZeroUsize::new(1024).expect("not zero");

/// Offers administration until `stopped` is ready.
pub(crate) fn spawn(
    driver: Handle,
    about: About,
    stopped: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        tokio::select! {
            () = offer(driver, about) => {}
            () = stopped => {}
        }
    })
}

async fn offer(driver: Handle, about: About) {
    let mut pause = Pause::default();
    loop {
        let ended = match Builder::system().max_queued(QUEUE).build().await {
            Ok(connection) => serve(&connection, &driver, &about, &mut pause).await,
            Err(error) => Err(error),
        };
        if let Err(error) = ended
            && pause.is_first()
        {
            let hint = hint(&error);
            warn!(reason = %error, hint, "no administration over D-Bus for now; trying again");
        }
        pause.wait().await;
    }
}

/// What the administrator can do about it.
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

/// Serves on one connection for as long as it lasts.
async fn serve(
    connection: &Connection,
    driver: &Handle,
    about: &About,
    pause: &mut Pause,
) -> zbus::Result<()> {
    let mut house = House::new(connection.clone(), driver.clone(), about.clone()).await?;
    for name in NAMES {
        take_name(connection, name).await?;
    }
    pause.reset();
    info!("administration over D-Bus: {}", NAMES.join(", "));
    house.run().await
}

/// Takes a name, without waiting in line for it.
async fn take_name(connection: &Connection, name: &str) -> zbus::Result<()> {
    connection
        .request_name_with_flags(name, RequestNameFlags::DO_NOT_QUEUE)
        .await
        .map(drop)
}
