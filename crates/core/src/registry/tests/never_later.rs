//! "Never later" (docs/decisions/0020), checked without the rules that implement it: the longest time for which a
//! client may be enabled after somebody vouched for it, through any requests, answers and losses.

use super::invariants::CLIENTS;
use super::model::ModelSection;

/// The longest time for a client since somebody vouched for it: its timeout, and once its extended timeout.
#[derive(Clone, Copy, Debug)]
struct Longest {
    vouched: i64,
    timeout: u64,
    extended: u64,
    /// Time by which the wall clock was set back before reboots: 0020 trusts it once for each.
    set_back: u64,
    /// At the last [`NeverLater::check`].
    deadline: u64,
}

/// The latest deadline of each client. All times are milliseconds.
#[derive(Debug, Default)]
pub(super) struct NeverLater {
    longest: [Option<Longest>; CLIENTS],
    set_back: u64,
}

impl NeverLater {
    /// The wall clock was set.
    pub(super) fn jump(&mut self, by: i64) {
        self.set_back += by.min(0).unsigned_abs();
    }

    /// The monotonic clock jumped from `old` to `new`.
    pub(super) fn reboot(&mut self, old: u64, new: u64) {
        let set_back = std::mem::take(&mut self.set_back);
        for longest in self.longest.iter_mut().flatten() {
            let moved = new.cast_signed() - old.cast_signed();
            longest.vouched += moved;
            longest.deadline = longest.deadline.saturating_add_signed(moved);
            longest.set_back += set_back;
        }
    }

    /// True when the client was enabled at the last [`Self::check`], and its deadline then has not passed at `now`.
    pub(super) fn is_enabled(&self, client: usize, now: u64) -> bool {
        self.longest[client].is_some_and(|longest| longest.deadline > now)
    }

    /// Checks a client's deadline and settings; `None` when it is not enabled. `vouched` when somebody just proved or
    /// declared that it is up.
    pub(super) fn check(
        &mut self,
        client: usize,
        enabled: Option<(u64, ModelSection)>,
        vouched: bool,
        now: u64,
    ) {
        let longest = &mut self.longest[client];
        let Some((deadline, section)) = enabled else {
            *longest = None;
            return;
        };
        if vouched {
            *longest = Some(Longest {
                vouched: now.cast_signed(),
                timeout: 0,
                extended: 0,
                set_back: 0,
                deadline,
            });
        }
        let longest = longest.as_mut();
        let longest = longest.unwrap_or_else(|| panic!("client {client} was enabled by nobody"));
        longest.timeout = longest.timeout.max(section.timeout);
        longest.extended = longest.extended.max(section.extended);
        longest.deadline = deadline;
        let allowed = longest.timeout + longest.extended + longest.set_back;
        let latest = longest.vouched + allowed.cast_signed();
        assert!(
            deadline.cast_signed() <= latest,
            "the deadline {deadline} of client {client} is later than {longest:?} allows"
        );
    }
}
