//! What differs between a `network.conf` and what the running system would make of it now.

use std::fmt;

use super::learn::Learned;
use super::snapshot::Snapshot;
use super::{Definition, Kind, Link, LinkName};

/// Settings without which a server is reached all the same.
const MINOR: [&str; 9] = [
    "mtu",
    "mac",
    "miimon",
    "lacp-rate",
    "hash-policy",
    "primary",
    "stp",
    "forward-delay",
    "stands-for",
];

/// One difference.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// The link.
    pub link: LinkName,
    /// What differs.
    pub what: Differs,
}

/// What can differ of a link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Differs {
    /// The file describes a link that is not there, or leads to no server.
    OnlyInFile,
    /// A server is reached by a link that the file does not describe.
    OnlyNow {
        /// True when it is an interface of the machine, which a boot uses without being told.
        device: bool,
    },
    /// One setting.
    Setting {
        /// The key.
        key: String,
        /// The file's value.
        file: Option<String>,
        /// The running system's.
        now: Option<String>,
    },
}

impl Difference {
    /// True when a boot may fail for it.
    pub fn is_decisive(&self) -> bool {
        match &self.what {
            Differs::OnlyInFile => true,
            Differs::OnlyNow { device } => !device,
            Differs::Setting { key, .. } => !MINOR.contains(&key.as_str()),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let link = &self.link;
        match &self.what {
            Differs::OnlyInFile => write!(
                f,
                "{link} is in the file; the running system has no such link, or does not need it"
            ),
            Differs::OnlyNow { .. } => {
                write!(f, "{link} leads to a server now, and is not in the file")
            }
            Differs::Setting { key, file, now } => {
                let [file, now] = [file, now].map(|it| it.as_deref().unwrap_or("not set"));
                write!(f, "{link}: {key} in the file: {file}; now: {now}")
            }
        }
    }
}

/// All differences between a file and what was learned just now, in the order of the file's links.
///
/// Two ways to say the same are no difference: how an interface is recognised, the order of members, and a bridge
/// instead of its port.
pub fn differences(file: &Definition, now: &Learned, snapshot: &Snapshot) -> Vec<Difference> {
    let file = without_bridges(file);
    let mut found = Vec::new();
    for link in file.links() {
        match now.definition.link(link.name.as_str()) {
            Some(other) => found.extend(of_link(link, other, snapshot)),
            None => found.push(Difference {
                link: link.name.clone(),
                what: Differs::OnlyInFile,
            }),
        }
    }
    for link in now.definition.links() {
        if file.link(link.name.as_str()).is_none() {
            let device = matches!(link.kind, Kind::Device(_))
                && link.addresses.is_empty()
                && link.routes.is_empty()
                && !link.dhcp;
            found.push(Difference {
                link: link.name.clone(),
                what: Differs::OnlyNow { device },
            });
        }
    }
    found
}

fn of_link(file: &Link, now: &Link, snapshot: &Snapshot) -> Vec<Difference> {
    let mut now = now.clone();
    if let (Kind::Device(wanted), Kind::Device(learned)) = (&file.kind, &mut now.kind)
        && snapshot
            .named(file.name.as_str())
            .is_some_and(|seen| wanted.fits(&seen.present))
    {
        learned.clone_from(wanted);
    }
    let (theirs, ours) = (file.settings(), now.settings());
    let mut keys: Vec<&String> = theirs.iter().chain(&ours).map(|(key, _)| key).collect();
    keys.sort();
    keys.dedup();
    let value = |settings: &[(String, String)], key: &str| {
        let found = settings.iter().find(|(known, _)| known == key);
        found.map(|(_, value)| value.clone())
    };
    let differs = keys.into_iter().filter_map(|key| {
        let (file, now) = (value(&theirs, key), value(&ours, key));
        (sorted(key, file.as_deref()) != sorted(key, now.as_deref())).then(|| Differs::Setting {
            key: key.clone(),
            file,
            now,
        })
    });
    differs
        .map(|what| Difference {
            link: file.name.clone(),
            what,
        })
        .collect()
}

/// The items of a value in an order of their own, where the order says nothing.
fn sorted<'v>(key: &str, value: Option<&'v str>) -> Option<Vec<&'v str>> {
    let value = value?;
    let mut items: Vec<&str> = match key {
        "members" | "addresses" | "stands-for" => value.split_whitespace().collect(),
        "routes" => value.split(',').map(str::trim).collect(),
        _ => vec![value],
    };
    items.sort_unstable();
    Some(items)
}

/// The same network with the first port of each bridge in its place.
fn without_bridges(definition: &Definition) -> Definition {
    let mut links = definition.links().to_vec();
    while let Some(at) = links
        .iter()
        .position(|link| matches!(link.kind, Kind::Bridge { .. }))
    {
        let bridge = links.remove(at);
        let Some(port) = bridge.parts().first().cloned() else {
            continue;
        };
        for link in &mut links {
            if let Kind::Vlan { parent, .. } = &mut link.kind
                && *parent == bridge.name
            {
                *parent = port.clone();
            }
        }
        if !links.iter().any(|link| link.name == port) {
            let device = Kind::Device(super::Match::default());
            links.push(Link::new(port.clone(), device));
        }
        for link in links.iter_mut().filter(|link| link.name == port) {
            link.stand_for(bridge.name.clone());
            link.dhcp |= bridge.dhcp;
            link.addresses.extend(bridge.addresses.iter().copied());
            link.routes.extend(bridge.routes.iter().copied());
        }
    }
    // What fitted together still does.
    Definition::new(links).unwrap_or_default()
}
