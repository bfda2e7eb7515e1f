//! Signs of life of the booted machine, and what they prove about requests and releases before them.

use std::time::Duration;

use super::{
    Guard, GuardAlarm, GuardSettings, MAX_REMEMBERED, Phase, Release, Suspicion, Unannounced,
};
use crate::boot_nonce::BootNonce;
use crate::time::Monotonic;

/// A heartbeat or a goodbye, proved by the host key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Life {
    /// The boot that is up.
    pub boot: BootNonce,
    /// How often it was continued from a hibernation.
    pub resumes: u64,
    /// Boots that noted themselves on the encrypted root, and were not heard.
    pub earlier_boots: Vec<BootNonce>,
    /// The time at which the connection was opened. The machine was up then; whoever delays what it sent cannot make it
    /// a proof of a later time.
    pub opened: Monotonic,
    /// The time to the next heartbeat, as the agent is told.
    pub next: Duration,
    /// Present in a goodbye.
    pub goodbye: Option<GoodbyeKind>,
}

/// The end of a boot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GoodbyeKind {
    /// The machine comes back by itself.
    Restart,
    /// Somebody has to switch it on.
    Poweroff,
}

/// A request with the boot key that has no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WaitingRequest {
    /// None where the request came by Mandos's protocol.
    pub boot: Option<BootNonce>,
    /// The time at which it was accepted.
    pub accepted: Monotonic,
}

/// What a sign of life says about a request that waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WaitingFate {
    /// It came later than the sign of life.
    Keep,
    /// It is refused: the boot that asked is up already, for example because somebody typed the password.
    Superseded,
    /// It is refused with an alarm.
    Refused(GuardAlarm),
}

/// The consequences of a sign of life.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LifeOutcome {
    /// The fate of each waiting request, in their order.
    pub waiting: Vec<WaitingFate>,
    /// Secrets that were granted and not sent are not to be sent.
    pub revoke: bool,
    /// What a person should look at, besides the refused requests.
    pub alarms: Vec<GuardAlarm>,
    /// Something changed that must be durable before the answer.
    pub changed: bool,
    /// Time until which an announced reboot may take.
    pub window: Option<Monotonic>,
}

impl Guard {
    /// The machine's agent was heard.
    pub fn life(
        &mut self,
        life: &Life,
        waiting: &[WaitingRequest],
        deadline: Monotonic,
        settings: &GuardSettings,
        now: Monotonic,
    ) -> LifeOutcome {
        let old = self.clone();
        let same = self.boot == Some(life.boot);
        let mut alarms = Vec::new();
        let waiting: Vec<WaitingFate> = waiting.iter().map(|it| life.fate(it, same)).collect();
        if waiting.contains(&WaitingFate::Refused(GuardAlarm::Impostor)) {
            self.suspect.get_or_insert(Suspicion::Impostor);
        }
        if let Some(left) = self.left.filter(|left| left.accepted < life.opened) {
            self.left = None;
            if let WaitingFate::Refused(alarm) = life.fate(&left, same) {
                if alarm == GuardAlarm::Impostor {
                    self.suspect.get_or_insert(Suspicion::Impostor);
                }
                alarms.push(alarm);
            }
        }
        if self.over.contains(&life.boot) {
            // Both boots go on, each with its heartbeats: one alarm until a person has looked.
            if self.suspect.replace(Suspicion::Doubled) != Some(Suspicion::Doubled) {
                alarms.push(GuardAlarm::Doubled);
            }
        }
        let revoke = self.account(life, same, &mut alarms);
        self.enter(life, same, deadline, settings, now);
        LifeOutcome {
            waiting,
            revoke,
            alarms,
            changed: old.without_times() != self.without_times(),
            window: match self.phase {
                Phase::Leaving { until, .. } => {
                    Some(until).filter(|_| life.goodbye.is_some() && self.suspect.is_none())
                }
                Phase::Unarmed | Phase::Up { .. } | Phase::Quiet | Phase::Opened { .. } => None,
            },
        }
    }

    /// Finds out whose the releases before `life` were. True when secrets that are on their way must not be sent.
    fn account(&mut self, life: &Life, same: bool, alarms: &mut Vec<GuardAlarm>) -> bool {
        let is_before = |release: &Release| release.accepted < life.opened;
        let (before, later): (Vec<_>, Vec<_>) = self.releases.drain(..).partition(is_before);
        self.releases = later;
        if same {
            let resumed = life.resumes.saturating_sub(self.resumes);
            // Each resume needed the password once; which release it was cannot be told.
            let own = before
                .len()
                .min(usize::try_from(resumed).unwrap_or(usize::MAX));
            let others = before.len() - own;
            if others > 0 && own == 0 {
                self.suspect.get_or_insert(Suspicion::ServedImpostor);
                alarms.push(GuardAlarm::ServedImpostor);
            } else {
                alarms.extend(vec![GuardAlarm::Unaccounted; others]);
            }
            return others > 0;
        }
        // A machine whose initramfs sends no nonce has one release that is taken for its own.
        let mut nameless = usize::from(!self.sent_nonce);
        for release in before {
            let own = match release.boot {
                Some(boot) => life.knows(boot),
                None => std::mem::take(&mut nameless) > 0,
            };
            if !own {
                alarms.push(GuardAlarm::Unaccounted);
            }
        }
        false
    }

    fn enter(
        &mut self,
        life: &Life,
        same: bool,
        deadline: Monotonic,
        settings: &GuardSettings,
        now: Monotonic,
    ) {
        // What happened after the connection was opened is not undone by what it brings.
        let happened = match self.phase {
            Phase::Leaving { since, .. } | Phase::Opened { since } => Some(since),
            Phase::Unarmed | Phase::Up { .. } | Phase::Quiet => None,
        };
        if same {
            self.resumes = self.resumes.max(life.resumes);
            if happened.is_some_and(|since| life.opened <= since) {
                return;
            }
        } else {
            let over = self.boot.replace(life.boot);
            self.resumes = life.resumes;
            self.over.retain(|boot| *boot != life.boot);
            if let Some(over) = over {
                if self.over.len() == MAX_REMEMBERED {
                    self.over.remove(0);
                }
                self.over.push(over);
            }
        }
        self.phase = Phase::Up {
            last: now,
            next: life.next,
        };
        let Some(kind) = life.goodbye.filter(|_| self.suspect.is_none()) else {
            return;
        };
        let stays_down = kind == GoodbyeKind::Poweroff;
        self.phase = if stays_down && settings.unannounced == Unannounced::Approve {
            // Whoever takes a machine that was just switched off must not have ten minutes without a person.
            Phase::Quiet
        } else {
            Phase::Leaving {
                since: now,
                until: now.after(settings.reboot_window).min(deadline),
            }
        };
    }

    /// For a comparison of what must be durable.
    fn without_times(&self) -> Self {
        let mut guard = self.clone();
        if let Phase::Up { last, next } = &mut guard.phase {
            *last = Monotonic::from_boot(Duration::ZERO);
            *next = Duration::ZERO;
        }
        guard
    }
}

impl Life {
    fn knows(&self, boot: BootNonce) -> bool {
        self.boot == boot || self.earlier_boots.contains(&boot)
    }

    fn fate(&self, request: &WaitingRequest, same: bool) -> WaitingFate {
        if request.accepted >= self.opened {
            WaitingFate::Keep
        } else if same {
            WaitingFate::Refused(GuardAlarm::Impostor)
        } else if request.boot.is_some_and(|boot| self.knows(boot)) {
            WaitingFate::Superseded
        } else {
            WaitingFate::Refused(GuardAlarm::Unaccounted)
        }
    }
}
