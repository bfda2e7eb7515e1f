//! The driver's loop: receive, decide, commit, act.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::time::Duration;

use nightlatch_bus::names::ClientPath;
use nightlatch_core::client::Client;
use nightlatch_core::event::{ClientId, Event, RecordContent, RequestId};
use nightlatch_core::name::ClientName;
use nightlatch_core::record::{RecordEntry, RecordKind};
use nightlatch_core::registry::{Action, Registry, Release, RequestAnswer};
use nightlatch_core::time::Monotonic;
use nightlatch_store::Store;
use nightlatch_sys::{clock, memory};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::admin_command::{AdminCommand, AdminError};
use super::effect::Effect;
use super::journal::Journal;
use super::notifier::EventNotifier;
use super::pokes::Pokes;
use super::report::EventReport;
use super::requests::{Answerer, RequestEntry, waiting};
use super::store_worker::WorkDone;
use super::{DriverMessage, Handle, Reloaded};
use crate::audit::Who;
use crate::checker::{self, Checks, Runner};
use crate::random;
use crate::session::{Permit, SecretRequest};
use crate::warnings::Warnings;

/// The runtime's timers stop while the host is suspended, so the clock is read again after this time. Being
/// late changes no decision: every event is preceded by the time-outs that were due before it.
pub(super) const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// Messages handled before their actions are carried out: a flood must not delay the answers.
const BATCH: usize = 1024;

/// The task that owns the registry.
pub struct Driver {
    pub(super) registry: Registry,
    messages: mpsc::UnboundedReceiver<DriverMessage>,
    handle: Handle,
    pub(super) requests: HashMap<RequestId, RequestEntry>,
    pub(super) pokes: Pokes,
    checks: Checks,
    pub(super) journal: Journal,
    pub(super) notifier: EventNotifier,
    stopping: bool,
    /// The time at which the loop began to wait.
    pub(super) last_turn: Monotonic,
}

/// The driver ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The store panicked; which changes are durable is unknown.
    #[error("the store ended by a fault of this program")]
    Store,
}

/// The settings of a driver.
#[derive(Clone, Debug)]
pub struct DriverOptions {
    pub(crate) runner: Runner,
    /// Run on an alarm, and when a machine waits for approval.
    pub alarm_command: Option<String>,
    /// Records older than this are dropped.
    pub keep_records: Duration,
    pub(crate) warnings: Warnings,
}

