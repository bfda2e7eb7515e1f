//! Guarded release: what a boot key is worth for a machine whose agent is known (docs/decisions/0170).
//!
//! A boot key lies in the initramfs, where whoever holds the disk can copy it. Once the agent of the booted machine has
//! proved the host key, which lies on the encrypted root, the server knows whether that machine is up, and which boot of
//! it. [`Guard`] decides by that on each request with the boot key: it is released, held while the agent is asked,
//! refused, or put before a person. It also finds out afterwards whose the releases were.
//!
//! Pure: the registry tells it what happens, and carries out what it says. The guard stands behind the right to the
//! secret (enabled, not denied, the deadline not passed) and before approval.

mod life;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use life::{GoodbyeKind, Life, LifeOutcome, WaitingFate, WaitingRequest};

use crate::boot_nonce::BootNonce;
use crate::time::Monotonic;

/// Number of releases without account, and of boots that are over, that are remembered. More of either come only from
/// machines that boot in a loop, or from thieves; the oldest is then told and dropped, so that neither keeps the
/// machine down.
pub const MAX_REMEMBERED: usize = 8;

/// Number of times that a released boot may ask again within its grace, for example because its connection broke.
pub const MAX_RETRIES: u8 = 3;

/// An agent that was not heard for this many halves of the time to its next heartbeat is quiet.
const SILENT_HALVES: u32 = 5;

/// A hold ends this long before the deadline at the latest: the machine must not be disabled while it is held.
const BEFORE_DEADLINE: Duration = Duration::from_secs(1);

/// The settings of a client that its guard needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GuardSettings {
    /// What happens to a boot that nobody announced, once its agent was asked.
    pub unannounced: Unannounced,
    /// How long a request is held while the agent is asked.
    pub guard_wait: Duration,
    /// How long an announced reboot may take.
    pub reboot_window: Duration,
    /// How long a released boot may take until its agent is heard: the client's `extended_timeout`.
    pub grace: Duration,
}

/// The setting `unannounced`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Unannounced {
    /// The secret is released: a power cut cannot be announced.
    #[default]
    Release,
    /// A person decides.
    Approve,
}

/// The decision on a request with the boot key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The guard does not stand in the way.
    Pass(Passage),
    /// The agent is asked, and the request waits until this time at the latest: then [`Guard::hold_ended`].
    Hold(Monotonic),
    /// A person decides, on this request only.
    Person,
    /// It is refused.
    Refuse,
}

/// The reason for which the guard lets a request pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Passage {
    /// The machine has no agent.
    Unarmed,
    /// The machine had said goodbye.
    Announced,
    /// The boot was released before, and asks again within its grace.
    Retry,
    /// The agent was not heard, and `unannounced` is `release`.
    Unannounced,
}

/// What a person should look at.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum GuardAlarm {
    /// A boot key was used while the machine was up.
    Impostor,
    /// A secret was released, and the machine had been up all the time.
    ServedImpostor,
    /// A secret was requested or released, and the boot that came up does not know of it: a boot that failed, or a thief.
    Unaccounted,
    /// Another boot asks before the released one is up.
    SecondRequest,
    /// A boot that was over is up beside a later one: a clone, or a snapshot that was put back.
    Doubled,
}

/// Why each release waits for a person until [`Guard::trust`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Suspicion {
    /// [`GuardAlarm::Impostor`].
    Impostor,
    /// [`GuardAlarm::ServedImpostor`].
    ServedImpostor,
    /// [`GuardAlarm::Doubled`].
    Doubled,
}

/// What is known of the machine's agent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// No agent was heard yet.
    Unarmed,
    /// The agent was heard.
    Up {
        /// The time of the last heartbeat.
        last: Monotonic,
        /// The time to the next one, as the agent was told.
        next: Duration,
    },
    /// The agent was not heard when it should have been.
    Quiet,
    /// The machine said goodbye, and nothing was released since.
    Leaving {
        /// Requests that were accepted later are those of the next boot.
        since: Monotonic,
        /// The end of the window.
        until: Monotonic,
    },
    /// Something was released, and the agent was not heard since.
    Opened {
        /// The time at which the last request that was released was accepted.
        since: Monotonic,
    },
}

