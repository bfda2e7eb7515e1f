//! The one way to a release: the right to the secret, then the guard, then approval.
//!
//! Every request passes here, new or waiting, with each change that could decide it, and so does what is foretold.

use std::collections::HashMap;
use std::time::Duration;

use super::judgement::{Judgement, wait_for_person};
use super::named::{self, NamedSecrets};
use super::requests::{OpenRequest, RefusedRequest, RequestStage};
use super::{Action, ClientId, Event, Grant, Refusal, Registry, RequestId, Timer};
use crate::client::{Client, ReleaseDecision};
use crate::event::{Alarm, Durability, KeyRole};
use crate::guard::{BootRequest, Forecast, GuardAlarm, Verdict};
use crate::time::{Monotonic, Now};

/// A hold that ends so much later than it was to has not ended: the server was busy, or did not run.
const LATE: Duration = Duration::from_millis(250);

/// So many requests of one client for named secrets wait for a person at a time. Each holds a connection, and a machine
/// that is suspect may have a service for each of its secrets.
const MAX_WAITING_NAMED: usize = 4;

/// The greatest number of times that the hold of a request begins anew.
const MAX_HOLDS: u8 = 5;

/// Judges `request` of `client` at `now`. An alarm of the guard may come with it.
pub(super) fn judge(
    client: &Client,
    secrets: &NamedSecrets,
    request: &OpenRequest,
    now: Now,
) -> (Judgement, Option<GuardAlarm>) {
    if let Some(reason) = client.refusal(now) {
        return (Judgement::Refuse(reason), None);
    }
    if let Some(name) = &request.secret {
        let found = secrets.find(client, name);
        return (named::judge(client, found, request, now), None);
    }
    if request.claims.rehearsal {
        return (judge_rehearsal(client, request.role, now), None);
    }
    let (passage, alarm) = if request.role == KeyRole::Boot && client.is_guarded() {
        let (verdict, alarm) = ask_guard(client, request, now);
        match verdict {
            Verdict::Pass(passage) => (Some(passage), alarm),
            Verdict::Hold(until) => return (Judgement::Hold(until), alarm),
            Verdict::Refuse => return (Judgement::Refuse(Refusal::BootIsUp), alarm),
            Verdict::Person => return (wait_for_person(client, now), alarm),
        }
    } else {
        (None, None)
    };
    let judgement = match client.approval(request.waiting_since().unwrap_or(now.mono), now) {
        ReleaseDecision::Release(grant) => Judgement::Release(grant, passage),
        ReleaseDecision::Refuse(reason) => Judgement::Refuse(reason),
        ReleaseDecision::Wait(until) => Judgement::Wait {
            until,
            approved_by_default: client.settings.approved_by_default,
        },
    };
    (judgement, alarm)
}

fn ask_guard(client: &Client, request: &OpenRequest, now: Now) -> (Verdict, Option<GuardAlarm>) {
    let settings = client.guard_settings(now);
    match request.stage {
        RequestStage::New => {
            let deadline = client.deadline.map_or(now.mono, |deadline| deadline.mono);
            client
                .guard
                .request(request.of_boot(), deadline, &settings, now.mono)
        }
        RequestStage::Held(until) if now.mono < until => (Verdict::Hold(until), None),
        _ => client
            .guard
            .hold_ended(request.of_boot(), &settings, now.mono),
    }
}

/// A rehearsal is told what a boot would get. It never waits.
fn judge_rehearsal(client: &Client, role: KeyRole, now: Now) -> Judgement {
    let settings = client.guard_settings(now);
    let guard = client
        .is_guarded()
        .then(|| client.guard.forecast(&settings, now.mono));
    if guard == Some(Forecast::Person) || !client.settings.approval_delay.is_zero() {
        Judgement::Refuse(Refusal::RehearsalNeedsApproval)
    } else if role == KeyRole::Boot && !client.is_proved(now) {
        Judgement::Refuse(Refusal::RehearsalUnproved)
    } else {
        Judgement::Release(Grant::NotNeeded, None)
    }
}

