//! Which change of the machine's links is next, until all that is described is there; and how to take
//! everything back.
//!
//! Pure: the caller shows the links as they are, makes the one change it is told, says how that went,
//! and shows them again. So every step starts from what the kernel says, never from what was hoped.

use super::change::{Change, New, Outcome};
use super::present::{By, Present, is_raw_bond};
use super::{Definition, ForwardDelay, Kind, Link, LinkName, Mtu};

/// How often one link is made, so that whoever keeps taking it away does not keep us busy. More than
/// once, for loading the kernel's module of bonding makes a link of its own, which may have the name.
const CREATIONS: usize = 4;

/// Makes the links of a definition.
#[derive(Debug)]
pub struct Maker {
    definition: Definition,
    /// Whether addresses and routes are given too.
    addressing: bool,
    /// Interfaces once recognised stay so: a member of a bond has the bond's address.
    recognised: Vec<(LinkName, u32)>,
    /// What is not tried again.
    settled: Vec<Change>,
    /// What was tried to be made, each as often as it was.
    creations: Vec<LinkName>,
    /// What takes the changes back, the last one last.
    undo: Vec<Undo>,
    /// Members that others use, as far as that was told.
    refused: Vec<LinkName>,
    /// Links that are left as they are because others use them, and how many of them were told.
    left: Vec<String>,
    told_left: usize,
}

#[derive(Clone, Debug)]
enum Undo {
    Change(Change),
    /// Take away what we made: its number is known only once it is there.
    Unmake(LinkName),
}

/// What becomes of something that is to be taken back.
enum Undoing {
    Possible,
    /// What it is about is not there any more.
    Pointless,
    /// It would take a link away from others.
    TakesAway,
}

fn is_addressing(undo: &Undo) -> bool {
    matches!(
        undo,
        Undo::Change(Change::RemoveAddress(..) | Change::RemoveRoute(..))
    )
}

impl Maker {
    /// Nothing is made yet. With `addressing`, links get their addresses and routes as well.
    pub fn new(definition: Definition, addressing: bool) -> Self {
        Self {
            definition,
            addressing,
            recognised: Vec::new(),
            settled: Vec::new(),
            creations: Vec::new(),
            undo: Vec::new(),
            refused: Vec::new(),
            left: Vec::new(),
            told_left: 0,
        }
    }

    /// Makes all of a definition, where it was a part of it before.
    pub fn widen(&mut self, definition: Definition) {
        self.definition = definition;
    }

    /// What is to be made.
    pub fn definition(&self) -> &Definition {
        &self.definition
    }

    /// Learns which interface is which, by the links as they are.
    pub fn recognise(&mut self, present: &[Present]) {
        let there = |index: u32| present.iter().any(|link| link.index == index);
        self.recognised.retain(|(_, index)| there(*index));
        for link in self.definition.links() {
            let Kind::Device(wanted) = &link.kind else {
                continue;
            };
            if wanted.is_by_name() || self.recognised.iter().any(|(name, _)| *name == link.name) {
                continue;
            }
            let taken = |index: u32| self.recognised.iter().any(|(_, taken)| *taken == index);
            let found = present
                .iter()
                .find(|it| !taken(it.index) && wanted.fits(it));
            if let Some(found) = found {
                self.recognised.push((link.name.clone(), found.index));
            }
        }
    }

    /// The name that the definition has for an interface of another name.
    pub fn name_of(&self, index: u32) -> Option<&LinkName> {
        let mut known = self.recognised.iter();
        known
            .find(|(_, known)| *known == index)
            .map(|(name, _)| name)
    }

    /// A member that is left alone because somebody uses it; each is told once.
    pub fn poll_refused(&mut self, present: &[Present]) -> Option<LinkName> {
        let untold = self.find_refused(present)?.clone();
        self.refused.push(untold.clone());
        Some(untold)
    }

