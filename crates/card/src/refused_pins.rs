//! The PINs that a card has refused, so that none from a file is tried twice. Holds keyed digests in locked memory, and no PIN.

use nightlatch_core::secret::Secret;
use nightlatch_sys::{memory, random};
use sha2::{Digest, Sha256};

use crate::card_lock::CardIdentity;
use crate::log;

/// So many are remembered; the oldest one is forgotten. A card refuses three before it is blocked.
const MOST: usize = 16;

/// Digests with a key that is made anew by each run of the agent.
#[derive(Debug, Default)]
pub(crate) struct RefusedPins {
    key: Option<Secret>,
    digests: Vec<Secret>,
}

impl RefusedPins {
    /// The card has refused this PIN.
    pub(crate) fn note(&mut self, card: &CardIdentity, pin: &Secret) {
        if self.key.is_none() {
            match random::bytes::<32>() {
                Ok(key) => self.key = Some(locked(Secret::new(key.to_vec()))),
                Err(error) => {
                    log::info(&format!(
                        "a PIN that was refused is not remembered: {error}"
                    ));
                    return;
                }
            }
        }
        let Some(digest) = self.digest(card, pin) else {
            return;
        };
        if self.digests.contains(&digest) {
            return;
        }
        if self.digests.len() >= MOST {
            self.digests.remove(0);
        }
        self.digests.push(locked(digest));
    }

    /// True for a PIN that this card has refused.
    pub(crate) fn has(&self, card: &CardIdentity, pin: &Secret) -> bool {
        let digest = self.digest(card, pin);
        digest.is_some_and(|digest| self.digests.contains(&digest))
    }

    /// The card has taken this PIN: it was changed since.
    pub(crate) fn forget(&mut self, card: &CardIdentity, pin: &Secret) {
        if let Some(digest) = self.digest(card, pin) {
            self.digests.retain(|known| *known != digest);
        }
    }

    fn digest(&self, card: &CardIdentity, pin: &Secret) -> Option<Secret> {
        let key = self.key.as_ref()?;
        let mut hash = Sha256::new();
        hash.update(key.expose());
        hash.update(card.aid.as_bytes());
        // Of a fixed length, as all before it: no PIN of one card is that of another.
        hash.update(Sha256::digest(card.key.blob()));
        hash.update(pin.expose());
        Some(Secret::new(hash.finalize().to_vec()))
    }
}

fn locked(secret: Secret) -> Secret {
    if let Err(error) = memory::lock(secret.expose()) {
        log::info(&format!("the memory of a digest is not locked: {error}"));
    }
    secret
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card_data::CardData;
    use crate::card_data::tests::{ED25519, sample};
    use crate::key::AuthKey;

    fn card(serial: u32, key: u8) -> CardIdentity {
        let data = CardData::parse(&sample(serial, 3, &ED25519)).unwrap();
        let key = AuthKey::Ed25519([key; 32]);
        CardIdentity { aid: data.aid, key }
    }

    fn pin(text: &str) -> Secret {
        Secret::new(text.as_bytes().to_vec())
    }

    #[test]
    fn a_refused_pin_is_known_for_its_card_alone() {
        let mut refused = RefusedPins::default();
        assert!(!refused.has(&card(1, 7), &pin("654321")));
        refused.note(&card(1, 7), &pin("654321"));
        assert!(refused.has(&card(1, 7), &pin("654321")));
        for (card, text) in [
            (card(2, 7), "654321"),
            (card(1, 8), "654321"),
            (card(1, 7), "123456"),
        ] {
            assert!(!refused.has(&card, &pin(text)));
        }
        refused.forget(&card(1, 7), &pin("654321"));
        assert!(!refused.has(&card(1, 7), &pin("654321")));
    }

    #[test]
    fn there_is_an_end_to_it_and_no_pin_in_it() {
        let mut refused = RefusedPins::default();
        for number in 0..100 {
            refused.note(&card(1, 7), &pin(&format!("{number:06}")));
        }
        assert_eq!(refused.digests.len(), MOST);
        assert!(refused.has(&card(1, 7), &pin("000099")));
        let held = refused.digests.iter().chain(&refused.key);
        for secret in held {
            assert!(!secret.expose().windows(6).any(|part| part == b"000099"));
        }
    }
}
