//! "Never later" (docs/decisions/0020), told without the rules that are to keep it: how long a client may be
//! enabled at most after somebody vouched for it, whatever is asked, answered and lost meanwhile.

use super::invariants::CLIENTS;
use super::model::Section;

/// The most that a client may have since somebody vouched for it: its timeout, and once its extended timeout.
#[derive(Clone, Copy, Debug)]
struct Most {
    vouched: i64,
    timeout: u64,
    extended: u64,
    /// The time that the wall clock was set back before a reboot: 0020 believes it once for each.
    set_back: u64,
}

/// The latest deadline of each client. All times are milliseconds.
#[derive(Debug, Default)]
pub(super) struct NeverLater {
    most: [Option<Most>; CLIENTS],
    set_back: u64,
}

impl NeverLater {
    /// The wall clock was set.
    pub(super) fn jump(&mut self, by: i64) {
        self.set_back += by.min(0).unsigned_abs();
    }

    /// The monotonic clock went from `old` to `new` in no time.
    pub(super) fn reboot(&mut self, old: u64, new: u64) {
        let set_back = std::mem::take(&mut self.set_back);
        for most in self.most.iter_mut().flatten() {
            most.vouched += new.cast_signed() - old.cast_signed();
            most.set_back += set_back;
        }
    }

    /// The client was enabled when it was last looked at.
    pub(super) fn is_enabled(&self, client: usize) -> bool {
        self.most[client].is_some()
    }

    /// The client has this deadline and these settings, or is not enabled. `vouched` when somebody just
    /// proved or declared that it is in order.
    pub(super) fn check(
        &mut self,
        client: usize,
        enabled: Option<(u64, Section)>,
        vouched: bool,
        now: u64,
    ) {
        let most = &mut self.most[client];
        let Some((deadline, section)) = enabled else {
            *most = None;
            return;
        };
        if vouched {
            *most = Some(Most {
                vouched: now.cast_signed(),
                timeout: 0,
                extended: 0,
                set_back: 0,
            });
        }
        let most = most.as_mut();
        let most = most.unwrap_or_else(|| panic!("client {client} was enabled by nobody"));
        most.timeout = most.timeout.max(section.timeout);
        most.extended = most.extended.max(section.extended);
        let allowed = most.timeout + most.extended + most.set_back;
        let latest = most.vouched + allowed.cast_signed();
        assert!(
            deadline.cast_signed() <= latest,
            "the deadline {deadline} of client {client} is later than {most:?} allows"
        );
    }
}