    fn find_refused(&self, present: &[Present]) -> Option<&LinkName> {
        for link in self.definition.links() {
            let Some(master) = self.find(&link.name, present) else {
                continue;
            };
            let refused = |name: &&LinkName| {
                let member = self.find(name, present);
                let elsewhere = |it: &Present| it.in_use || it.master.is_some();
                member.is_some_and(|it| it.master != Some(master.index) && elsewhere(it))
            };
            let mut members = link.members().iter();
            let untold = members.find(|name| refused(name) && !self.refused.contains(name));
            if untold.is_some() && master.maker == By::Us {
                return untold;
            }
        }
        None
    }

    /// The next change to make; `None` when there is nothing to do until the links change.
    pub fn next_change(&mut self, present: &[Present]) -> Option<Change> {
        self.recognise(present);
        if let Some(left_over) = present.iter().find(|link| link.maker == By::TheDead) {
            let remove = Change::Remove(left_over.index);
            if !self.settled.contains(&remove) {
                return Some(remove);
            }
        }
        let mut links = self.definition.links().iter();
        links.find_map(|link| self.next_for(link, present))
    }

    /// Says how a change went that [`next_change`](Self::next_change) asked for; `present` is what it
    /// was shown then.
    pub fn handle_outcome(&mut self, change: Change, outcome: Outcome, present: &[Present]) {
        if let Change::Create { name, .. } = &change {
            self.creations.push(name.clone());
        }
        if outcome == Outcome::Made {
            self.undo.extend(self.undo_of(&change, present));
        }
        // What does not show in the links must not be done twice, and what failed not for ever.
        let shows = match change {
            Change::Create { .. } => outcome != Outcome::Failed,
            Change::SetMaster(..) | Change::SetUp(..) => outcome == Outcome::Made,
            _ => false,
        };
        if !shows {
            self.settled.push(change);
        }
    }

    /// Says that the caller has taken a link up, which is taken back in its turn.
    pub fn handle_taken_up(&mut self, index: u32) {
        self.undo.push(Undo::Change(Change::SetUp(index, false)));
    }

    /// The next change that takes something back; `None` when all is as it was found, but for what others use by
    /// now. Each is asked for once, whether it succeeds or not.
    pub fn next_undo(&mut self, present: &[Present]) -> Option<Change> {
        loop {
            // Our addresses and routes first: who has some then is others'. And the kernel forgets routes of a
            // link that is taken down.
            let last = self.undo.len().checked_sub(1);
            let at = self.undo.iter().rposition(is_addressing).or(last)?;
            let change = match self.undo.remove(at) {
                Undo::Change(change) => change,
                Undo::Unmake(name) => {
                    let ours = present
                        .iter()
                        .find(|link| link.maker == By::Us && link.name == name.as_str());
                    match ours {
                        Some(link) => Change::Remove(link.index),
                        None => continue,
                    }
                }
            };
            match (self.can_be_undone(&change, present), change) {
                (Undoing::Possible, change) => return Some(change),
                (Undoing::TakesAway, Change::Remove(index)) => {
                    return Some(Change::HandOver(index));
                }
                (Undoing::TakesAway | Undoing::Pointless, _) => {}
            }
        }
    }

    /// True when everything that a change is about is there still, and no user of it is in the way.
    fn can_be_undone(&mut self, change: &Change, present: &[Present]) -> Undoing {
        if let Change::CreateRawBond(name) = change {
            return match present.iter().any(|link| link.name == name.as_str()) {
                true => Undoing::Pointless,
                false => Undoing::Possible,
            };
        }
        let subject = change.subject();
        let Some(link) = present.iter().find(|link| Some(link.index) == subject) else {
            return Undoing::Pointless;
        };
        let takes_away = match change {
            Change::SetUp(_, false) => link.master.is_some() || self.serves_others(link, present),
            Change::Remove(_) | Change::SetMaster(..) | Change::SetMtu(..) | Change::SetMac(..) => {
                self.serves_others(link, present)
            }
            _ => false,
        };
        if !takes_away {
            return Undoing::Possible;
        }
        if !self.left.contains(&link.name) {
            self.left.push(link.name.clone());
        }
        Undoing::TakesAway
    }

