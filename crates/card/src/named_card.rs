//! The card for which a PIN is given: what `card.conf` and the order to unlock name. Pure.

use std::fmt;

use nightlatch_core::settings::card::{CardName, CardSettings, is_fingerprint};

use crate::card_lock::{CardIdentity, TriedBy};

/// The card and key that an order to unlock names. Empty: the card that the agent holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct NamedCard {
    pub(crate) card: Option<CardName>,
    /// The fingerprint of its authentication key.
    pub(crate) key: Option<String>,
}

/// The PIN is not for the card that is held.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum WrongCard {
    #[error("the PIN is for the card {wanted}, and the card {found} is there")]
    Card { wanted: CardName, found: String },
    #[error(
        "the PIN is for a card with the key {wanted}, and the card that is there has the key {found}"
    )]
    Key { wanted: String, found: String },
    /// A PIN that nobody typed needs both.
    #[error(
        "a PIN from a file is sent only to a card that is named together with its key: for the card that is there, write \
         `card = {card}` and `key = {key}` in card.conf"
    )]
    NotNamed { card: String, key: String },
}

impl NamedCard {
    /// Reads `card=NAME` and `key=FINGERPRINT`, each once at most.
    pub(crate) fn parse(words: &[&str]) -> Option<Self> {
        let mut named = Self::default();
        for word in words {
            match word.split_once('=')? {
                ("card", name) if named.card.is_none() => {
                    named.card = Some(CardName::parse(name)?);
                }
                ("key", key) if named.key.is_none() && is_fingerprint(key) => {
                    named.key = Some(key.to_owned());
                }
                _ => return None,
            }
        }
        Some(named)
    }

    /// Says whether a PIN may be sent to the card `found`, which fits `settings`. For a PIN from a file both the card and its key must
    /// be named, here or there: a person who types knows which card is in the reader.
    pub(crate) fn judge(
        &self,
        settings: &CardSettings,
        by: TriedBy,
        found: &CardIdentity,
    ) -> Result<(), WrongCard> {
        let fingerprint = found.key.fingerprint();
        self.fits(found.aid.as_bytes(), &found.aid.serial(), &fingerprint)?;
        let is_named = self.card.is_some() || settings.card.is_some();
        let has_key = self.key.is_some() || settings.key.is_some();
        match by {
            TriedBy::Agent if !is_named || !has_key => Err(WrongCard::NotNamed {
                card: found.aid.to_string(),
                key: fingerprint,
            }),
            TriedBy::Agent | TriedBy::Person => Ok(()),
        }
    }

    /// Compares what is named here with a card.
    pub(crate) fn fits(
        &self,
        aid: &[u8; 16],
        serial: &str,
        fingerprint: &str,
    ) -> Result<(), WrongCard> {
        match (self.card, &self.key) {
            (Some(wanted), _) if !wanted.is(aid) => Err(WrongCard::Card {
                wanted,
                found: serial.to_owned(),
            }),
            (_, Some(wanted)) if wanted != fingerprint => Err(WrongCard::Key {
                wanted: wanted.clone(),
                found: fingerprint.to_owned(),
            }),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for NamedCard {
    /// Each word with a space before it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(card) = &self.card {
            write!(f, " card={card}")?;
        }
        match &self.key {
            Some(key) => write!(f, " key={key}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card_data::CardData;
    use crate::card_data::tests::{ED25519, sample};
    use crate::key::AuthKey;

    const OTHER_KEY: &str = "SHA256:uNiVztksCsDhcc0u9e8BrrJXVGDvbVGLiVNDnhQ9dEE";

    fn card() -> CardIdentity {
        let data = CardData::parse(&sample(0x1234_5678, 3, &ED25519)).unwrap();
        let key = AuthKey::Ed25519([7; 32]);
        CardIdentity { aid: data.aid, key }
    }

    #[test]
    fn a_pin_from_a_file_needs_a_card_and_a_key_that_are_named_and_fit() {
        let found = card();
        let name = CardName::parse("0006:12345678");
        let key = Some(found.key.fingerprint());
        let other = CardName::parse("0006:12345679");
        let other_key = Some(OTHER_KEY.to_owned());
        let in_file = |card: Option<CardName>, key: &Option<String>| CardSettings {
            card,
            key: key.clone(),
            ..CardSettings::default()
        };
        let none = in_file(None, &None);
        // (settings, named here, by a file, by a person)
        for (settings, card, key_here, file, person) in [
            (&none, None, None, "named together with its key", ""),
            (&none, name, None, "named together with its key", ""),
            (&none, None, key.clone(), "named together with its key", ""),
            (&none, name, key.clone(), "", ""),
            (&in_file(name, &key), None, None, "", ""),
            (&in_file(name, &None), None, key.clone(), "", ""),
            (&in_file(None, &key), name, None, "", ""),
            (
                &in_file(name, &key),
                other,
                None,
                "for the card 0006:12345679",
                "for the card 0006:12345679",
            ),
            (
                &in_file(name, &key),
                name,
                other_key.clone(),
                "with the key",
                "with the key",
            ),
            (&none, other, None, "for the card", "for the card"),
        ] {
            let named = NamedCard {
                card,
                key: key_here,
            };
            for (by, expected) in [(TriedBy::Agent, file), (TriedBy::Person, person)] {
                let judged = named.judge(settings, by, &found);
                let said = judged
                    .as_ref()
                    .err()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                assert_eq!(
                    judged.is_ok(),
                    expected.is_empty(),
                    "{named:?} {by:?} {said}"
                );
                assert!(said.contains(expected), "{said}");
            }
        }
    }

    #[test]
    fn the_refusal_says_what_to_write_and_card_conf_takes_it() {
        let found = card();
        let refused = NamedCard::default().judge(&CardSettings::default(), TriedBy::Agent, &found);
        let said = refused.unwrap_err().to_string();
        let lines: Vec<&str> = said.split('`').skip(1).step_by(2).collect();
        let text = format!("[card]\n{}\n", lines.join("\n"));
        let settings = nightlatch_core::settings::card::parse("card.conf", &text)
            .unwrap()
            .value;
        assert_eq!(
            NamedCard::default().judge(&settings, TriedBy::Agent, &found),
            Ok(())
        );
    }

    #[test]
    fn words_are_read_as_they_were_written() {
        let key = card().key.fingerprint();
        for named in [
            NamedCard::default(),
            NamedCard {
                card: CardName::parse("0006:12345678"),
                key: None,
            },
            NamedCard {
                card: Some(CardName::Aid(*card().aid.as_bytes())),
                key: Some(key.clone()),
            },
        ] {
            let text = named.to_string();
            let words: Vec<&str> = text.split_whitespace().collect();
            assert_eq!(NamedCard::parse(&words), Some(named));
        }
        let key = format!("key={key}");
        for words in [
            &["card"][..],
            &["card=1"],
            &["key=1"],
            &[&key, &key],
            &["pin=1"],
        ] {
            assert_eq!(NamedCard::parse(words), None, "{words:?}");
        }
    }
}
