//! `network.conf` from text: a section for each link.

use std::str::FromStr;

use super::words::{self, Word, YesNo};
use super::{Bond, BondMode, Cidr, DHCP, Definition, Kind, Link, LinkName, Match, Misfit, Unlike};

/// Every key, with the kinds of links that have it.
pub const KEYS: [(&str, &[&str]); 20] = [
    ("kind", &["device", "vlan", "bond", "bridge"]),
    ("match-mac", &["device"]),
    ("match-driver", &["device"]),
    ("match-path", &["device"]),
    ("id", &["vlan"]),
    ("parent", &["vlan"]),
    ("protocol", &["vlan"]),
    ("mode", &["bond"]),
    ("miimon", &["bond"]),
    ("lacp-rate", &["bond"]),
    ("hash-policy", &["bond"]),
    ("primary", &["bond"]),
    ("members", &["bond", "bridge"]),
    ("stp", &["bridge"]),
    ("forward-delay", &["bridge"]),
    ("mac", &["device", "vlan", "bond", "bridge"]),
    ("mtu", &["device", "vlan", "bond", "bridge"]),
    ("addresses", &["device", "vlan", "bond", "bridge"]),
    ("routes", &["device", "vlan", "bond", "bridge"]),
    ("stands-for", &["device", "vlan", "bond", "bridge"]),
];

/// What is wrong in a `network.conf`, and where.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: {wrong}")]
pub struct Fault {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub wrong: Wrong,
}

/// What can be wrong.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Wrong {
    /// Something else than was expected.
    #[error("expected {expected}, found {found:?}")]
    Expected {
        /// What was expected.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// A key that no link of this kind has, or that stands there twice.
    #[error("{key} may not stand here: it is no key of a {kind}, or it stands here already")]
    Key {
        /// The key.
        key: String,
        /// The kind of its link.
        kind: String,
    },
    /// A key that is missing.
    #[error("a {kind} needs {key}")]
    Missing {
        /// The key.
        key: &'static str,
        /// The kind of its link.
        kind: &'static str,
    },
    /// Links that do not fit together.
    #[error(transparent)]
    Misfit(#[from] Misfit),
}

impl Definition {
    /// Reads a file's text; any fault refuses it, and all are told.
    ///
    /// # Errors
    /// The faults in the order in which they are found.
    pub fn parse(text: &str) -> Result<Self, Vec<Fault>> {
        match Self::recover(text) {
            (definition, faults) if faults.is_empty() => Ok(definition),
            (_, faults) => Err(faults),
        }
    }

    /// Reads a file's text, and leaves out the links that have a fault: at boot a part of the network
    /// is better than none.
    pub fn recover(text: &str) -> (Self, Vec<Fault>) {
        let mut faults = Vec::new();
        let mut links = Vec::new();
        let mut lines = Vec::new();
        for section in sections(text, &mut faults) {
            match link(&section) {
                Ok(link) => {
                    links.push(link);
                    lines.push(section.line);
                }
                Err(fault) => faults.push(*fault),
            }
        }
        while let Some((index, misfit)) = super::misfit(&links) {
            links.remove(index);
            faults.push(Fault {
                line: lines.remove(index),
                wrong: misfit.into(),
            });
        }
        (Self::sorted(links), faults)
    }
}

/// One section: the line and the name of its header, and its keys, each with value and line.
struct Section<'t> {
    line: usize,
    name: &'t str,
    keys: Vec<(&'t str, &'t str, usize)>,
}

/// Splits a file. The dialect is the simple part of that of our other files, without what would take a
/// tenth of the room that the boot client has for all of this: `[name]`, `key = value` in one line,
/// comments that begin a line.
fn sections<'t>(text: &'t str, faults: &mut Vec<Fault>) -> Vec<Section<'t>> {
    let mut sections: Vec<Section<'t>> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        let number = number + 1;
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let header = line.strip_prefix('[').and_then(|l| l.strip_suffix(']'));
        match (header, line.split_once('='), sections.last_mut()) {
            (Some(name), ..) => sections.push(Section {
                line: number,
                name,
                keys: Vec::new(),
            }),
            (None, Some((key, value)), Some(section)) => {
                section
                    .keys
                    .push((key.trim_end(), value.trim_start(), number));
            }
            _ => faults.push(Fault {
                line: number,
                wrong: expected("[LINK], or KEY = VALUE below one", line),
            }),
        }
    }
    sections
}

fn expected(expected: impl Into<String>, found: &str) -> Wrong {
    Wrong::Expected {
        expected: expected.into(),
        found: found.to_owned(),
    }
}

/// Reads the section of one link; the first fault counts. It is boxed here for the sake of less code.
fn link(section: &Section<'_>) -> Result<Link, Box<Fault>> {
    let name = section.parsed("", section.name)?;
    let word = section.text("kind").unwrap_or("device");
    section.check_keys(word)?;
    let kind = match word {
        "vlan" => Kind::Vlan {
            id: section
                .value("id")?
                .ok_or_else(|| section.missing("id", "vlan"))?,
            parent: section
                .value("parent")?
                .ok_or_else(|| section.missing("parent", "vlan"))?,
            protocol: section.word("protocol")?.unwrap_or_default(),
        },
        "bond" => Kind::Bond(section.bond()?),
        "bridge" => Kind::Bridge {
            members: section.members("bridge")?,
            stp: section.word("stp")?.unwrap_or(YesNo::No) == YesNo::Yes,
            forward_delay: section.value("forward-delay")?,
        },
        _ => Kind::Device(Match {
            mac: section.value("match-mac")?,
            driver: section.text("match-driver").map(str::to_owned),
            path: section.text("match-path").map(str::to_owned),
        }),
    };
    let mut addresses = section.list("addresses", char::is_whitespace)?;
    let given = addresses.len();
    addresses.retain(|it| *it != Given::Dhcp);
    let statics = |it| match it {
        Given::Static(cidr) => Some(cidr),
        Given::Dhcp => None,
    };
    Ok(Link {
        name,
        kind,
        mac: section.value("mac")?,
        mtu: section.value("mtu")?,
        dhcp: addresses.len() < given,
        addresses: addresses.into_iter().filter_map(statics).collect(),
        routes: section.list("routes", |c| c == ',')?,
        stands_for: section.list("stands-for", char::is_whitespace)?,
    })
}

