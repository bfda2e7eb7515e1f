//! The one task that owns the registry, and the handle by which all others talk to it.
//!
//! Messages come in, [`nightlatch_core::registry`] decides, and its actions are carried out in order. What
//! must be durable is committed before anything that depends on it; one transaction takes all changes that
//! are ready. Nothing is decided here.

mod actor;
mod admin_command;
mod effect;
mod journal;
mod lives;
mod log_quotas;
mod notifier;
mod pokes;
mod report;
mod requests;
mod store_worker;
mod subscription;
#[cfg(test)]
mod tests;
mod view;

use std::fmt;

use nightlatch_core::checker::LastCheck;
use nightlatch_core::event::{ClientId, Refusal, RequestId};
use nightlatch_core::record::{ChainEnds, RecordExcerpt, RecordSelection};
use nightlatch_core::registry::{ConfiguredClients, MassRemoval, NamedSecretInfo, ReleaseForecast};
use nightlatch_core::time::Wall;
use nightlatch_store::{Store, StoreError};
use tokio::sync::{mpsc, oneshot};

pub use actor::{Driver, DriverError, DriverOptions};
pub(crate) use admin_command::{AdminCommand, AdminError, ClientAction};
pub(crate) use requests::WaitingRequest;
use store_worker::StoreRead;
use subscription::Subscriber;
pub(crate) use subscription::{EventNotice, Subscription, Update};

use crate::audit::Who;
use crate::session::{Gatekeeper, LifeAnswer, LifeReport, Permit, SecretRequest, WaitNotifier};

/// Sent to the driver. The channel has no bound of its own: each sender has at most a few messages under
/// way, and there are no more senders than connections and checks, which are bounded.
enum DriverMessage {
    /// A peer that proved its key requests its secret.
    Request(
        SecretRequest,
        oneshot::Sender<Result<Permit, Refusal>>,
        Option<WaitNotifier>,
    ),
    /// A peer that proved its key says that its machine is up, or goes down.
    Life(LifeReport, oneshot::Sender<Result<LifeAnswer, Refusal>>),
    /// The peer of a request without a decision is gone.
    PeerGone(RequestId),
    /// The secret of a granted request was delivered.
    Delivered(RequestId),
    /// The secret of a granted request was not delivered, or not as a whole.
    Failed(RequestId),
    /// A check ended.
    Checked(ClientId, LastCheck),
    /// The configuration was read again. Answered when its changes are durable.
    Reload {
        configured: ConfiguredClients,
        /// It may miss all known clients, or most of them.
        may_drop: bool,
        done: oneshot::Sender<Reloaded>,
    },
    /// A command of an administrator. The subscriber gets its result under this number.
    Command {
        command: AdminCommand,
        who: Who,
        number: u64,
    },
    /// Asks what a request of this client would get now, and until when.
    Forecast(
        ClientId,
        oneshot::Sender<Option<(ReleaseForecast, Option<Wall>)>>,
    ),
    /// Asks for the requests of this client, or of all, that wait for approval.
    Waiting(Option<ClientId>, oneshot::Sender<Vec<WaitingRequest>>),
    /// Asks for the named secrets of this client, or of all.
    Secrets(Option<ClientId>, oneshot::Sender<Vec<NamedSecretInfo>>),
    /// Asks for a read of the store.
    Read(StoreRead),
    /// Replaces the subscriber.
    Subscribe(Subscriber),
    /// Ends the driver: checks are killed, changes are written. Answered when all is done.
    Stop(oneshot::Sender<()>),
}

/// The result of a reload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reloaded {
    /// Its changes are durable.
    Durable,
    /// It would drop all clients or most of them: nothing changed.
    Refused(MassRemoval),
    /// The driver ended before.
    Ended,
}

/// Sends messages to the driver. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    messages: mpsc::UnboundedSender<DriverMessage>,
}

impl Handle {
    fn new(messages: mpsc::UnboundedSender<DriverMessage>) -> Self {
        Self { messages }
    }

    /// Replaces the configured clients; refused when all known clients are missing, or most of them, unless
    /// it `may_drop` them. The future is ready when the changes are durable.
    pub fn reload(
        &self,
        configured: ConfiguredClients,
        may_drop: bool,
    ) -> impl Future<Output = Reloaded> + Send + use<> {
        let (done, reloaded) = oneshot::channel();
        self.send(DriverMessage::Reload {
            configured,
            may_drop,
            done,
        });
        async move { reloaded.await.unwrap_or(Reloaded::Ended) }
    }