    /// True when others use a link by now, or one that is made of it.
    fn serves_others(&self, link: &Present, present: &[Present]) -> bool {
        let mut serving: Vec<u32> = Vec::new();
        let mut found = Some(link.index);
        // Up from the link, as long as there is one that was not met yet.
        while let Some(index) = found {
            serving.push(index);
            let on_it = |upper: &&Present| {
                let definition = self.definition.link(&upper.name);
                let parts = definition.iter().flat_map(|upper| upper.parts());
                let mut parts = parts.filter_map(|name| self.find(name, present));
                let made = upper.maker == By::Us || self.left.contains(&upper.name);
                made && parts.any(|part| serving.contains(&part.index))
            };
            let is_new = |upper: &&Present| !serving.contains(&upper.index) && on_it(upper);
            found = present.iter().find(is_new).map(|upper| upper.index);
        }
        let used = |it: &Present| it.used_by_others && serving.contains(&it.index);
        present.iter().any(used)
    }

    /// What was left as it is because others use it; each is told once.
    pub fn poll_left(&mut self) -> Option<String> {
        let untold = self.left.get(self.told_left)?.clone();
        self.told_left += 1;
        Some(untold)
    }

    fn undo_of(&self, change: &Change, present: &[Present]) -> Option<Undo> {
        let before = |index: u32| present.iter().find(|link| link.index == index);
        let undo = match change {
            Change::Create { name, .. } => return Some(Undo::Unmake(name.clone())),
            Change::Remove(index) => {
                let before = before(*index)?;
                // One that came with its module while we tried to make ours was not there before.
                let name: LinkName = before.name.parse().ok()?;
                let came_now = self.creations.contains(&name);
                if before.maker == By::TheDead || came_now {
                    return None;
                }
                Change::CreateRawBond(name)
            }
            Change::SetMaster(index, _) => Change::SetMaster(*index, before(*index)?.master),
            Change::SetUp(index, up) => Change::SetUp(*index, !up),
            Change::SetMtu(index, _) => Change::SetMtu(*index, before(*index)?.mtu),
            Change::SetMac(index, _) => Change::SetMac(*index, before(*index)?.mac?),
            Change::AddAddress(index, address) => Change::RemoveAddress(*index, *address),
            Change::AddRoute(index, route) => Change::RemoveRoute(*index, *route),
            Change::CreateRawBond(_)
            | Change::HandOver(_)
            | Change::SetPrimary(..)
            | Change::RemoveAddress(..)
            | Change::RemoveRoute(..) => return None,
        };
        Some(Undo::Change(undo))
    }

