//! Accidents of honest machines: never a suspicion.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::promises::config;
use super::*;

/// A part of an honest machine's life. Times are in seconds.
#[derive(Clone, Debug)]
enum Chapter {
    /// It is up, and sends this many heartbeats, each with its delay.
    Up(Vec<u64>),
    /// It says goodbye, with this delay, and boots.
    Reboot {
        delay: u64,
        boot: Boot,
    },
    PowerCut(Boot),
    /// It is resumed after some tries.
    Hibernation {
        delay: u64,
        away: u64,
        tries: u8,
        typed: bool,
    },
    /// Requests of the boot that is up, or of one before it, which are sent late or for its data disks.
    LateRequest(bool),
    /// The server does not listen.
    Gap(u64),
    /// The server starts again with what was durable.
    Crash,
}

/// The course of one boot.
#[derive(Clone, Debug)]
struct Boot {
    /// Until it asks.
    after: u64,
    /// Boots that failed first. One that got as far as the root is noted there.
    failed: Vec<bool>,
    /// Times that its connection breaks: while it waits, before the secret was sent, or after.
    breaks: Vec<Break>,
    typed: bool,
    first_heartbeat: u64,
}

#[derive(Clone, Copy, Debug)]
enum Break {
    Waiting,
    Unsent,
    Sent,
}

fn boot() -> impl Strategy<Value = Boot> {
    let breaks = prop_oneof![Just(Break::Waiting), Just(Break::Unsent), Just(Break::Sent)];
    (
        1..400_u64,
        prop::collection::vec(prop::bool::weighted(0.9), 0..3),
        prop::collection::vec(breaks, 0..3),
        prop::bool::weighted(0.2),
        0..60_u64,
    )
        .prop_map(|(after, failed, breaks, typed, first_heartbeat)| Boot {
            after,
            failed,
            breaks,
            typed,
            first_heartbeat,
        })
}

fn chapter() -> impl Strategy<Value = Chapter> {
    let delay = || prop_oneof![Just(0), 0..60_u64];
    let tries = prop_oneof![9 => Just(1), 1 => Just(2)];
    let hibernation = (delay(), 1..2000_u64, tries, any::<bool>());
    prop_oneof![
        3 => prop::collection::vec(delay(), 1..5).prop_map(Chapter::Up),
        2 => (delay(), boot()).prop_map(|(delay, boot)| Chapter::Reboot { delay, boot }),
        2 => boot().prop_map(Chapter::PowerCut),
        2 => hibernation.prop_map(|(delay, away, tries, typed)| {
            Chapter::Hibernation { delay, away, tries, typed }
        }),
        1 => any::<bool>().prop_map(Chapter::LateRequest),
        1 => (0..5000_u64).prop_map(Chapter::Gap),
        1 => Just(Chapter::Crash),
    ]
}

/// An honest machine, its server, and the messages between them.
struct Machine {
    watched: Watched,
    durable: Guard,
    settings: GuardSettings,
    boot: u8,
    used: u8,
    resumes: u64,
    /// The server has heard `boot`.
    is_heard: bool,
    /// Boots that noted themselves on the root and were not heard.
    noted: BTreeSet<u8>,
    /// Signs of life that are under way, and when they come.
    under_way: Vec<(u64, Life)>,
    /// Number of nonces that no agent knows, of boots that failed before the root was there, or to resume, and of those
    /// that were too many to remember.
    lost: usize,
}

impl Machine {
    fn new(settings: GuardSettings) -> Self {
        let watched = Watched::up();
        Self {
            durable: watched.guard.clone(),
            watched,
            settings,
            boot: 1,
            used: 1,
            resumes: 0,
            is_heard: true,
            noted: BTreeSet::new(),
            under_way: Vec::new(),
            lost: 0,
        }
    }

    fn live(&mut self, chapter: Chapter) {
        match chapter {
            Chapter::Up(delays) => {
                for delay in delays {
                    self.say(delay, None);
                    self.pass(NEXT.as_secs());
                }
            }
            Chapter::Reboot { delay, boot } => {
                self.say(delay, Some(GoodbyeKind::Reboot));
                self.boots(&boot);
            }
            Chapter::PowerCut(boot) => self.boots(&boot),
            Chapter::Hibernation {
                delay,
                away,
                tries,
                typed,
            } => {
                self.say(delay, Some(GoodbyeKind::Poweroff));
                self.pass(away);
                // A resume is known by the number of the boot that it continues, if the server knows that.
                self.lost += usize::from(tries) - usize::from(self.is_heard);
                for left in (0..tries).rev() {
                    let nonce = self.next_nonce();
                    let breaks: &[Break] = if typed { &[Break::Waiting] } else { &[] };
                    self.asks(nonce, breaks, typed && left == 0);
                    self.pass(5);
                }
                self.resumes += 1;
                self.say(0, None);
                self.pass(1);
            }
            Chapter::LateRequest(before) => self.asks_late(before),
            Chapter::Gap(seconds) => {
                self.watched.now += seconds;
                self.start(false);
            }
            Chapter::Crash => self.start(true),
        }
    }