/// A release whose boot was not heard yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Release {
    /// None where the request came by Mandos's protocol.
    boot: Option<BootNonce>,
    accepted: Monotonic,
    grace_ends: Monotonic,
    retries: u8,
}

/// The guard of one client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Guard {
    phase: Phase,
    /// The boot that last proved life.
    boot: Option<BootNonce>,
    /// Its resumes from hibernation.
    resumes: u64,
    suspect: Option<Suspicion>,
    releases: Vec<Release>,
    /// Boots before `boot`, the latest last.
    over: Vec<BootNonce>,
    /// A request that left while it was held.
    left: Option<WaitingRequest>,
    /// The machine's boot key was once used with a boot nonce.
    sent_nonce: bool,
}

fn silent_from(last: Monotonic, next: Duration) -> Monotonic {
    last.after(next.saturating_mul(SILENT_HALVES) / 2)
}

impl Default for Guard {
    /// A guard that no agent has armed.
    fn default() -> Self {
        Self {
            phase: Phase::Unarmed,
            boot: None,
            resumes: 0,
            suspect: None,
            releases: Vec::new(),
            over: Vec::new(),
            left: None,
            sent_nonce: false,
        }
    }
}

impl Guard {
    /// The phase.
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Why each release waits for a person, if it does.
    pub const fn suspect(&self) -> Option<Suspicion> {
        self.suspect
    }

    /// The boot that last proved life.
    pub const fn boot(&self) -> Option<BootNonce> {
        self.boot
    }

    /// Number of releases whose boots were not heard yet.
    pub fn unaccounted(&self) -> usize {
        self.releases.len()
    }

    /// True once an agent was heard.
    pub fn is_armed(&self) -> bool {
        self.phase != Phase::Unarmed
    }

    /// True for a request by Mandos's protocol from a machine whose initramfs speaks ours: to be recorded.
    pub fn is_downgrade(&self, boot: Option<BootNonce>) -> bool {
        boot.is_none() && self.sent_nonce
    }

    /// Decides on a request that was accepted at `now`. An alarm may come with it.
    pub fn request(
        &mut self,
        boot: Option<BootNonce>,
        deadline: Monotonic,
        settings: &GuardSettings,
        now: Monotonic,
    ) -> (Verdict, Option<GuardAlarm>) {
        self.sent_nonce |= boot.is_some();
        if self.was_up(boot) {
            self.suspect = self.suspect.or(Some(Suspicion::Impostor));
            return (Verdict::Refuse, Some(GuardAlarm::Impostor));
        }
        let hold = now.after(settings.guard_wait);
        let latest = deadline.before(BEFORE_DEADLINE);
        let asks_agent = match self.phase {
            Phase::Up { .. } => true,
            // The next boot of this machine would say which it is, if it ever did.
            Phase::Leaving { .. } => boot.is_none(),
            Phase::Unarmed | Phase::Quiet | Phase::Opened { .. } => false,
        };
        if asks_agent && self.suspect.is_none() && hold.min(latest) > now {
            return (Verdict::Hold(hold.min(latest)), None);
        }
        self.judge(boot, settings, now)
    }

    /// Decides on a request whose hold has ended without an answer of the agent.
    pub fn hold_ended(
        &self,
        boot: Option<BootNonce>,
        settings: &GuardSettings,
        now: Monotonic,
    ) -> (Verdict, Option<GuardAlarm>) {
        if self.was_up(boot) {
            return (Verdict::Refuse, None);
        }
        self.judge(boot, settings, now)
    }

    /// Decides without asking the agent.
    fn judge(
        &self,
        boot: Option<BootNonce>,
        settings: &GuardSettings,
        now: Monotonic,
    ) -> (Verdict, Option<GuardAlarm>) {
        let alarm = match self.phase {
            Phase::Opened { .. } if !self.may_retry(boot, now) => Some(GuardAlarm::SecondRequest),
            _ => None,
        };
        if self.suspect.is_some() {
            return (Verdict::Person, alarm);
        }
        let passage = match self.phase {
            Phase::Unarmed => Some(Passage::Unarmed),
            Phase::Leaving { until, .. } if boot.is_some() && now < until => {
                Some(Passage::Announced)
            }
            Phase::Opened { .. } if self.may_retry(boot, now) => Some(Passage::Retry),
            _ => match settings.unannounced {
                Unannounced::Release => Some(Passage::Unannounced),
                Unannounced::Approve => None,
            },
        };
        (passage.map_or(Verdict::Person, Verdict::Pass), alarm)
    }

