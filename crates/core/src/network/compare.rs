//! Differences between a `network.conf` and what would be learned from the running system now.

use std::fmt;

use super::learn::Learned;
use super::snapshot::Snapshot;
use super::{Definition, Link, LinkKind, LinkName, NetworkConfError};

/// Settings that do not decide if a server is reached.
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

/// One difference of one link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkDifference {
    /// Name of the link.
    pub link: LinkName,
    /// The difference itself.
    pub what: DifferenceKind,
}

/// Kinds of differences of a link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DifferenceKind {
    /// The link is in the file only: it does not exist, or leads to no server.
    OnlyInFile,
    /// A server is reached over a link that the file lacks, or describes in a section with an error.
    OnlyNow {
        /// True for an interface of the machine, which a boot uses without a section.
        device: bool,
        /// True when the file has a section for it that is left out for an error.
        faulty: bool,
    },
    /// A setting with different values.
    Setting {
        /// Key of the setting.
        key: String,
        /// Value in the file.
        file: Option<String>,
        /// Value on the running system.
        now: Option<String>,
    },
}

impl LinkDifference {
    /// True when a boot may fail because of it.
    pub fn is_decisive(&self) -> bool {
        match &self.what {
            DifferenceKind::OnlyInFile => true,
            DifferenceKind::OnlyNow { device, .. } => !device,
            DifferenceKind::Setting { key, .. } => !MINOR.contains(&key.as_str()),
        }
    }
}

impl fmt::Display for LinkDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let link = &self.link;
        match &self.what {
            DifferenceKind::OnlyInFile => write!(
                f,
                "{link} is in the file; the running system has no such link, or does not need it"
            ),
            DifferenceKind::OnlyNow { faulty: true, .. } => write!(
                f,
                "{link} leads to a server now; a boot leaves out its section, which has a fault"
            ),
            DifferenceKind::OnlyNow { faulty: false, .. } => {
                write!(f, "{link} leads to a server now, and is not in the file")
            }
            DifferenceKind::Setting { key, file, now } => {
                let [file, now] = [file, now].map(|it| it.as_deref().unwrap_or("not set"));
                write!(f, "{link}: {key} in the file: {file}; now: {now}")
            }
        }
    }
}

/// All differences between a file and what was learned just now, in the order of the file's links.
///
/// Equivalent descriptions do not differ: the way in which an interface is recognised, the order of members, and a
/// bridge instead of its port. `faults` are those of the file, from [`Definition::recover`].
pub fn differences(
    file: &Definition,
    faults: &[NetworkConfError],
    now: &Learned,
    snapshot: &Snapshot,
) -> Vec<LinkDifference> {
    let file = without_bridges(file);
    let mut found = Vec::new();
    for link in file.links() {
        match now.definition.link(link.name.as_str()) {
            Some(other) => found.extend(of_link(link, other, snapshot)),
            None => found.push(LinkDifference {
                link: link.name.clone(),
                what: DifferenceKind::OnlyInFile,
            }),
        }
    }
    for link in now.definition.links() {
        if file.link(link.name.as_str()).is_none() {
            let device = matches!(link.kind, LinkKind::Device(_))
                && link.addresses.is_empty()
                && link.routes.is_empty()
                && !link.dhcp;
            let is_left_out =
                |name: &LinkName| faults.iter().any(|it| it.link.as_ref() == Some(name));
            let faulty = is_left_out(&link.name) || link.stands_for.iter().any(is_left_out);
            found.push(LinkDifference {
                link: link.name.clone(),
                what: DifferenceKind::OnlyNow { device, faulty },
            });
        }
    }
    found
}

fn of_link(file: &Link, now: &Link, snapshot: &Snapshot) -> Vec<LinkDifference> {
    let mut now = now.clone();
    if let (LinkKind::Device(wanted), LinkKind::Device(learned)) = (&file.kind, &mut now.kind)
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
        (sorted(key, file.as_deref()) != sorted(key, now.as_deref())).then(|| {
            DifferenceKind::Setting {
                key: key.clone(),
                file,
                now,
            }
        })
    });
    differs
        .map(|what| LinkDifference {
            link: file.name.clone(),
            what,
        })
        .collect()
}

/// The items of a value, sorted where their order has no meaning.
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

/// The same network with each bridge replaced by its first port.
fn without_bridges(definition: &Definition) -> Definition {
    let mut links = definition.links().to_vec();
    while let Some(at) = links
        .iter()
        .position(|link| matches!(link.kind, LinkKind::Bridge { .. }))
    {
        let bridge = links.remove(at);
        let Some(port) = bridge.parts().first().cloned() else {
            continue;
        };
        for link in &mut links {
            if let LinkKind::Vlan { parent, .. } = &mut link.kind
                && *parent == bridge.name
            {
                *parent = port.clone();
            }
        }
        if !links.iter().any(|link| link.name == port) {
            let device = LinkKind::Device(super::DeviceMatch::default());
            links.push(Link::new(port.clone(), device));
        }
        for link in links.iter_mut().filter(|link| link.name == port) {
            link.stand_for(bridge.name.clone());
            link.dhcp |= bridge.dhcp;
            link.addresses.extend(bridge.addresses.iter().copied());
            link.routes.extend(bridge.routes.iter().copied());
        }
    }
    // Links without conflicts have none after the replacement.
    Definition::new(links).unwrap_or_default()
}
