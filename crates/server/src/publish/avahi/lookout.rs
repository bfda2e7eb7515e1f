//! Looks out for Avahi on the system bus, through the bus's own restarts.

use tracing::info;
use zbus::Connection;
use zbus::fdo::{DBusProxy, NameOwnerChangedStream};

use super::next;
use super::proxies::BUS_NAME;
use crate::pause::Pause;

/// Whether Avahi is there, followed as it and the bus come and go.
#[derive(Default)]
pub(in crate::publish) struct Lookout {
    watch: Option<Watch>,
    pause: Pause,
}

struct Watch {
    bus: Connection,
    owners: NameOwnerChangedStream,
    /// Avahi's connection to the bus: another one is another Avahi.
    owner: Option<String>,
}

impl Lookout {
    /// Looks once: whether Avahi is there now.
    pub(in crate::publish) async fn look(&mut self) -> bool {
        match Watch::begin().await {
            Ok(watch) => self.watch = Some(watch),
            Err(error) => {
                if self.pause.is_first() {
                    info!(reason = %error, "no system bus: no Avahi");
                }
                return false;
            }
        }
        self.pause.reset();
        self.bus().is_some()
    }

    /// Waits until Avahi is there.
    pub(in crate::publish) async fn appears(&mut self) {
        while self.bus().is_none() {
            match &mut self.watch {
                Some(watch) => {
                    if let Err(error) = watch.changed().await {
                        self.lose(&error);
                    }
                }
                None => {
                    self.pause.wait().await;
                    self.look().await;
                }
            }
        }
    }

    /// Waits until Avahi, or the bus between us, has gone or was replaced.
    pub(in crate::publish) async fn disappears(&mut self) {
        let Some(watch) = &mut self.watch else { return };
        let before = watch.owner.clone();
        while watch.owner == before {
            if let Err(error) = watch.changed().await {
                return self.lose(&error);
            }
        }
        info!("Avahi has gone or started anew");
    }

    /// The bus on which Avahi is now.
    pub(in crate::publish) fn bus(&self) -> Option<Connection> {
        let watch = self.watch.as_ref()?;
        watch.owner.is_some().then(|| watch.bus.clone())
    }

    fn lose(&mut self, error: &zbus::Error) {
        info!(reason = %error, "the system bus has gone");
        self.watch = None;
    }
}

impl Watch {
    /// Connects, with a connection of our own: closing it withdraws what Avahi holds for it.
    async fn begin() -> zbus::Result<Self> {
        let bus = Connection::system().await?;
        let names = DBusProxy::new(&bus).await?;
        // Listened to before it is asked for: no change is missed in between.
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
