//! The world's own knowledge, to be compared with what the guard says.

use crate::boot_nonce::BootMark;
use std::collections::BTreeSet;

use super::*;

#[derive(Clone, Copy, Debug)]
struct Grant {
    request: BootRequest,
    sent: bool,
    /// Judged with the first try, or within a later grace: the guard may judge it again.
    maybe_judged: bool,
}

/// The grants to one nonce within a grace.
#[derive(Clone, Copy, Debug)]
struct Tries {
    boot: BootNonce,
    /// The first request.
    accepted: Monotonic,
    grace_ends: u64,
    retries: u8,
    /// A sign of life judged another request with this nonce: the guard may have forgotten them all, and count anew.
    maybe_judged: bool,
}

#[derive(Clone, Copy, Debug)]
struct Up {
    boot: BootNonce,
    /// The oldest connection on which it was heard, as far as the server remembers.
    first: Monotonic,
    resumes: u64,
}

/// A goodbye that nothing has used or made void.
#[derive(Clone, Copy, Debug)]
struct Goodbye {
    opened: Monotonic,
    said: u64,
    /// The time of another goodbye that was opened at the same time.
    again: u64,
}

#[derive(Default)]
pub(super) struct Books {
    /// A theft was proved, and no person has looked since.
    pub(super) suspect: bool,
    up: Option<Up>,
    /// Boots that were heard, the latest last.
    heard: Vec<BootNonce>,
    /// Times at which the machine is known to have been up.
    lives: Vec<Monotonic>,
    goodbye: Option<Goodbye>,
    /// Requests with the present boot key that no sign of life has judged.
    grants: Vec<Grant>,
    left: Vec<BootRequest>,
    tries: Vec<Tries>,
    /// The guard had too many releases to remember: one that it forgot counts anew when it asks again.
    forgot: bool,
}

impl Books {
    pub(super) fn is_armed(&self) -> bool {
        self.up.is_some()
    }

    /// True for boots that the guard must remember.
    pub(super) fn was_heard(&self, boot: Option<BootNonce>) -> bool {
        boot.is_some_and(|boot| self.heard.contains(&boot))
    }

    pub(super) fn left(&mut self, request: BootRequest) {
        let known = self.left.iter().any(|it| it.boot == request.boot);
        if self.is_armed() && !known {
            self.left.push(request);
        }
    }

    pub(super) fn not_delivered(&mut self, request: BootRequest) {
        let mut grants = self.grants.iter_mut();
        if let Some(grant) = grants.find(|it| it.request == request && it.sent) {
            grant.sent = false;
        }
    }

    pub(super) fn boot_key_changed(&mut self) {
        self.grants.clear();
        self.left.clear();
        self.tries.clear();
    }

    pub(super) fn host_key_changed(&mut self) {
        self.up = None;
        self.heard.clear();
        self.lives.clear();
        self.goodbye = None;
    }

    pub(super) fn gap(&mut self, begun: u64, now: u64) {
        for tries in &mut self.tries {
            if tries.grace_ends > begun {
                tries.grace_ends = tries.grace_ends.max(now + GRACE.as_secs());
            }
        }
    }

    /// After a start, the server remembers no connection.
    pub(super) fn start(&mut self) {
        if let Some(up) = &mut self.up {
            up.first = NEVER;
        }
    }

    pub(super) fn passes(&mut self, request: BootRequest, passage: Passage, now: u64) {
        let is_armed = self.is_armed();
        assert_eq!(passage == Passage::Unarmed, !is_armed);
        if !is_armed {
            return;
        }
        assert!(!self.was_heard(request.boot), "a boot that was up");
        if passage == Passage::Announced {
            // (b) A goodbye that was the last word, used once, in time, and by a later request.
            let goodbye = self.goodbye.expect("an announced reboot without a goodbye");
            assert!(now < goodbye.again + 600 && at(goodbye.said) < request.accepted);
        }
        let tries = self
            .tries
            .iter_mut()
            .find(|it| request.boot == Some(it.boot));
        if passage == Passage::Retry && !self.forgot {
            let tries = tries.expect("a retry of nothing");
            tries.retries += 1;
            tries.maybe_judged = false;
            assert!(tries.retries <= MAX_RETRIES && now < tries.grace_ends);
        }
    }

