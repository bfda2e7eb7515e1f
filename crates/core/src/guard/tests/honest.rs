//! What happens to honest machines: never a suspicion.

use super::*;

/// What happens to an honest machine in a month.
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
