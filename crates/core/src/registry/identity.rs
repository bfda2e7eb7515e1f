//! Matches the sections of the configuration with known clients. Durable state belongs to the key id, so a renamed
//! section continues the same client.

use std::collections::HashMap;

use crate::client::saved::SavedClient;
use crate::key_id::KeyId;
use crate::name::ClientName;
use crate::settings::client::ClientConfig;

/// Name and key id of a section or of a known client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ClientIdentity<'a> {
    pub(super) name: &'a ClientName,
    /// `None` for a section without a key id, which serves nobody and is identified by its name.
    pub(super) key: Option<&'a KeyId>,
}

impl<'a> ClientIdentity<'a> {
    pub(super) fn of_section(config: &'a ClientConfig) -> Self {
        Self {
            name: &config.name,
            key: config.settings.key_id.as_ref(),
        }
    }

    pub(super) fn of_row(row: &'a SavedClient) -> Self {
        Self {
            name: &row.name,
            key: row.key(),
        }
    }
}

/// For each section the index in `known` of the client that it continues. Each known client is continued at most once.
///
/// In order of precedence: same name and key; same key; same name with a replaced key. Names are unique on each side.
pub(super) fn match_sections(
    sections: &[ClientIdentity<'_>],
    known: &[ClientIdentity<'_>],
) -> Vec<Option<usize>> {
    let by_name: HashMap<&ClientName, usize> = known.iter().map(|it| it.name).zip(0..).collect();
    let mut by_key: HashMap<&KeyId, Vec<usize>> = HashMap::new();
    for (number, it) in known.iter().enumerate().rev() {
        if let Some(key) = it.key {
            by_key.entry(key).or_default().push(number);
        }
    }
    let mut taken = vec![false; known.len()];
    let mut continued = vec![None; sections.len()];
    let mut take = |section: &mut Option<usize>, number: Option<usize>| {
        if let Some(number) = number.filter(|number| section.is_none() && !taken[*number]) {
            taken[number] = true;
            *section = Some(number);
        }
        section.is_some()
    };
    for (section, it) in continued.iter_mut().zip(sections) {
        let same = by_name.get(it.name).filter(|number| known[**number] == *it);
        take(section, same.copied());
    }
    for (section, it) in continued.iter_mut().zip(sections) {
        let holders = it.key.and_then(|key| by_key.get_mut(key));
        let Some(holders) = holders.filter(|_| section.is_none()) else {
            continue;
        };
        while let Some(number) = holders.pop() {
            if take(section, Some(number)) {
                break;
            }
        }
    }
    for (section, it) in continued.iter_mut().zip(sections) {
        take(section, by_name.get(it.name).copied());
    }
    continued
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(sections: &[(&str, u8)], known: &[(&str, u8)]) -> Vec<Option<usize>> {
        fn owned(all: &[(&str, u8)]) -> Vec<(ClientName, Option<KeyId>)> {
            let one = |(name, key): &(&str, u8)| {
                let key = (*key > 0).then(|| KeyId::from_bytes([*key; 32]).unwrap());
                (ClientName::new(name).unwrap(), key)
            };
            all.iter().map(one).collect()
        }
        fn identities(all: &[(ClientName, Option<KeyId>)]) -> Vec<ClientIdentity<'_>> {
            let identities = all.iter().map(|(name, key)| ClientIdentity {
                name,
                key: key.as_ref(),
            });
            identities.collect()
        }
        let (sections, known) = (owned(sections), owned(known));
        match_sections(&identities(&sections), &identities(&known))
    }

    #[test]
    fn a_section_continues_the_client_with_its_key() {
        let known = [("a", 1), ("b", 2), ("c", 0)];
        assert_eq!(
            plan(&[("a", 1), ("b", 2), ("c", 0)], &known),
            [Some(0), Some(1), Some(2)]
        );
        // Renamed, swapped, or given the former name of another client.
        assert_eq!(plan(&[("x", 1)], &known), [Some(0)]);
        assert_eq!(plan(&[("a", 2), ("b", 1)], &known), [Some(1), Some(0)]);
        assert_eq!(plan(&[("b", 1)], &known), [Some(0)]);
        // Another key in place, a key for a section that had none, and a section that is new.
        assert_eq!(plan(&[("a", 9)], &known), [Some(0)]);
        assert_eq!(plan(&[("c", 9)], &known), [Some(2)]);
        assert_eq!(plan(&[("x", 9), ("y", 0)], &known), [None, None]);
    }

    #[test]
    fn each_known_client_is_continued_once() {
        let known = [("a", 1), ("b", 1)];
        assert_eq!(plan(&[("b", 1), ("a", 1)], &known), [Some(1), Some(0)]);
        assert_eq!(
            plan(&[("x", 1), ("y", 1), ("z", 1)], &known),
            [Some(0), Some(1), None]
        );
        assert_eq!(plan(&[("x", 1), ("a", 1)], &known), [Some(1), Some(0)]);
    }
}
