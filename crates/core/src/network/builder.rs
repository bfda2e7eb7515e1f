//! The next change of the machine's links, until all described links exist; and the changes that undo everything.
//!
//! Pure: the caller passes the current links, makes the one change that is returned, reports its result, and passes
//! the links again. So each step starts from the kernel's state.

use super::change::{ChangeOutcome, LinkChange, NewLink};
use super::present::{LinkCreator, PresentLink, is_raw_bond};
use super::{Definition, ForwardDelay, Link, LinkKind, LinkName, Mtu};

/// Attempts to create one link, so that a program that keeps deleting it does not cause an endless loop. More than
/// one, because loading the kernel's bonding module creates a link that may have the name.
const CREATIONS: usize = 4;

/// Creates the links of a definition, step by step.
#[derive(Debug)]
pub struct LinkBuilder {
    definition: Definition,
    /// True when addresses and routes are added too.
    addressing: bool,
    /// Recognised interfaces with their indexes. They stay recognised: a member of a bond takes the bond's hardware
    /// address.
    recognised: Vec<(LinkName, u32)>,
    /// Changes that are not tried again.
    finished: Vec<LinkChange>,
    /// Names of created links, once for each attempt.
    creations: Vec<LinkName>,
    /// Changes that undo those made, in the order of the latter.
    undo: Vec<Undo>,
    /// Members in use by others that were reported.
    busy_members: Vec<LinkName>,
    /// Links that are left as they are because others use them, and the number of them that was reported.
    left_alone: Vec<String>,
    left_reported: usize,
}

#[derive(Clone, Debug)]
enum Undo {
    Change(LinkChange),
    /// Delete a link that this process created. Its index is looked up then.
    Delete(LinkName),
}

/// Decision on one undo step.
enum UndoCheck {
    Possible,
    /// The link does not exist any more.
    Gone,
    /// It would break a link that others use.
    UsedByOthers,
}

fn is_addressing(undo: &Undo) -> bool {
    matches!(
        undo,
        Undo::Change(LinkChange::RemoveAddress(..) | LinkChange::RemoveRoute(..))
    )
}

impl LinkBuilder {
    /// With `addressing`, links get their addresses and routes too.
    pub fn new(definition: Definition, addressing: bool) -> Self {
        Self {
            definition,
            addressing,
            recognised: Vec::new(),
            finished: Vec::new(),
            creations: Vec::new(),
            undo: Vec::new(),
            busy_members: Vec::new(),
            left_alone: Vec::new(),
            left_reported: 0,
        }
    }

    /// Replaces the definition by a larger one that contains it.
    pub fn extend_definition(&mut self, definition: Definition) {
        self.definition = definition;
    }

    /// The definition whose links are created.
    pub fn definition(&self) -> &Definition {
        &self.definition
    }

