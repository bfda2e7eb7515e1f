//! The host keys to which logins were signed before. A login to a new one is an alarm, after a time of learning. For an agent
//! that signs logins everywhere; pure, with the time as argument.
//!
//! ```text
//! nightlatch-card usual hosts 1
//! since MICROSECONDS            since 1970: the beginning of the time of learning
//! SHA256:...                    a host key
//! unproved                      a host whose key the client has not proved
//! ```

use std::collections::BTreeSet;
use std::time::Duration;

use nightlatch_core::digits;
use nightlatch_core::time::Wall;

/// The first line: the version of the format.
const HEAD: &str = "nightlatch-card usual hosts 1";

const SINCE: &str = "since ";

/// The entry for all logins by clients that bind no session.
const UNPROVED: &str = "unproved";

/// Time in which each host is a usual one: within it all jobs of a week have run.
const LEARNING: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The greatest number of keys. Who can log in could otherwise have the file grow; none is forgotten for a new one.
const MAX_KEYS: usize = 4096;

/// The longest file: each key has a line of 51 bytes.
pub(crate) const MAX_BYTES: u64 = 64 * MAX_KEYS as u64;

/// All of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct UsualHosts {
    since: Wall,
    keys: BTreeSet<String>,
}

/// The kind of a login, by its host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SeenHost {
    /// To a host that was known before.
    Usual,
    /// New within the time of learning: to be saved.
    Learned,
    /// New after it: an alarm, and to be saved.
    New,
    /// New, and there is no room: within the time of learning it is not known later.
    NoRoom { is_alarm: bool },
}

impl UsualHosts {
    /// None yet; the time of learning begins.
    pub(crate) const fn new(now: Wall) -> Self {
        Self {
            since: now,
            keys: BTreeSet::new(),
        }
    }

    /// Takes a login to the host with this fingerprint; `None` for one whose key was not proved.
    pub(crate) fn see(&mut self, fingerprint: Option<&str>, now: Wall) -> SeenHost {
        let key = fingerprint.unwrap_or(UNPROVED);
        let is_learning = self.is_learning(now);
        if self.keys.contains(key) {
            return SeenHost::Usual;
        }
        if self.keys.len() >= MAX_KEYS {
            let is_alarm = !is_learning;
            return SeenHost::NoRoom { is_alarm };
        }
        self.keys.insert(key.to_owned());
        match is_learning {
            true => SeenHost::Learned,
            false => SeenHost::New,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The end of the time of learning, while it lasts. A clock that is before its beginning makes nothing usual.
    pub(crate) fn learns_until(&self, now: Wall) -> Option<Wall> {
        self.is_learning(now).then(|| self.since.after(LEARNING))
    }

    fn is_learning(&self, now: Wall) -> bool {
        (self.since..self.since.after(LEARNING)).contains(&now)
    }

    /// The text of the file.
    pub(crate) fn to_text(&self) -> String {
        let since = self.since.unix_micros().max(0);
        let mut text = format!("{HEAD}\n{SINCE}{since}\n");
        for key in &self.keys {
            text.push_str(key);
            text.push('\n');
        }
        text
    }

    /// Reads such a text; `None` for every other one, also for one that is cut off.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        if lines.next() != Some(HEAD) {
            return None;
        }
        let since = digits::decimal(lines.next()?.strip_prefix(SINCE)?)?;
        let mut keys = BTreeSet::new();
        for line in lines {
            let is_new = is_key(line) && keys.insert(line.to_owned());
            if !is_new || keys.len() > MAX_KEYS {
                return None;
            }
        }
        let since = Wall::from_unix_micros(since);
        Some(Self { since, keys })
    }
}

fn is_key(line: &str) -> bool {
    let is_base64 = |letter: char| letter.is_ascii_alphanumeric() || "+/".contains(letter);
    let digest = line.strip_prefix("SHA256:").unwrap_or_default();
    line == UNPROVED || digest.len() == 43 && digest.chars().all(is_base64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Wall = Wall::from_unix_micros(1_790_000_000_000_000);

    fn key(number: usize) -> String {
        format!("SHA256:{number:043}")
    }

    #[test]
    fn after_a_week_the_first_login_to_a_new_host_is_an_alarm_and_the_next_one_is_not() {
        let mut usual = UsualHosts::new(START);
        let last = START.after(LEARNING).before(Duration::from_micros(1));
        assert_eq!(usual.see(Some(&key(1)), last), SeenHost::Learned);
        assert_eq!(usual.learns_until(last), Some(START.after(LEARNING)));
        let later = START.after(LEARNING);
        assert_eq!(usual.learns_until(later), None);
        assert_eq!(usual.see(Some(&key(1)), later), SeenHost::Usual);
        assert_eq!(usual.see(Some(&key(2)), later), SeenHost::New);
        assert_eq!(usual.see(Some(&key(2)), later), SeenHost::Usual);
        // Not to bind a session must not be a way around the alarm.
        assert_eq!(usual.see(None, later), SeenHost::New);
        assert_eq!(usual.see(None, later), SeenHost::Usual);
        assert_eq!(usual.len(), 3);
        // A clock that went back.
        let before = START.before(Duration::from_secs(1));
        assert_eq!(usual.see(Some(&key(3)), before), SeenHost::New);
    }

    #[test]
    fn no_host_is_forgotten_for_a_new_one() {
        let mut usual = UsualHosts::new(START);
        for number in 0..MAX_KEYS {
            assert_eq!(usual.see(Some(&key(number)), START), SeenHost::Learned);
        }
        let one_more = key(MAX_KEYS);
        for (now, is_alarm) in [(START, false), (START.after(LEARNING), true)] {
            assert_eq!(
                usual.see(Some(&one_more), now),
                SeenHost::NoRoom { is_alarm }
            );
        }
        assert_eq!(usual.see(Some(&key(0)), START), SeenHost::Usual);
        let text = usual.to_text();
        assert!(text.len() as u64 <= MAX_BYTES);
        assert_eq!(UsualHosts::parse(&text), Some(usual));
        assert_eq!(UsualHosts::parse(&format!("{text}{one_more}\n")), None);
    }

    #[test]
    fn a_file_that_was_not_written_so_is_none() {
        let good = format!("{HEAD}\n{SINCE}5\n{}\n{UNPROVED}\n", key(1));
        assert_eq!(UsualHosts::parse(&good).unwrap().len(), 2);
        for odd in [
            String::new(),
            good[..good.len() - 1].to_owned(),
            good.replace("hosts 1", "hosts 2"),
            good.replace("since 5", "since -5"),
            good.replace("since 5\n", ""),
            good.replace("SHA256", "MD5"),
            format!("{good}{}\n", key(1)),
            format!("{good}\n"),
        ] {
            assert_eq!(UsualHosts::parse(&odd), None, "{odd:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(numbers in prop::collection::vec(0usize..50, 0..20), unproved: bool, text: String) {
            let mut usual = UsualHosts::new(START);
            for number in numbers {
                usual.see(Some(&key(number)), START);
            }
            if unproved {
                usual.see(None, START);
            }
            prop_assert_eq!(UsualHosts::parse(&usual.to_text()), Some(usual));
            let _ = UsualHosts::parse(&text);
        }
    }
}
