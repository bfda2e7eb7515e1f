//! `network.conf` from text: a section for each link, in the dialect of our other files.

use std::str::FromStr;

use super::words::Word;
use super::{
    Bond, BondMode, Definition, Kind, Link, LinkName, MIIMON, Match, Misfit, NotALinkName,
    NotAnAddress,
};
use crate::ini::{Ini, IniErrorKind, Section};

/// A VLAN's number: 0 and 4095 mean something else (IEEE 802.1Q, 9.6).
const VLAN_IDS: (u32, u32) = (1, 4094);
/// What IPv4 needs at least (RFC 791, 3.1), and what the kernel takes at most.
const MTUS: (u32, u32) = (68, 65_535);
/// More than a minute and the members are not looked at at all.
const MIIMONS: (u32, u32) = (1, 60_000);
/// `BR_MAX_FORWARD_DELAY` (IEEE 802.1D, 8.10.2); 0 only without a spanning tree.
const FORWARD_DELAYS: (u32, u32) = (0, 30);

/// Every key, with the kinds of links that have it.
pub const KEYS: [(&str, &[&str]); 19] = [
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
    /// The form of the file.
    #[error(transparent)]
    Form(IniErrorKind),
    /// `[DEFAULT]`.
    #[error("there are no defaults here; expected the section of a link")]
    Default,
    /// A key that no link of this kind has.
    #[error("{key} is no key of a {kind}")]
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
    /// A word that is none of those expected.
    #[error("{key}: expected one of {expected}, found {found:?}")]
    Word {
        /// The key.
        key: &'static str,
        /// All words.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// No number, or one out of range.
    #[error("{key}: expected a number from {} to {}, found {found:?}", range.0, range.1)]
    Number {
        /// The key.
        key: &'static str,
        /// The least and the most.
        range: (u32, u32),
        /// What stands there.
        found: String,
    },
    /// A primary that is not one of the members.
    #[error("primary: expected one of the members, found {0}")]
    Primary(LinkName),
    /// No name of a link.
    #[error(transparent)]
    Name(#[from] NotALinkName),
    /// No address.
    #[error(transparent)]
    Address(#[from] NotAnAddress),
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
        let (ini, errors) = Ini::recover(text);
        let form = errors.into_iter().map(|error| Fault {
            line: error.line,
            wrong: Wrong::Form(error.kind),
        });
        let mut faults: Vec<Fault> = form.collect();
        let defaults = ini.default_section();
        if defaults.line() > 0 {
            faults.push(Fault {
                line: defaults.line(),
                wrong: Wrong::Default,
            });
        }
        let mut links = Vec::new();
        for section in ini.sections() {
            match link(section) {
                Ok(link) => links.push(link),
                Err(fault) => faults.push(fault),
            }
        }
        loop {
            let misfit = match Self::new(links.clone()) {
                Ok(definition) => return (definition, faults),
                Err(misfit) => misfit,
            };
            let name = misfit.blamed().clone();
            links.retain(|link| link.name != name);
            faults.push(Fault {
                line: ini.section(name.as_str()).map_or(1, Section::line),
                wrong: misfit.into(),
            });
        }
    }
}

/// Reads the section of one link; the first fault counts.
fn link(section: &Section) -> Result<Link, Fault> {
    let here = Keys { section };
    let name = section
        .name()
        .parse()
        .map_err(|wrong| here.fault("", wrong))?;
    let word = section.value("kind").unwrap_or("device");
    here.check_keys(word)?;
    let kind = match word {
        "vlan" => Kind::Vlan {
            id: here.number("id", VLAN_IDS)?.map_or_else(
                || Err(here.missing("id", "vlan")),
                // The range is within 16 bits.
                |id| Ok(u16::try_from(id).unwrap_or_default()),
            )?,
            parent: here
                .value("parent")?
                .ok_or_else(|| here.missing("parent", "vlan"))?,
            protocol: here.word("protocol")?.unwrap_or_default(),
        },
        "bond" => Kind::Bond(here.bond()?),
        "bridge" => Kind::Bridge {
            members: here.members("bridge")?,
            stp: here.yes("stp")?,
            forward_delay: here.number("forward-delay", FORWARD_DELAYS)?,
        },
        _ => Kind::Device(Match {
            mac: here.value("match-mac")?,
            driver: here.text("match-driver"),
            path: here.text("match-path"),
        }),
    };
    Ok(Link {
        name,
        kind,
        mac: here.value("mac")?,
        mtu: here.number("mtu", MTUS)?,
        addresses: here.list("addresses", |c| c.is_whitespace())?,
        routes: here.list("routes", |c| c == ',' || c == '\n')?,
    })
}

/// The values of one section.
struct Keys<'s> {
    section: &'s Section,
}

impl Keys<'_> {
    fn fault(&self, key: &str, wrong: impl Into<Wrong>) -> Fault {
        let entry = self.section.entry(key);
        Fault {
            line: entry.map_or(self.section.line(), |entry| entry.line()),
            wrong: wrong.into(),
        }
    }

    fn missing(&self, key: &'static str, kind: &'static str) -> Fault {
        self.fault("", Wrong::Missing { key, kind })
    }

    /// Every key must be one of the kind's, and the kind must be one.
    fn check_keys(&self, kind: &str) -> Result<(), Fault> {
        let kinds = KEYS[0].1;
        if !kinds.contains(&kind) {
            let wrong = Wrong::Word {
                key: "kind",
                expected: kinds.join(", "),
                found: kind.to_owned(),
            };
            return Err(self.fault("kind", wrong));
        }
        let known = |key: &str| {
            let key = KEYS.iter().find(|(known, _)| *known == key);
            key.is_some_and(|(_, kinds)| kinds.contains(&kind))
        };
        match self.section.entries().find(|(key, _)| !known(key)) {
            None => Ok(()),
            Some((key, _)) => {
                let wrong = Wrong::Key {
                    key: key.to_owned(),
                    kind: kind.to_owned(),
                };
                Err(self.fault(key, wrong))
            }
        }
    }

    fn text(&self, key: &str) -> Option<String> {
        let value = self.section.value(key).filter(|value| !value.is_empty());
        // One line, so that printing it gives the same again.
        value.map(|value| value.replace('\n', " "))
    }

    fn value<T: FromStr<Err: Into<Wrong>>>(&self, key: &str) -> Result<Option<T>, Fault> {
        let value = self.section.value(key).map(str::parse).transpose();
        value.map_err(|wrong: T::Err| self.fault(key, wrong))
    }

    fn list<T: FromStr<Err: Into<Wrong>>>(
        &self,
        key: &str,
        between: fn(char) -> bool,
    ) -> Result<Vec<T>, Fault> {
        let text = self.section.value(key).unwrap_or_default();
        let items = text.split(between).filter(|item| !item.trim().is_empty());
        let items: Result<Vec<T>, T::Err> = items.map(str::parse).collect();
        items.map_err(|wrong| self.fault(key, wrong))
    }

    fn members(&self, kind: &'static str) -> Result<Vec<LinkName>, Fault> {
        let mut members: Vec<LinkName> = Vec::new();
        for member in self.list("members", |c: char| c.is_whitespace())? {
            if !members.contains(&member) {
                members.push(member);
            }
        }
        match members.is_empty() {
            true => Err(self.missing("members", kind)),
            false => Ok(members),
        }
    }

    fn word<T: Word>(&self, key: &'static str) -> Result<Option<T>, Fault> {
        let Some(text) = self.section.value(key) else {
            return Ok(None);
        };
        let wrong = || Wrong::Word {
            key,
            expected: T::words(),
            found: text.to_owned(),
        };
        match T::of(text) {
            Some(value) => Ok(Some(value)),
            None => Err(self.fault(key, wrong())),
        }
    }

    fn bond(&self) -> Result<Bond, Fault> {
        let bond = Bond {
            mode: self.word("mode")?.unwrap_or(BondMode::RoundRobin),
            miimon: self.number("miimon", MIIMONS)?.unwrap_or(MIIMON),
            lacp_rate: self.word("lacp-rate")?,
            hash_policy: self.word("hash-policy")?,
            primary: self.value("primary")?,
            members: self.members("bond")?,
        };
        match &bond.primary {
            Some(primary) if !bond.members.contains(primary) => {
                Err(self.fault("primary", Wrong::Primary(primary.clone())))
            }
            _ => Ok(bond),
        }
    }

    fn yes(&self, key: &'static str) -> Result<bool, Fault> {
        match self.section.value(key) {
            None | Some("no") => Ok(false),
            Some("yes") => Ok(true),
            Some(other) => {
                let wrong = Wrong::Word {
                    key,
                    expected: "yes, no".to_owned(),
                    found: other.to_owned(),
                };
                Err(self.fault(key, wrong))
            }
        }
    }

    fn number(&self, key: &'static str, range: (u32, u32)) -> Result<Option<u32>, Fault> {
        let Some(text) = self.section.value(key) else {
            return Ok(None);
        };
        match text.parse() {
            Ok(number) if (range.0..=range.1).contains(&number) => Ok(Some(number)),
            _ => {
                let wrong = Wrong::Number {
                    key,
                    range,
                    found: text.to_owned(),
                };
                Err(self.fault(key, wrong))
            }
        }
    }
}
