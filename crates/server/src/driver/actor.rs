//! The driver's loop: hear, decide, commit, act.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use nightlatch_bus::names::ClientPath;
use nightlatch_core::client::saved::Change;
use nightlatch_core::name::ClientName;
use nightlatch_core::record::Kind;
use nightlatch_core::registry::{Action, Answer, Ask, ClientId, Event, Registry, RequestId};
use nightlatch_store::Store;
use nightlatch_sys::clock;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tracing::{error, info};

use super::listener::{Listener, Notice, Told};
use super::order::{Order, OrderError};
use super::outbox::Outbox;
use super::permit::{DriverPermit, Ticket};
use super::report::{Asker, Report};
use super::shelf::{Committed, Reading, Shelf, Worked};
use super::view::view;
use super::{Command, Handle, Verdict};
use crate::audit::{self, AlarmCommand, Context, Who};
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

/// How often old records are dropped.
const DROP_RECORDS: Duration = Duration::from_secs(24 * 60 * 60);

/// While the disk takes nothing, no more than so many changes are kept for it.
const MOST_UNWRITTEN: usize = 50_000;

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
    /// The command lines of checks that run.
    check_commands: HashMap<ClientId, Arc<str>>,
    /// Who gave the order that is being carried out.
    who: Who,
    alarms: Option<AlarmCommand>,
    listener: Option<Listener>,
    store: Shelf,
    /// What is to be read from the store between commits.
    readings: VecDeque<Reading>,
    keep_records: Duration,
    drop_records_at: Instant,
    /// When unwritten changes go to the store though nothing waits for them, or go there again.
    flush_at: Option<Instant>,
    /// When the last commit ended.
    committed_at: Option<Instant>,
    /// The last commit failed.
    failed: bool,
    /// So many records were left out since.
    left_out: u64,
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
    /// Tells the listener what came of the order with this number.
    Reply(u64, Result<Option<ClientId>, OrderError>),
}

/// What a driver is set up with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Run on an alarm, and when a machine waits for approval.
    pub alarm_command: Option<String>,
    /// How long records are kept.
    pub keep_records: Duration,
}

/// A request that was heard of.
struct Asked {
    asker: Asker,
    answer: Option<oneshot::Sender<Verdict>>,
    ticket: Ticket,
}

impl Driver {
    /// A driver of `registry`, whose changes go to `store`. Needs a tokio runtime; nothing happens
    /// before [`Self::run`].
    pub fn new(registry: Registry, store: Box<dyn Store>, options: Options) -> (Self, Handle) {
        let (sender, commands) = mpsc::unbounded_channel();
        let handle = Handle::new(sender);
        let driver = Self {
            registry,
            commands,
            handle: handle.clone(),
            outbox: Outbox::default(),
            requests: HashMap::new(),
            checks: Checks::default(),
            check_commands: HashMap::new(),
            who: Who::Server,
            alarms: options.alarm_command.map(AlarmCommand::new),
            listener: None,
            store: Shelf::Idle(store),
            readings: VecDeque::new(),
            keep_records: options.keep_records,
            drop_records_at: Instant::now(),
            flush_at: None,
            committed_at: None,
            failed: false,
            left_out: 0,
            stopping: false,
            given_up: false,
        };
        (driver, handle)
    }

    /// Runs until it is told to stop.
    pub async fn run(mut self) -> Result<(), DriverError> {
        self.start();
        self.registry.handle_timeout(clock::now());
        loop {
            self.collect();
            self.act();
            self.work();
            if self.stopping && self.is_finished() {
                return Ok(());
            }
            self.wait().await?;
        }
    }

