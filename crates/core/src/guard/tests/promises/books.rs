//! What the world knows, to be compared with what the guard says.

use super::*;

#[derive(Clone, Copy, Debug)]
struct Grant {
    request: WaitingRequest,
    sent: bool,
}

/// What a nonce was granted within a grace.
#[derive(Clone, Copy, Debug)]
struct Tries {
    boot: BootNonce,
    /// The first request.
    accepted: Monotonic,
    grace_ends: u64,
    retries: u8,
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
}

#[derive(Default)]
pub(super) struct Books {
    /// A theft was proved, and no person has looked since.
    pub(super) suspect: bool,
    up: Option<Up>,
    /// Boots that were heard, the latest last.
    heard: Vec<BootNonce>,
    /// When the machine is known to have been up.
    lives: Vec<Monotonic>,
    goodbye: Option<Goodbye>,
    /// What was asked with the present boot key and judged by no sign of life.
    grants: Vec<Grant>,
    left: Vec<WaitingRequest>,
    tries: Vec<Tries>,
}

impl Books {
    pub(super) fn is_armed(&self) -> bool {
        self.up.is_some()
    }

    /// True for boots that the guard must remember.
    pub(super) fn was_heard(&self, boot: Option<BootNonce>) -> bool {
        boot.is_some_and(|boot| self.heard.contains(&boot))
    }

    pub(super) fn left(&mut self, request: WaitingRequest) {
        let known = self.left.iter().any(|it| it.boot == request.boot);
        if self.is_armed() && !known {
            self.left.push(request);
        }
    }

    pub(super) fn not_delivered(&mut self, request: WaitingRequest) {
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

    pub(super) fn passes(&mut self, request: WaitingRequest, passage: Passage, now: u64) {
        let is_armed = self.is_armed();
        assert_eq!(passage == Passage::Unarmed, !is_armed);
        if !is_armed {
            return;
        }
        assert!(!self.was_heard(request.boot), "a boot that was up");
        if passage == Passage::Announced {
            // (b) A goodbye that was the last word, used once, in time, and by a later request.
            let goodbye = self.goodbye.expect("an announced reboot without a goodbye");
            assert!(now < goodbye.said + 600 && at(goodbye.said) < request.accepted);
        }
        let tries = self
            .tries
            .iter_mut()
            .find(|it| request.boot == Some(it.boot));
        if passage == Passage::Retry {
            let tries = tries.expect("a retry of nothing");
            tries.retries += 1;
            assert!(tries.retries <= MAX_RETRIES && now < tries.grace_ends);
        }
    }

    pub(super) fn released(&mut self, request: WaitingRequest, now: u64) {
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
        });
        if let Some(boot) = request.boot {
            let known = self
                .tries
                .iter()
                .any(|it| it.boot == boot && now < it.grace_ends);
            if !known {
                self.tries.retain(|it| it.boot != boot);
                self.tries.push(Tries {
                    boot,
                    accepted: request.accepted,
                    grace_ends: now + GRACE.as_secs(),
                    retries: 0,
                });
            }
        }
    }

    pub(super) fn live(
        &mut self,
        life: &Life,
        waiting: &[WaitingRequest],
        outcome: &LifeOutcome,
        now: u64,
    ) {
        let was_up = self.up;
        let is_late = was_up.is_some_and(|up| up.boot != life.boot && life.opened < up.first);
        if !is_late {
            self.judge(life, waiting, outcome);
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
        if is_last && life.goodbye.is_some() && self.goodbye.is_none() {
            self.goodbye = Some(Goodbye {
                opened: life.opened,
                said: now,
            });
        }
    }

    /// Compares what `life` proves about what was asked before with what the guard says.
    fn judge(&mut self, life: &Life, waiting: &[WaitingRequest], outcome: &LifeOutcome) {
        let same = self.up.filter(|up| up.boot == life.boot);
        let proof = Proof {
            opened: life.opened,
            up_all_the_time: same.is_some_and(|up| up.resumes >= life.resumes),
            own: [&[life.boot], &*life.earlier_boots, &self.heard].concat(),
        };
        for (request, fate) in waiting.iter().zip(&outcome.waiting) {
            proof.check(request, *fate);
            self.suspect |= proof.up_all_the_time && proof.is_thief(request);
        }
        self.compare(&proof, &outcome.alarms);
        let is_open = |request: &WaitingRequest| {
            request.accepted >= proof.opened && !proof.is_own(request.boot)
        };
        // A retry is judged with the first try.
        let judged = self.grants.iter().map(|it| it.request);
        let judged: Vec<_> = judged.filter(|it| !is_open(it)).collect();
        let is_retry =
            |boot: Option<BootNonce>| boot.is_some() && judged.iter().any(|it| it.boot == boot);
        self.grants
            .retain(|it| is_open(&it.request) && !is_retry(it.request.boot));
        self.left.retain(is_open);
        self.tries
            .retain(|it| it.accepted >= proof.opened && !proof.is_own(Some(it.boot)));
    }

    fn compare(&mut self, proof: &Proof, alarms: &[GuardAlarm]) {
        let impostor = alarms.contains(&GuardAlarm::Impostor);
        let served = alarms.contains(&GuardAlarm::ServedImpostor);
        if !proof.up_all_the_time {
            assert!(!impostor && !served, "nothing proves it");
            return;
        }
        // The guard forgets, and tells, the oldest of more than eight.
        let left = self.left.iter().any(|it| proof.is_thief(it));
        if left && self.left.len() <= MAX_REMEMBERED {
            assert!(impostor, "a request that left is forgotten");
            self.suspect = true;
        }
        let granted = self.grants.iter().any(|it| proof.is_thief(&it.request));
        if granted && self.grants.len() <= MAX_REMEMBERED {
            let sent = self.grants.iter().all(|it| it.sent);
            assert!(served || impostor && !sent, "a theft is forgotten");
            self.suspect = true;
        }
    }
}

/// What a sign of life proves.
struct Proof {
    opened: Monotonic,
    up_all_the_time: bool,
    /// Nonces that only the machine knows.
    own: Vec<BootNonce>,
}

impl Proof {
    fn is_own(&self, boot: Option<BootNonce>) -> bool {
        boot.is_some_and(|boot| self.own.contains(&boot))
    }

    fn is_thief(&self, request: &WaitingRequest) -> bool {
        request.accepted < self.opened && !self.is_own(request.boot)
    }

    fn check(&self, request: &WaitingRequest, fate: WaitingFate) {
        let impostor = WaitingFate::Refused(GuardAlarm::Impostor);
        let right = if self.is_own(request.boot) {
            fate == WaitingFate::Superseded
        } else if !self.is_thief(request) {
            fate == WaitingFate::Keep
        } else if self.up_all_the_time {
            fate == impostor
        } else {
            fate != WaitingFate::Keep && fate != impostor
        };
        assert!(right, "{fate:?} for {request:?}");
    }
}
