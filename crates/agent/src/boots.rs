//! The boots that this machine has noted on its encrypted root, and which servers have not heard of them. Pure.
//!
//! A boot is noted before the network is up. Where it ended before it could report, the next one says that it was this
//! machine's own, and the release for it is accounted for.
//!
//! Only marks are noted: whoever has a backup of them can neither tell the nonce of a boot from one, nor prove to be it.

use std::collections::BTreeMap;

use nightlatch_core::boot_nonce::{BootMark, BootNonce, BootSeed};
use nightlatch_core::digits::{self, Hex};
use nightlatch_core::key_id::KeyId;
use nightlatch_proto::release::MAX_EARLIER_BOOTS;

/// One boot of this machine: its mark for each server that has not heard of it.
type NotedBoot = BTreeMap<KeyId, BootMark>;

/// The boots, the newest last.
#[derive(Debug, Default)]
pub(crate) struct Boots(Vec<NotedBoot>);

/// The file holds something else.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: expected key ids and marks in turn, in hexadecimal digits")]
pub(crate) struct BootsError {
    line: usize,
}

impl Boots {
    /// Adds the boot that is up, for the servers in `trusted`, unless it is noted already. The oldest ones are dropped
    /// beyond those that a heartbeat can list. True when this changed anything.
    pub(crate) fn note(&mut self, seed: &BootSeed, trusted: &[KeyId]) -> bool {
        let boot: NotedBoot = trusted.iter().map(|key| (*key, mark(seed, key))).collect();
        let is_same = |known: &NotedBoot| known.iter().any(|(key, it)| boot.get(key) == Some(it));
        if boot.is_empty() || self.0.iter().any(is_same) {
            return false;
        }
        self.0.push(boot);
        let most = MAX_EARLIER_BOOTS + 1;
        let excess = self.0.len().saturating_sub(most);
        self.0.drain(..excess);
        true
    }

    /// The earlier boots of which `server` has not heard, at most [`MAX_EARLIER_BOOTS`].
    pub(crate) fn unheard(&self, current: &BootSeed, server: &KeyId) -> Vec<BootMark> {
        let current = mark(current, server);
        let noted = self.0.iter().filter_map(|boot| boot.get(server).copied());
        let mut unheard: Vec<BootMark> = noted.filter(|it| *it != current).collect();
        let excess = unheard.len().saturating_sub(MAX_EARLIER_BOOTS);
        unheard.drain(..excess);
        unheard
    }

    /// `server` has accepted a heartbeat of the boot `current` that listed `listed`. A boot is dropped when each server has
    /// heard of it. True when this changed anything.
    pub(crate) fn heard(
        &mut self,
        current: &BootSeed,
        listed: &[BootMark],
        server: &KeyId,
    ) -> bool {
        let current = mark(current, server);
        let mut changed = false;
        for boot in &mut self.0 {
            let is_heard = boot
                .get(server)
                .is_some_and(|it| *it == current || listed.contains(it));
            changed |= is_heard && boot.remove(server).is_some();
        }
        self.0.retain(|boot| !boot.is_empty());
        changed
    }

    /// The content of the file: a line for each boot, with each server that has not heard of it and the mark for it.
    pub(crate) fn to_text(&self) -> String {
        let line = |boot: &NotedBoot| {
            let words = boot.iter();
            let words: Vec<String> = words
                .map(|(server, mark)| format!("{server} {}", Hex(mark.as_bytes())))
                .collect();
            words.join(" ") + "\n"
        };
        self.0.iter().map(line).collect()
    }

    /// Reads what [`to_text`](Self::to_text) has written.
    pub(crate) fn parse(text: &str) -> Result<Self, BootsError> {
        let mut boots = Vec::new();
        for (line, words) in (1..).zip(text.lines()) {
            boots.push(parse_boot(words).ok_or(BootsError { line })?);
        }
        Ok(Self(boots))
    }
}

fn mark(seed: &BootSeed, server: &KeyId) -> BootMark {
    BootNonce::new(seed, Some(server)).mark()
}

