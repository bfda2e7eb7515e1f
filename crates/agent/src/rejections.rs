//! The sealed secrets that this machine has refused, until every server has heard of them. Pure.

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

/// What each server has still to hear.
#[derive(Debug)]
pub(crate) struct Rejections {
    unheard: BTreeMap<KeyId, Vec<Rejection>>,
    last: BTreeMap<Rejection, Monotonic>,
    /// The rejections that were logged, each with its server.
    logged: BTreeMap<(KeyId, Rejection), Monotonic>,
}

impl Rejections {
    /// None so far, for these servers.
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
            if unheard.contains(rejection) {
                continue;
            }
            unheard.push(rejection.clone());
            if unheard.len() > MAX_REJECTIONS {
                remove_least(unheard);
            }
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

    /// Those that this server has not heard of, in order, at most [`MAX_REJECTIONS`].
    pub(crate) fn unheard(&self, server: &KeyId) -> Vec<Rejection> {
        self.unheard.get(server).cloned().unwrap_or_default()
    }

    /// The server has accepted a heartbeat with these.
    pub(crate) fn heard(&mut self, server: &KeyId, told: &[Rejection]) {
        if let Some(unheard) = self.unheard.get_mut(server) {
            unheard.retain(|rejection| !told.contains(rejection));
        }
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
    fn the_same_from_another_server_is_news_for_the_log() {
        let mut rejections = Rejections::new([server(1)]);
        let forged = rejection("forged db");
        assert!(rejections.is_news(server(1), &forged, at(0)));
        assert!(!rejections.is_news(server(1), &forged, at(1)));
        assert!(rejections.is_news(server(2), &forged, at(1)));
        assert!(rejections.is_news(server(1), &forged, at(600)));
    }
}
