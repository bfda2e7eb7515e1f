//! One client's lifecycle: enabled or not, its deadline, its checks, its approvals.
//!
//! A [`Client`] has a state and decides on a request at a given moment. It does nothing by itself: the registry moves
//! its timers, persists its changes and answers its requests.

mod approval;
mod checks;
mod guarded;
mod hourly_alarm;
pub(crate) mod merge;
pub mod saved;
mod setting;
mod timer;

use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) use approval::{ReleaseDecision, RequestQueue};
pub(crate) use checks::CheckState;
use hourly_alarm::HourlyAlarm;
pub(crate) use timer::{Timer, TimerSet};

use crate::boot_nonce::BootNonce;
use crate::checker::LastCheck;
use crate::client::saved::{ClientPresence, PresentClient, SavedClient, SavedState};
use crate::deadline::{self, Deadline};
use crate::event::{KeyRole, RequestClaims, RequestId};
use crate::guard::Guard;
use crate::name::ClientName;
use crate::secret::{Secret, SecretDigest};
use crate::settings::client::{ClientConfig, ClientSettings, ConfiguredSecrets};
use crate::time::{BootId, Monotonic, Now, Wall};

/// One client with its state.
#[derive(Debug)]
pub struct Client {
    pub(crate) name: ClientName,
    /// The settings in the file when it was last read; shared with `settings` until one of them changes.
    pub(crate) configured: Arc<ClientSettings>,
    pub(crate) configured_secret: SecretDigest,
    pub(crate) settings: Arc<ClientSettings>,
    pub(crate) secret: Arc<Secret>,
    /// The named secrets of its section.
    pub(crate) named: ConfiguredSecrets,
    /// True when `secret` was set at run time, in place of the configured one.
    pub(crate) own_secret: bool,
    /// Rises with every change of `secret`.
    pub(crate) secret_changes: u32,
    /// True when it was added at run time and is in no file.
    pub(crate) added: bool,
    /// Its place in the configuration: of two with the same key the first counts.
    pub(crate) place: u32,
    pub(crate) created: Wall,
    pub(crate) last_enabled: Option<Wall>,
    pub(crate) last_checked_ok: Option<Wall>,
    pub(crate) last_approval_request: Option<Wall>,
    pub(crate) last_check: LastCheck,
    /// `Some` means enabled: no client is enabled without a deadline.
    pub(crate) deadline: Option<Deadline>,
    /// Until when a person's denial counts, that moment included.
    pub(crate) denied: Option<Monotonic>,
    /// Requests that wait for a decision, by the time since which they do.
    pub(crate) waiting: RequestQueue,
    /// Requests that are held while the agent is asked, by the end of the hold.
    pub(crate) held: RequestQueue,
    /// Requests that were granted, also those that lost their right since, whose delivery has not been
    /// reported yet: their secret may have left.
    pub(crate) under_way: BTreeMap<RequestId, (KeyRole, RequestClaims)>,
    /// Knowledge of its agent, and what follows from it.
    pub(crate) guard: Guard,
    /// The agent answers when it is poked. Not saved.
    pub(crate) pokeable: bool,
    pub(crate) check: CheckState,
    /// True when the next result shows if it still answers while its secret was just released.
    pub(crate) check_follows_release: bool,
    /// Time of the last proof of life in this run of the program.
    pub(crate) proved: Option<Monotonic>,
    /// True when its secret was released since the last proof of life.
    pub(crate) released: bool,
    /// It was enabled since its secret was last released: a person who enables it vouches for it. Not saved, as
    /// to lose it is stricter.
    pub(crate) enabled_since_release: bool,
    /// Until when it may rehearse without an alarm. Not saved, as to lose it is stricter.
    pub(crate) rehearsals_until: Option<Monotonic>,
    /// That it asks although it is disabled.
    pub(crate) disabled_alarm: HourlyAlarm,
    /// The boot that its secret was last released to, where it said which.
    pub(crate) released_boot: Option<BootNonce>,
    /// True when it got another timeout at a start, and was not proved to be up since.
    pub(crate) renewed: bool,
    /// True when it is disabled until a person enables it or a check proves that it has its private key.
    pub(crate) needs_proof: bool,
    pub(crate) timers: TimerSet,
}

impl Client {
    /// The name of its section.
    pub fn name(&self) -> &ClientName {
        &self.name
    }

    /// The settings in force. Their `enabled` is only what the file says: see [`Self::is_enabled`].
    pub fn settings(&self) -> &ClientSettings {
        &self.settings
    }

    /// True when it was added at run time and is in no file.
    pub fn is_added(&self) -> bool {
        self.added
    }

    /// Rises with every change of its secret.
    pub fn secret_changes(&self) -> u32 {
        self.secret_changes
    }

