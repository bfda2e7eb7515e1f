//! The sealed secrets that this machine has refused, until every server has heard of them, also over a restart. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use nightlatch_core::key_id::KeyId;
use nightlatch_core::secret_rejection::{MAX_REJECTIONS, Rejection, RejectionReason};
use nightlatch_core::time::Monotonic;

/// The same rejection is not told again for so long: a caller that asks again and again must not set the pace of
/// heartbeats.
const REPEAT: Duration = Duration::from_secs(10 * 60);

/// The greatest number of rejections of which the time is kept.
const MAX_KEPT: usize = 64;

/// The rejections of which each server has not heard, and the times of the last ones.
#[derive(Debug)]
pub(crate) struct Rejections {
    unheard: BTreeMap<KeyId, Vec<Rejection>>,
    last: BTreeMap<Rejection, Monotonic>,
    /// The rejections that were logged, each with its server.
    logged: BTreeMap<(KeyId, Rejection), Monotonic>,
}

/// The file holds something else.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: expected a key id, a reason and the name of a secret")]
pub(crate) struct RejectionsError {
    line: usize,
}

impl Rejections {
    /// No rejections yet, for these servers.
    pub(crate) fn new(servers: impl IntoIterator<Item = KeyId>) -> Self {
        let unheard = servers.into_iter().map(|key| (key, Vec::new()));
        Self {
            unheard: unheard.collect(),
            last: BTreeMap::new(),
            logged: BTreeMap::new(),
        }
    }

    /// Takes note of one. False when the same was noted a short time ago: then there is nothing to tell.
    pub(crate) fn add(&mut self, rejection: &Rejection, now: Monotonic) -> bool {
        self.last.retain(|_, last| now.since(*last) < REPEAT);
        if self.last.contains_key(rejection) {
            return false;
        }
        make_room(&mut self.last);
        self.last.insert(rejection.clone(), now);
        for unheard in self.unheard.values_mut() {
            push(unheard, rejection.clone());
        }
        true
    }

    /// True when this rejection of what `server` gave is worth a line in the log: a second server that does the same is news.
    pub(crate) fn is_news(&mut self, server: KeyId, rejection: &Rejection, now: Monotonic) -> bool {
        self.logged.retain(|_, last| now.since(*last) < REPEAT);
        let key = (server, rejection.clone());
        if self.logged.contains_key(&key) {
            return false;
        }
        make_room(&mut self.logged);
        self.logged.insert(key, now);
        true
    }

    /// The rejections that this server has not heard of, in order, at most [`MAX_REJECTIONS`].
    pub(crate) fn unheard(&self, server: &KeyId) -> Vec<Rejection> {
        self.unheard.get(server).cloned().unwrap_or_default()
    }

    /// The server has accepted a heartbeat with these. True when this changed anything.
    pub(crate) fn heard(&mut self, server: &KeyId, told: &[Rejection]) -> bool {
        let Some(unheard) = self.unheard.get_mut(server) else {
            return false;
        };
        let before = unheard.len();
        unheard.retain(|rejection| !told.contains(rejection));
        unheard.len() != before
    }

    /// The content of the file: a line for each server and each rejection of which it has not heard.
    pub(crate) fn to_text(&self) -> String {
        let servers = self.unheard.iter();
        let lines = servers.flat_map(|(server, unheard)| {
            unheard
                .iter()
                .map(move |rejection| format!("{server} {rejection}\n"))
        });
        lines.collect()
    }

    /// Takes in what [`to_text`](Self::to_text) of an earlier run has written. What was for other servers than those of now
    /// is dropped.
    ///
    /// # Errors
    /// Nothing is taken in then.
    pub(crate) fn restore(&mut self, text: &str) -> Result<(), RejectionsError> {
        let mut restored = Vec::new();
        for (line, words) in (1..).zip(text.lines()) {
            restored.push(parse_line(words).ok_or(RejectionsError { line })?);
        }
        for (server, rejection) in restored {
            if let Some(unheard) = self.unheard.get_mut(&server) {
                push(unheard, rejection);
            }
        }
        Ok(())
    }
}

fn parse_line(line: &str) -> Option<(KeyId, Rejection)> {
    let (server, rejection) = line.split_once(' ')?;
    Some((server.parse().ok()?, rejection.parse().ok()?))
}

/// Adds it unless it is there, and leaves out the least severe one beyond [`MAX_REJECTIONS`].
fn push(unheard: &mut Vec<Rejection>, rejection: Rejection) {
    if unheard.contains(&rejection) {
        return;
    }
    unheard.push(rejection);
    if unheard.len() > MAX_REJECTIONS {
        remove_least(unheard);
    }
}

/// Drops the oldest where there are as many as are kept.
fn make_room<K: Clone + Ord>(times: &mut BTreeMap<K, Monotonic>) {
    if times.len() >= MAX_KEPT {
        let oldest = times.iter().min_by_key(|(_, last)| **last);
        let oldest = oldest.map(|(key, _)| key.clone());
        oldest.map(|oldest| times.remove(&oldest));
    }
}

