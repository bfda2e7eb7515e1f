//! Releases of which no account was given yet, requests that went away, and what time does to them.

use std::time::Duration;

use super::{
    BootRequest, Guard, GuardAlarm, GuardChange, GuardSettings, MAX_REMEMBERED, MAX_RETRIES, Phase,
    SILENT_HALVES,
};
use crate::boot_nonce::BootNonce;
use crate::time::Monotonic;

/// A release, or several by the same nonce within its grace, whose boot was not heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct OpenRelease {
    /// None where the request came by Mandos's protocol.
    pub(super) boot: Option<BootNonce>,
    /// The time at which the first of the requests was accepted.
    pub(super) accepted: Monotonic,
    /// Counts from the first release, as the deadline that it extends does.
    pub(super) grace_ends: Monotonic,
    pub(super) retries: u8,
    /// Number of its grants that were never sent.
    pub(super) undelivered: u8,
    /// The grace has ended, and a person was told. It is remembered, as the machine may prove later that it had been up
    /// all the time.
    pub(super) told: bool,
    /// The boot key was replaced since.
    pub(super) old_key: bool,
}

impl OpenRelease {
    /// True when the secret may have been sent.
    pub(super) fn is_sent(&self) -> bool {
        self.undelivered <= self.retries
    }

    /// True when a request with this nonce belongs to it.
    fn is_retried(&self, boot: Option<BootNonce>, now: Monotonic) -> bool {
        let is_open = !self.told && !self.old_key && now < self.grace_ends;
        boot.is_some() && self.boot == boot && is_open
    }
}

fn silent_from(last: Monotonic, next: Duration) -> Monotonic {
    last.after(next.saturating_mul(SILENT_HALVES) / 2)
}

impl Guard {
    pub(super) fn may_retry(&self, boot: Option<BootNonce>, now: Monotonic) -> bool {
        let mut releases = self.releases.iter();
        releases.any(|it| it.is_retried(boot, now) && it.retries < MAX_RETRIES)
    }

    /// True when a release is on the list that was not told.
    pub(super) fn has_untold(&self) -> bool {
        self.releases.iter().any(|release| !release.told)
    }

    /// A request was granted, by this guard or by a person. Where the guard changed, it is to be durable in the
    /// transaction of the release. There is an alarm about the oldest release when there were too many.
    pub fn released(
        &mut self,
        boot: Option<BootNonce>,
        accepted: Monotonic,
        settings: &GuardSettings,
        now: Monotonic,
    ) -> GuardChange {
        let mut change = GuardChange::default();
        if !self.is_armed() {
            return change;
        }
        change.changed = true;
        self.phase = Phase::Opened;
        let mut known = self.releases.iter_mut();
        if let Some(again) = known.find(|release| release.is_retried(boot, now)) {
            again.retries = again.retries.saturating_add(1);
            // A person may approve the first request after the second was released.
            again.accepted = again.accepted.min(accepted);
            return change;
        }
        if self.releases.len() == MAX_REMEMBERED {
            let told = self.releases.iter().position(|release| release.told);
            let dropped = self.releases.remove(told.unwrap_or(0));
            if !dropped.told {
                change.alarms.push(GuardAlarm::Unaccounted);
            }
        }
        self.releases.push(OpenRelease {
            boot,
            accepted,
            grace_ends: now.after(settings.grace),
            retries: 0,
            undelivered: 0,
            told: false,
            old_key: false,
        });
        change
    }

    /// A grant was revoked, or its connection broke, before the first byte of the secret was sent. To be called once for
    /// each such grant that was made while the guard was armed, and for no other: whose request it was then matters as for
    /// one that was held, and the boot may ask again.
    pub fn not_delivered(&mut self, boot: Option<BootNonce>, accepted: Monotonic) -> GuardChange {
        let is_its = |it: &&mut OpenRelease| match boot {
            // A retry was accepted later than the first.
            Some(_) => it.boot == boot && it.accepted <= accepted,
            None => it.boot.is_none() && it.accepted == accepted,
        };
        let of_grant = |it: &&mut OpenRelease| it.is_sent() && is_its(it);
        let release = self.releases.iter_mut().rev().find(of_grant);
        let changed = release.is_some();
        if let Some(release) = release {
            release.undelivered = release.undelivered.saturating_add(1);
        }
        GuardChange {
            alarms: Vec::new(),
            changed,
        }
    }

    /// The peer of a request that waited went away, whether the request was held or waited for a person: a thief could
    /// ask for a moment again and again. There is an alarm about the oldest when there are too many.
    pub fn request_left(&mut self, request: BootRequest) -> GuardChange {
        let mut change = GuardChange::default();
        let is_known = self.left.iter().any(|left| left.boot == request.boot);
        if !self.is_armed() || is_known {
            return change;
        }
        change.changed = true;
        if self.left.len() == MAX_REMEMBERED {
            self.left.remove(0);
            change.alarms.push(GuardAlarm::Unaccounted);
        }
        self.left.push(request);
        change
    }

    /// The time of the next [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Monotonic> {
        let of_phase = match self.phase {
            Phase::Up { last, next } => Some(silent_from(last, next)),
            Phase::Leaving { until, .. } => Some(until),
            Phase::Unarmed | Phase::Quiet | Phase::Opened => None,
        };
        let untold = self.releases.iter().filter(|release| !release.told);
        let graces = untold.map(|release| release.grace_ends);
        graces.chain(of_phase).min()
    }

    /// Time passed. There is an alarm for each release whose grace has ended.
    pub fn handle_timeout(&mut self, now: Monotonic) -> GuardChange {
        let old = self.clone();
        let mut alarms = Vec::new();
        for release in &mut self.releases {
            if !release.told && release.grace_ends <= now {
                release.told = true;
                alarms.push(GuardAlarm::Unaccounted);
            }
        }
        let quiet = match self.phase {
            Phase::Up { last, next } => silent_from(last, next) <= now,
            Phase::Leaving { until, .. } => until <= now,
            Phase::Opened => !self.has_untold(),
            Phase::Unarmed | Phase::Quiet => false,
        };
        if quiet {
            self.phase = Phase::Quiet;
        }
        GuardChange {
            changed: self.must_be_stored(&old),
            alarms,
        }
    }

    /// The server did not listen until `now`: silence and the grace of each release count anew. To be called before
    /// [`Self::handle_timeout`]. Nothing of it need be durable: after a start it is called again.
    pub fn handle_gap(&mut self, settings: &GuardSettings, now: Monotonic) {
        if let Phase::Up { last, .. } = &mut self.phase {
            *last = now;
        }
        for release in &mut self.releases {
            if !release.told {
                release.grace_ends = release.grace_ends.max(now.after(settings.grace));
            }
        }
    }
}