    pub(super) fn released(&mut self, request: BootRequest, forgot: bool, now: u64) {
        self.forgot |= forgot;
        if !self.is_armed() {
            return;
        }
        // (a) Nobody who was up after the request has said so.
        let after = self.lives.iter().find(|opened| **opened > request.accepted);
        assert_eq!(after, None, "released although the machine was up");
        self.goodbye = None;
        self.grants.push(Grant {
            request,
            sent: true,
            maybe_judged: false,
        });
        if let Some(boot) = request.boot {
            let known = self
                .tries
                .iter()
                .any(|it| it.boot == boot && now < it.grace_ends && !it.maybe_judged);
            if !known {
                self.tries.retain(|it| it.boot != boot);
                self.tries.push(Tries {
                    boot,
                    accepted: request.accepted,
                    grace_ends: now + GRACE.as_secs(),
                    retries: 0,
                    maybe_judged: false,
                });
            }
        }
    }

    pub(super) fn live(
        &mut self,
        life: &Life,
        waiting: &[BootRequest],
        outcome: &LifeOutcome,
        before: &Guard,
        now: u64,
    ) {
        let was_up = self.up;
        let is_late = was_up.is_some_and(|up| up.boot != life.boot && life.opened < up.first);
        if !is_late {
            let proof = self.judge(life, waiting, outcome);
            proof.check_alarms(before, &outcome.alarms);
        }
        self.say_goodbye(life, now);
        self.lives.push(life.opened);
        match &mut self.up {
            Some(_) if is_late => {
                if !self.heard.contains(&life.boot) {
                    self.heard.insert(self.heard.len() - 1, life.boot);
                }
            }
            Some(up) if up.boot == life.boot => up.resumes = up.resumes.max(life.resumes),
            _ => {
                self.up = Some(Up {
                    boot: life.boot,
                    first: life.opened,
                    resumes: life.resumes,
                });
                self.heard.retain(|it| *it != life.boot);
                self.heard.push(life.boot);
            }
        }
        // The one that is up, and eight before it.
        let old = self.heard.len().saturating_sub(MAX_REMEMBERED + 1);
        self.heard.drain(..old);
    }

    fn say_goodbye(&mut self, life: &Life, now: u64) {
        if self.goodbye.is_some_and(|it| life.opened > it.opened) {
            self.goodbye = None;
        }
        let is_last = self.lives.iter().all(|opened| *opened <= life.opened);
        if is_last && life.goodbye.is_some() {
            let goodbye = self.goodbye.get_or_insert(Goodbye {
                opened: life.opened,
                said: now,
                again: now,
            });
            goodbye.again = now;
        }
    }

    /// Compares what `life` proves about what was asked before with what the guard says.
    fn judge(&mut self, life: &Life, waiting: &[BootRequest], outcome: &LifeOutcome) -> Proof {
        let same = self.up.filter(|up| up.boot == life.boot);
        let proof = Proof {
            opened: life.opened,
            resumed: same.map(|up| life.resumes.saturating_sub(up.resumes)),
            own: [&[life.boot], &*self.heard].concat(),
            noted: life.earlier_boots.clone(),
        };
        for (request, fate) in waiting.iter().zip(&outcome.waiting) {
            proof.check(request, *fate);
            self.suspect |= proof.up_all_the_time() && proof.is_thief(request);
        }
        proof.check_excuses(waiting, &outcome.waiting);
        self.compare(&proof, &outcome.alarms);
        let is_open =
            |request: &BootRequest| request.accepted >= proof.opened && !proof.is_own(request.boot);
        let judged = self.grants.iter().map(|it| it.request);
        let judged: Vec<_> = judged.filter(|it| !is_open(it)).collect();
        self.grants.retain(|it| is_open(&it.request));
        for grant in &mut self.grants {
            grant.maybe_judged |= judged.iter().any(|it| it.boot == grant.request.boot);
        }
        for tries in &mut self.tries {
            tries.maybe_judged |= judged.iter().any(|it| it.boot == Some(tries.boot));
        }
        self.left.retain(is_open);
        self.tries
            .retain(|it| it.accepted >= proof.opened && !proof.is_own(Some(it.boot)));
        proof
    }

