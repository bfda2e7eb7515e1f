//! The boots that this machine has noted on its encrypted root, and which servers have heard of them. Pure.
//!
//! A boot is noted before the network is up. Where it ended before it could report, the next one says that it was this
//! machine's own, and the release for it is accounted for.

use std::collections::BTreeSet;

use nightlatch_core::boot_nonce::{BootNonce, BootSeed};
use nightlatch_core::digits::{self, Hex};
use nightlatch_core::key_id::KeyId;
use nightlatch_proto::release::MAX_EARLIER_BOOTS;
use zeroize::Zeroizing;

/// One boot of this machine.
#[derive(Debug)]
struct NotedBoot {
    seed: BootSeed,
    /// The servers that have accepted a heartbeat of it, or one that listed it.
    heard: BTreeSet<KeyId>,
}

/// The boots, the newest last.
#[derive(Debug, Default)]
pub(crate) struct Boots(Vec<NotedBoot>);

/// The file holds something else.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: expected 64 hexadecimal digits, and key ids after them")]
pub(crate) struct BootsError {
    line: usize,
}

impl Boots {
    /// Adds the boot that is up, unless it is noted already. The oldest ones are dropped beyond those that a heartbeat can
    /// list. True when this changed anything.
    pub(crate) fn note(&mut self, seed: &BootSeed) -> bool {
        if self.0.iter().any(|boot| boot.seed == *seed) {
            return false;
        }
        self.0.push(NotedBoot {
            seed: seed.clone(),
            heard: BTreeSet::new(),
        });
        let most = MAX_EARLIER_BOOTS + 1;
        let excess = self.0.len().saturating_sub(most);
        self.0.drain(..excess);
        true
    }

    /// The earlier boots of which `server` has not heard.
    pub(crate) fn unheard(&self, current: &BootSeed, server: &KeyId) -> Vec<BootNonce> {
        let earlier = self.0.iter().filter(|boot| boot.seed != *current);
        let unheard = earlier.filter(|boot| !boot.heard.contains(server));
        unheard
            .map(|boot| BootNonce::new(&boot.seed, Some(server)))
            .collect()
    }

    /// `server` has accepted a heartbeat of the boot `current` that listed `listed`. A boot is dropped when each server in
    /// `trusted` has heard of it. True when this changed anything.
    pub(crate) fn heard(
        &mut self,
        current: &BootSeed,
        listed: &[BootNonce],
        server: KeyId,
        trusted: &[KeyId],
    ) -> bool {
        let mut changed = false;
        for boot in &mut self.0 {
            let nonce = BootNonce::new(&boot.seed, Some(&server));
            if boot.seed == *current || listed.contains(&nonce) {
                changed |= boot.heard.insert(server);
            }
        }
        let before = self.0.len();
        self.0.retain(|boot| {
            boot.seed == *current || !trusted.iter().all(|server| boot.heard.contains(server))
        });
        changed || self.0.len() < before
    }

    /// The content of the file: a line for each boot, with its seed and the servers that have heard of it.
    pub(crate) fn to_text(&self) -> Zeroizing<String> {
        // All the room at once, so that no copy of a seed stays behind.
        let ids: usize = self.0.iter().map(|boot| 1 + boot.heard.len()).sum();
        let mut text = Zeroizing::new(String::with_capacity(ids * 65 + self.0.len()));
        for boot in &self.0 {
            text.push_str(&Zeroizing::new(Hex(boot.seed.as_bytes()).to_string()));
            for server in &boot.heard {
                text.push(' ');
                text.push_str(&server.to_string());
            }
            text.push('\n');
        }
        text
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

fn parse_boot(line: &str) -> Option<NotedBoot> {
    let mut words = line.split_ascii_whitespace();
    let seed = digits::hex(words.next()?.as_bytes())?;
    let heard = words.map(|word| word.parse().ok());
    Some(NotedBoot {
        seed: BootSeed::from_bytes(seed),
        heard: heard.collect::<Option<_>>()?,
    })
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

    fn nonce(boot: u8, of: u8) -> BootNonce {
        BootNonce::new(&seed(boot), Some(&server(of)))
    }

    fn noted(numbers: std::ops::RangeInclusive<u8>) -> Boots {
        let mut boots = Boots::default();
        for number in numbers {
            assert!(boots.note(&seed(number)));
        }
        boots
    }

    #[test]
    fn a_boot_that_no_server_heard_is_listed_to_each_until_it_has() {
        let trusted = [server(1), server(2)];
        let mut boots = noted(1..=2);
        assert!(!boots.note(&seed(2)));
        let listed = boots.unheard(&seed(2), &server(1));
        assert_eq!(listed, [nonce(1, 1)]);
        assert!(boots.heard(&seed(2), &listed, server(1), &trusted));
        assert_eq!(boots.unheard(&seed(2), &server(1)), []);
        assert!(!boots.heard(&seed(2), &[], server(1), &trusted));
        // The other server has not heard of the first boot, and this survives a restart.
        let mut boots = Boots::parse(&boots.to_text()).unwrap();
        let listed = boots.unheard(&seed(2), &server(2));
        assert_eq!(listed, [nonce(1, 2)]);
        assert!(boots.heard(&seed(2), &listed, server(2), &trusted));
        assert_eq!(boots.0.len(), 1);
    }

    #[test]
    fn a_boot_that_reported_itself_is_not_listed_by_the_next() {
        let trusted = [server(1)];
        let mut boots = noted(1..=1);
        assert!(boots.heard(&seed(1), &[], server(1), &trusted));
        boots.note(&seed(2));
        assert_eq!(boots.unheard(&seed(2), &server(1)), []);
    }

    #[test]
    fn a_boot_that_was_not_listed_stays() {
        let mut boots = noted(1..=3);
        boots.heard(&seed(3), &[nonce(1, 1)], server(1), &[server(1)]);
        assert_eq!(boots.unheard(&seed(3), &server(1)), [nonce(2, 1)]);
    }

    #[test]
    fn the_oldest_are_dropped_beyond_what_a_heartbeat_can_list() {
        let boots = noted(1..=20);
        let listed = boots.unheard(&seed(20), &server(1));
        let expected: Vec<BootNonce> = (12..=19).map(|boot| nonce(boot, 1)).collect();
        assert_eq!(listed, expected);
    }

    #[test]
    fn a_damaged_file_is_told_by_its_line() {
        let text = noted(1..=2).to_text();
        assert!(Boots::parse("").unwrap().0.is_empty());
        for (wrong, line) in [
            ("x\n".to_owned(), 1),
            (format!("{}0\n", *text), 3),
            (format!("{} 12\n", "0".repeat(64)), 1),
            ("\n".to_owned(), 1),
        ] {
            assert_eq!(Boots::parse(&wrong).unwrap_err(), BootsError { line });
        }
    }
}
