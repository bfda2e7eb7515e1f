//! What the host's files say of its network, in one form whoever wrote them, and what they say that
//! cannot be carried into the initramfs.

use std::fmt;
use std::sync::Arc;

use nightlatch_core::network::{Cidr, Link, LinkName, Mac, Mtu, Route};
use serde::Serialize;

/// What one or more files say.
#[derive(Default, Debug)]
pub struct Found {
    /// Links that are made of others. Their parts are in the attachments.
    pub links: Vec<Described>,
    /// What interfaces have, and what they belong to.
    pub attachments: Vec<Attachment>,
    /// What was not understood, or cannot be done at boot.
    pub remarks: Vec<Remark>,
}

/// A link that is made.
#[derive(Debug)]
pub struct Described {
    /// The link, without what it is made of: `parent` and `members` name it itself until then.
    pub link: Link,
    /// Where it stands.
    pub place: Place,
}

/// What the interfaces that a file means have.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// Which they are.
    pub who: Selector,
    /// The name that they are given.
    pub name: Option<LinkName>,
    /// The bond or bridge they belong to.
    pub master: Option<LinkName>,
    /// Whether it is the one that a bond prefers.
    pub primary: bool,
    /// VLANs that they carry.
    pub vlans: Vec<LinkName>,
    /// Their hardware address.
    pub mac: Option<Mac>,
    /// Their largest packet.
    pub mtu: Option<Mtu>,
    /// Their addresses.
    pub addresses: Vec<Cidr>,
    /// Their routes.
    pub routes: Vec<Route>,
    /// Among those of one group only the first that means an interface counts for it.
    pub first_of: Option<&'static str>,
    /// Where it stands.
    pub place: Place,
}

/// Which interfaces are meant: all that fit to every list that is not empty.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Selector {
    /// Names, or patterns with `*`, `?` and `[a-z]`; those that begin with `!` are not meant.
    pub names: Vec<String>,
    /// Hardware addresses.
    pub macs: Vec<Mac>,
    /// Drivers, or patterns.
    pub drivers: Vec<String>,
    /// Places as `ID_PATH` of udev, or patterns.
    pub paths: Vec<String>,
    /// Only interfaces of the machine, no links that are made.
    pub physical: bool,
}

/// A line of a file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Place {
    /// The file.
    #[serde(serialize_with = "as_text")]
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: usize,
}

/// Something that is not carried into the initramfs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Remark {
    /// Where it stands.
    #[serde(flatten)]
    pub place: Place,
    /// What it is. Never a value that may be secret.
    pub what: String,
    /// What it means for the boot.
    pub weight: Weight,
}

/// What it means for the boot that something is left out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// The server may not be reached without it.
    Matters,
    /// Nobody here knows.
    Unknown,
    /// The server is reached without it.
    Harmless,
}

impl Selector {
    /// The one interface of this name.
    pub fn named(name: &str) -> Self {
        Self {
            names: vec![name.to_owned()],
            ..Self::default()
        }
    }

    /// The name, when it is nothing else that is asked for.
    pub fn only_name(&self) -> Option<&str> {
        let alone = self.macs.is_empty() && self.drivers.is_empty() && self.paths.is_empty();
        match &self.names[..] {
            [name] if alone && !name.contains(['*', '?', '[', '!']) => Some(name),
            _ => None,
        }
    }
}

impl Attachment {
    /// One that says nothing yet.
    pub fn new(who: Selector, place: Place) -> Self {
        Self {
            who,
            name: None,
            master: None,
            primary: false,
            vlans: Vec::new(),
            mac: None,
            mtu: None,
            addresses: Vec::new(),
            routes: Vec::new(),
            first_of: None,
            place,
        }
    }
}

impl Found {
    /// Notes something.
    pub fn remark(&mut self, place: &Place, weight: Weight, what: impl Into<String>) {
        self.remarks.push(Remark {
            place: place.clone(),
            what: what.into(),
            weight,
        });
    }

    /// Reads a value, or notes that it is not what it should be.
    pub fn value<T>(&mut self, place: &Place, key: &str, value: Result<T, String>) -> Option<T> {
        match value {
            Ok(value) => Some(value),
            Err(expected) => {
                self.remark(place, Weight::Matters, format!("{key}: {expected}"));
                None
            }
        }
    }

    /// Reads a value by its type, or notes that it is not what it should be.
    pub fn parse<T>(&mut self, place: &Place, key: &str, text: &str) -> Option<T>
    where
        T: std::str::FromStr<Err: fmt::Display>,
    {
        let value = text.trim().parse();
        let value = value.map_err(|error: T::Err| format!("{error}, found {text:?}"));
        self.value(place, key, value)
    }

    /// Reads a number, where zero is that nothing is said.
    pub fn parse_unless_zero<T>(&mut self, place: &Place, key: &str, text: &str) -> Option<T>
    where
        T: std::str::FromStr<Err: fmt::Display>,
    {
        match text.trim().parse() {
            Ok(0_u32) => None,
            _ => self.parse(place, key, text),
        }
    }

    /// Takes over what another says too.
    pub fn extend(&mut self, other: Self) {
        self.links.extend(other.links);
        self.attachments.extend(other.attachments);
        self.remarks.extend(other.remarks);
    }
}

fn as_text<S: serde::Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

impl Place {
    /// A line of `file`.
    pub fn new(file: &Arc<str>, line: usize) -> Self {
        Self {
            file: Arc::clone(file),
            line,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Matters => "matters",
            Self::Unknown => "unknown",
            Self::Harmless => "harmless",
        })
    }
}
