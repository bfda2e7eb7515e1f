//! The driver's loop: hear, decide, commit, act.

use std::collections::HashMap;
use std::time::Duration;

use nightlatch_core::client::saved::Change;
use nightlatch_core::name::ClientName;
use nightlatch_core::registry::{Action, Answer, ClientId, Event, Registry, RequestId};
use nightlatch_store::{Store, StoreError};
use nightlatch_sys::clock;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tracing::{error, info};

use super::outbox::Outbox;
use super::permit::{DriverPermit, Ticket};
use super::report::{Asker, Report};
use super::{Command, Handle, Verdict};
use crate::checker::{self, Checks};
use crate::random;

/// Proofs of life reach the store this late at most. Losing them can only shorten a deadline.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);

/// Under load changes are gathered for so long before the next commit: each costs the disk as much as
/// many, and nobody who asked for one notices.
const GATHER: Duration = Duration::from_millis(10);

/// How long after a failed commit it is tried again: a full disk stays full for a while.
const RETRY_COMMIT: Duration = Duration::from_secs(1);

/// The runtime's timers stand still while the host is suspended, so they are asked again this often.
/// Being late changes no decision: every event first does what was due before it.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// What `%(dbus_object_path)s` in a checker stands for while there is no such object.
const NO_OBJECT_PATH: &str = "";

/// So many commands are decided before their actions are carried out: a flood must not keep the
/// answers waiting.
const BATCH: usize = 1024;

/// The task that owns the registry.
pub struct Driver {
    registry: Registry,
    commands: mpsc::UnboundedReceiver<Command>,
    handle: Handle,
    outbox: Outbox<Deed>,
    requests: HashMap<RequestId, Asked>,
    checks: Checks,
    store: Shelf,
    /// When unwritten changes go to the store though nothing waits for them, or go there again.
    flush_at: Option<Instant>,
    /// When the last commit ended.
    committed_at: Option<Instant>,
    /// The last commit failed.
    failed: bool,
    stopping: bool,
    /// A commit failed while stopping: there is no later to try again.
    given_up: bool,
}

/// Why the driver ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The store's code panicked; what is durable is unknown.
    #[error("the store ended by a fault of this program")]
    Store,
}

/// What is to be done once the changes before it are durable.
enum Deed {
    Answer(oneshot::Sender<Verdict>, Verdict),
    StartCheck(ClientId),
    StopCheck(ClientId),
    Report(Report),
    Done(oneshot::Sender<()>),
}

/// A request that was heard of.
struct Asked {
    asker: Asker,
    answer: Option<oneshot::Sender<Verdict>>,
    ticket: Ticket,
}

/// The store, here or at work.
enum Shelf {
    Idle(Box<dyn Store>),
    Busy(JoinHandle<Committed>),
    /// Between the two, or lost to a panic.
    Gone,
}

struct Committed {
    store: Box<dyn Store>,
    changes: Vec<Change>,
    result: Result<(), StoreError>,
}

impl Driver {
    /// A driver of `registry`, whose changes go to `store`. Needs a tokio runtime; nothing happens
    /// before [`Self::run`].
    pub fn new(registry: Registry, store: Box<dyn Store>) -> (Self, Handle) {
        let (sender, commands) = mpsc::unbounded_channel();
        let handle = Handle::new(sender);
        let driver = Self {
            registry,
            commands,
            handle: handle.clone(),
            outbox: Outbox::default(),
            requests: HashMap::new(),
            checks: Checks::default(),
            store: Shelf::Idle(store),
            flush_at: None,
            committed_at: None,
            failed: false,
            stopping: false,
            given_up: false,
        };
        (driver, handle)
    }

    /// Runs until it is told to stop.
    pub async fn run(mut self) -> Result<(), DriverError> {
        self.registry.handle_timeout(clock::now());
        loop {
            self.collect();
            self.act();
            self.write();
            if self.stopping && self.is_finished() {
                return Ok(());
            }
            self.wait().await?;
        }
    }

    async fn wait(&mut self) -> Result<(), DriverError> {
        let flush_at = self
            .flush_at
            .filter(|_| matches!(self.store, Shelf::Idle(_)));
        let due_at = self.registry.poll_timeout().map(|due| {
            let left = due.since(clock::now().mono);
            Instant::now() + left.min(LONGEST_SLEEP)
        });
        tokio::select! {
            command = self.commands.recv() => self.hear(command),
            () = at(due_at) => self.registry.handle_timeout(clock::now()),
            committed = self.store.committed() => return self.committed(committed),
            () = at(flush_at) => {}
        }
        Ok(())
    }