    fn asks_late(&mut self, before: bool) {
        let guard = &self.watched.guard;
        let over = guard.over.last().copied();
        let boot = over.filter(|_| before).unwrap_or(nonce(self.boot));
        let accepted = at(self.watched.now);
        let (verdict, _) = guard.request_now(Some(boot), far(), &self.settings, accepted);
        let is_known = boot != nonce(self.boot) || self.is_heard;
        assert_eq!(verdict == Verdict::Refuse, is_known);
        if !is_known {
            self.watched.waiting.push(BootRequest {
                boot: Some(boot),
                accepted,
            });
        }
    }

    fn start(&mut self, crash: bool) {
        if crash {
            // Connections do not survive it.
            self.under_way.clear();
            self.watched.waiting.clear();
            self.watched.guard = self.durable.clone();
            (self.watched.guard.first, self.watched.guard.newest) = (NEVER, NEVER);
        }
        self.watched
            .guard
            .handle_gap(&self.settings, at(self.watched.now));
        self.pass(0);
    }

    fn next_nonce(&mut self) -> u8 {
        self.used += 1;
        self.used
    }

    fn change(&mut self, change: GuardChange) {
        self.watched.alarms.extend(change.alarms);
        if change.changed {
            self.durable = self.watched.guard.clone();
        }
    }

    /// The agent speaks.
    fn say(&mut self, delay: u64, goodbye: Option<GoodbyeKind>) {
        let life = Life {
            resumes: self.resumes,
            earlier_boots: self.noted.iter().map(|it| nonce(*it).mark()).collect(),
            goodbye,
            ..heartbeat(self.boot, self.watched.now)
        };
        self.under_way.push((self.watched.now + delay, life));
        self.pass(0);
    }

    fn pass(&mut self, seconds: u64) {
        for second in 0..=seconds {
            self.watched.now += u64::from(second > 0);
            let now = self.watched.now;
            let due = self.under_way.extract_if(.., |(due, _)| *due <= now);
            for (_, life) in due.collect::<Vec<_>>() {
                self.hear(&life);
            }
            let timeout = self.watched.guard.poll_timeout();
            if timeout.is_some_and(|timeout| timeout <= at(now)) {
                let change = self.watched.guard.handle_timeout(at(now));
                self.change(change);
            }
        }
    }

    fn hear(&mut self, life: &Life) {
        let now = at(self.watched.now);
        let waiting = self.watched.waiting.clone();
        let guard = &mut self.watched.guard;
        let outcome = guard.life(life, &waiting, far(), &self.settings, now);
        let mut fates = outcome.waiting.iter();
        let keep = |_: &BootRequest| fates.next() == Some(&WaitingFate::Keep);
        self.watched.waiting.retain(keep);
        let alarms = outcome.alarms.iter().copied();
        let refused = outcome.waiting.iter().filter_map(|fate| match fate {
            WaitingFate::Refused(alarm) => Some(*alarm),
            WaitingFate::Keep | WaitingFate::Superseded => None,
        });
        let change = GuardChange {
            alarms: alarms.chain(refused).collect(),
            changed: outcome.changed,
        };
        self.change(change);
        // What the agent told is known.
        let is_told = |it: &u8| life.earlier_boots.contains(&nonce(*it).mark());
        self.noted.retain(|it| !is_told(it));
        self.is_heard |= life.boot == nonce(self.boot);
    }

    fn boots(&mut self, boot: &Boot) {
        self.pass(boot.after);
        for noted in &boot.failed {
            let failed = self.next_nonce();
            self.asks(failed, &boot.breaks, false);
            self.pass(20);
            if *noted {
                self.noted.insert(failed);
            } else {
                self.lost += 1;
            }
        }
        if !self.is_heard {
            self.noted.insert(self.boot);
        }
        self.boot = self.next_nonce();
        self.is_heard = false;
        self.resumes = 0;
        self.asks(self.boot, &boot.breaks, boot.typed);
        self.pass(10);
        self.say(boot.first_heartbeat, None);
        self.pass(1);
    }

    /// The initramfs asks, until it has the secret or somebody types the password.
    fn asks(&mut self, boot: u8, breaks: &[Break], typed: bool) {
        for at_request in breaks.iter().copied().map(Some).chain([None]) {
            if self.asks_once(nonce(boot), at_request, typed) {
                return;
            }
            self.pass(5);
        }
    }

