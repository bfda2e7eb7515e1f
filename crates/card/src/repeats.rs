//! Limits a message that one user can cause as often as it likes. Pure, with `now` as argument.

use std::collections::BTreeMap;
use std::time::Duration;

use nightlatch_core::time::Monotonic;

/// The time for which the same user causes no second message.
const SILENCE: Duration = Duration::from_secs(60);

/// The greatest number of users, or of their reasons, within that time. Messages about further ones are left out.
const MAX_CAUSES: usize = 64;

/// When each user, or each user for each reason, last caused a message.
#[derive(Debug)]
pub(crate) struct Repeats<C>(BTreeMap<C, Monotonic>);

impl<C> Default for Repeats<C> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<C: Ord> Repeats<C> {
    /// True when a message about this cause is to be written.
    pub(crate) fn is_new(&mut self, cause: C, now: Monotonic) -> bool {
        self.0.retain(|_, last| now.since(*last) < SILENCE);
        if self.0.contains_key(&cause) || self.0.len() >= MAX_CAUSES {
            return false;
        }
        self.0.insert(cause, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_named_once_in_a_minute_and_many_users_take_no_more_memory() {
        let start = nightlatch_sys::clock::now().mono;
        let mut repeats = Repeats::default();
        assert!(repeats.is_new(1000, start));
        assert!(!repeats.is_new(1000, start.after(SILENCE / 2)));
        assert!(repeats.is_new(1001, start.after(SILENCE / 2)));
        assert!(repeats.is_new(1000, start.after(SILENCE)));
        for user in 0..1000 {
            repeats.is_new(user, start.after(SILENCE));
        }
        assert_eq!(repeats.0.len(), MAX_CAUSES);
        assert!(repeats.is_new(999, start.after(SILENCE * 3)));
    }
}