    /// True when releases to it are possible.
    pub fn is_enabled(&self) -> bool {
        self.deadline.is_some()
    }

    /// True when it is disabled because the state was lost: until a person enables it, or a check proves that
    /// the machine has its private key.
    pub fn needs_proof(&self) -> bool {
        self.needs_proof
    }

    /// True when it is checked: for as long as it is enabled, and while only such a check is missing. Never once its
    /// agent was heard: a check proves less, and would keep a machine enabled whose agent is silent.
    pub(crate) fn is_checked(&self) -> bool {
        let is_wanted =
            self.is_enabled() || (self.needs_proof && self.settings.checker.proves_private_key());
        is_wanted && !self.is_armed()
    }

    /// The deadline, on the wall clock as it was when the deadline was set; `None` unless enabled.
    pub fn expires(&self) -> Option<Wall> {
        self.deadline.map(|deadline| deadline.wall)
    }

    /// Time at which the server first knew it.
    pub fn created(&self) -> Wall {
        self.created
    }

    /// Time at which it was last enabled.
    pub fn last_enabled(&self) -> Option<Wall> {
        self.last_enabled
    }

    /// Time of the last proof of life.
    pub fn last_checked_ok(&self) -> Option<Wall> {
        self.last_checked_ok
    }

    /// Time of the last request that needed approval.
    pub fn last_approval_request(&self) -> Option<Wall> {
        self.last_approval_request
    }

    /// The result of the last completed check.
    pub fn last_check(&self) -> LastCheck {
        self.last_check
    }

    /// True while a checker of it runs. One that has the signal to stop does not count.
    pub fn checker_running(&self) -> bool {
        matches!(self.check, CheckState::Running)
    }

    /// True while a request of it waits for approval, for its boot secret or a named one.
    pub fn approval_pending(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// A client seen for the first time; not enabled yet.
    pub(crate) fn fresh(config: ClientConfig, place: u32, now: Now) -> Self {
        let settings = Arc::new(config.settings);
        Self {
            name: config.name,
            configured: Arc::clone(&settings),
            configured_secret: config.secret.digest(),
            settings,
            secret: Arc::new(config.secret),
            named: config.named,
            own_secret: false,
            secret_changes: 0,
            added: false,
            place,
            created: now.wall,
            last_enabled: None,
            last_checked_ok: None,
            last_approval_request: None,
            last_check: LastCheck::None,
            deadline: None,
            denied: None,
            waiting: RequestQueue::default(),
            held: RequestQueue::default(),
            under_way: BTreeMap::new(),
            guard: Guard::default(),
            pokeable: false,
            check: CheckState::Idle,
            check_follows_release: false,
            proved: None,
            released: false,
            enabled_since_release: false,
            rehearsals_until: None,
            disabled_alarm: HourlyAlarm::default(),
            released_boot: None,
            renewed: false,
            needs_proof: false,
            timers: TimerSet::default(),
        }
    }

    /// The whole row for the store.
    pub(crate) fn to_saved(&self, boot: BootId, now: Now) -> SavedClient {
        let present = PresentClient {
            settings: ClientSettings::clone(&self.settings),
            secret: self.own_secret.then(|| Arc::clone(&self.secret)),
            state: self.to_state(boot, now),
        };
        SavedClient {
            name: self.name.clone(),
            configured: ClientSettings::clone(&self.configured),
            configured_secret: self.configured_secret,
            added: self.added.then(|| Arc::clone(&self.secret)),
            presence: ClientPresence::Present(Box::new(present)),
        }
    }

    /// The row of this client once it is removed: nothing of its secret.
    pub(crate) fn to_removed(&self) -> SavedClient {
        SavedClient {
            name: self.name.clone(),
            configured: ClientSettings::clone(&self.configured),
            configured_secret: self.configured_secret,
            added: None,
            presence: ClientPresence::Removed,
        }
    }

    /// The part of the row that changes often.
    pub(crate) fn to_state(&self, boot: BootId, now: Now) -> SavedState {
        SavedState {
            enabled: self.is_enabled(),
            created: self.created,
            last_enabled: self.last_enabled,
            last_checked_ok: self.last_checked_ok,
            last_approval_request: self.last_approval_request,
            last_check: self.last_check,
            deadline: self
                .deadline
                .map(|deadline| deadline::to_saved(deadline.mono, boot, now)),
            denied: self
                .denial(now)
                .map(|until| deadline::to_saved(until, boot, now)),
            // A release under way counts: after a crash nobody could report it.
            released: self.released || self.is_being_released(),
            released_boot: self.released_boot,
            renewed: self.renewed,
            needs_proof: self.needs_proof,
            guard: self.guard.to_saved(boot, now),
        }
    }
}