    fn asks_once(&mut self, boot: BootNonce, breaks: Option<Break>, typed: bool) -> bool {
        let accepted = at(self.watched.now);
        let boot = Some(boot);
        let request = BootRequest { boot, accepted };
        let guard = &self.watched.guard;
        let (mut verdict, mut alarm) = guard.request_now(boot, far(), &self.settings, accepted);
        self.watched.alarms.extend(alarm);
        let waits = matches!(verdict, Verdict::Hold(_) | Verdict::Person);
        if waits && matches!(breaks, Some(Break::Waiting)) {
            let change = self.watched.guard.request_left(request);
            self.lost += change.alarms.len();
            self.change(change);
            return false;
        }
        if waits && typed {
            // The server does not notice that the machine went on.
            self.watched.waiting.push(request);
            return true;
        }
        if let Verdict::Hold(until) = verdict {
            self.watched.waiting.push(request);
            self.pass(until.since(accepted).as_secs());
            self.watched.waiting.retain(|it| *it != request);
            let now = at(self.watched.now);
            (verdict, alarm) = self.watched.guard.hold_ended(request, &self.settings, now);
            self.watched.alarms.extend(alarm);
        }
        // A person approves what waits for him.
        assert_ne!(verdict, Verdict::Refuse);
        let now = at(self.watched.now);
        let change = self
            .watched
            .guard
            .released(boot, accepted, &self.settings, now);
        self.lost += change.alarms.len();
        self.change(change);
        if let Some(Break::Unsent) = breaks {
            let change = self.watched.guard.not_delivered(boot, accepted);
            self.change(change);
        }
        breaks.is_none()
    }
}

proptest! {
    #![proptest_config(config(2500))]
    #[test]
    fn an_honest_machine_is_never_suspect(approve: bool, chapters in prop::collection::vec(chapter(), 1..20)) {
        let mut machine = Machine::new(if approve { APPROVE } else { SETTINGS });
        for chapter in chapters {
            machine.live(chapter);
            prop_assert_eq!(machine.watched.guard.suspect(), None);
        }
        machine.pass(120);
        let mut unaccounted = 0;
        for alarm in &machine.watched.alarms {
            match alarm {
                GuardAlarm::Unaccounted => unaccounted += 1,
                // A boot that failed is released once more.
                GuardAlarm::SecondRequest => {}
                GuardAlarm::Impostor | GuardAlarm::ServedImpostor | GuardAlarm::Doubled => panic!("{alarm:?}"),
            }
        }
        // Each of those that nobody knows may have left once, and got the secret.
        prop_assert!(unaccounted <= 2 * machine.lost, "{} for {}", unaccounted, machine.lost);
    }
}

/// A month of an honest machine.
#[test]
fn a_normal_month_raises_no_alarm() {
    let mut watched = Watched::up();
    let mut boot = 1;
    let day = |watched: &mut Watched, boot: u8| {
        for _ in 0..720 {
            watched.now += 120;
            watched.wait(0);
            watched.beat(boot);
        }
    };
    let comes_up = |watched: &mut Watched, boot: u8| {
        watched.wait(45);
        watched.beat(boot);
        assert!(watched.is_up(boot));
    };
    for week in 0..4_u8 {
        day(&mut watched, boot);
        // A new kernel: an announced reboot. Its connection breaks once.
        watched.leave(boot);
        watched.wait(20);
        boot += 1;
        assert_eq!(watched.ask(Some(boot)), Verdict::Pass(Passage::Announced));
        assert_eq!(watched.ask(Some(boot)), Verdict::Pass(Passage::Retry));
        comes_up(&mut watched, boot);
        day(&mut watched, boot);
        // A power cut of the machine.
        watched.wait(10);
        boot += 1;
        watched.ask_and_wait(Some(boot));
        comes_up(&mut watched, boot);
        day(&mut watched, boot);
        // Of the whole site: the server is back first, and the machine later.
        watched.now += 3600;
        watched.guard.handle_gap(&SETTINGS, at(watched.now));
        watched.wait(10);
        boot += 1;
        watched.ask_and_wait(Some(boot));
        comes_up(&mut watched, boot);
        // A night switched off, then somebody types the password.
        watched.leave(boot);
        watched.wait(36_000);
        boot += 1;
        comes_up(&mut watched, boot);
        // A suspend; the laptop is back with its next heartbeat.
        watched.wait(7200);
        watched.beat(boot);
        // A hibernation.
        watched.leave(boot);
        watched.wait(400);
        let asks = 100 + week;
        assert_eq!(watched.ask(Some(asks)), Verdict::Pass(Passage::Announced));
        watched.wait(30);
        let resumed = Life {
            resumes: u64::from(1_u8),
            ..heartbeat(boot, watched.now)
        };
        watched.life(&resumed);
        assert!(watched.is_up(boot));
    }
    assert_eq!(watched.alarms, []);
    assert_eq!(watched.guard.suspect(), None);
}
