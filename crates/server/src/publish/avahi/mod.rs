//! Avahi over the system D-Bus: an entry group, renamed on collision, that follows Avahi's state.

mod lookout;
mod proxies;

use std::convert::Infallible;
use std::pin::Pin;

use tracing::{info, warn};
use zbus::Connection;
use zbus::export::futures_core::Stream;

pub(super) use lookout::Lookout;
use proxies::{
    ANY_INTERFACE, ANY_PROTOCOL, COLLISION_ERROR, EntryGroupProxy, GROUP_COLLISION,
    GROUP_ESTABLISHED, GROUP_FAILURE, INET, INET6, SERVER_RUNNING, ServerProxy,
};

use super::{Announcement, Service};
use crate::pause::Pause;

const SERVICE_TYPE: &str = "_mandos._tcp";

/// What Avahi announces for us.
#[derive(Default)]
pub(super) struct Published {
    group: Option<EntryGroupProxy<'static>>,
}

enum Outcome {
    Collided,
    /// Avahi itself is not running for the moment: it renames its host, say.
    Paused,
}

impl Published {
    /// Announces until cancelled; what fails is tried again.
    pub(super) async fn publish(
        &mut self,
        bus: Option<Connection>,
        service: &mut Service,
    ) -> Infallible {
        let Some(bus) = bus else {
            return std::future::pending().await;
        };
        let mut pause = Pause::default();
        loop {
            if let Err(error) = self.try_publish(&bus, service, &mut pause).await
                && pause.is_first()
            {
                warn!(reason = %error, "Avahi does not announce the service; trying again");
            }
            service.withdrawn();
            // A group left behind would make the next one collide with it.
            self.withdraw().await;
            pause.wait().await;
        }
    }

    /// Takes back what is announced.
    pub(super) async fn withdraw(&mut self) {
        if let Some(group) = self.group.take() {
            // It fails when Avahi has gone, and the announcement with it.
            let _ = group.free().await;
        }
    }

    async fn try_publish(
        &mut self,
        bus: &Connection,
        service: &mut Service,
        pause: &mut Pause,
    ) -> zbus::Result<()> {
        let server = ServerProxy::new(bus).await?;
        let mut states = server.receive_state_changed().await?;
        let mut state = server.get_state().await?;
        loop {
            while state != SERVER_RUNNING {
                state = *next(&mut states).await?.args()?.state();
            }
            let path = server.entry_group_new().await?;
            let group = EntryGroupProxy::builder(bus).path(path).build().await?;
            self.group = Some(group.clone());
            let mut changes = group.receive_state_changed().await?;
            let added = add(&server, &group, &service.announcement, &service.name).await;
            let outcome = if is_collision(&added) {
                Outcome::Collided
            } else {
                added?;
                tokio::select! {
                    outcome = follow(&mut changes, service, pause) => outcome?,
                    change = next(&mut states) => {
                        state = *change?.args()?.state();
                        Outcome::Paused
                    }
                }
            };
            service.withdrawn();
            self.withdraw().await;
            match outcome {
                Outcome::Collided => {
                    let other = server.get_alternative_service_name(&service.name).await?;
                    service.rename(other);
                }
                // Another host with this one's name makes it do so.
                Outcome::Paused if service.may_log("state of Avahi") => {
                    info!(state, "Avahi changed its state");
                }
                Outcome::Paused => {}
            }
        }
    }
}

async fn add(
    server: &ServerProxy<'_>,
    group: &EntryGroupProxy<'_>,
    announcement: &Announcement,
    name: &str,
) -> zbus::Result<()> {
    let interface = match &announcement.interface {
        Some(name) => server.get_network_interface_index_by_name(name).await?,
        None => ANY_INTERFACE,
    };
    let protocol = match (announcement.ipv6, announcement.ipv4) {
        (true, true) => ANY_PROTOCOL,
        (true, false) => INET6,
        (false, _) => INET,
    };
    let (domain, host, port) = ("", "", announcement.port);
    group
        .add_service(
            interface,
            protocol,
            0,
            name,
            SERVICE_TYPE,
            domain,
            host,
            port,
            &[],
        )
        .await?;
    group.commit().await
}

fn is_collision(result: &zbus::Result<()>) -> bool {
    matches!(result, Err(zbus::Error::MethodError(name, ..)) if name.as_str() == COLLISION_ERROR)
}

/// Follows the group until its name is found to be another's.
async fn follow(
    changes: &mut proxies::GroupStates,
    service: &mut Service,
    pause: &mut Pause,
) -> zbus::Result<Outcome> {
    loop {
        let change = next(changes).await?;
        let change = change.args()?;
        match *change.state() {
            GROUP_ESTABLISHED => {
                pause.reset();
                service.announced("Avahi");
            }
            GROUP_COLLISION => return Ok(Outcome::Collided),
            GROUP_FAILURE => return Err(zbus::Error::Failure(change.error().clone())),
            _ => {}
        }
    }
}

/// The next item, or that the bus has gone.
async fn next<S: Stream + Unpin>(stream: &mut S) -> zbus::Result<S::Item> {
    let item = std::future::poll_fn(|context| Pin::new(&mut *stream).poll_next(context)).await;
    item.ok_or_else(|| zbus::Error::Failure("the connection to the bus was closed".into()))
}