    /// Gives a command. The subscriber gets its result under `number`.
    pub(crate) fn command(&self, command: AdminCommand, who: Who, number: u64) {
        self.send(DriverMessage::Command {
            command,
            who,
            number,
        });
    }

    /// Subscribes to all updates from now on; the first is the state of all clients. Ends the subscription
    /// before it.
    pub(crate) fn subscribe(&self) -> Subscription {
        let (subscriber, subscription) = Subscriber::new();
        self.send(DriverMessage::Subscribe(subscriber));
        subscription
    }

    /// The answer that a request of a client would get now, and when that ends by itself. `None` when the client is
    /// gone, or the driver ends before.
    pub(crate) async fn forecast(
        &self,
        client: ClientId,
    ) -> Option<(ReleaseForecast, Option<Wall>)> {
        let (answer, answered) = oneshot::channel();
        self.send(DriverMessage::Forecast(client, answer));
        answered.await.ok()?
    }

    /// The requests of a client, or of all, that wait for approval. `None` when the driver ends before.
    pub(crate) async fn waiting(&self, client: Option<ClientId>) -> Option<Vec<WaitingRequest>> {
        let (answer, answered) = oneshot::channel();
        self.send(DriverMessage::Waiting(client, answer));
        answered.await.ok()
    }

    /// The named secrets of a client, or of all. `None` when the driver ends before.
    pub(crate) async fn secrets(&self, client: Option<ClientId>) -> Option<Vec<NamedSecretInfo>> {
        let (answer, answered) = oneshot::channel();
        self.send(DriverMessage::Secrets(client, answer));
        answered.await.ok()
    }

    /// Queries the audit log. `None` when the driver ends before.
    pub(crate) async fn records(
        &self,
        query: RecordSelection,
    ) -> Option<Result<RecordExcerpt, StoreError>> {
        self.read(move |store| store.records(&query)).await
    }

    /// The first and the last record of the audit log. `None` when the driver ends before.
    pub(crate) async fn record_ends(&self) -> Option<ChainEnds> {
        self.read(|store| store.ends()).await
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut dyn Store) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.send(DriverMessage::Read(Box::new(move |store| {
            // The receiver may be gone.
            let _ = answer.send(read(store));
        })));
        answered.await.ok()
    }

    /// Ends the driver; returns when everything is written and every check has been killed.
    pub async fn stop(&self) {
        let (done, ended) = oneshot::channel();
        self.send(DriverMessage::Stop(done));
        let _ = ended.await;
    }

    /// A message to a driver that has ended is lost.
    fn send(&self, message: DriverMessage) {
        let _ = self.messages.send(message);
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handle")
    }
}

impl Gatekeeper for Handle {
    async fn decide(
        &self,
        request: SecretRequest,
        waits: Option<WaitNotifier>,
    ) -> Result<Permit, Refusal> {
        let (answer, mut answered) = oneshot::channel();
        let mut undecided = Undecided {
            request: Some(request.id),
            handle: self,
        };
        self.send(DriverMessage::Request(request, answer, waits));
        match (&mut answered).await {
            Ok(decision) => {
                undecided.request = None;
                decision
            }
            // The driver has ended, and the session is about to: no decision comes any more.
            Err(_) => std::future::pending().await,
        }
    }

    async fn life(&self, report: LifeReport) -> Result<LifeAnswer, Refusal> {
        let (answer, answered) = oneshot::channel();
        self.send(DriverMessage::Life(report, answer));
        match answered.await {
            Ok(answer) => answer,
            // As above.
            Err(_) => std::future::pending().await,
        }
    }
}

/// A request without a decision. Dropped, it tells the driver that the peer is gone. A decision that arrived
/// and was not received is dropped with its channel: a permit in it reports by itself.
struct Undecided<'a> {
    request: Option<RequestId>,
    handle: &'a Handle,
}

impl Drop for Undecided<'_> {
    fn drop(&mut self) {
        if let Some(request) = self.request {
            self.handle.send(DriverMessage::PeerGone(request));
        }
    }
}
