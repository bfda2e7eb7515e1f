//! Accounts for the releases and requests before a sign of life.

use super::{
    BootRequest, Guard, GuardAlarm, Life, LifeOutcome, OpenRelease, Suspicion, WaitingFate,
};
use crate::boot_nonce::BootNonce;

/// The requests with the boot key that a sign of life accounts for.
struct Account<'a> {
    life: &'a Life,
    /// The boot that last proved life and those before it, as they were before this sign of life.
    heard: Vec<BootNonce>,
    /// The boot was heard before.
    same: bool,
    /// True when the machine was up all the time: whoever asked was somebody else.
    proves: bool,
    /// Number of boots that may be the machine's own although the agent does not name them. For the same boot these are
    /// its resumes from hibernation: each needed the password once, and which request that was cannot be told. For
    /// another boot it is one without a nonce, from an initramfs that sends none.
    unnamed: u64,
    /// Nonces that were taken for one of those.
    excused: Vec<BootNonce>,
}

impl Account<'_> {
    /// True for nonces that only root on this machine can know.
    fn knows(&self, boot: Option<BootNonce>) -> bool {
        boot.is_some_and(|boot| self.life.knows(boot) || self.heard.contains(&boot))
    }

    fn explains(&mut self, boot: Option<BootNonce>) -> bool {
        if self.knows(boot) || boot.is_some_and(|boot| self.excused.contains(&boot)) {
            return true;
        }
        if self.unnamed == 0 || boot.is_some() && !self.same {
            return false;
        }
        self.unnamed -= 1;
        self.excused.extend(boot);
        true
    }

    fn fate(&mut self, request: &BootRequest) -> WaitingFate {
        if self.knows(request.boot) {
            WaitingFate::Superseded
        } else if request.accepted >= self.life.opened {
            WaitingFate::Keep
        } else if self.explains(request.boot) {
            WaitingFate::Superseded
        } else if self.proves {
            WaitingFate::Refused(GuardAlarm::Impostor)
        } else {
            WaitingFate::Refused(GuardAlarm::Unaccounted)
        }
    }

    /// The alarm about a release that is not explained. None where it was told before, and nothing new is known.
    fn alarm(&self, release: &OpenRelease) -> Option<GuardAlarm> {
        if self.proves && !release.old_key {
            Some(if release.is_sent() {
                GuardAlarm::ServedImpostor
            } else {
                GuardAlarm::Impostor
            })
        } else {
            (!release.told).then_some(GuardAlarm::Unaccounted)
        }
    }
}

impl Guard {
    /// Finds out whose the releases and requests before `life` were.
    pub(super) fn account(
        &mut self,
        life: &Life,
        waiting: &[BootRequest],
        outcome: &mut LifeOutcome,
    ) {
        let left = self.left.iter().chain(waiting).map(|request| request.boot);
        let boots = self.releases.iter().map(|release| release.boot).chain(left);
        self.sent_nonce |= boots.flatten().any(|boot| life.knows(boot));
        let same = self.boot == Some(life.boot);
        let resumed = life.resumes.saturating_sub(self.resumes);
        let mut account = Account {
            life,
            heard: self.over.iter().copied().chain(self.boot).collect(),
            same,
            proves: same && resumed == 0,
            unnamed: if same {
                resumed
            } else {
                u64::from(!self.sent_nonce)
            },
            excused: Vec::new(),
        };
        self.account_releases(&mut account, outcome);
        for request in std::mem::take(&mut self.left) {
            match account.fate(&request) {
                WaitingFate::Keep => self.left.push(request),
                WaitingFate::Superseded => {}
                WaitingFate::Refused(alarm) => outcome.alarms.push(alarm),
            }
        }
        outcome.waiting = waiting.iter().map(|it| account.fate(it)).collect();
        let impostor = WaitingFate::Refused(GuardAlarm::Impostor);
        if outcome.alarms.contains(&GuardAlarm::Impostor) || outcome.waiting.contains(&impostor) {
            self.suspect_of(Suspicion::Impostor);
        }
        if outcome.alarms.contains(&GuardAlarm::ServedImpostor) {
            self.suspect_of(Suspicion::ServedImpostor);
        }
    }

    fn account_releases(&mut self, account: &mut Account<'_>, outcome: &mut LifeOutcome) {
        for release in std::mem::take(&mut self.releases) {
            let is_later = release.accepted >= account.life.opened;
            if is_later && !account.knows(release.boot) {
                self.releases.push(release);
            } else if !account.explains(release.boot) {
                outcome.revoke = true;
                outcome.alarms.extend(account.alarm(&release));
            }
        }
    }
}
