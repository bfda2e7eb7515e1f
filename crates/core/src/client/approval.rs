//! The answer to a request: a person's denial, the wait for a decision, and the default without one.

use std::collections::BTreeSet;

use super::Client;
use crate::event::{Alarm, Grant, KeyRole, Refusal, RequestClaims, RequestId};
use crate::time::{Monotonic, Now};

/// The decision on a request at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ReleaseDecision {
    Release(Grant),
    Refuse(Refusal),
    /// It waits for a person until then.
    Wait(Monotonic),
}

/// Requests with a time each, the earliest first.
#[derive(Debug, Default)]
pub(crate) struct RequestQueue(BTreeSet<(Monotonic, RequestId)>);

impl RequestQueue {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, with their times.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (RequestId, Monotonic)> {
        self.0.iter().map(|(since, request)| (*request, *since))
    }

    pub(crate) fn insert(&mut self, request: RequestId, since: Monotonic) {
        self.0.insert((since, request));
    }

    pub(crate) fn remove(&mut self, request: RequestId, since: Monotonic) {
        self.0.remove(&(since, request));
    }

    /// The request with the earliest time.
    pub(crate) fn oldest(&self) -> Option<(RequestId, Monotonic)> {
        self.0.first().map(|(since, request)| (*request, *since))
    }

    /// Removes and returns all of them.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = RequestId> + use<> {
        std::mem::take(&mut self.0)
            .into_iter()
            .map(|(_, request)| request)
    }
}

impl Client {
    /// The reason why no request of it can be granted.
    pub(crate) fn refusal(&self, now: Now) -> Option<Refusal> {
        if self.deadline.is_none_or(|deadline| deadline.passed(now)) {
            Some(Refusal::Disabled)
        } else {
            self.denial(now).map(|_| Refusal::Denied)
        }
    }

    /// The decision at `now` on a request that waits for a person since `since`, where nothing refuses it.
    ///
    /// An approval is for a request that waits, and never seen here. Without a delay none is needed, whatever
    /// `approved_by_default` says (as in Mandos).
    pub(crate) fn approval(&self, since: Monotonic, now: Now) -> ReleaseDecision {
        if self.settings.approval_delay.is_zero() {
            return ReleaseDecision::Release(Grant::NotNeeded);
        }
        let until = since.after(self.settings.approval_delay);
        if now.mono < until {
            ReleaseDecision::Wait(until)
        } else if self.settings.approved_by_default {
            ReleaseDecision::Release(Grant::ByDefault)
        } else {
            ReleaseDecision::Refuse(Refusal::ApprovalTimedOut)
        }
    }

    /// The end, that moment included, of a person's denial, if there is one.
    pub(crate) fn denial(&self, now: Now) -> Option<Monotonic> {
        self.denied.filter(|until| now.mono <= *until)
    }

    /// A boot was granted the secret, and its delivery has not been reported yet.
    pub(crate) fn is_being_released(&self) -> bool {
        let mut under_way = self.under_way.values();
        under_way.any(|(role, claims)| *role == KeyRole::Boot && !claims.rehearsal)
    }

    /// True while an administrator allows it to rehearse.
    pub(crate) fn may_rehearse(&self, now: Now) -> bool {
        self.rehearsals_until.is_some_and(|until| now.mono < until)
    }

    /// The alarm that a granted request with the boot key raises, where no guard judged it. That it is a rehearsal is a
    /// claim, and hides no alarm.
    pub(crate) fn alarm(
        &self,
        claims: RequestClaims,
        allow_rehearsals: bool,
        now: Now,
    ) -> Option<Alarm> {
        // Several rehearsals at once are those of several interfaces.
        let beside = |(role, other): &(KeyRole, RequestClaims)| {
            *role == KeyRole::Boot && !(claims.rehearsal && other.rehearsal)
        };
        if self.released || self.under_way.values().any(beside) {
            return Some(Alarm::SecondRequest);
        }
        if claims.rehearsal {
            let allowed = allow_rehearsals || self.may_rehearse(now);
            return (!allowed).then_some(Alarm::Rehearsal);
        }
        // A machine that is up rehearses in the boot that was served.
        let served = self.released_boot.is_some() && self.released_boot == claims.boot;
        served.then_some(Alarm::SameBoot)
    }
}