impl Driver {
    /// A driver of `registry`, whose changes go to `store`. Needs a tokio runtime; nothing happens
    /// before [`Self::run`].
    pub fn new(
        registry: Registry,
        store: Box<dyn Store>,
        options: DriverOptions,
    ) -> (Self, Handle) {
        let (sender, messages) = mpsc::unbounded_channel();
        let handle = Handle::new(sender);
        let driver = Self {
            registry,
            messages,
            handle: handle.clone(),
            requests: HashMap::new(),
            pokes: Pokes::default(),
            checks: Checks::new(options.runner, options.warnings.clone()),
            journal: Journal::new(store, options.keep_records, options.warnings),
            notifier: EventNotifier::new(options.alarm_command),
            stopping: false,
            last_turn: clock::now().mono,
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
                // Sessions that ended during the last commit have left more to write.
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
        self.last_turn = clock::now().mono;
        tokio::select! {
            message = self.messages.recv() => {
                self.notice_pause();
                self.receive(message);
            }
            () = at(due_at) => {
                self.notice_pause();
                self.registry.handle_timeout(clock::now());
            }
            done = self.journal.wait() => return self.store_done(done),
            () = sleep_until(drop_records_at) => self.journal.drop_records(),
            () = at(flush_at) => {}
        }
        Ok(())
    }

    /// Handles the message, and others that wait already.
    fn receive(&mut self, first: Option<DriverMessage>) {
        let mut next = first;
        for _ in 0..BATCH {
            let Some(message) = next.take() else {
                return;
            };
            self.handle(message);
            next = self.messages.try_recv().ok();
        }
        if let Some(message) = next {
            self.handle(message);
        }
    }

    fn handle(&mut self, message: DriverMessage) {
        let now = clock::now();
        match message {
            DriverMessage::Request(request, answer, waits) => {
                let SecretRequest {
                    id, key, claims, ..
                } = request;
                let named = request.named_query();
                let answer = Answerer::Secret(answer);
                let open = RequestEntry::new(request, answer, waits, now.wall);
                self.requests.insert(id, open);
                match named {
                    None => self.registry.handle_request(id, &key, claims, now),
                    Some(query) => self.registry.handle_named_request(id, &key, query, now),
                }
            }
            DriverMessage::Life(report, answer) => self.handle_life(report, answer, now),
            DriverMessage::PeerGone(request) => {
                self.registry.handle_peer_gone(request, now);
                self.collect();
                // A request with a decision ends by the report of its permit, which needs its data.
                let entry = self.requests.get(&request);
                if entry.is_some_and(|entry| entry.answer.is_some()) {
                    self.requests.remove(&request);
                }
            }
            DriverMessage::Delivered(request) => {
                self.registry.handle_delivered(request, now);
                self.forget(request);
            }
            DriverMessage::Failed(request) => {
                let sent = self.requests.get(&request);
                let sent = sent.is_none_or(|open| open.permit.has_begun());
                self.registry.handle_delivery_failed(request, sent, now);
                self.forget(request);
            }
            DriverMessage::Checked(client, result) => {
                self.checks.ended(client);
                self.registry.handle_check_finished(client, result, now);
            }
            DriverMessage::Reload {
                configured,
                may_drop,
                done,
            } => {
                let count = configured.clients.len();
                let reloaded = self.by(Who::Configuration, |driver| {
                    let Driver {
                        registry, journal, ..
                    } = driver;
                    registry.reload(configured, may_drop, now, &mut random::up_to)?;
                    // Its events are recorded after it.
                    journal.server(RecordKind::Reloaded, format!("{count} clients"));
                    Ok(())
                });
                match reloaded {
                    Ok(()) => self.journal.outbox.effect_after_all(Effect::Reloaded(done)),
                    // The receiver may be gone.
                    Err(drops) => drop(done.send(Reloaded::Refused(drops))),
                }
            }
            DriverMessage::Command {
                command,
                who,
                number,
            } => self.execute(command, who, number),
            DriverMessage::Forecast(client, answer) => {
                self.registry.handle_timeout(now);
                // The receiver may be gone.
                let _ = answer.send(self.registry.forecast(client, now));
            }
            DriverMessage::Waiting(client, answer) => {
                self.registry.handle_timeout(now);
                // The receiver may be gone.
                let _ = answer.send(waiting(&self.requests, &self.registry, client));
            }
            DriverMessage::Secrets(client, answer) => {
                // The receiver may be gone.
                let _ = answer.send(self.registry.named_secrets(client));
            }
            DriverMessage::Read(read) => self.journal.read(read),
            DriverMessage::Subscribe(subscriber) => {
                self.notifier.subscribe(subscriber, &self.registry);
            }
            DriverMessage::Stop(done) => {
                self.stopping = true;
                self.checks.kill_all();
                self.collect();
                self.journal.finish_quotas();
                self.journal.server(RecordKind::Stopped, version());
                self.journal.outbox.effect_after_all(Effect::Done(done));
            }
        }
    }

    /// Records the start, and the changes of the configuration since the last run.
    fn start(&mut self) {
        self.journal.server(RecordKind::Started, version());
        self.journal.log_ends();
        self.journal.who = Who::Configuration;
        self.collect();
        self.journal.who = Who::Server;
    }

    /// Runs `action` with `who` as its author. Time-outs that were due before it have the server as theirs.
    fn by<T>(&mut self, who: Who, action: impl FnOnce(&mut Self) -> T) -> T {
        self.registry.handle_timeout(clock::now());
        self.collect();
        self.journal.who = who;
        let done = action(self);
        self.collect();
        self.journal.who = Who::Server;
        done
    }

    fn execute(&mut self, command: AdminCommand, who: Who, number: u64) {
        let about = match &command {
            AdminCommand::Client(client, _) => Some(*client),
            AdminCommand::Decide { .. }
            | AdminCommand::RemoveOrphanedSecret { .. }
            | AdminCommand::Add(_)
            | AdminCommand::TryAdd(_) => None,
        };
        let of_nobody = matches!(command, AdminCommand::RemoveOrphanedSecret { .. });
        let mut result = self.by(who, |driver| {
            command.execute(&mut driver.registry, clock::now())
        });
        if let Err(AdminError::SeveralWait(several)) = &mut result {
            *several = waiting(&self.requests, &self.registry, about);
            several.retain(|it| it.request.secret.is_none());
        }
        let client = result.as_ref().ok().and_then(|id| self.name((*id)?));
        let of_nobody = of_nobody && result.is_ok();
        let done = Effect::CommandDone(number, result);
        match of_nobody {
            true => self.journal.outbox.acknowledge_all(done),
            false => self.journal.outbox.acknowledge(client.as_ref(), done),
        }
    }

    /// Reports the last events of a request first: they need it.
    fn forget(&mut self, request: RequestId) {
        self.collect();
        self.requests.remove(&request);
    }

    /// Puts the actions of the registry into the outbox.
    fn collect(&mut self) {
        while let Some(action) = self.registry.poll_action() {
            match action {
                Action::Persist(change, durability) => {
                    self.journal.outbox.persist(change, durability)
                }
                Action::Answer { request, answer } => self.answer(request, answer),
                Action::Revoke { request } => {
                    if let Some(open) = self.requests.get(&request) {
                        open.permit.revoke();
                    }
                }
                Action::StartCheck { client } => {
                    let name = self.name(client);
                    self.journal
                        .outbox
                        .effect(name.as_ref(), Effect::StartCheck(client));
                }
                Action::Poke { client } => self.pokes.poke(client, clock::now().mono),
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
        let (client, request) = event.subject();
        let name = client.and_then(|client| self.name(client));
        let settings = client.and_then(|id| self.registry.client(id));
        let settings = settings.map(Client::settings);
        let mut open = request.and_then(|request| self.requests.get_mut(&request));
        let request = open.as_ref().map(|open| open.request.clone());
        if let Event::Removed(client, _) = &event {
            self.pokes.forget(*client);
        }
        match (&event, &mut open) {
            (Event::Granted { alarm: Some(_), .. }, Some(open)) => open.alarmed = true,
            (Event::NeedsApproval { until, .. }, Some(open)) => open.waits_for_approval(*until),
            _ => {}
        }
        let alarm =
            |content: &RecordContent, entry: &RecordEntry| self.notifier.alarm(content, entry);
        self.journal
            .event(&event, name.as_ref(), settings, open, alarm);
        let report = EventReport {
            event,
            client: client.zip(name.clone()),
            request,
        };
        self.journal
            .outbox
            .effect(name.as_ref(), Effect::Report(report));
    }

    fn store_done(&mut self, done: Option<WorkDone>) -> Result<(), DriverError> {
        let done = done.ok_or(DriverError::Store)?;
        let end = self.journal.put_back(done, self.stopping);
        if let Some(lost) = end.lost {
            self.notifier.alarm_lost(&lost);
        }
        self.notifier.recorded(end.lines);
        for effect in end.not_durable {
            if let Effect::CommandDone(number, _) = effect {
                let result = Err(AdminError::NotDurable);
                self.notifier.command_done(number, result);
            }
        }
        if end.is_large {
            // What waited for the commit holds as much memory as its changes.
            self.act();
            // Not waited for: nothing depends on it.
            drop(tokio::task::spawn_blocking(memory::release_freed));
        }
        Ok(())
    }

    fn answer(&mut self, request: RequestId, answer: RequestAnswer) {
        let Some(open) = self.requests.get_mut(&request) else {
            return;
        };
        let is_named = open.request.secret.is_some();
        let sender = match open.answer.take() {
            Some(Answerer::Secret(sender)) => sender,
            Some(Answerer::Life(sender, token, client)) => {
                return self.answer_life(request, client, (sender, token), answer);
            }
            None => return,
        };
        let (client, decision) = match answer {
            RequestAnswer::Refuse(reason) => {
                self.requests.remove(&request);
                (None, Err(reason))
            }
            RequestAnswer::Alive { .. } => return,
            RequestAnswer::Release(client) => match self.registry.release(request) {
                // Revoked since: nothing is sent, and no permit will report it.
                Err(reason) => {
                    self.handle.send(DriverMessage::Failed(request));
                    (None, Err(reason))
                }
                Ok(Release { secret, terms }) => {
                    let handle = self.handle.clone();
                    let report = move |delivered| {
                        handle.send(if delivered {
                            DriverMessage::Delivered(request)
                        } else {
                            DriverMessage::Failed(request)
                        });
                    };
                    let permit =
                        Permit::new(open.permit.clone(), secret, terms, open.alarmed, report);
                    (self.registry.name(client).cloned(), Ok(permit))
                }
            },
        };
        let effect = Effect::Answer(sender, decision);
        let outbox = &mut self.journal.outbox;
        match is_named {
            true => outbox.release_named(client.as_ref(), effect),
            false => outbox.release(client.as_ref(), effect),
        }
    }

    pub(super) fn name(&self, client: ClientId) -> Option<ClientName> {
        self.registry.name(client).cloned()
    }

    /// Carries out the effects that wait for nothing any more.
    fn act(&mut self) {
        for effect in self.journal.outbox.ready() {
            match effect {
                // A session that ended meanwhile gets no answer; a permit in it reports by itself.
                Effect::Answer(sender, decision) => drop(sender.send(decision)),
                Effect::AnswerLife(sender, answer) => drop(sender.send(answer)),
                Effect::StartCheck(client) => self.start_check(client),
                Effect::StopCheck(client) => self.checks.kill(client),
                Effect::Report(report) => self.notifier.event(&report, &self.registry),
                Effect::Done(done) => drop(done.send(())),
                Effect::Reloaded(done) => drop(done.send(Reloaded::Durable)),
                Effect::CommandDone(number, result) => self.notifier.command_done(number, result),
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
                let handle = self.handle.clone();
                self.checks
                    .start(client, name.unwrap_or_default(), probe, move |result| {
                        handle.send(DriverMessage::Checked(client, result));
                    });
            }
            None => self
                .handle
                .send(DriverMessage::Checked(client, checker::NOT_RUN)),
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