    /// True for the boot that last proved life, and those before it. None of them asks for the boot secret any more.
    fn was_up(&self, boot: Option<BootNonce>) -> bool {
        boot.is_some_and(|boot| self.boot == Some(boot) || self.over.contains(&boot))
    }

    fn may_retry(&self, boot: Option<BootNonce>, now: Monotonic) -> bool {
        boot.is_some()
            && self.releases.iter().any(|release| {
                release.boot == boot && release.retries < MAX_RETRIES && now < release.grace_ends
            })
    }

    /// A request was granted, by this guard or by a person. To be durable in the transaction of the release. Returns an
    /// alarm about the oldest release when there were too many.
    pub fn released(
        &mut self,
        boot: Option<BootNonce>,
        accepted: Monotonic,
        settings: &GuardSettings,
        now: Monotonic,
    ) -> Option<GuardAlarm> {
        if !self.is_armed() {
            return None;
        }
        let grace_ends = now.after(settings.grace);
        self.phase = Phase::Opened { since: accepted };
        let mut known = self.releases.iter_mut();
        if let Some(again) = known.find(|release| boot.is_some() && release.boot == boot) {
            again.retries = again.retries.saturating_add(1);
            again.accepted = accepted;
            return None;
        }
        let full = self.releases.len() == MAX_REMEMBERED;
        if full {
            self.releases.remove(0);
        }
        self.releases.push(Release {
            boot,
            accepted,
            grace_ends,
            retries: 0,
        });
        full.then_some(GuardAlarm::Unaccounted)
    }

    /// The peer of a held request went away. A thief could ask for a moment again and again.
    pub fn request_left(&mut self, request: WaitingRequest) {
        if self.is_armed() {
            self.left = Some(request);
        }
    }

    /// The time of the next [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Monotonic> {
        let of_phase = match self.phase {
            Phase::Up { last, next } => Some(silent_from(last, next)),
            Phase::Leaving { until, .. } => Some(until),
            Phase::Unarmed | Phase::Quiet | Phase::Opened { .. } => None,
        };
        let graces = self.releases.iter().map(|release| release.grace_ends);
        graces.chain(of_phase).min()
    }

    /// Time passed. Returns an alarm for each release whose grace has ended.
    pub fn handle_timeout(&mut self, now: Monotonic) -> Vec<GuardAlarm> {
        let quiet = match self.phase {
            Phase::Up { last, next } => silent_from(last, next) <= now,
            Phase::Leaving { until, .. } => until <= now,
            Phase::Unarmed | Phase::Quiet | Phase::Opened { .. } => false,
        };
        if quiet {
            self.phase = Phase::Quiet;
        }
        let before = self.releases.len();
        self.releases.retain(|release| now < release.grace_ends);
        if self.releases.is_empty() && matches!(self.phase, Phase::Opened { .. }) {
            self.phase = Phase::Quiet;
        }
        vec![GuardAlarm::Unaccounted; before - self.releases.len()]
    }

    /// The server did not listen until `now`: silence counts anew.
    pub fn handle_gap(&mut self, now: Monotonic) {
        if let Phase::Up { last, .. } = &mut self.phase {
            *last = now;
        }
    }

    /// A person trusts the machine again.
    pub fn trust(&mut self) {
        self.suspect = None;
    }

    /// The boot key was replaced: copies of the old one are worth nothing.
    pub fn boot_key_changed(&mut self) {
        self.suspect = None;
        self.left = None;
        self.sent_nonce = false;
    }

    /// The host key was replaced or removed: the guard waits for the next agent. A suspicion stays.
    pub fn host_key_changed(&mut self) {
        *self = Self {
            suspect: self.suspect,
            releases: std::mem::take(&mut self.releases),
            sent_nonce: self.sent_nonce,
            ..Self::default()
        };
    }

    /// The guard after a state that may be older than what happened: nothing is announced any more.
    pub fn distrust_state(&mut self) {
        if let Phase::Leaving { .. } = self.phase {
            self.phase = Phase::Quiet;
        }
    }
}
