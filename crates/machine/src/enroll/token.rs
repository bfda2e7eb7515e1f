//! The LUKS2 token by which a key slot of ours is known: whose it is and since when. It opens nothing.
//!
//! Anybody who can write the header can write a token, so it decides over key slots of that disk only.

use std::collections::BTreeMap;

use nightlatch_core::digits;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The type of our tokens (LUKS2 On-Disk Format Specification, 3.5).
const KIND: &str = "nightlatch";

/// The tokens of a header by their numbers.
pub(super) type Tokens = BTreeMap<String, Value>;

#[derive(Serialize, Deserialize, Debug)]
struct Token<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    keyslots: Vec<String>,
    #[serde(default)]
    name: String,
    #[serde(default)]
    key_id: String,
    /// RFC 3339, UTC: its order is that of time.
    #[serde(default)]
    pub(super) created: String,
}

/// A token to be written.
#[derive(Debug)]
pub(super) struct NewToken<'a> {
    pub(super) slot: u32,
    pub(super) name: &'a str,
    pub(super) key_id: String,
    pub(super) created: String,
}

impl NewToken<'_> {
    pub(super) fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&Token {
            kind: KIND,
            keyslots: vec![self.slot.to_string()],
            name: self.name.to_owned(),
            key_id: self.key_id.clone(),
            created: self.created.clone(),
        })
    }
}

/// An enrolment as a token in a header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Enrolment {
    /// The token's number.
    pub(super) token: u32,
    /// Its key slots; none once they were removed.
    pub(super) slots: Vec<u32>,
    /// The name of the client.
    pub(crate) name: String,
    /// The key id of the client.
    pub(crate) key_id: String,
    pub(super) created: String,
}

impl Enrolment {
    /// Its key slots in words.
    pub(super) fn shown(&self) -> String {
        let slots: Vec<String> = self.slots.iter().map(u32::to_string).collect();
        match slots.len() {
            0 => "no key slot".to_owned(),
            1 => format!("key slot {}", slots.concat()),
            _ => format!("key slots {}", slots.join(", ")),
        }
    }
}

/// Those of ours, oldest first.
pub(super) fn enrolments(tokens: &Tokens) -> Vec<Enrolment> {
    let mut found: Vec<Enrolment> = tokens
        .iter()
        .filter_map(|(number, token)| {
            let read = Token::deserialize(token)
                .ok()
                .filter(|it| it.kind == KIND)?;
            let slots = read.keyslots.iter();
            Some(Enrolment {
                token: digits::decimal(number)?,
                slots: slots.filter_map(|slot| digits::decimal(slot)).collect(),
                name: read.name,
                key_id: read.key_id,
                created: read.created,
            })
        })
        .collect();
    found.sort_by(|a, b| (&a.created, a.token).cmp(&(&b.created, b.token)));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tokens_of_our_type_are_ours_and_the_oldest_comes_first() {
        let json = r#"{
            "0": {"type":"nightlatch","keyslots":["2"],"name":"b","key_id":"y","created":"2026-11-02T00:00:00Z"},
            "1": {"type":"systemd-tpm2","keyslots":["3"],"tpm2-blob":"x"},
            "2": {"type":"nightlatch","keyslots":[],"name":"a","created":"2026-11-01T00:00:00Z"},
            "3": {"type":"nightlatch","keyslots":"no list"},
            "+4": {"type":"nightlatch","keyslots":["1"]}
        }"#;
        let found = enrolments(&serde_json::from_str(json).unwrap());
        let found: Vec<_> = found
            .iter()
            .map(|it| (it.token, &*it.name, it.shown()))
            .collect();
        assert_eq!(
            found,
            [
                (2, "a", "no key slot".to_owned()),
                (0, "b", "key slot 2".to_owned())
            ]
        );
    }
}