    fn compare(&mut self, proof: &Proof, alarms: &[GuardAlarm]) {
        let impostor = alarms.contains(&GuardAlarm::Impostor);
        let served = alarms.contains(&GuardAlarm::ServedImpostor);
        if !proof.up_all_the_time() {
            assert!(!impostor && !served, "nothing proves it");
            return;
        }
        // The guard forgets, and tells, the oldest of more than eight.
        let left = self.left.iter().any(|it| proof.is_thief(it));
        if left && self.left.len() <= MAX_REMEMBERED {
            assert!(impostor, "a request that left is forgotten");
            self.suspect = true;
        }
        let mut thieves = self.grants.iter().filter(|it| !it.maybe_judged);
        let granted = thieves.any(|it| proof.is_thief(&it.request));
        if granted && self.grants.len() <= MAX_REMEMBERED {
            let sent = self.grants.iter().all(|it| it.sent);
            assert!(served || impostor && !sent, "a theft is forgotten");
            self.suspect = true;
        }
        let sent = self.grants.iter().any(|it| it.sent);
        assert!(sent || !served, "nobody was served");
    }
}

/// The consequences that a sign of life must have.
struct Proof {
    opened: Monotonic,
    /// Of the boot that was up already, the number of its new resumes.
    resumed: Option<u64>,
    /// Nonces that only the machine knows.
    own: Vec<BootNonce>,
    noted: Vec<BootMark>,
}

impl Proof {
    fn up_all_the_time(&self) -> bool {
        self.resumed == Some(0)
    }

    fn is_own(&self, boot: Option<BootNonce>) -> bool {
        boot.is_some_and(|boot| self.own.contains(&boot) || self.noted.contains(&boot.mark()))
    }

    fn is_thief(&self, request: &BootRequest) -> bool {
        request.accepted < self.opened && !self.is_own(request.boot)
    }

    fn check(&self, request: &BootRequest, fate: WaitingFate) {
        let impostor = WaitingFate::Refused(GuardAlarm::Impostor);
        let right = if self.is_own(request.boot) {
            fate == WaitingFate::Superseded
        } else if !self.is_thief(request) {
            fate == WaitingFate::Keep
        } else if self.up_all_the_time() {
            fate == impostor
        } else {
            fate != WaitingFate::Keep && fate != impostor
        };
        assert!(right, "{fate:?} for {request:?}");
    }

    /// No more is forgiven than there were resumes, or the one that an initramfs without nonces may ask.
    fn check_excuses(&self, waiting: &[BootRequest], fates: &[WaitingFate]) {
        let excused = waiting
            .iter()
            .zip(fates)
            .filter(|(request, fate)| self.is_thief(request) && **fate == WaitingFate::Superseded);
        let boots: Vec<_> = excused.map(|(request, _)| request.boot).collect();
        let named: BTreeSet<_> = boots.iter().flatten().collect();
        let nameless = boots.iter().filter(|boot| boot.is_none()).count();
        let excused = u64::try_from(named.len() + nameless).unwrap();
        assert!(excused <= self.resumed.unwrap_or(1));
        assert!(named.is_empty() || self.resumed.is_some());
    }

    /// Each release and each request that left is told once where another boot does not know it.
    fn check_alarms(&self, before: &Guard, alarms: &[GuardAlarm]) {
        if self.resumed.is_some() {
            return;
        }
        let releases = before
            .releases
            .iter()
            .filter(|it| !it.told)
            .map(|it| BootRequest {
                boot: it.boot,
                accepted: it.accepted,
            });
        let asked = releases.chain(before.left.iter().copied());
        let (named, nameless): (Vec<_>, Vec<_>) = asked
            .filter(|it| self.is_thief(it))
            .partition(|it| it.boot.is_some());
        let is_unaccounted = |it: &&GuardAlarm| **it == GuardAlarm::Unaccounted;
        let told = alarms.iter().filter(is_unaccounted).count();
        let most = named.len() + nameless.len();
        assert!((most.saturating_sub(1).max(named.len())..=most).contains(&told));
    }
}
