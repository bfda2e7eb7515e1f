//! The driver's loop: hear, decide, commit, act.

use std::collections::HashMap;
use std::time::Duration;

use nightlatch_bus::names::ClientPath;
use nightlatch_core::client::Client;
use nightlatch_core::event::{Ask, ClientId, Event, RequestId};
use nightlatch_core::name::ClientName;
use nightlatch_core::record::{Entry, Kind};
use nightlatch_core::registry::{Action, Registry, RequestAnswer};
use nightlatch_store::Store;
use nightlatch_sys::clock;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::effect::Effect;
use super::journal::Journal;
use super::notifier::EventNotifier;
use super::order::{Order, OrderError};
use super::permit::{DriverPermit, Terms, Ticket};
use super::report::{Report, whose};
use super::requests::{Asked, waiting};
use super::shelf::Worked;
use super::{Command, Handle, Reloaded, Verdict};
use crate::audit::Who;
use crate::checker::{self, Checks, Runner};
use crate::random;
use crate::session::Asker;
use crate::warnings::Warnings;

/// The runtime's timers stand still while the host is suspended, so they are asked again this often.
/// Being late changes no decision: every event first does what was due before it.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// So many commands are decided before their actions are carried out: a flood must not keep the
/// answers waiting.
const BATCH: usize = 1024;

/// The task that owns the registry.
pub struct Driver {
    registry: Registry,
    commands: mpsc::UnboundedReceiver<Command>,
    handle: Handle,
    requests: HashMap<RequestId, Asked>,
    checks: Checks,
    pub(super) journal: Journal,
    pub(super) notifier: EventNotifier,
    stopping: bool,
}

/// Why the driver ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The store's code panicked; what is durable is unknown.
    #[error("the store ended by a fault of this program")]
    Store,
}