    /// Takes the command, and all that came with it.
    fn hear(&mut self, first: Option<Command>) {
        let mut next = first;
        for _ in 0..BATCH {
            let Some(command) = next.take() else {
                return;
            };
            self.decide(command);
            next = self.commands.try_recv().ok();
        }
        if let Some(command) = next {
            self.decide(command);
        }
    }

    fn decide(&mut self, command: Command) {
        let now = clock::now();
        match command {
            Command::Request {
                request,
                key,
                peer,
                answer,
            } => {
                let asker = Asker { peer, key };
                let asked = Asked {
                    asker,
                    answer: Some(answer),
                    ticket: Ticket::default(),
                };
                self.requests.insert(request, asked);
                self.registry.handle_request(request, &key, now);
            }
            Command::PeerGone(request) => {
                self.registry.handle_peer_gone(request, now);
                self.forget(request);
            }
            Command::Delivered(request) => {
                self.registry.handle_delivered(request, now);
                self.forget(request);
            }
            Command::Failed(request) => {
                self.registry.handle_delivery_failed(request, now);
                self.forget(request);
            }
            Command::Checked(client, result) => {
                self.checks.ended(client);
                self.registry.handle_check_finished(client, result, now);
            }
            Command::Reload(clients, done) => {
                self.registry.reload(clients, now, &mut random::up_to);
                self.collect();
                self.outbox.at_last(Deed::Done(done));
            }
            Command::Stop(done) => {
                self.stopping = true;
                self.checks.kill_all();
                self.collect();
                self.outbox.at_last(Deed::Done(done));
            }
        }
    }

    /// Its last words go into the log with who it was.
    fn forget(&mut self, request: RequestId) {
        self.collect();
        self.requests.remove(&request);
    }

    /// Puts what the registry wants done into the outbox.
    fn collect(&mut self) {
        while let Some(action) = self.registry.poll_action() {
            match action {
                Action::Persist(change) => self.outbox.change(change),
                Action::PersistSoon(change) => self.outbox.change_soon(change),
                Action::Answer { request, answer } => self.answer(request, answer),
                Action::Revoke { request } => {
                    if let Some(asked) = self.requests.get(&request) {
                        asked.ticket.revoke();
                    }
                }
                Action::StartCheck { client } => {
                    let name = self.name(client);
                    self.outbox.deed(name, Deed::StartCheck(client));
                }
                Action::StopCheck { client } => {
                    let name = self.name(client);
                    self.outbox.deed(name, Deed::StopCheck(client));
                }
                Action::Event(event) => self.report(event),
            }
        }
    }

    fn answer(&mut self, request: RequestId, answer: Answer) {
        let Some(asked) = self.requests.get_mut(&request) else {
            return;
        };
        let Some(sender) = asked.answer.take() else {
            return;
        };
        let (client, verdict) = match answer {
            Answer::Refuse(reason) => (None, Verdict::Refuse(reason)),
            Answer::Release(client) => {
                let Some(secret) = self.registry.secret(client) else {
                    return;
                };
                let handle = self.handle.clone();
                let permit = DriverPermit::new(request, asked.ticket.clone(), secret, handle);
                (
                    self.registry.name(client).cloned(),
                    Verdict::Release(permit),
                )
            }
        };
        self.outbox.deed(client, Deed::Answer(sender, verdict));
    }

    fn report(&mut self, event: Event) {
        let (client, request) = whose(&event);
        let name = client.and_then(|client| self.name(client));
        let asker = request.and_then(|request| self.requests.get(&request));
        let asker = asker.map(|asked| asked.asker.clone());
        if let (Event::Refused { .. }, Some(request)) = (&event, request) {
            self.requests.remove(&request);
        }
        let client = name.as_ref().map(|name| name.as_str().to_owned());
        self.outbox.deed(
            name,
            Deed::Report(Report {
                event,
                client,
                asker,
            }),
        );
    }

    fn name(&self, client: ClientId) -> Option<ClientName> {
        self.registry.name(client).cloned()
    }

