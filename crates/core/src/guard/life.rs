//! Signs of life of the booted machine, and what they prove about requests and releases before them.

use std::time::Duration;

use super::{Guard, GuardAlarm, GuardSettings, MAX_REMEMBERED, Phase, Suspicion, Unannounced};
use crate::boot_nonce::{BootMark, BootNonce};
use crate::time::Monotonic;

/// A heartbeat or a goodbye, proved by the host key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Life {
    /// The boot that is up.
    pub boot: BootNonce,
    /// Number of resumes from hibernation in this boot.
    pub resumes: u64,
    /// Boots that noted themselves on the encrypted root, and were not heard.
    pub earlier_boots: Vec<BootMark>,
    /// The time at which the connection was opened. The machine was up then; whoever delays what it sent cannot make it
    /// a proof of a later time.
    pub opened: Monotonic,
    /// The pace of heartbeats that the agent is told, without the random part of a single one: a new pace is a change.
    pub next: Duration,
    /// Present in a goodbye.
    pub goodbye: Option<GoodbyeKind>,
}

/// The end of a boot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GoodbyeKind {
    /// The firmware starts it again.
    Reboot,
    /// The next kernel is started directly.
    Kexec,
    /// It is switched off.
    Poweroff,
    /// It is written to disk and switched off.
    Hibernate,
}

impl GoodbyeKind {
    /// Every kind, in the order of the variants.
    pub const ALL: [Self; 4] = [Self::Reboot, Self::Kexec, Self::Poweroff, Self::Hibernate];

    /// The word on the wire and in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reboot => "reboot",
            Self::Kexec => "kexec",
            Self::Poweroff => "poweroff",
            Self::Hibernate => "hibernate",
        }
    }
}

/// A request with the boot key that has no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BootRequest {
    /// None where the request came by Mandos's protocol.
    pub boot: Option<BootNonce>,
    /// The time at which it was accepted.
    pub accepted: Monotonic,
}

/// The fate of a waiting request at a sign of life.
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
    /// Secrets that were granted to requests before the sign of life, and not sent, are not to be sent.
    pub revoke: bool,
    /// Alarms besides those of the refused requests.
    pub alarms: Vec<GuardAlarm>,
    /// The guard must be durable before the answer.
    pub changed: bool,
    /// Time until which an announced reboot may take. None where this sign of life opened no window.
    pub window: Option<Monotonic>,
}

impl Guard {
    /// The machine's agent was heard. `deadline` is the client's as this sign of life has moved it.
    pub fn life(
        &mut self,
        life: &Life,
        waiting: &[BootRequest],
        deadline: Monotonic,
        settings: &GuardSettings,
        now: Monotonic,
    ) -> LifeOutcome {
        let old = self.clone();
        let mut outcome = LifeOutcome {
            waiting: vec![WaitingFate::Keep; waiting.len()],
            revoke: false,
            alarms: Vec::new(),
            changed: false,
            window: None,
        };
        if self.boot.is_some_and(|boot| boot != life.boot) && life.opened < self.first {
            // It was under way while the next boot came up.
            self.remember_over(life.boot);
        } else {
            if self.over.contains(&life.boot) {
                self.suspect_of(Suspicion::Doubled);
                // Both boots go on, each with its heartbeats: one alarm until a person has looked.
                if !std::mem::replace(&mut self.doubled_told, true) {
                    outcome.alarms.push(GuardAlarm::Doubled);
                }
            }
            self.account(life, waiting, &mut outcome);
            outcome.window = self.enter(life, deadline, settings, now);
        }
        outcome.changed = self.must_be_stored(&old);
        outcome
    }

    /// Enters the phase after `life`. Returns the end of the window that it opens.
    fn enter(
        &mut self,
        life: &Life,
        deadline: Monotonic,
        settings: &GuardSettings,
        now: Monotonic,
    ) -> Option<Monotonic> {
        let same = self.boot == Some(life.boot);
        let newest = self.newest;
        self.newest = newest.max(life.opened);
        if same {
            self.resumes = self.resumes.max(life.resumes);
            if matches!(self.phase, Phase::Leaving { .. }) && life.opened <= newest {
                // It was under way when the goodbye was said.
                return None;
            }
        } else {
            let over = self.boot.replace(life.boot);
            self.resumes = life.resumes;
            self.first = life.opened;
            self.over.retain(|boot| *boot != life.boot);
            if let Some(over) = over {
                self.remember_over(over);
            }
        }
        if self.has_untold() {
            // What was released after the connection was opened is not undone by what it brings.
            self.phase = Phase::Opened;
            return None;
        }
        self.phase = Phase::Up {
            last: now,
            next: life.next,
        };
        // A goodbye is the last that a boot says: one that is older than a heartbeat is worth no more than that.
        let can_leave = self.suspect.is_none() && life.opened >= newest;
        let kind = life.goodbye.filter(|_| can_leave)?;
        let until = now.after(settings.reboot_window).min(deadline);
        // Whoever takes a machine that was just switched off must not have ten minutes without a person.
        let stays_down =
            kind == GoodbyeKind::Poweroff && settings.unannounced == Unannounced::Approve;
        if stays_down || until <= now {
            self.phase = Phase::Quiet;
            return None;
        }
        self.phase = Phase::Leaving { since: now, until };
        Some(until)
    }

    fn remember_over(&mut self, boot: BootNonce) {
        if self.over.contains(&boot) {
            return;
        }
        if self.over.len() == MAX_REMEMBERED {
            self.over.remove(0);
        }
        self.over.push(boot);
    }
}

impl Life {
    /// True for the boot itself, and for those that its agent lists.
    pub(super) fn knows(&self, boot: BootNonce) -> bool {
        let is_noted = || self.earlier_boots.contains(&boot.mark());
        self.boot == boot || (!self.earlier_boots.is_empty() && is_noted())
    }
}
