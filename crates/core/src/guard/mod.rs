//! Guarded release: what a boot key is worth for a machine whose agent is known (docs/decisions/0170).
//!
//! A boot key lies in the initramfs, where whoever holds the disk can copy it. Once the agent of the booted machine has
//! proved the host key, which lies on the encrypted root, the server knows whether that machine is up, and which boot of
//! it. [`Guard`] decides by that on each request with the boot key: it is released, held while the agent is asked,
//! refused, or put before a person. It also finds out afterwards whose the releases were.
//!
//! Pure: the registry tells it what happens, and carries out what it says. The guard stands behind the right to the
//! secret (enabled, not denied, the deadline not passed) and before approval.

mod account;
mod life;
mod releases;
pub mod saved;
mod state;
#[cfg(test)]
mod tests;

use std::str::FromStr;
use std::time::Duration;

pub use life::{BootRequest, GoodbyeKind, Life, LifeOutcome, WaitingFate};
pub use state::GuardState;

use self::releases::OpenRelease;
use crate::boot_nonce::BootNonce;
use crate::time::Monotonic;

/// Number of releases without account, of requests that left, and of boots that are over, that are remembered. More of
/// them come only from machines that boot in a loop, or from thieves; the oldest is then told and dropped, so that
/// neither keeps the machine down.
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
    /// The rule for a boot that was not announced, once its agent was asked.
    pub unannounced: Unannounced,
    /// The longest hold of a request while the agent is asked.
    pub guard_wait: Duration,
    /// The time for an announced reboot.
    pub reboot_window: Duration,
    /// The time from a release until the agent of that boot must be heard: the client's `extended_timeout`.
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

impl Unannounced {
    /// Its word in a file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Approve => "approve",
        }
    }
}

impl FromStr for Unannounced {
    type Err = UnknownRule;

    fn from_str(text: &str) -> Result<Self, UnknownRule> {
        let known = [Self::Release, Self::Approve];
        let rule = known.into_iter().find(|rule| rule.as_str() == text);
        rule.ok_or_else(|| UnknownRule(text.to_owned()))
    }
}

/// A word that is no [`Unannounced`]. It has the word.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("unknown rule {0:?}, expected \"release\" or \"approve\"")]
pub struct UnknownRule(pub String);

/// The decision on a request with the boot key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The guard does not stand in the way.
    Pass(Passage),
    /// The agent is asked, and the request waits until this time at the latest: then [`Guard::hold_ended`].
    Hold(Monotonic),
    /// A person decides, on this request only.
    Person,
    /// It is refused without an alarm, and recorded: the boot that asks is up already, or over.
    Refuse,
}

/// The answer that a boot would get: [`Guard::forecast`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Forecast {
    /// The guard does not stand in the way.
    Pass,
    /// The same, if the agent does not answer.
    PassAfterAsking,
    /// A person decides.
    Person,
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

/// An alarm of the guard: a person should look at the machine.
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

/// The reason for which each release waits for a person until [`Guard::trust`]. The more severe one is the greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Suspicion {
    /// After [`GuardAlarm::Doubled`].
    Doubled,
    /// After [`GuardAlarm::Impostor`].
    Impostor,
    /// [`GuardAlarm::ServedImpostor`]: the boot secret is known to somebody else.
    ServedImpostor,
}

/// The consequences of a call that decides on no request.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[must_use]
pub struct GuardChange {
    /// Alarms in their order.
    pub alarms: Vec<GuardAlarm>,
    /// The guard must be durable before anything that follows from the call. Where it is false, nothing that matters is
    /// lost if the server stops now.
    pub changed: bool,
}

/// The guard's knowledge of the machine's agent.
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
        /// Only a request that was accepted later can be that of the next boot.
        since: Monotonic,
        /// The end of the window.
        until: Monotonic,
    },
    /// Something was released, and the agent was not heard since.
    Opened,
}