    fn find<'p>(&self, name: &LinkName, present: &'p [Present]) -> Option<&'p Present> {
        let index = match self.definition.link(name.as_str()).map(|link| &link.kind) {
            Some(Kind::Device(wanted)) if !wanted.is_by_name() => {
                Some(self.recognised.iter().find(|(known, _)| known == name)?.1)
            }
            _ => None,
        };
        present.iter().find(|link| match index {
            Some(index) => link.index == index,
            None => link.name == name.as_str(),
        })
    }

    fn next_for(&self, link: &Link, present: &[Present]) -> Option<Change> {
        let found = self.find(&link.name, present);
        let change = match (&link.kind, found) {
            (Kind::Device(_), None) => None,
            (Kind::Device(_), Some(found)) => self.next_for_device(link, found),
            (Kind::Bond(_), Some(found)) if is_raw_bond(found, present) => {
                Some(Change::Remove(found.index))
            }
            // Whoever made it knows what it is to be.
            (_, Some(found)) if found.maker != By::Us => None,
            (Kind::Vlan { .. }, Some(found)) => self.keep_parent_up(link, present, found),
            (_, Some(found)) => self.next_for_members(link, found, present),
            (_, None) => self.next_to_create(link, present),
        };
        change
            .filter(|change| !self.settled.contains(change))
            .or_else(|| self.next_address(link, found?))
    }

    /// Sizes and addresses of an interface that nobody uses yet.
    fn next_for_device(&self, link: &Link, found: &Present) -> Option<Change> {
        if found.in_use || found.master.is_some() {
            return None;
        }
        let mtu = link.mtu.map(Mtu::get).filter(|mtu| *mtu != found.mtu);
        let mtu = mtu.map(|mtu| Change::SetMtu(found.index, mtu));
        let mac = link.mac.filter(|mac| Some(*mac) != found.mac && !found.up);
        let mac = mac.map(|mac| Change::SetMac(found.index, mac));
        let changes = [mtu, mac].into_iter().flatten();
        changes.into_iter().find(|c| !self.settled.contains(c))
    }

    fn next_to_create(&self, link: &Link, present: &[Present]) -> Option<Change> {
        if self.creations.iter().filter(|it| **it == link.name).count() >= CREATIONS {
            return None;
        }
        let parts = link.parts().iter();
        let mut parts = parts.filter_map(|name| self.find(name, present));
        let shared = link.members().is_empty();
        let first = parts.find(|part| shared || (part.master.is_none() && !part.in_use))?;
        let new = match &link.kind {
            Kind::Vlan { .. } if !first.up => return Some(Change::SetUp(first.index, true)),
            Kind::Vlan { id, protocol, .. } => New::Vlan {
                parent: first.index,
                id: id.get(),
                protocol: protocol.code(),
            },
            Kind::Bond(bond) => New::Bond {
                mode: bond.mode.code(),
                miimon: bond.miimon.get(),
                lacp_rate: bond.lacp_rate.map(|rate| rate.code()),
                hash_policy: bond.hash_policy.map(|policy| policy.code()),
            },
            Kind::Bridge {
                stp, forward_delay, ..
            } => New::Bridge {
                stp: *stp,
                forward_delay: forward_delay.map(ForwardDelay::get),
            },
            Kind::Device(_) => return None,
        };
        Some(Change::Create {
            name: link.name.clone(),
            new,
            mac: link.mac,
            mtu: link.mtu.map(Mtu::get),
        })
    }

    /// A VLAN runs only while its parent is up.
    fn keep_parent_up(&self, link: &Link, present: &[Present], vlan: &Present) -> Option<Change> {
        let parent = self.find(link.parts().first()?, present)?;
        (vlan.maker == By::Us && !parent.up).then_some(Change::SetUp(parent.index, true))
    }

    fn next_for_members(
        &self,
        link: &Link,
        master: &Present,
        present: &[Present],
    ) -> Option<Change> {
        let bond = match &link.kind {
            Kind::Bond(bond) => Some(bond),
            _ => None,
        };
        for name in link.members() {
            let Some(member) = self.find(name, present) else {
                continue;
            };
            let change = match member.master {
                Some(index) if index == master.index => continue,
                None if !member.in_use => {
                    // A bond takes only what is down, a bridge forwards only for what is up.
                    let wanted_up = bond.is_none();
                    match member.up == wanted_up {
                        true => Change::SetMaster(member.index, Some(master.index)),
                        false => Change::SetUp(member.index, wanted_up),
                    }
                }
                _ => continue,
            };
            if !self.settled.contains(&change) {
                return Some(change);
            }
        }
        let primary = self.find(bond?.primary.as_ref()?, present)?;
        let joined = primary.master == Some(master.index);
        joined.then_some(Change::SetPrimary(master.index, primary.index))
    }

    /// Addresses once the link is up, for the kernel forgets routes of one that is down.
    fn next_address(&self, link: &Link, found: &Present) -> Option<Change> {
        let own = found.master.is_none() && found.up && self.addressing;
        if !own || self.definition.is_member(link.name.as_str()) {
            return None;
        }
        let addresses = link.addresses.iter();
        let addresses = addresses.map(|address| Change::AddAddress(found.index, *address));
        let routes = link.routes.iter();
        let routes = routes.map(|route| Change::AddRoute(found.index, *route));
        let mut all = addresses.chain(routes);
        all.find(|change| !self.settled.contains(change))
    }
}

#[cfg(test)]
mod tests;