/// One of `addresses`.
#[derive(PartialEq, Eq)]
enum Given {
    Dhcp,
    Static(Cidr),
}

impl FromStr for Given {
    type Err = Unlike;

    fn from_str(text: &str) -> Result<Self, Unlike> {
        let wrong =
            |_| Unlike("dhcp, or an address with the length of its network, such as 192.0.2.7/24");
        match text {
            DHCP => Ok(Self::Dhcp),
            _ => text.parse().map(Self::Static).map_err(wrong),
        }
    }
}

impl Section<'_> {
    fn text(&self, key: &str) -> Option<&str> {
        let entry = self.keys.iter().find(|(known, ..)| *known == key);
        entry.map(|(_, value, _)| *value).filter(|v| !v.is_empty())
    }

    fn fault(&self, key: &str, wrong: Wrong) -> Box<Fault> {
        let entry = self.keys.iter().find(|(known, ..)| *known == key);
        Box::new(Fault {
            line: entry.map_or(self.line, |(.., line)| *line),
            wrong,
        })
    }

    fn missing(&self, key: &'static str, kind: &'static str) -> Box<Fault> {
        self.fault("", Wrong::Missing { key, kind })
    }

    /// Every key must be one of the kind's, and the kind must be one.
    fn check_keys(&self, kind: &str) -> Result<(), Box<Fault>> {
        let kinds = KEYS[0].1;
        if !kinds.contains(&kind) {
            let kinds = format!("one of {}", kinds.join(", "));
            return Err(self.fault("kind", expected(kinds, kind)));
        }
        for (index, (key, _, line)) in self.keys.iter().enumerate() {
            let known = KEYS.iter().find(|(known, _)| known == key);
            let known = known.is_some_and(|(_, kinds)| kinds.contains(&kind));
            if !known || self.keys.iter().take(index).any(|(other, ..)| other == key) {
                let wrong = Wrong::Key {
                    key: (*key).to_owned(),
                    kind: kind.to_owned(),
                };
                return Err(Box::new(Fault { line: *line, wrong }));
            }
        }
        Ok(())
    }

    fn parsed<T: FromStr<Err = Unlike>>(&self, key: &str, text: &str) -> Result<T, Box<Fault>> {
        text.parse()
            .map_err(|error: Unlike| self.fault(key, expected(error.0, text)))
    }

    fn value<T: FromStr<Err = Unlike>>(&self, key: &str) -> Result<Option<T>, Box<Fault>> {
        match self.text(key) {
            Some(text) => self.parsed(key, text).map(Some),
            None => Ok(None),
        }
    }

    fn list<T: FromStr<Err = Unlike>>(
        &self,
        key: &str,
        between: fn(char) -> bool,
    ) -> Result<Vec<T>, Box<Fault>> {
        let mut list = Vec::new();
        for item in self.text(key).unwrap_or_default().split(between) {
            if !item.trim().is_empty() {
                list.push(self.parsed(key, item)?);
            }
        }
        Ok(list)
    }

    fn members(&self, kind: &'static str) -> Result<Vec<LinkName>, Box<Fault>> {
        let mut members: Vec<LinkName> = Vec::new();
        for member in self.list("members", char::is_whitespace)? {
            if !members.contains(&member) {
                members.push(member);
            }
        }
        match members.is_empty() {
            true => Err(self.missing("members", kind)),
            false => Ok(members),
        }
    }

    fn bond(&self) -> Result<Bond, Box<Fault>> {
        let bond = Bond {
            mode: self.word("mode")?.unwrap_or(BondMode::RoundRobin),
            miimon: self.value("miimon")?.unwrap_or_default(),
            lacp_rate: self.word("lacp-rate")?,
            hash_policy: self.word("hash-policy")?,
            primary: self.value("primary")?,
            members: self.members("bond")?,
        };
        match &bond.primary {
            Some(primary) if !bond.members.contains(primary) => {
                Err(self.fault("primary", expected("one of the members", primary.as_str())))
            }
            _ => Ok(bond),
        }
    }

    fn word<T: Word>(&self, key: &'static str) -> Result<Option<T>, Box<Fault>> {
        let index = self.choice(key, T::WORDS)?;
        Ok(index.and_then(|index| T::ALL.get(index).copied()))
    }

    fn choice(&self, key: &str, words: &[(&str, u16)]) -> Result<Option<usize>, Box<Fault>> {
        let Some(text) = self.text(key) else {
            return Ok(None);
        };
        match words::index_of(text, words) {
            None => Err(self.fault(key, expected(format!("one of {}", words::all(words)), text))),
            index => Ok(index),
        }
    }
}
