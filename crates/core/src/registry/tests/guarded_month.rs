//! A month of an honest machine: no alarm, no person, never disabled.

use std::time::Duration;

use super::guarded::{boot, guarded};
use super::world::*;
use crate::boot_nonce::BootMark;
use crate::client::saved::End;
use crate::event::{Event, RequestClaims};
use crate::guard::GoodbyeKind;
use crate::registry::{Action, RequestAnswer, SignOfLife};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// The machine, and the server that it speaks to.
struct Month {
    world: World,
    boot: u8,
    resumes: u64,
    /// Boots that were noted on the encrypted root and not heard.
    noted: Vec<BootMark>,
}

impl Month {
    fn new() -> Self {
        Self {
            world: World::new(guarded(|_| {})),
            boot: 1,
            resumes: 0,
            noted: Vec::new(),
        }
    }

    /// No alarm, nobody asked, nothing disabled.
    fn check(&self, actions: &[Action]) {
        for action in actions {
            let is_alarm = matches!(
                action,
                Action::Event(
                    Event::Alarmed(..)
                        | Event::Disabled(..)
                        | Event::NeedsApproval { .. }
                        | Event::Granted { alarm: Some(_), .. }
                        | Event::Refused { alarm: Some(_), .. }
                )
            );
            assert!(!is_alarm, "boot {}: {action:?}", self.boot);
        }
        assert!(self.world.client(1).is_enabled(), "boot {}", self.boot);
    }

    fn pass(&mut self, time: Duration) {
        let actions = self.world.run(time);
        self.check(&actions);
    }

    fn sign(&self) -> SignOfLife {
        SignOfLife {
            resumes: self.resumes,
            earlier_boots: self.noted.clone(),
            ..self.world.sign(self.boot)
        }
    }

    fn beat(&mut self) {
        let sign = self.sign();
        let (answer, actions) = self.world.life(&sign);
        self.check(&actions);
        assert!(matches!(answer, Some(RequestAnswer::Alive { .. })));
        self.noted.clear();
    }

    /// It is up and its agent is heard, somewhat irregularly.
    fn live(&mut self, time: u64) {
        let mut left = time;
        while left > 0 {
            let step = left.min(8 + left % 7);
            self.pass(seconds(step));
            // What is written soon is written within a second.
            self.world.disk.flush();
            self.beat();
            left -= step;
        }
    }

    fn goodbye(&mut self, kind: GoodbyeKind) {
        let sign = SignOfLife {
            goodbye: Some(kind),
            ..self.sign()
        };
        let (_, actions) = self.world.life(&sign);
        self.check(&actions);
    }

    /// The next boot asks until it has the password.
    fn unlock(&mut self) {
        self.boot += 1;
        self.fetch(self.boot);
    }

    fn fetch(&mut self, number: u8) {
        self.ask(number, false);
    }

    /// Asks with the boot key until there is an answer, which must be the secret.
    fn ask(&mut self, number: u8, rehearsal: bool) {
        let claims = RequestClaims {
            boot: Some(boot(number)),
            rehearsal,
        };
        let (request, mut actions) = self.world.ask_as(1, claims);
        if answer_to(&actions, request).is_none() {
            actions.extend(self.world.run(seconds(20)));
        }
        self.check(&actions);
        let answer = answer_to(&actions, request);
        assert!(matches!(answer, Some(RequestAnswer::Release(_))));
        self.world
            .registry
            .handle_delivered(request, self.world.now);
        let actions = self.world.actions();
        self.check(&actions);
    }

    /// The system comes up.
    fn up(&mut self) {
        self.pass(seconds(40));
        self.beat();
    }

    fn reboot(&mut self, kind: GoodbyeKind) {
        self.goodbye(kind);
        self.pass(seconds(30));
        self.unlock();
        self.up();
    }

    fn restart_server(&mut self, end: End, down: u64, host: bool) {
        match end {
            End::Clean => self.world.disk.flush(),
            _ => self.world.disk.crash(),
        }
        self.world.disk.end = Some(end);
        let actions = self.world.restart(guarded(|_| {}), seconds(down), host);
        self.check(&actions);
    }

    /// With the boot key and the nonce of the boot that is up: nobody is asked.
    fn data_disk(&mut self, rehearsal: bool) {
        let before = self.world.now;
        self.ask(self.boot, rehearsal);
        assert_eq!(self.world.now, before, "it was held");
    }
}

#[test]
fn a_normal_month_ends_without_an_alarm() {
    let mut month = Month::new();
    month.beat();
    for day in 0..30 {
        month.live(2 * HOUR);
        month.data_disk(day % 2 == 0);
        match day % 10 {
            // A reboot, one by kexec, and one after a kernel update.
            0 => month.reboot(GoodbyeKind::Reboot),
            1 => month.reboot(GoodbyeKind::Kexec),
            // A power cut.
            2 => {
                month.pass(seconds(90));
                month.unlock();
                month.up();
            }
            // A boot that failed, and its retry by the machine itself.
            3 => {
                month.goodbye(GoodbyeKind::Reboot);
                month.pass(seconds(20));
                month.unlock();
                month.pass(seconds(30));
                // The same boot asks again.
                month.fetch(month.boot);
                month.up();
            }
            // A boot that noted itself on the encrypted root and ended before the network was up.
            4 => {
                month.goodbye(GoodbyeKind::Reboot);
                month.pass(seconds(20));
                month.unlock();
                month.noted.push(boot(month.boot).mark());
                month.pass(seconds(60));
                month.world.registry.handle_timeout(month.world.now);
                month.boot += 1;
                // Somebody typed the password.
                month.up();
            }
            // The server restarts, is killed, and goes down with its host.
            5 => {
                month.restart_server(End::Clean, 30, false);
                month.beat();
            }
            6 => {
                let cut = End::Cut(month.world.boot);
                month.restart_server(cut, 5, false);
                month.beat();
            }
            7 => {
                month.restart_server(End::Clean, 10 * MINUTE, true);
                month.beat();
            }
            // A suspend, which needs no password.
            8 => {
                month.pass(seconds(4 * MINUTE));
                month.beat();
            }
            // A hibernation, which needs it once.
            _ => {
                month.goodbye(GoodbyeKind::Hibernate);
                month.pass(seconds(2 * MINUTE));
                month.fetch(200 + day / 10);
                month.resumes += 1;
                month.up();
            }
        }
    }
    month.live(HOUR);
}
