//! Avahi over the system D-Bus: an entry group, renamed on collision, that follows Avahi's state.

mod monitor;
mod proxies;

use std::convert::Infallible;
use std::pin::Pin;

use tracing::{info, warn};
use zbus::Connection;
use zbus::export::futures_core::Stream;

pub(super) use monitor::AvahiMonitor;
use proxies::{
    ANY_INTERFACE, ANY_PROTOCOL, COLLISION_ERROR, EntryGroupProxy, GROUP_COLLISION,
    GROUP_ESTABLISHED, GROUP_FAILURE, INET, INET6, SERVER_RUNNING, ServerProxy,
};

use super::{PublishedService, ServiceAnnouncement};
use crate::backoff::Backoff;

const SERVICE_TYPE: &str = "_mandos._tcp";

/// Publishes the service through Avahi.
#[derive(Default)]
pub(super) struct AvahiPublisher {
    group: Option<EntryGroupProxy<'static>>,
}

/// The reason why a group is withdrawn.
enum Withdrawal {
    Collision,
    /// Avahi is not in the state running for the moment, as while it renames its host.
    Paused,
}

impl AvahiPublisher {
    /// Announces until cancelled; failures are tried again.
    pub(super) async fn publish(
        &mut self,
        bus: Option<Connection>,
        service: &mut PublishedService,
    ) -> Infallible {
        let Some(bus) = bus else {
            return std::future::pending().await;
        };
        let mut backoff = Backoff::default();
        loop {
            if let Err(error) = self.try_publish(&bus, service, &mut backoff).await
                && backoff.is_first()
            {
                warn!(reason = %error, "Avahi does not announce the service; trying again");
            }
            service.withdrawn();
            // The next group would collide with one that is left.
            self.withdraw().await;
            backoff.wait().await;
        }
    }

    /// Withdraws the announcement.
    pub(super) async fn withdraw(&mut self) {
        if let Some(group) = self.group.take() {
            // It fails when Avahi has ended, and the announcement with it.
            let _ = group.free().await;
        }
    }

    async fn try_publish(
        &mut self,
        bus: &Connection,
        service: &mut PublishedService,
        backoff: &mut Backoff,
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
            let reason = if is_collision(&added) {
                Withdrawal::Collision
            } else {
                added?;
                tokio::select! {
                    reason = follow(&mut changes, service, backoff) => reason?,
                    change = next(&mut states) => {
                        state = *change?.args()?.state();
                        Withdrawal::Paused
                    }
                }
            };
            service.withdrawn();
            self.withdraw().await;
            match reason {
                Withdrawal::Collision => {
                    let other = server.get_alternative_service_name(&service.name).await?;
                    service.rename(other);
                }
                // Another host with our host name causes it.
                Withdrawal::Paused if service.may_log("state of Avahi") => {
                    info!(state, "Avahi changed its state");
                }
                Withdrawal::Paused => {}
            }
        }
    }
}

async fn add(
    server: &ServerProxy<'_>,
    group: &EntryGroupProxy<'_>,
    announcement: &ServiceAnnouncement,
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

/// Follows the group until its name collides with another.
async fn follow(
    changes: &mut proxies::GroupStates,
    service: &mut PublishedService,
    backoff: &mut Backoff,
) -> zbus::Result<Withdrawal> {
    loop {
        let change = next(changes).await?;
        let change = change.args()?;
        match *change.state() {
            GROUP_ESTABLISHED => {
                backoff.reset();
                service.announced("Avahi");
            }
            GROUP_COLLISION => return Ok(Withdrawal::Collision),
            GROUP_FAILURE => return Err(zbus::Error::Failure(change.error().clone())),
            _ => {}
        }
    }
}

/// The next item; an error when the connection to the bus has ended.
async fn next<S: Stream + Unpin>(stream: &mut S) -> zbus::Result<S::Item> {
    let item = std::future::poll_fn(|context| Pin::new(&mut *stream).poll_next(context)).await;
    item.ok_or_else(|| zbus::Error::Failure("the connection to the bus was closed".into()))
}