impl Registry {
    /// Judges the request, and carries out the judgement.
    pub(super) fn settle(&mut self, request: RequestId, mut open: OpenRequest, now: Now) {
        open.role = self.role_of(&open);
        if let Some(known) = self.requests.get_mut(&request) {
            known.role = open.role;
        }
        let id = open.client;
        let Some(client) = self.clients.get(&id) else {
            return;
        };
        let (judgement, alarm) = judge(client, &self.named, &open, now);
        let judgement = self.within_limits(judgement, client, &open);
        let alarm = alarm.filter(|_| !open.told);
        let is_news = open.stage == RequestStage::New && open.is_boot() && client.is_guarded();
        if is_news && !matches!(judgement, Judgement::Refuse(_)) {
            // Whatever is decided: whether the machine is up is to be known soon.
            self.push_action(Action::Poke { client: id });
        }
        match judgement {
            Judgement::Release(grant, passage) => {
                self.take_from_queues(request, &open);
                self.grant(request, open, grant, (passage, alarm), now);
            }
            Judgement::Refuse(reason) => {
                self.take_from_queues(request, &open);
                if open.stage != RequestStage::New {
                    self.note_left(&open, now);
                }
                let refused = RefusedRequest {
                    alarm: alarm.map(Alarm::from),
                    ..open.refused(reason)
                };
                self.refuse_repeatable(request, refused, now);
            }
            Judgement::Hold(until) => self.hold(request, open, until),
            Judgement::Wait {
                until,
                approved_by_default,
            } => self.wait(request, open, (until, approved_by_default), alarm, now),
        }
    }

    /// Refuses a new request for a named secret that would wait, where no more may.
    fn within_limits(
        &self,
        judgement: Judgement,
        client: &Client,
        open: &OpenRequest,
    ) -> Judgement {
        let would_wait = matches!(judgement, Judgement::Wait { .. });
        if !would_wait || open.secret.is_none() || open.stage != RequestStage::New {
            return judgement;
        }
        let waiting = client.waiting.iter().count() - boot_requests(&self.requests, client);
        match open.may_wait && waiting < MAX_WAITING_NAMED {
            true => judgement,
            false => Judgement::Refuse(Refusal::TooManyWait),
        }
    }

    /// Judges every request of a client that has no decision, after any change.
    pub(super) fn reconsider(&mut self, id: ClientId, now: Now) {
        let Some(client) = self.clients.get(&id) else {
            return;
        };
        let held = client.held.iter();
        let open: Vec<RequestId> = held
            .chain(client.waiting.iter())
            .map(|(request, _)| request)
            .collect();
        for request in open {
            if let Some(open) = self.requests.get(&request).cloned() {
                self.settle(request, open, now);
            }
        }
        self.set_request_timers(id, now);
    }

    /// Makes a new request wait until its agent was asked.
    fn hold(&mut self, request: RequestId, open: OpenRequest, until: Monotonic) {
        if open.stage != RequestStage::New {
            return;
        }
        let id = open.client;
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        client.held.insert(request, until);
        let first = client.held.oldest().map(|(_, until)| until);
        let is_news = open.held_again == 0;
        let stage = RequestStage::Held(until);
        self.requests.insert(request, OpenRequest { stage, ..open });
        self.set_timer(id, Timer::HoldEnds, first);
        if is_news {
            self.emit(Event::Held {
                client: id,
                request,
                until,
            });
        }
    }

    /// Makes a request wait for a person's decision.
    fn wait(
        &mut self,
        request: RequestId,
        open: OpenRequest,
        (until, approved_by_default): (Monotonic, bool),
        alarm: Option<GuardAlarm>,
        now: Now,
    ) {
        if open.waiting_since().is_some() {
            return;
        }
        self.take_from_queues(request, &open);
        let id = open.client;
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        if open.secret.is_none() {
            // Mandos's property is about the boot secret.
            client.last_approval_request = Some(now.wall);
        }
        client.waiting.insert(request, now.mono);
        let several = match &open.secret {
            // A machine may ask for several named secrets at once.
            Some(_) => 1,
            None => boot_requests(&self.requests, client) + 1,
        };
        let next = client.timers[Timer::ApprovalEnds as usize];
        let next = next.map_or(until, |next| next.min(until));
        let secret = open.secret.clone();
        let waits = OpenRequest {
            stage: RequestStage::Waiting(now.mono),
            told: open.told || alarm.is_some(),
            ..open
        };
        self.requests.insert(request, waits);
        self.set_timer(id, Timer::ApprovalEnds, Some(next));
        self.persist_state(id, Durability::Soon, now);
        self.emit(Event::NeedsApproval {
            client: id,
            request,
            secret,
            until,
            approved_by_default,
        });
        if let Some(alarm) = alarm {
            self.emit(Event::Alarmed(Some(id), alarm.into()));
        }
        if several > 1 {
            self.emit(Event::Alarmed(Some(id), Alarm::SeveralWait(several)));
        }
    }