/// The guard of one client.
///
/// What must be durable, and when, is said by each call: by `changed` in what it returns, or in its own words. A call
/// that says nothing about it takes `&self`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Guard {
    phase: Phase,
    /// The boot that last proved life.
    boot: Option<BootNonce>,
    /// Its resumes from hibernation.
    resumes: u64,
    /// The time at which the connection of its first sign of life was opened. Zero after a start of the server, and not
    /// durable: no connection is older than the server.
    first: Monotonic,
    /// The time at which the connection of the newest sign of life was opened. Not durable, as `first`.
    newest: Monotonic,
    suspect: Option<Suspicion>,
    /// *doubled* was told, and no person has looked since.
    doubled_told: bool,
    releases: Vec<OpenRelease>,
    /// Boots before `boot`, the latest last.
    over: Vec<BootNonce>,
    /// Requests whose peer went away while they waited: the first of each nonce.
    left: Vec<BootRequest>,
    /// The machine's initramfs sends boot nonces: a sign of life knew one that came with the boot key.
    sent_nonce: bool,
}

/// The time of connections that nothing is known of.
const NEVER: Monotonic = Monotonic::from_boot(Duration::ZERO);

impl Default for Guard {
    /// A guard that no agent has armed.
    fn default() -> Self {
        Self {
            phase: Phase::Unarmed,
            boot: None,
            resumes: 0,
            first: NEVER,
            newest: NEVER,
            suspect: None,
            doubled_told: false,
            releases: Vec::new(),
            over: Vec::new(),
            left: Vec::new(),
            sent_nonce: false,
        }
    }
}

impl Guard {
    /// The state of the machine's agent.
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// The reason for which each release waits for a person; `None` when none has to.
    pub const fn suspect(&self) -> Option<Suspicion> {
        self.suspect
    }

    /// The boot that last proved life.
    pub const fn boot(&self) -> Option<BootNonce> {
        self.boot
    }

    /// Number of releases whose boots were not heard, those that were told included.
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

    /// Decides at `now` on a request that was just accepted, or is to be held anew. An alarm may come with it. Nothing
    /// changes before [`Self::released`] or [`Self::request_left`] is called.
    ///
    /// A request by a boot that is up, or over, is refused, and is no sign of a thief: its nonce comes from random bytes
    /// that only root on that machine can read, and honest machines send it late, for example for their data disks.
    pub fn request(
        &self,
        request: BootRequest,
        deadline: Monotonic,
        settings: &GuardSettings,
        now: Monotonic,
    ) -> (Verdict, Option<GuardAlarm>) {
        let BootRequest { boot, accepted } = request;
        if self.was_up(boot) {
            return (Verdict::Refuse, None);
        }
        let hold = now.after(settings.guard_wait);
        let latest = deadline.before(BEFORE_DEADLINE);
        let asks_agent = match self.phase {
            Phase::Up { .. } => true,
            // The next boot of this machine would say which it is, if it ever did.
            Phase::Leaving { since, .. } => boot.is_none() || accepted <= since,
            Phase::Unarmed | Phase::Quiet | Phase::Opened => false,
        };
        if asks_agent && self.suspect.is_none() && hold.min(latest) > now {
            return (Verdict::Hold(hold.min(latest)), None);
        }
        self.judge(request, settings, now)
    }

    /// Decides on a request whose hold has ended without an answer of the agent.
    pub fn hold_ended(
        &self,
        request: BootRequest,
        settings: &GuardSettings,
        now: Monotonic,
    ) -> (Verdict, Option<GuardAlarm>) {
        if self.was_up(request.boot) {
            return (Verdict::Refuse, None);
        }
        self.judge(request, settings, now)
    }

    /// The answer that a boot would get now, the time for asking the agent left out. Changes nothing.
    pub fn forecast(&self, settings: &GuardSettings, now: Monotonic) -> Forecast {
        let is_window = matches!(self.phase, Phase::Leaving { until, .. } if now < until);
        // Which boot a request without a nonce is of would never be known.
        let announced = is_window && self.sent_nonce;
        if self.suspect.is_some() {
            return Forecast::Person;
        }
        match (self.phase, settings.unannounced) {
            (Phase::Unarmed, _) => Forecast::Pass,
            _ if announced => Forecast::Pass,
            (Phase::Up { .. } | Phase::Leaving { .. }, Unannounced::Release) => {
                Forecast::PassAfterAsking
            }
            (_, Unannounced::Release) => Forecast::Pass,
            (_, Unannounced::Approve) => Forecast::Person,
        }
    }