/// Removes the least severe one, and of these the oldest: many harmless ones must not hide a grave one.
fn remove_least(rejections: &mut Vec<Rejection>) {
    let severity = |it: &Rejection| {
        RejectionReason::ALL
            .iter()
            .position(|reason| *reason == it.reason)
    };
    let least = rejections.iter().map(severity).max();
    let index = rejections.iter().position(|it| Some(severity(it)) == least);
    index.map(|index| rejections.remove(index));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(number: u8) -> KeyId {
        KeyId::from_bytes([number; 32]).unwrap()
    }

    fn rejection(text: &str) -> Rejection {
        text.parse().unwrap()
    }

    fn at(seconds: u64) -> Monotonic {
        Monotonic::from_boot(Duration::from_secs(seconds))
    }

    #[test]
    fn each_server_hears_of_each_rejection_once() {
        let mut rejections = Rejections::new([server(1), server(2)]);
        assert!(rejections.add(&rejection("forged db"), at(0)));
        assert!(rejections.add(&rejection("expired pin"), at(1)));
        let both = [rejection("forged db"), rejection("expired pin")];
        assert_eq!(rejections.unheard(&server(1)), both);
        rejections.heard(&server(1), &both[..1]);
        assert_eq!(rejections.unheard(&server(1)), both[1..]);
        rejections.heard(&server(1), &both);
        assert_eq!(rejections.unheard(&server(1)), []);
        assert_eq!(rejections.unheard(&server(2)), both);
        // A server that is not in the list hears of nothing.
        assert_eq!(rejections.unheard(&server(3)), []);
    }

    #[test]
    fn the_same_rejection_is_told_again_after_a_while_only() {
        let mut rejections = Rejections::new([server(1)]);
        let forged = rejection("forged db");
        assert!(rejections.add(&forged, at(0)));
        rejections.heard(&server(1), std::slice::from_ref(&forged));
        assert!(!rejections.add(&forged, at(599)));
        assert_eq!(rejections.unheard(&server(1)), []);
        assert!(rejections.add(&forged, at(600)));
        assert_eq!(rejections.unheard(&server(1)), [forged]);
    }

    #[test]
    fn the_newest_are_kept_where_there_are_too_many() {
        let mut rejections = Rejections::new([server(1)]);
        for number in 0..200 {
            assert!(rejections.add(&rejection(&format!("forged s{number}")), at(number)));
        }
        let unheard = rejections.unheard(&server(1));
        assert_eq!(unheard.len(), MAX_REJECTIONS);
        assert_eq!(unheard[0], rejection("forged s192"));
        assert_eq!(rejections.last.len(), MAX_KEPT);
    }

    #[test]
    fn many_that_are_harmless_do_not_hide_a_grave_one() {
        let mut rejections = Rejections::new([server(1)]);
        assert!(rejections.add(&rejection("expired a"), at(0)));
        assert!(rejections.add(&rejection("forged db"), at(1)));
        for number in 0..20 {
            assert!(rejections.add(&rejection(&format!("malformed s{number}")), at(2)));
        }
        let unheard = rejections.unheard(&server(1));
        assert_eq!(unheard.len(), MAX_REJECTIONS);
        assert_eq!(unheard[..2], ["expired a", "forged db"].map(rejection));
    }

    #[test]
    fn a_restart_loses_nothing_that_a_server_has_still_to_hear() {
        let mut rejections = Rejections::new([server(1), server(2), server(3)]);
        let both = [rejection("forged db"), rejection("expired pin")];
        for one in &both {
            rejections.add(one, at(0));
        }
        assert!(rejections.heard(&server(1), &both[..1]));
        assert!(!rejections.heard(&server(1), &both[..1]));
        let text = rejections.to_text();
        // The third server is not trusted any more.
        let mut restored = Rejections::new([server(1), server(2), server(4)]);
        restored.restore(&text).unwrap();
        assert_eq!(restored.unheard(&server(1)), both[1..]);
        assert_eq!(restored.unheard(&server(2)), both);
        assert_eq!(restored.unheard(&server(4)), []);
        let many: String = (0..100)
            .map(|number| format!("{} malformed s{number}\n", server(1)))
            .collect();
        restored.restore(&many).unwrap();
        assert_eq!(restored.unheard(&server(1)).len(), MAX_REJECTIONS);
        for (wrong, line) in [
            ("x\n".to_owned(), 1),
            (format!("{text}\n"), 6),
            (format!("{text}{} forged\n", server(1)), 6),
        ] {
            let mut untouched = Rejections::new([server(1)]);
            assert_eq!(untouched.restore(&wrong), Err(RejectionsError { line }));
            assert_eq!(untouched.unheard(&server(1)), []);
        }
    }

    #[test]
    fn the_same_from_another_server_is_news_for_the_log() {
        let mut rejections = Rejections::new([server(1)]);
        let forged = rejection("forged db");
        assert!(rejections.is_news(server(1), &forged, at(0)));
        assert!(!rejections.is_news(server(1), &forged, at(1)));
        assert!(rejections.is_news(server(2), &forged, at(1)));
        assert!(rejections.is_news(server(1), &forged, at(600)));
    }
}