fn parse_boot(line: &str) -> Option<NotedBoot> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let pairs = words.chunks(2).map(|pair| match pair {
        [server, mark] => Some((
            server.parse().ok()?,
            BootMark::from_bytes(digits::hex(mark.as_bytes())?),
        )),
        _ => None,
    });
    let boot = pairs.collect::<Option<NotedBoot>>()?;
    (!boot.is_empty()).then_some(boot)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed(number: u8) -> BootSeed {
        BootSeed::from_bytes([number; 32])
    }

    fn server(number: u8) -> KeyId {
        KeyId::from_bytes([number; 32]).unwrap()
    }

    fn of(boot: u8, server_number: u8) -> BootMark {
        mark(&seed(boot), &server(server_number))
    }

    fn noted(numbers: std::ops::RangeInclusive<u8>, trusted: &[KeyId]) -> Boots {
        let mut boots = Boots::default();
        for number in numbers {
            assert!(boots.note(&seed(number), trusted));
        }
        boots
    }

    #[test]
    fn a_boot_that_no_server_heard_is_listed_to_each_until_it_has() {
        let trusted = [server(1), server(2)];
        let mut boots = noted(1..=2, &trusted);
        assert!(!boots.note(&seed(2), &trusted));
        let listed = boots.unheard(&seed(2), &server(1));
        assert_eq!(listed, [of(1, 1)]);
        assert!(boots.heard(&seed(2), &listed, &server(1)));
        assert_eq!(boots.unheard(&seed(2), &server(1)), []);
        assert!(!boots.heard(&seed(2), &[], &server(1)));
        // The other server has not heard of the first boot, and this survives a restart.
        let mut boots = Boots::parse(&boots.to_text()).unwrap();
        let listed = boots.unheard(&seed(2), &server(2));
        assert_eq!(listed, [of(1, 2)]);
        assert!(boots.heard(&seed(2), &listed, &server(2)));
        assert!(boots.0.is_empty());
        // An agent that starts again notes it again, and lists nothing.
        boots.note(&seed(2), &trusted);
        assert_eq!(boots.unheard(&seed(2), &server(2)), []);
    }

    #[test]
    fn a_boot_that_reported_itself_is_not_listed_by_the_next() {
        let trusted = [server(1)];
        let mut boots = noted(1..=1, &trusted);
        assert!(boots.heard(&seed(1), &[], &server(1)));
        boots.note(&seed(2), &trusted);
        assert_eq!(boots.unheard(&seed(2), &server(1)), []);
    }

    #[test]
    fn a_boot_that_was_not_listed_stays() {
        let mut boots = noted(1..=3, &[server(1)]);
        boots.heard(&seed(3), &[of(1, 1)], &server(1));
        assert_eq!(boots.unheard(&seed(3), &server(1)), [of(2, 1)]);
    }

    #[test]
    fn the_oldest_are_dropped_beyond_what_a_heartbeat_can_list() {
        let boots = noted(1..=20, &[server(1)]);
        let listed = boots.unheard(&seed(20), &server(1));
        let expected: Vec<BootMark> = (12..=19).map(|boot| of(boot, 1)).collect();
        assert_eq!(listed, expected);
    }

    #[test]
    fn nothing_in_the_file_is_the_seed_or_the_nonce() {
        let text = noted(1..=1, &[server(2)]).to_text();
        let nonce = BootNonce::new(&seed(1), Some(&server(2)));
        for secret in [&seed(1).as_bytes()[..], &nonce.as_bytes()[..]] {
            assert!(!text.contains(&Hex(secret).to_string()), "{text}");
        }
    }

    #[test]
    fn a_damaged_file_is_told_by_its_line() {
        let text = noted(1..=2, &[server(1)]).to_text();
        assert!(Boots::parse("").unwrap().0.is_empty());
        for (wrong, line) in [
            ("x\n".to_owned(), 1),
            (format!("{text}0\n"), 3),
            (format!("{} 12\n", "1".repeat(64)), 1),
            (format!("{}\n", "1".repeat(64)), 1),
            ("\n".to_owned(), 1),
        ] {
            assert_eq!(Boots::parse(&wrong).unwrap_err(), BootsError { line });
        }
    }
}
