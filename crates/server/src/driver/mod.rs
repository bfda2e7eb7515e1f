//! The one task that owns the registry, and the handle by which all others speak to it.
//!
//! Commands come in, [`nightlatch_core::registry`] decides, and its actions are carried out in
//! order. What must be durable is committed before anything that depends on it; one transaction
//! takes all changes that are ready. Nothing is decided here.

mod actor;
mod effect;
mod journal;
mod listener;
mod log_quotas;
mod notifier;
mod order;
mod permit;
mod report;
mod requests;
mod shelf;
#[cfg(test)]
mod tests;
mod view;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nightlatch_core::checker::LastCheck;
use nightlatch_core::event::{ClientId, RequestId};
use nightlatch_core::key_id::KeyId;
use nightlatch_core::record::{Ends, Page, Query};
use nightlatch_core::registry::{ConfiguredClients, MassRemoval, ReleaseForecast};
use nightlatch_core::time::Wall;
use nightlatch_proto::tls::Authenticated;
use nightlatch_store::{Store, StoreError};
use tokio::sync::{mpsc, oneshot};

pub use actor::{Driver, DriverError, Options};
use listener::Listener;
pub(crate) use listener::{Heard, Notice, Told};
pub(crate) use order::{Act, Order, OrderError};
pub use permit::DriverPermit;
pub(crate) use requests::{WaitingRequest, several};
use shelf::Reading;

use crate::audit::Who;
use crate::random;
use crate::session::{self, Gatekeeper, Peer};

/// What is sent to the driver. The channel has no bound of its own: each sender has at most a few
/// commands under way, and there are no more senders than connections and checks, which are bounded.
enum Command {
    /// Somebody proved a key and wants the secret.
    Request {
        request: RequestId,
        key: KeyId,
        peer: Peer,
        answer: oneshot::Sender<Verdict>,
    },
    /// The peer of a request that was not answered yet is gone.
    PeerGone(RequestId),
    /// A secret was handed over.
    Delivered(RequestId),
    /// A secret could not be handed over, or was not.
    Failed(RequestId),
    /// A check ended.
    Checked(ClientId, LastCheck),
    /// The configuration was read anew. Answered when what it changed is durable.
    Reload {
        configured: ConfiguredClients,
        /// It may miss all clients that are known, or most of them.
        may_drop: bool,
        done: oneshot::Sender<Reloaded>,
    },
    /// An administrator wants something. The listener hears what came of it, under this number.
    Order { order: Order, who: Who, number: u64 },
    /// What would this client get now, and until when?
    Forecast(
        ClientId,
        oneshot::Sender<Option<(ReleaseForecast, Option<Wall>)>>,
    ),
    /// Which requests of this client, or of all, wait for a person?
    Waiting(Option<ClientId>, oneshot::Sender<Vec<WaitingRequest>>),
    /// Something is to be read from the store.
    Read(Reading),
    /// Somebody wants to hear everything; who did before hears no more.
    Listen(Listener),
    /// End: checks are killed, what is known is written. Answered when all is done.
    Stop(oneshot::Sender<()>),
}

/// What came of a reload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reloaded {
    /// What it changed is durable.
    Durable,
    /// It would drop all clients or most of them: nothing changed.
    Refused(MassRemoval),
    /// The driver ended before.
    Ended,
}

type Verdict = session::Verdict<DriverPermit>;

/// Speaks to the driver. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    commands: mpsc::UnboundedSender<Command>,
    next_request: Arc<AtomicU64>,
}

impl Handle {
    fn new(commands: mpsc::UnboundedSender<Command>) -> Self {
        Self {
            commands,
            next_request: Arc::new(AtomicU64::new(random::first_number())),
        }
    }

    /// Takes over clients that were read anew, from now on; not when all that are known are missing, or
    /// most of them, unless it `may_drop` them. What it returns is ready when their changes are durable.
    pub fn reload(
        &self,
        configured: ConfiguredClients,
        may_drop: bool,
    ) -> impl Future<Output = Reloaded> + Send + use<> {
        let (done, reloaded) = oneshot::channel();
        self.send(Command::Reload {
            configured,
            may_drop,
            done,
        });
        async move { reloaded.await.unwrap_or(Reloaded::Ended) }
    }

    /// Puts an order. Whoever listens hears what came of it, under `number`.
    pub(crate) fn order(&self, order: Order, who: Who, number: u64) {
        self.send(Command::Order { order, who, number });
    }

    /// Hears everything from now on: first how all clients stand.
    pub(crate) fn listen(&self) -> Heard {
        let (listener, heard) = Listener::new();
        self.send(Command::Listen(listener));
        heard
    }

    /// What a client would get if it asked now, and when that ends by itself. `None` when it is gone, or
    /// the driver ends before.
    pub(crate) async fn standing(
        &self,
        client: ClientId,
    ) -> Option<(ReleaseForecast, Option<Wall>)> {
        let (answer, answered) = oneshot::channel();
        self.send(Command::Forecast(client, answer));
        answered.await.ok()?
    }

    /// The requests of a client, or of all, that wait for a person. `None` when the driver ends before.
    pub(crate) async fn waiting(&self, client: Option<ClientId>) -> Option<Vec<WaitingRequest>> {
        let (answer, answered) = oneshot::channel();
        self.send(Command::Waiting(client, answer));
        answered.await.ok()
    }

    /// The entries of the record that `query` asks for. `None` when the driver ends before.
    pub(crate) async fn records(&self, query: Query) -> Option<Result<Page, StoreError>> {
        self.read(move |store| store.records(&query)).await
    }

    /// Where the record begins and ends. `None` when the driver ends before.
    pub(crate) async fn record_ends(&self) -> Option<Ends> {
        self.read(|store| store.ends()).await
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut dyn Store) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.send(Command::Read(Box::new(move |store| {
            // Who asked may have gone.
            let _ = answer.send(read(store));
        })));
        answered.await.ok()
    }

    /// Ends the driver; returns when everything is written and every check has been killed.
    pub async fn stop(&self) {
        let (done, ended) = oneshot::channel();
        self.send(Command::Stop(done));
        let _ = ended.await;
    }

    /// A driver that has ended hears nothing more, and owes nobody anything.
    fn send(&self, command: Command) {
        let _ = self.commands.send(command);
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handle")
    }
}

impl Gatekeeper for Handle {
    type Request = Request;

    async fn request(&self, who: Authenticated, peer: Peer) -> Request {
        let id = RequestId(self.next_request.fetch_add(1, Ordering::Relaxed));
        let (answer, verdict) = oneshot::channel();
        self.send(Command::Request {
            request: id,
            key: who.key_id(),
            peer,
            answer,
        });
        Request {
            id,
            handle: self.clone(),
            verdict: Some(verdict),
        }
    }
}

/// A request under way. Dropped before its verdict, it tells that the peer is gone.
#[derive(Debug)]
pub struct Request {
    id: RequestId,
    handle: Handle,
    verdict: Option<oneshot::Receiver<Verdict>>,
}

impl session::Request for Request {
    type Permit = DriverPermit;

    async fn verdict(&mut self) -> Verdict {
        if let Some(verdict) = &mut self.verdict
            && let Ok(verdict) = verdict.await
        {
            self.verdict = None;
            return verdict;
        }
        // The driver has ended, and the session is about to: there is no answer any more.
        std::future::pending().await
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        // A verdict that arrived and was not fetched goes with the channel: a permit in it reports.
        if self.verdict.is_some() {
            self.handle.send(Command::PeerGone(self.id));
        }
    }
}