/// What a driver is set up with.
#[derive(Clone, Debug)]
pub struct Options {
    /// What runs checkers.
    pub(crate) runner: Runner,
    /// Run on an alarm, and when a machine waits for approval.
    pub alarm_command: Option<String>,
    /// How long records are kept.
    pub keep_records: Duration,
    /// Where it is told that the store fails.
    pub(crate) warnings: Warnings,
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
            requests: HashMap::new(),
            checks: Checks::new(options.runner),
            journal: Journal::new(store, options.keep_records, options.warnings),
            notifier: EventNotifier::new(options.alarm_command),
            stopping: false,
        };
        (driver, handle)
    }

    /// Runs until it is told to stop.
    pub async fn run(mut self) -> Result<(), DriverError> {
        self.start();
        self.registry.handle_timeout(clock::now());
        loop {
            self.collect();
            let now = clock::now().mono;
            self.journal.close_quotas(now);
            self.act();
            self.journal.work(self.stopping);
            self.notifier.close_quotas(now);
            if self.stopping && self.journal.is_finished() {
                if !self.journal.finish_quotas() || self.journal.has_given_up() {
                    self.notifier.finish_quotas();
                    return Ok(());
                }
                // Sessions that ended while the last words were written.
                self.journal.outbox.mark_urgent();
                continue;
            }
            self.wait().await?;
        }
    }

    async fn wait(&mut self) -> Result<(), DriverError> {
        let flush_at = self.journal.flush_at();
        let drop_records_at = self.journal.drop_records_at();
        let due = [
            self.registry.poll_timeout(),
            self.notifier.quotas_end(),
            self.journal.quotas_end(),
        ];
        let due_at = due.into_iter().flatten().min().map(|due| {
            let left = due.since(clock::now().mono);
            Instant::now() + left.min(LONGEST_SLEEP)
        });
        tokio::select! {
            command = self.commands.recv() => self.hear(command),
            () = at(due_at) => self.registry.handle_timeout(clock::now()),
            worked = self.journal.worked() => return self.worked(worked),
            () = sleep_until(drop_records_at) => self.journal.drop_records(),
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
                let RequestId(number) = request;
                let asker = Asker { number, peer, key };
                let asked = Asked {
                    asker,
                    since: now.wall,
                    alarmed: false,
                    left_out: None,
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
            Command::Reload {
                configured,
                may_drop,
                done,
            } => {
                let drops = self
                    .registry
                    .mass_removal(&configured.clients)
                    .filter(|_| !may_drop);
                if let Some(drops) = drops {
                    // Who asked may have gone.
                    let _ = done.send(Reloaded::Refused(drops));
                    return;
                }
                let count = configured.clients.len();
                self.by(Who::Configuration, |driver| {
                    driver
                        .journal
                        .server(Kind::Reloaded, format!("{count} clients"));
                    driver.registry.reload(configured, now, &mut random::up_to);
                });
                self.journal.outbox.effect_after_all(Effect::Reloaded(done));
            }
            Command::Order { order, who, number } => self.order(order, who, number),
            Command::Forecast(client, answer) => {
                self.registry.handle_timeout(now);
                // Who asked may have gone.
                let _ = answer.send(self.registry.forecast(client, now));
            }
            Command::Waiting(client, answer) => {
                self.registry.handle_timeout(now);
                // Who asked may have gone.
                let _ = answer.send(waiting(&self.requests, &self.registry, client));
            }
            Command::Read(reading) => {
                self.journal.read(reading);
            }
            Command::Listen(listener) => {
                self.notifier.listen(listener, &self.registry);
            }
            Command::Stop(done) => {
                self.stopping = true;
                self.checks.kill_all();
                self.collect();
                self.journal.finish_quotas();
                self.journal.server(Kind::Stopped, version());
                self.journal.outbox.effect_after_all(Effect::Done(done));
            }
        }
    }

    /// The first words of the record, with what the configuration changed since the last run.
    fn start(&mut self) {
        self.journal.server(Kind::Started, version());
        self.journal.log_ends();
        self.journal.who = Who::Configuration;
        self.collect();
        self.journal.who = Who::Server;
    }

    /// Does something in the name of `who`. What was due before it is nobody's doing.
    fn by<T>(&mut self, who: Who, deed: impl FnOnce(&mut Self) -> T) -> T {
        self.registry.handle_timeout(clock::now());
        self.collect();
        self.journal.who = who;
        let done = deed(self);
        self.collect();
        self.journal.who = Who::Server;
        done
    }

    fn order(&mut self, order: Order, who: Who, number: u64) {
        let about = match &order {
            Order::Client(client, _) => Some(*client),
            Order::Decide { .. } | Order::Add(_) | Order::TryAdd(_) => None,
        };
        let mut result = self.by(who, |driver| {
            order.carry_out(&mut driver.registry, clock::now())
        });
        if let Err(OrderError::SeveralWait(several)) = &mut result {
            *several = waiting(&self.requests, &self.registry, about);
        }
        let client = result.as_ref().ok().and_then(|id| self.name((*id)?));
        self.journal
            .outbox
            .acknowledge(client.as_ref(), Effect::Reply(number, result));
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
                Action::Persist(change, durability) => {
                    self.journal.outbox.persist(change, durability)
                }
                Action::Answer { request, answer } => self.answer(request, answer),
                Action::Revoke { request } => {
                    if let Some(asked) = self.requests.get(&request) {
                        asked.ticket.revoke();
                    }
                }
                Action::StartCheck { client } => {
                    let name = self.name(client);
                    self.journal
                        .outbox
                        .effect(name.as_ref(), Effect::StartCheck(client));
                }
                Action::StopCheck { client } => {
                    let name = self.name(client);
                    self.journal
                        .outbox
                        .effect(name.as_ref(), Effect::StopCheck(client));
                }
                Action::Event(event) => self.report(event),
            }
        }
    }

    pub(super) fn report(&mut self, event: Event) {
        let (client, request) = whose(&event);
        let name = client.and_then(|client| self.name(client));
        let settings = client.and_then(|id| self.registry.client(id));
        let settings = settings.map(Client::settings);
        let mut asked = request.and_then(|request| self.requests.get_mut(&request));
        let asker = asked.as_ref().map(|asked| asked.asker.clone());
        if let (Event::Granted { alarm: Some(_), .. }, Some(asked)) = (&event, &mut asked) {
            asked.alarmed = true;
        }
        let call = |entry: &Entry| self.notifier.call(&event, entry);
        self.journal
            .event(&event, name.as_ref(), settings, asked, call);
        let report = Report {
            event,
            client: client.zip(name.clone()),
            asker,
        };
        self.journal
            .outbox
            .effect(name.as_ref(), Effect::Report(report));
    }

    fn worked(&mut self, worked: Option<Worked>) -> Result<(), DriverError> {
        let worked = worked.ok_or(DriverError::Store)?;
        let end = self.journal.put_back(worked, self.stopping);
        if let Some(lost) = end.lost {
            self.notifier.call_for_lost(&lost);
        }
        self.notifier.recorded(end.lines);
        for effect in end.not_durable {
            if let Effect::Reply(number, _) = effect {
                self.notifier.reply(number, Err(OrderError::NotDurable));
            }
        }
        Ok(())
    }

    fn answer(&mut self, request: RequestId, answer: RequestAnswer) {
        let Some(asked) = self.requests.get_mut(&request) else {
            return;
        };
        let Some(sender) = asked.answer.take() else {
            return;
        };
        let (client, verdict) = match answer {
            RequestAnswer::Refuse(reason) => {
                self.requests.remove(&request);
                (None, Verdict::Refuse(reason))
            }
            RequestAnswer::Release(client) => {
                let (secret, terms) = (
                    self.registry.secret(client),
                    self.registry.deadline_terms(client),
                );
                let Some((secret, terms)) = secret.zip(terms) else {
                    return;
                };
                let handle = self.handle.clone();
                let ticket = asked.ticket.clone();
                let terms = Terms {
                    terms,
                    alarmed: asked.alarmed,
                };
                let permit = DriverPermit::new(request, ticket, secret, terms, handle);
                (
                    self.registry.name(client).cloned(),
                    Verdict::Release(permit),
                )
            }
        };
        let effect = Effect::Answer(sender, verdict);
        self.journal.outbox.release(client.as_ref(), effect);
    }

    fn name(&self, client: ClientId) -> Option<ClientName> {
        self.registry.name(client).cloned()
    }

    /// Does what nothing holds up any more.
    fn act(&mut self) {
        for effect in self.journal.outbox.ready() {
            match effect {
                // A session that ended meanwhile gets no answer; a permit in it reports by itself.
                Effect::Answer(sender, verdict) => drop(sender.send(verdict)),
                Effect::StartCheck(client) => self.start_check(client),
                Effect::StopCheck(client) => self.checks.kill(client),
                Effect::Report(report) => self.notifier.event(&report, &self.registry),
                Effect::Done(done) => drop(done.send(())),
                Effect::Reloaded(done) => drop(done.send(Reloaded::Durable)),
                Effect::Reply(number, result) => self.notifier.reply(number, result),
            }
        }
    }

    fn start_check(&mut self, client: ClientId) {
        let path = self
            .registry
            .name(client)
            .map(|name| ClientPath::of_name(name.as_str()));
        let path = path.as_ref().map_or("", ClientPath::as_str);
        let probe = self.registry.probe(client, path);
        match probe.filter(|_| !self.stopping) {
            Some(probe) => {
                self.notifier.check_starts(client, probe.line());
                let name = self.registry.name(client).map(ToString::to_string);
                let commands = self.handle.commands.clone();
                self.checks
                    .start(client, name.unwrap_or_default(), probe, move |result| {
                        let _ = commands.send(Command::Checked(client, result));
                    });
            }
            None => self.handle.send(Command::Checked(client, checker::NOT_RUN)),
        }
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