    /// Matches interfaces with the definition's devices.
    pub fn recognise(&mut self, present: &[PresentLink]) {
        let there = |index: u32| present.iter().any(|link| link.index == index);
        self.recognised.retain(|(_, index)| there(*index));
        for link in self.definition.links() {
            let LinkKind::Device(wanted) = &link.kind else {
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

    /// The definition's name for a recognised interface.
    pub fn name_of(&self, index: u32) -> Option<&LinkName> {
        let mut known = self.recognised.iter();
        known
            .find(|(_, known)| *known == index)
            .map(|(name, _)| name)
    }

    /// A member that is left out because it is in use; each is returned once.
    pub fn poll_busy_member(&mut self, present: &[PresentLink]) -> Option<LinkName> {
        let unreported = self.find_busy_member(present)?.clone();
        self.busy_members.push(unreported.clone());
        Some(unreported)
    }

    fn find_busy_member(&self, present: &[PresentLink]) -> Option<&LinkName> {
        for link in self.definition.links() {
            let Some(master) = self.find(&link.name, present) else {
                continue;
            };
            let is_busy = |name: &&LinkName| {
                let member = self.find(name, present);
                let elsewhere = |it: &PresentLink| it.in_use || it.master.is_some();
                member.is_some_and(|it| it.master != Some(master.index) && elsewhere(it))
            };
            let mut members = link.members().iter();
            let unreported =
                members.find(|name| is_busy(name) && !self.busy_members.contains(name));
            if unreported.is_some() && master.creator == LinkCreator::ThisProcess {
                return unreported;
            }
        }
        None
    }

    /// The next change to make; `None` until the links change.
    pub fn next_change(&mut self, present: &[PresentLink]) -> Option<LinkChange> {
        self.recognise(present);
        if let Some(left_over) = present
            .iter()
            .find(|link| link.creator == LinkCreator::DeadProcess)
        {
            let remove = LinkChange::Remove(left_over.index);
            if !self.finished.contains(&remove) {
                return Some(remove);
            }
        }
        let mut links = self.definition.links().iter();
        links.find_map(|link| self.next_for(link, present))
    }

    /// Reports the result of a change that [`next_change`](Self::next_change) returned, with the links passed then.
    pub fn handle_result(
        &mut self,
        change: LinkChange,
        outcome: ChangeOutcome,
        present: &[PresentLink],
    ) {
        if let LinkChange::Create { name, .. } = &change {
            self.creations.push(name.clone());
        }
        if outcome == ChangeOutcome::Made {
            self.undo.extend(self.undo_of(&change, present));
        }
        // A change that is not visible in the links must not be repeated, and a failed one not retried for ever.
        let shows = match change {
            LinkChange::Create { .. } => outcome != ChangeOutcome::Failed,
            LinkChange::SetMaster(..) | LinkChange::SetUp(..) => outcome == ChangeOutcome::Made,
            _ => false,
        };
        if !shows {
            self.finished.push(change);
        }
    }

    /// Reports that the caller took a link up, so that it is undone too.
    pub fn handle_taken_up(&mut self, index: u32) {
        self.undo
            .push(Undo::Change(LinkChange::SetUp(index, false)));
    }

    /// The next change that undoes something; `None` when all is undone, except for links that others use by now. Each
    /// change is returned once, even if it fails.
    pub fn next_undo(&mut self, present: &[PresentLink]) -> Option<LinkChange> {
        loop {
            // Addresses and routes first: any that remain then belong to others. Besides, the kernel drops the routes
            // of a link that is taken down.
            let last = self.undo.len().checked_sub(1);
            let at = self.undo.iter().rposition(is_addressing).or(last)?;
            let change = match self.undo.remove(at) {
                Undo::Change(change) => change,
                Undo::Delete(name) => {
                    let ours = present.iter().find(|link| {
                        link.creator == LinkCreator::ThisProcess && link.name == name.as_str()
                    });
                    match ours {
                        Some(link) => LinkChange::Remove(link.index),
                        None => continue,
                    }
                }
            };
            match (self.can_be_undone(&change, present), change) {
                (UndoCheck::Possible, change) => return Some(change),
                (UndoCheck::UsedByOthers, LinkChange::Remove(index)) => {
                    return Some(LinkChange::HandOver(index));
                }
                (UndoCheck::UsedByOthers | UndoCheck::Gone, _) => {}
            }
        }
    }

    /// Checks that the link of a change exists and that no other program needs it.
    fn can_be_undone(&mut self, change: &LinkChange, present: &[PresentLink]) -> UndoCheck {
        if let LinkChange::CreateRawBond(name) = change {
            return match present.iter().any(|link| link.name == name.as_str()) {
                true => UndoCheck::Gone,
                false => UndoCheck::Possible,
            };
        }
        let subject = change.subject();
        let Some(link) = present.iter().find(|link| Some(link.index) == subject) else {
            return UndoCheck::Gone;
        };
        let takes_away = match change {
            LinkChange::SetUp(_, false) => {
                link.master.is_some() || self.is_needed_by_others(link, present)
            }
            LinkChange::Remove(_)
            | LinkChange::SetMaster(..)
            | LinkChange::SetMtu(..)
            | LinkChange::SetMac(..) => self.is_needed_by_others(link, present),
            _ => false,
        };
        if !takes_away {
            return UndoCheck::Possible;
        }
        if !self.left_alone.contains(&link.name) {
            self.left_alone.push(link.name.clone());
        }
        UndoCheck::UsedByOthers
    }

    /// True when others use this link, or a link built on it.
    fn is_needed_by_others(&self, link: &PresentLink, present: &[PresentLink]) -> bool {
        let mut serving: Vec<u32> = Vec::new();
        let mut found = Some(link.index);
        // Follows the links built on it until no new one is found.
        while let Some(index) = found {
            serving.push(index);
            let on_it = |upper: &&PresentLink| {
                let definition = self.definition.link(&upper.name);
                let parts = definition.iter().flat_map(|upper| upper.parts());
                let mut parts = parts.filter_map(|name| self.find(name, present));
                let made = upper.creator == LinkCreator::ThisProcess
                    || self.left_alone.contains(&upper.name);
                made && parts.any(|part| serving.contains(&part.index))
            };
            let is_new = |upper: &&PresentLink| !serving.contains(&upper.index) && on_it(upper);
            found = present.iter().find(is_new).map(|upper| upper.index);
        }
        let used = |it: &PresentLink| it.used_by_others && serving.contains(&it.index);
        present.iter().any(used)
    }

    /// A link that was left as it is because others use it; each is returned once.
    pub fn poll_left_alone(&mut self) -> Option<String> {
        let unreported = self.left_alone.get(self.left_reported)?.clone();
        self.left_reported += 1;
        Some(unreported)
    }

    fn undo_of(&self, change: &LinkChange, present: &[PresentLink]) -> Option<Undo> {
        let before = |index: u32| present.iter().find(|link| link.index == index);
        let undo = match change {
            LinkChange::Create { name, .. } => return Some(Undo::Delete(name.clone())),
            LinkChange::Remove(index) => {
                let before = before(*index)?;
                // A bond that appeared with its module during an attempt did not exist before.
                let name: LinkName = before.name.parse().ok()?;
                let came_now = self.creations.contains(&name);
                if before.creator == LinkCreator::DeadProcess || came_now {
                    return None;
                }
                LinkChange::CreateRawBond(name)
            }
            LinkChange::SetMaster(index, _) => {
                LinkChange::SetMaster(*index, before(*index)?.master)
            }
            LinkChange::SetUp(index, up) => LinkChange::SetUp(*index, !up),
            LinkChange::SetMtu(index, _) => LinkChange::SetMtu(*index, before(*index)?.mtu),
            LinkChange::SetMac(index, _) => LinkChange::SetMac(*index, before(*index)?.mac?),
            LinkChange::AddAddress(index, address) => LinkChange::RemoveAddress(*index, *address),
            LinkChange::AddRoute(index, route) => LinkChange::RemoveRoute(*index, *route),
            LinkChange::CreateRawBond(_)
            | LinkChange::HandOver(_)
            | LinkChange::SetPrimary(..)
            | LinkChange::RemoveAddress(..)
            | LinkChange::RemoveRoute(..) => return None,
        };
        Some(Undo::Change(undo))
    }

    fn find<'p>(&self, name: &LinkName, present: &'p [PresentLink]) -> Option<&'p PresentLink> {
        let index = match self.definition.link(name.as_str()).map(|link| &link.kind) {
            Some(LinkKind::Device(wanted)) if !wanted.is_by_name() => {
                Some(self.recognised.iter().find(|(known, _)| known == name)?.1)
            }
            _ => None,
        };
        present.iter().find(|link| match index {
            Some(index) => link.index == index,
            None => link.name == name.as_str(),
        })
    }

    fn next_for(&self, link: &Link, present: &[PresentLink]) -> Option<LinkChange> {
        let found = self.find(&link.name, present);
        let change = match (&link.kind, found) {
            (LinkKind::Device(_), None) => None,
            (LinkKind::Device(_), Some(found)) => self.next_for_device(link, found),
            (LinkKind::Bond(_), Some(found)) if is_raw_bond(found, present) => {
                Some(LinkChange::Remove(found.index))
            }
            // A link of others is used as it is.
            (_, Some(found)) if found.creator != LinkCreator::ThisProcess => None,
            (LinkKind::Vlan { .. }, Some(found)) => self.next_for_parent(link, present, found),
            (_, Some(found)) => self.next_for_members(link, found, present),
            (_, None) => self.next_to_create(link, present),
        };
        change
            .filter(|change| !self.finished.contains(change))
            .or_else(|| self.next_address(link, found?))
    }

    /// MTU and hardware address of an interface that is not in use.
    fn next_for_device(&self, link: &Link, found: &PresentLink) -> Option<LinkChange> {
        if found.in_use || found.master.is_some() {
            return None;
        }
        let mtu = link.mtu.map(Mtu::get).filter(|mtu| *mtu != found.mtu);
        let mtu = mtu.map(|mtu| LinkChange::SetMtu(found.index, mtu));
        let mac = link.mac.filter(|mac| Some(*mac) != found.mac && !found.up);
        let mac = mac.map(|mac| LinkChange::SetMac(found.index, mac));
        let changes = [mtu, mac].into_iter().flatten();
        changes.into_iter().find(|c| !self.finished.contains(c))
    }

    fn next_to_create(&self, link: &Link, present: &[PresentLink]) -> Option<LinkChange> {
        if self.creations.iter().filter(|it| **it == link.name).count() >= CREATIONS {
            return None;
        }
        let parts = link.parts().iter();
        let mut parts = parts.filter_map(|name| self.find(name, present));
        let shared = link.members().is_empty();
        let first = parts.find(|part| shared || (part.master.is_none() && !part.in_use))?;
        let new = match &link.kind {
            LinkKind::Vlan { .. } if !first.up => {
                return Some(LinkChange::SetUp(first.index, true));
            }
            LinkKind::Vlan { id, protocol, .. } => NewLink::Vlan {
                parent: first.index,
                id: id.get(),
                protocol: protocol.code(),
            },
            LinkKind::Bond(bond) => NewLink::Bond {
                mode: bond.mode.code(),
                miimon: bond.miimon.get(),
                lacp_rate: bond.lacp_rate.map(|rate| rate.code()),
                hash_policy: bond.hash_policy.map(|policy| policy.code()),
            },
            LinkKind::Bridge {
                stp, forward_delay, ..
            } => NewLink::Bridge {
                stp: *stp,
                forward_delay: forward_delay.map(ForwardDelay::get),
            },
            LinkKind::Device(_) => return None,
        };
        Some(LinkChange::Create {
            name: link.name.clone(),
            new,
            mac: link.mac,
            mtu: link.mtu.map(Mtu::get),
        })
    }

    /// Takes the parent of a VLAN up: the VLAN runs only then.
    fn next_for_parent(
        &self,
        link: &Link,
        present: &[PresentLink],
        vlan: &PresentLink,
    ) -> Option<LinkChange> {
        let parent = self.find(link.parts().first()?, present)?;
        (vlan.creator == LinkCreator::ThisProcess && !parent.up)
            .then_some(LinkChange::SetUp(parent.index, true))
    }

    fn next_for_members(
        &self,
        link: &Link,
        master: &PresentLink,
        present: &[PresentLink],
    ) -> Option<LinkChange> {
        let bond = match &link.kind {
            LinkKind::Bond(bond) => Some(bond),
            _ => None,
        };
        for name in link.members() {
            let Some(member) = self.find(name, present) else {
                continue;
            };
            let change = match member.master {
                Some(index) if index == master.index => continue,
                None if !member.in_use => {
                    // A bond accepts only members that are down; a bridge forwards only for ports that are up.
                    let wanted_up = bond.is_none();
                    match member.up == wanted_up {
                        true => LinkChange::SetMaster(member.index, Some(master.index)),
                        false => LinkChange::SetUp(member.index, wanted_up),
                    }
                }
                _ => continue,
            };
            if !self.finished.contains(&change) {
                return Some(change);
            }
        }
        let primary = self.find(bond?.primary.as_ref()?, present)?;
        let joined = primary.master == Some(master.index);
        joined.then_some(LinkChange::SetPrimary(master.index, primary.index))
    }

    /// Adds addresses only once the link is up, because the kernel drops the routes of a link that is down.
    fn next_address(&self, link: &Link, found: &PresentLink) -> Option<LinkChange> {
        let own = found.master.is_none() && found.up && self.addressing;
        if !own || self.definition.is_member(link.name.as_str()) {
            return None;
        }
        let addresses = link.addresses.iter();
        let addresses = addresses.map(|address| LinkChange::AddAddress(found.index, *address));
        let routes = link.routes.iter();
        let routes = routes.map(|route| LinkChange::AddRoute(found.index, *route));
        let mut all = addresses.chain(routes);
        all.find(|change| !self.finished.contains(change))
    }
}

#[cfg(test)]
mod tests;