    /// The hold of a request has ended. One that ended late began anew: the server was busy, and what the agent said may
    /// not have been heard.
    pub(super) fn handle_holds(&mut self, id: ClientId, now: Now) {
        let Some(client) = self.clients.get(&id) else {
            return;
        };
        let held = client
            .held
            .iter()
            .take_while(|(_, until)| *until <= now.mono);
        for (request, until) in held.collect::<Vec<_>>() {
            if until.after(LATE) < now.mono {
                self.hold_again(request, now);
            } else if let Some(open) = self.requests.get(&request).cloned() {
                self.settle(request, open, now);
            }
        }
        let client = self.clients.get(&id);
        let next = client.and_then(|client| client.held.oldest());
        self.set_timer(id, Timer::HoldEnds, next.map(|(_, until)| until));
    }

    /// Holds every held request of a client anew: nothing was learned from the silence so far.
    pub(super) fn hold_all_again(&mut self, id: ClientId, now: Now) {
        let Some(client) = self.clients.get(&id) else {
            return;
        };
        let held: Vec<RequestId> = client.held.iter().map(|(request, _)| request).collect();
        for request in held {
            self.hold_again(request, now);
        }
    }

    fn hold_again(&mut self, request: RequestId, now: Now) {
        let Some(mut open) = self.requests.get(&request).cloned() else {
            return;
        };
        if open.held_again < MAX_HOLDS {
            self.take_from_queues(request, &open);
            open.held_again += 1;
            open.stage = RequestStage::New;
        }
        self.settle(request, open, now);
    }

    /// Requests of a client that wait for a decision, the oldest first.
    pub fn waiting(&self, id: ClientId, now: Now) -> impl Iterator<Item = PendingDecision> {
        let client = self.clients.get(&id).into_iter();
        client.flat_map(move |client| {
            client.waiting.iter().filter_map(move |(request, _)| {
                let open = self.requests.get(&request)?;
                match judge(client, &self.named, open, now).0 {
                    Judgement::Wait {
                        until,
                        approved_by_default,
                    } => Some(PendingDecision {
                        request,
                        until,
                        approved_by_default,
                    }),
                    Judgement::Release(..) | Judgement::Refuse(_) | Judgement::Hold(_) => None,
                }
            })
        })
    }

    /// Sets the timers of what is held and what waits.
    pub(super) fn set_request_timers(&mut self, id: ClientId, now: Now) {
        let Some(client) = self.clients.get(&id) else {
            return;
        };
        let held = client.held.oldest().map(|(_, until)| until);
        let by_default = client.waiting.iter().filter_map(|(request, _)| {
            let open = self.requests.get(&request)?;
            match judge(client, &self.named, open, now).0 {
                Judgement::Wait { until, .. } => Some(until),
                // Decided as soon as there is time.
                Judgement::Release(..) | Judgement::Refuse(_) | Judgement::Hold(_) => {
                    Some(now.mono)
                }
            }
        });
        let by_default = by_default.min();
        self.set_timer(id, Timer::HoldEnds, held);
        self.set_timer(id, Timer::ApprovalEnds, by_default);
    }

    /// Removes a request from the queue that its stage says.
    pub(super) fn take_from_queues(&mut self, request: RequestId, open: &OpenRequest) {
        self.requests.remove(&request);
        let Some(client) = self.clients.get_mut(&open.client) else {
            return;
        };
        match open.stage {
            RequestStage::Held(until) => client.held.remove(request, until),
            RequestStage::Waiting(since) => client.waiting.remove(request, since),
            RequestStage::New | RequestStage::Granted | RequestStage::Revoked(_) => {}
        }
        // A timer that goes off too early decides nothing.
        let (no_hold, no_wait) = (client.held.is_empty(), client.waiting.is_empty());
        if no_hold {
            self.set_timer(open.client, Timer::HoldEnds, None);
        }
        if no_wait {
            self.set_timer(open.client, Timer::ApprovalEnds, None);
        }
    }
}

/// The number of requests for the boot secret of `client` that wait.
fn boot_requests(requests: &HashMap<RequestId, OpenRequest>, client: &Client) -> usize {
    let waiting = client.waiting.iter();
    let of_boot = |request| requests.get(&request).is_some_and(|it| it.secret.is_none());
    waiting.filter(|(request, _)| of_boot(*request)).count()
}

/// A request that waits for a person.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PendingDecision {
    /// Its number.
    pub request: RequestId,
    /// The time at which it is decided without a person.
    pub until: Monotonic,
    /// The decision then.
    pub approved_by_default: bool,
}

impl OpenRequest {
    /// As the guard knows it.
    pub(super) fn of_boot(&self) -> BootRequest {
        BootRequest {
            boot: self.claims.boot,
            accepted: self.accepted,
        }
    }

    /// Since when it waits for a person.
    pub(super) fn waiting_since(&self) -> Option<Monotonic> {
        match self.stage {
            RequestStage::Waiting(since) => Some(since),
            _ => None,
        }
    }
}