    async fn wait(&mut self) -> Result<(), DriverError> {
        let flush_at = self.flush_at.filter(|_| self.store.is_idle());
        let due_at = self.registry.poll_timeout().map(|due| {
            let left = due.since(clock::now().mono);
            Instant::now() + left.min(LONGEST_SLEEP)
        });
        tokio::select! {
            command = self.commands.recv() => self.hear(command),
            () = at(due_at) => self.registry.handle_timeout(clock::now()),
            worked = self.store.worked() => return self.worked(worked),
            () = sleep_until(self.drop_records_at) => self.drop_records(),
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
                let ask = Ask {
                    boot: asked.asker.peer.words.boot.map(|boot| boot.as_bytes()),
                    rehearsal: asked.asker.peer.words.rehearsal,
                };
                self.requests.insert(request, asked);
                self.registry.handle_request(request, &key, ask, now);
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
                let count = clients.len();
                self.by(Who::Configuration, |driver| {
                    driver.record(Kind::Reloaded, format!("{count} clients"));
                    driver.registry.reload(clients, now, &mut random::up_to);
                });
                self.outbox.at_last(Deed::Done(done));
            }
            Command::Order { order, who, number } => self.order(order, who, number),
            Command::Read(reading) => {
                // It sees what came before it.
                self.outbox.hurry();
                self.readings.push_back(reading);
            }
            Command::Listen(listener) => {
                self.listener = Some(listener);
                self.tell_all();
            }
            Command::Stop(done) => {
                self.stopping = true;
                self.checks.kill_all();
                self.collect();
                self.record(Kind::Stopped, version());
                self.outbox.at_last(Deed::Done(done));
            }
        }
    }

    /// The first words of the record, with what the configuration changed since the last run.
    fn start(&mut self) {
        self.record(Kind::Started, version());
        if let Some(ends) = self.store.ends() {
            let (records, hash) = (ends.head.seq, ends.head.hash);
            info!(records, %hash, "the record goes on from here");
        }
        self.who = Who::Configuration;
        self.collect();
        self.who = Who::Server;
    }

    /// Does something in the name of `who`. What was due before it is nobody's doing.
    fn by<T>(&mut self, who: Who, deed: impl FnOnce(&mut Self) -> T) -> T {
        self.registry.handle_timeout(clock::now());
        self.collect();
        self.who = who;
        let done = deed(self);
        self.collect();
        self.who = Who::Server;
        done
    }

    fn order(&mut self, order: Order, who: Who, number: u64) {
        let result = self.by(who, |driver| {
            order.carry_out(&mut driver.registry, clock::now())
        });
        let client = result.as_ref().ok().and_then(|id| self.name(*id));
        self.outbox
            .deed(client, Deed::Reply(number, result.map(Some)));
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
            Answer::Refuse(reason) => {
                self.requests.remove(&request);
                (None, Verdict::Refuse(reason))
            }
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
        let asked = request.and_then(|request| self.requests.get(&request));
        let asker = asked.map(|asked| asked.asker.clone());
        let context = Context {
            time: clock::now().wall,
            client: name.as_ref(),
            settings: client
                .and_then(|id| self.registry.client(id))
                .map(|client| client.settings()),
            asker: asker.as_ref(),
            who: &self.who,
        };
        if let Some(entry) = audit::entry(&event, context) {
            if let Some(alarms) = &self.alarms {
                alarms.hear(&entry);
            }
            let change = Change::Record(Box::new(entry));
            match (&event, &name) {
                _ if self.failed && self.outbox.unwritten() >= MOST_UNWRITTEN => {
                    self.left_out += 1;
                }
                // No secret leaves before it is in the record.
                (Event::Granted { .. }, Some(name)) => self.outbox.record(change, name.clone()),
                _ => self.outbox.change_soon(change),
            }
        }
        let client = client.zip(name.clone());
        self.outbox.deed(
            name,
            Deed::Report(Report {
                event,
                client,
                asker,
            }),
        );
    }

    /// Records something of the server itself.
    fn record(&mut self, kind: Kind, detail: String) {
        let context = Context {
            time: clock::now().wall,
            client: None,
            settings: None,
            asker: None,
            who: &self.who,
        };
        let entry = audit::of_server(kind, detail, context);
        self.outbox.change_soon(Change::Record(Box::new(entry)));
    }

    /// Records how many records there are not.
    fn own_up(&mut self) {
        let left_out = std::mem::take(&mut self.left_out);
        if left_out > 0 {
            let detail = format!("{left_out} records were left out while the disk took nothing");
            self.record(Kind::Lost, detail);
        }
    }

    fn drop_records(&mut self) {
        self.drop_records_at = Instant::now() + DROP_RECORDS;
        let before = clock::now().wall.before(self.keep_records);
        self.outbox.change_soon(Change::DropRecords(before));
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
                Deed::Report(report) => self.tell(report),
                Deed::Done(done) => drop(done.send(())),
                Deed::Reply(number, result) => self.reply(number, result),
            }
        }
    }

    /// Tells the listener of an event and how its client stands now, and logs it.
    fn tell(&mut self, report: Report) {
        let id = report.client.as_ref().map(|(id, _)| *id);
        let command = id.and_then(|id| match report.event {
            Event::CheckFinished(..) => self.check_commands.remove(&id),
            _ => self.check_commands.get(&id).cloned(),
        });
        match &mut self.listener {
            Some(listener) if listener.is_gone() => self.listener = None,
            Some(listener) if listener.needs_all() => self.tell_all(),
            Some(listener) if listener.hears() => {
                let client = id.and_then(|id| self.registry.client(id));
                listener.tell(Told::Event(Box::new(Notice {
                    event: report.event.clone(),
                    client: report.client.clone(),
                    view: client.map(view),
                    asker: report.asker.clone(),
                    command,
                })));
            }
            _ => {}
        }
        // Who reads the log and looks finds what it says.
        report.log();
    }

    /// Tells the listener how all clients stand.
    fn tell_all(&mut self) {
        if let Some(listener) = &mut self.listener {
            let all = self.registry.iter().map(|(id, client)| (id, view(client)));
            listener.tell(Told::All(all.collect()));
        }
    }

    fn reply(&mut self, number: u64, result: Result<Option<ClientId>, OrderError>) {
        if let Some(listener) = &self.listener {
            listener.send(Told::Done(number, result));
        }
    }

    fn start_check(&mut self, client: ClientId) {
        let path = self
            .registry
            .name(client)
            .map(|name| ClientPath::of_name(name.as_str()));
        let path = path.as_ref().map_or("", ClientPath::as_str);
        let command = self.registry.checker_command(client, path);
        match command.filter(|_| !self.stopping) {
            Some(command) => {
                if self.listener.is_some() {
                    self.check_commands.insert(client, command.as_str().into());
                }
                let commands = self.handle.commands.clone();
                self.checks.start(client, &command, move |result| {
                    let _ = commands.send(Command::Checked(client, result));
                });
            }
            None => self.handle.send(Command::Checked(client, checker::NOT_RUN)),
        }
    }

    /// Gives the store its next piece of work.
    fn work(&mut self) {
        self.write();
        let written = !self.outbox.is_unwritten() || self.failed;
        if self.store.is_idle()
            && written
            && let Some(reading) = self.readings.pop_front()
        {
            self.store.read(reading);
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
        if self.store.is_idle() {
            self.flush_at = None;
            self.store.commit(self.outbox.take());
        }
    }

    fn worked(&mut self, worked: Option<Worked>) -> Result<(), DriverError> {
        let worked = worked.ok_or(DriverError::Store)?;
        if let Some(committed) = self.store.put_back(worked) {
            self.committed(committed);
            // A reading that waits has its turn even when commits come one after the other.
            if let Some(reading) = self.readings.pop_front() {
                self.store.read(reading);
            }
        }
        Ok(())
    }

    fn committed(&mut self, Committed { changes, result }: Committed) {
        self.committed_at = Some(Instant::now());
        match result {
            Ok(lines) => {
                if std::mem::take(&mut self.failed) {
                    info!("the state can be written again");
                    self.own_up();
                }
                self.outbox.committed(changes.len());
                if let Some(listener) = &mut self.listener {
                    let told = lines.into_iter().map(Told::Recorded);
                    told.for_each(|line| listener.tell(line));
                }
            }
            Err(failure) => {
                self.outbox.put_back(changes);
                let replies = self.outbox.take_out(|deed| match deed {
                    Deed::Reply(number, _) => Some(*number),
                    _ => None,
                });
                for number in replies {
                    self.reply(number, Err(OrderError::NotDurable));
                }
                self.given_up = self.stopping;
                self.flush_at = Some(Instant::now() + RETRY_COMMIT);
                if !std::mem::replace(&mut self.failed, true) {
                    let hint = failure.hint();
                    error!(error = %failure, hint, "cannot write the state: nothing that changes it takes effect until it can");
                }
            }
        }
    }

    fn is_finished(&self) -> bool {
        self.store.is_idle() && (!self.outbox.is_unwritten() || self.given_up)
    }
}

fn version() -> String {
    format!("nightlatchd {}", env!("CARGO_PKG_VERSION"))
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
        | Event::CheckStopping(client)
        | Event::CheckFinished(client, _)
        | Event::CheckedOk(client)
        | Event::Changed(client, _) => (Some(client), None),
        Event::Alarmed(client, _) => (client, None),
        Event::NeedsApproval {
            client, request, ..
        }
        | Event::Granted {
            client, request, ..
        }
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
