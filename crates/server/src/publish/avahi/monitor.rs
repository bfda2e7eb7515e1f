//! Watches for Avahi on the system bus, through restarts of the bus.

use tracing::info;
use zbus::Connection;
use zbus::fdo::{DBusProxy, NameOwnerChangedStream};

use super::next;
use super::proxies::BUS_NAME;
use crate::backoff::Backoff;

/// Knows at any time whether Avahi runs.
#[derive(Default)]
pub(in crate::publish) struct AvahiMonitor {
    watch: Option<NameWatch>,
    backoff: Backoff,
}

struct NameWatch {
    bus: Connection,
    owners: NameOwnerChangedStream,
    /// The unique name of Avahi; another name means that it was restarted.
    owner: Option<String>,
}

impl AvahiMonitor {
    /// True when Avahi runs now.
    pub(in crate::publish) async fn find(&mut self) -> bool {
        match NameWatch::start().await {
            Ok(watch) => self.watch = Some(watch),
            Err(error) => {
                if self.backoff.is_first() {
                    info!(reason = %error, "no system bus: no Avahi");
                }
                return false;
            }
        }
        self.backoff.reset();
        self.bus().is_some()
    }

    /// Waits until Avahi runs.
    pub(in crate::publish) async fn appears(&mut self) {
        while self.bus().is_none() {
            match &mut self.watch {
                Some(watch) => {
                    if let Err(error) = watch.changed().await {
                        self.lose(&error);
                    }
                }
                None => {
                    self.backoff.wait().await;
                    self.find().await;
                }
            }
        }
    }

    /// Waits until Avahi or the bus has ended or was restarted.
    pub(in crate::publish) async fn disappears(&mut self) {
        let Some(watch) = &mut self.watch else { return };
        let before = watch.owner.clone();
        while watch.owner == before {
            if let Err(error) = watch.changed().await {
                return self.lose(&error);
            }
        }
        info!("Avahi has stopped or restarted");
    }

    /// The connection to the bus, while Avahi is on it.
    pub(in crate::publish) fn bus(&self) -> Option<Connection> {
        let watch = self.watch.as_ref()?;
        watch.owner.is_some().then(|| watch.bus.clone())
    }

    fn lose(&mut self, error: &zbus::Error) {
        info!(reason = %error, "the system bus has gone");
        self.watch = None;
    }
}

impl NameWatch {
    /// Makes a connection of its own: closing it withdraws what Avahi announces for it.
    async fn start() -> zbus::Result<Self> {
        let bus = Connection::system().await?;
        let names = DBusProxy::new(&bus).await?;
        // Subscribed before the owner is read, so that no change is missed in between.
        let owners = names
            .receive_name_owner_changed_with_args(&[(0, BUS_NAME)])
            .await?;
        let owner = match names.get_name_owner(BUS_NAME.try_into()?).await {
            Ok(owner) => Some(owner.to_string()),
            Err(zbus::fdo::Error::NameHasNoOwner(_)) => None,
            Err(error) => return Err(error.into()),
        };
        Ok(Self { bus, owners, owner })
    }

    async fn changed(&mut self) -> zbus::Result<()> {
        let change = next(&mut self.owners).await?;
        self.owner = change.args()?.new_owner().as_ref().map(ToString::to_string);
        Ok(())
    }
}