    /// The guard of a section that continues `self`, where `other` is what else was remembered of its key: what either
    /// knows of thieves counts, and nothing is announced.
    pub(crate) fn merged(self, other: Self) -> Self {
        let (mut first, second) = if self.is_armed() || !other.is_armed() {
            (self, other)
        } else {
            (other, self)
        };
        if second.is_armed() {
            first.distrust_state();
        }
        first.suspect = first.suspect.max(second.suspect);
        first.doubled_told |= second.doubled_told;
        first.sent_nonce |= second.sent_nonce;
        add_unknown(&mut first.releases, second.releases);
        add_unknown(&mut first.over, second.over);
        add_unknown(&mut first.left, second.left);
        first
    }

    /// A suspicion of another section with the same boot key.
    pub(crate) fn inherit_suspicion(&mut self, reason: Suspicion) {
        self.suspect_of(reason);
    }

    /// True when the secret was released, and the end of its grace not reached.
    pub(crate) fn has_open_release(&self) -> bool {
        self.has_untold()
    }

    /// The time at which the connection of the newest sign of life was opened.
    pub(crate) const fn newest(&self) -> Monotonic {
        self.newest
    }

    /// Decides without asking the agent.
    fn judge(
        &self,
        request: BootRequest,
        settings: &GuardSettings,
        now: Monotonic,
    ) -> (Verdict, Option<GuardAlarm>) {
        let BootRequest { boot, accepted } = request;
        let may_retry = self.may_retry(boot, now);
        let alarm =
            (self.phase == Phase::Opened && !may_retry).then_some(GuardAlarm::SecondRequest);
        if self.suspect.is_some() {
            return (Verdict::Person, alarm);
        }
        let passage = match self.phase {
            Phase::Unarmed => Some(Passage::Unarmed),
            Phase::Leaving { since, until }
                if boot.is_some() && accepted > since && now < until =>
            {
                Some(Passage::Announced)
            }
            Phase::Opened if may_retry => Some(Passage::Retry),
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

    /// A person trusts the machine again. To be durable before he is told so.
    pub fn trust(&mut self) {
        self.suspect = None;
        self.doubled_told = false;
    }

    /// The boot key was replaced: copies of the old one are worth nothing. The caller has refused what waited with it. A
    /// release of the old one can still be told, and makes the machine suspect no more. To be durable before a request
    /// with the new key is decided on.
    pub fn boot_key_changed(&mut self) {
        self.trust();
        self.left.clear();
        self.sent_nonce = false;
        for release in &mut self.releases {
            release.old_key = true;
        }
    }

    /// The host key was replaced or removed: the guard waits for the next agent. A suspicion stays. To be durable before
    /// a sign of life by the new key is judged.
    pub fn host_key_changed(&mut self) {
        *self = Self {
            suspect: self.suspect,
            doubled_told: self.doubled_told,
            releases: std::mem::take(&mut self.releases),
            left: std::mem::take(&mut self.left),
            sent_nonce: self.sent_nonce,
            ..Self::default()
        };
    }

    /// The guard after a state that may be older than what happened: nothing is announced any more. To be durable before
    /// the first request is decided on.
    pub fn distrust_state(&mut self) {
        if let Phase::Leaving { .. } = self.phase {
            self.phase = Phase::Quiet;
        }
    }

    /// The reason for a suspicion, unless there is a more severe one already.
    fn suspect_of(&mut self, reason: Suspicion) {
        self.suspect = self.suspect.max(Some(reason));
    }

    /// True when this guard must be durable where `old` is.
    fn must_be_stored(&self, old: &Self) -> bool {
        let without_times = |guard: &Self| {
            let mut guard = guard.clone();
            (guard.first, guard.newest) = (NEVER, NEVER);
            if let Phase::Up { last, .. } = &mut guard.phase {
                *last = NEVER;
            }
            guard
        };
        without_times(self) != without_times(old)
    }
}

/// Adds the values that are not in the list, as far as there is room.
fn add_unknown<T: PartialEq>(list: &mut Vec<T>, others: Vec<T>) {
    for other in others {
        if list.len() < MAX_REMEMBERED && !list.contains(&other) {
            list.push(other);
        }
    }
}