    /// Does what nothing holds up any more.
    fn act(&mut self) {
        for deed in self.outbox.ready() {
            match deed {
                // A session that ended meanwhile gets no answer; a permit in it reports by itself.
                Deed::Answer(sender, verdict) => drop(sender.send(verdict)),
                Deed::StartCheck(client) => self.start_check(client),
                Deed::StopCheck(client) => self.checks.kill(client),
                Deed::Report(report) => report.log(),
                Deed::Done(done) => drop(done.send(())),
            }
        }
    }

    fn start_check(&mut self, client: ClientId) {
        let command = self.registry.checker_command(client, NO_OBJECT_PATH);
        match command.filter(|_| !self.stopping) {
            Some(command) => {
                let commands = self.handle.commands.clone();
                self.checks.start(client, &command, move |result| {
                    let _ = commands.send(Command::Checked(client, result));
                });
            }
            None => self.handle.send(Command::Checked(client, checker::NOT_RUN)),
        }
    }

    /// Starts a commit when something waits for it, or has waited long enough.
    fn write(&mut self) {
        if !self.outbox.is_unwritten() || self.given_up {
            self.flush_at = None;
            return;
        }
        let now = Instant::now();
        // A failed commit is not urgent before its time has come again.
        let urgent = self.outbox.is_urgent() && !self.failed;
        let latest = if urgent {
            self.committed_at.map_or(now, |last| last + GATHER)
        } else {
            now + FLUSH_WITHIN
        };
        let flush_at = self.flush_at.map_or(latest, |at| at.min(latest));
        self.flush_at = Some(flush_at);
        if !(self.stopping || flush_at <= now) {
            return;
        }
        match std::mem::replace(&mut self.store, Shelf::Gone) {
            Shelf::Idle(mut store) => {
                let changes = self.outbox.take();
                self.flush_at = None;
                self.store = Shelf::Busy(tokio::task::spawn_blocking(move || {
                    let result = store.commit(&changes);
                    Committed {
                        store,
                        changes,
                        result,
                    }
                }));
            }
            busy => self.store = busy,
        }
    }

    fn committed(&mut self, committed: Option<Committed>) -> Result<(), DriverError> {
        let Some(Committed {
            store,
            changes,
            result,
        }) = committed
        else {
            self.store = Shelf::Gone;
            return Err(DriverError::Store);
        };
        self.store = Shelf::Idle(store);
        self.committed_at = Some(Instant::now());
        match result {
            Ok(()) => {
                if std::mem::take(&mut self.failed) {
                    info!("the state can be written again");
                }
                self.outbox.committed(changes.len());
            }
            Err(failure) => {
                self.outbox.put_back(changes);
                self.given_up = self.stopping;
                self.flush_at = Some(Instant::now() + RETRY_COMMIT);
                if !std::mem::replace(&mut self.failed, true) {
                    let hint = failure.hint();
                    error!(error = %failure, hint, "cannot write the state: nothing that changes it takes effect until it can");
                }
            }
        }
        Ok(())
    }

    fn is_finished(&self) -> bool {
        let idle = matches!(self.store, Shelf::Idle(_));
        idle && (!self.outbox.is_unwritten() || self.given_up)
    }
}

impl Shelf {
    /// Waits for the commit that is under way; for ever when there is none.
    async fn committed(&mut self) -> Option<Committed> {
        match self {
            Self::Busy(commit) => commit.await.ok(),
            _ => std::future::pending().await,
        }
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Which client and which request an event is about.
fn whose(event: &Event) -> (Option<ClientId>, Option<RequestId>) {
    match *event {
        Event::Added(client)
        | Event::Removed(client, _)
        | Event::Enabled(client)
        | Event::Disabled(client, _)
        | Event::Decided { client, .. }
        | Event::CheckStarted(client)
        | Event::CheckFinished(client, _)
        | Event::CheckedOk(client)
        | Event::Changed(client) => (Some(client), None),
        Event::NeedsApproval {
            client, request, ..
        }
        | Event::Granted { client, request }
        | Event::Revoked {
            client, request, ..
        }
        | Event::Abandoned { client, request }
        | Event::Delivered { client, request }
        | Event::DeliveryFailed { client, request } => (Some(client), Some(request)),
        Event::Refused {
            client, request, ..
        } => (client, Some(request)),
        _ => (None, None),
    }
}
