use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::network::Mac;

/// A link's name, state, hardware address, MTU, master and kind.
type Picture = (
    String,
    bool,
    Option<Mac>,
    u32,
    Option<String>,
    Option<String>,
);

/// A simulation of the kernel's links, by ip-link(8) and the documentation of bonding.
#[derive(Clone, Debug)]
struct Kernel {
    links: Vec<PresentLink>,
    next: u32,
    parents: BTreeMap<u32, u32>,
    /// True until the bonding module is loaded, which creates `bond0`.
    bonding_unloaded: bool,
}

impl Kernel {
    fn new(devices: &[(&str, bool)]) -> Self {
        let mut kernel = Self {
            links: Vec::new(),
            next: 2,
            parents: BTreeMap::new(),
            bonding_unloaded: false,
        };
        for (name, up) in devices {
            kernel.add_device(name, *up);
        }
        kernel
    }

    fn add_device(&mut self, name: &str, up: bool) {
        let index = self.add(name, None, LinkCreator::Others);
        let mac = Mac([2, 0, 0, 0, 0, u8::try_from(index).unwrap()]);
        let link = self.link(index);
        (link.mac, link.permanent_mac, link.up) = (Some(mac), Some(mac), up);
    }

    fn add(&mut self, name: &str, kind: Option<&str>, creator: LinkCreator) -> u32 {
        let index = self.next;
        self.next += 1;
        self.links.push(PresentLink {
            index,
            name: name.to_owned(),
            kind: kind.map(str::to_owned),
            mtu: 1500,
            creator,
            ..PresentLink::default()
        });
        index
    }

    fn link(&mut self, index: u32) -> &mut PresentLink {
        self.links
            .iter_mut()
            .find(|link| link.index == index)
            .unwrap()
    }

    fn named(&self, name: &str) -> Option<&PresentLink> {
        self.links.iter().find(|link| link.name == name)
    }

    fn apply(&mut self, change: &LinkChange) -> ChangeOutcome {
        let bond = |kernel: &Self, index: u32| {
            let master = kernel.links.iter().find(|link| link.index == index);
            master.is_some_and(|link| link.kind.as_deref() == Some("bond"))
        };
        match change {
            LinkChange::Create { name, new, .. } => {
                let kind = match new {
                    NewLink::Vlan { .. } => "vlan",
                    NewLink::Bond { .. } => "bond",
                    NewLink::Bridge { .. } => "bridge",
                };
                if kind == "bond" && std::mem::take(&mut self.bonding_unloaded) {
                    self.add("bond0", Some("bond"), LinkCreator::Others);
                }
                if self.named(name.as_str()).is_some() {
                    return ChangeOutcome::AlreadyExists;
                }
                let index = self.add(name.as_str(), Some(kind), LinkCreator::ThisProcess);
                if let NewLink::Vlan { parent, .. } = new {
                    self.parents.insert(index, *parent);
                }
            }
            LinkChange::CreateRawBond(name) => {
                self.add(name.as_str(), Some("bond"), LinkCreator::Others);
            }
            LinkChange::Remove(index) => self.remove(*index),
            LinkChange::HandOver(index) => self.link(*index).creator = LinkCreator::Others,
            LinkChange::SetMaster(index, None) => self.release(*index),
            LinkChange::SetMaster(index, Some(master)) => {
                if bond(self, *master) {
                    if self.link(*index).up {
                        return ChangeOutcome::Failed;
                    }
                    self.link(*index).up = true;
                }
                self.link(*index).master = Some(*master);
            }
            LinkChange::SetUp(index, up) => self.link(*index).up = *up,
            LinkChange::SetMtu(index, mtu) => self.link(*index).mtu = *mtu,
            LinkChange::SetMac(index, mac) => self.link(*index).mac = Some(*mac),
            _ => {}
        }
        ChangeOutcome::Made
    }

    fn release(&mut self, index: u32) {
        let Some(master) = self.link(index).master.take() else {
            return;
        };
        if self.link(master).kind.as_deref() == Some("bond") {
            self.link(index).up = false;
        }
    }

    fn remove(&mut self, index: u32) {
        let members: Vec<u32> = self
            .links
            .iter()
            .filter(|l| l.master == Some(index))
            .map(|l| l.index)
            .collect();
        members.into_iter().for_each(|member| self.release(member));
        let children: Vec<u32> = self
            .parents
            .iter()
            .filter(|(_, p)| **p == index)
            .map(|(c, _)| *c)
            .collect();
        self.parents
            .retain(|child, parent| *child != index && *parent != index);
        for child in children {
            self.remove(child);
        }
        self.links.retain(|link| link.index != index);
    }

    /// All links, without their indexes, which cannot be restored.
    fn state(&self) -> Vec<Picture> {
        let master = |index: Option<u32>| {
            let master = self.links.iter().find(|link| Some(link.index) == index);
            master.map(|link| link.name.clone())
        };
        let mut all: Vec<_> = self
            .links
            .iter()
            .map(|l| {
                (
                    l.name.clone(),
                    l.up,
                    l.mac,
                    l.mtu,
                    master(l.master),
                    l.kind.clone(),
                )
            })
            .collect();
        all.sort();
        all
    }

    /// Makes at most `steps` changes; true when the builder has none left.
    fn run(&mut self, builder: &mut LinkBuilder, steps: usize) -> bool {
        for _ in 0..steps {
            let present = self.links.clone();
            let Some(change) = builder.next_change(&present) else {
                return true;
            };
            let outcome = self.apply(&change);
            builder.handle_result(change, outcome, &present);
        }
        false
    }

    fn undo(&mut self, builder: &mut LinkBuilder) {
        while let Some(change) = builder.next_undo(&self.links.clone()) {
            self.apply(&change);
        }
    }

    /// The process is killed: its links have no owner.
    fn kill(&mut self) {
        for link in self
            .links
            .iter_mut()
            .filter(|link| link.creator == LinkCreator::ThisProcess)
        {
            link.creator = LinkCreator::DeadProcess;
        }
    }
}

/// More steps than any definition here needs.
const ENOUGH: usize = 200;

const ALL: &str = "\
[e3]
mtu = 9000
[bond0]
kind = bond
mode = active-backup
primary = e1
members = e0 e1
[bond0.5]
kind = vlan
id = 5
parent = bond0
[br0]
kind = bridge
members = bond0.5 e2
[e3.7]
kind = vlan
id = 7
parent = e3
";

fn builder(text: &str) -> LinkBuilder {
    LinkBuilder::new(Definition::parse(text).unwrap(), true)
}

fn master_of(kernel: &Kernel, name: &str) -> Option<String> {
    let index = kernel.named(name)?.master?;
    kernel
        .links
        .iter()
        .find(|l| l.index == index)
        .map(|l| l.name.clone())
}

fn assert_made(kernel: &Kernel) {
    for (member, master) in [
        ("e0", "bond0"),
        ("e1", "bond0"),
        ("bond0.5", "br0"),
        ("e2", "br0"),
    ] {
        assert_eq!(
            master_of(kernel, member).as_deref(),
            Some(master),
            "{member}"
        );
        assert!(kernel.named(member).unwrap().up, "{member}");
    }
    assert!(kernel.named("e3.7").is_some() && kernel.named("e3").unwrap().up);
    assert_eq!(kernel.named("e3").unwrap().mtu, 9000);
}

#[test]
fn a_member_that_is_up_is_taken_down_for_its_bond_and_up_again_afterwards() {
    let mut kernel = Kernel::new(&[("e0", true), ("e1", false), ("e2", false), ("e3", true)]);
    let before = kernel.state();
    let mut builder = builder(ALL);
    assert!(kernel.run(&mut builder, ENOUGH));
    assert_made(&kernel);
    kernel.undo(&mut builder);
    assert_eq!(kernel.state(), before);
}

#[test]
fn a_bond_of_the_loaded_module_is_not_mistaken_for_ours() {
    let mut kernel = Kernel::new(&[("e0", false), ("e1", false)]);
    kernel.bonding_unloaded = true;
    let before = kernel.state();
    let mut builder = builder(ALL);
    assert!(kernel.run(&mut builder, ENOUGH));
    assert_eq!(master_of(&kernel, "e0").as_deref(), Some("bond0"));
    kernel.undo(&mut builder);
    assert_eq!(kernel.state(), before);
}

#[test]
fn a_bond_that_the_module_made_before_is_restored() {
    let mut kernel = Kernel::new(&[("e0", false)]);
    kernel.add("bond0", Some("bond"), LinkCreator::Others);
    let before = kernel.state();
    let mut builder = builder(ALL);
    assert!(kernel.run(&mut builder, ENOUGH));
    assert_eq!(
        kernel.named("bond0").unwrap().creator,
        LinkCreator::ThisProcess
    );
    kernel.undo(&mut builder);
    assert_eq!(kernel.state(), before);
}

#[test]
fn a_link_that_others_made_is_used_and_left_alone() {
    let mut kernel = Kernel::new(&[("e0", true), ("e1", true), ("e2", false), ("e3", false)]);
    kernel.add("br0", Some("bridge"), LinkCreator::Others);
    let mut builder = builder("[br0]\nkind = bridge\nmembers = e0 e1\n");
    let before = kernel.state();
    assert!(kernel.run(&mut builder, ENOUGH));
    assert_eq!(kernel.state(), before);
}

#[test]
fn a_member_in_use_is_left_alone_and_reported_once() {
    let mut kernel = Kernel::new(&[("e0", true), ("e1", false)]);
    kernel.link(2).in_use = true;
    let mut builder = builder("[b]\nkind = bond\nmembers = e0 e1\n");
    assert!(kernel.run(&mut builder, ENOUGH));
    assert!(kernel.named("e0").unwrap().up && master_of(&kernel, "e0").is_none());
    assert_eq!(master_of(&kernel, "e1").as_deref(), Some("b"));
    assert_eq!(
        builder.poll_busy_member(&kernel.links).unwrap().as_str(),
        "e0"
    );
    assert!(kernel.run(&mut builder, ENOUGH));
    assert_eq!(builder.poll_busy_member(&kernel.links), None);
}

/// Undoes everything; returns the changes in order.
fn undone(kernel: &mut Kernel, builder: &mut LinkBuilder) -> Vec<LinkChange> {
    let mut all = Vec::new();
    while let Some(change) = builder.next_undo(&kernel.links.clone()) {
        kernel.apply(&change);
        all.push(change);
    }
    all
}

// The kernel drops the routes of a link that goes down: removing them then would fail.
#[test]
fn routes_and_addresses_go_before_the_link_that_the_caller_took_up() {
    let mut kernel = Kernel::new(&[("e0", false)]);
    let mut builder = builder(
        "[e0]\nmac = 02:00:00:00:00:99\naddresses = 192.0.2.7/24\nroutes = default via 192.0.2.1\n",
    );
    assert!(kernel.run(&mut builder, ENOUGH));
    kernel.link(2).up = true;
    builder.handle_taken_up(2);
    assert!(kernel.run(&mut builder, ENOUGH));
    let undone = undone(&mut kernel, &mut builder);
    assert!(
        matches!(
            undone[..],
            [
                LinkChange::RemoveRoute(2, _),
                LinkChange::RemoveAddress(2, _),
                LinkChange::SetUp(2, false),
                LinkChange::SetMac(2, _),
            ]
        ),
        "{undone:?}"
    );
}

#[test]
fn links_that_others_use_by_now_are_left_to_them() {
    let mut kernel = Kernel::new(&[("e0", false), ("e1", false)]);
    let mut builder = builder("[e0]\naddresses = 192.0.2.7/24\n");
    for index in [2, 3] {
        kernel.link(index).up = true;
        builder.handle_taken_up(index);
    }
    assert!(kernel.run(&mut builder, ENOUGH));
    kernel.link(2).used_by_others = true;
    let undone = undone(&mut kernel, &mut builder);
    assert!(
        matches!(
            undone[..],
            [LinkChange::RemoveAddress(2, _), LinkChange::SetUp(3, false)]
        ),
        "{undone:?}"
    );
    assert_eq!(builder.poll_left_alone().as_deref(), Some("e0"));
    assert_eq!(builder.poll_left_alone(), None);
}

/// A bond with a VLAN on it and members in it, each part in turn used by others.
#[test]
fn all_parts_of_a_used_link_are_left_with_it() {
    for used in ["bond0", "bond0.5", "br0"] {
        let mut kernel = Kernel::new(&[("e0", true), ("e1", false), ("e2", false), ("e3", false)]);
        let mut builder = builder(ALL);
        assert!(kernel.run(&mut builder, ENOUGH));
        let index = kernel.named(used).unwrap().index;
        kernel.link(index).used_by_others = true;
        undone(&mut kernel, &mut builder);
        for member in ["e0", "e1"] {
            assert_eq!(
                master_of(&kernel, member).as_deref(),
                Some("bond0"),
                "{used}"
            );
            assert!(kernel.named(member).unwrap().up, "{used}: {member}");
        }
        assert_eq!(kernel.named("bond0.5").is_some(), used != "bond0");
        assert_eq!(kernel.named("br0").is_some(), used == "br0");
        assert!(kernel.named("e3.7").is_none() && !kernel.named("e3").unwrap().up);
        // It is not mistaken for a link that a killed client left behind.
        assert_eq!(kernel.named(used).unwrap().creator, LinkCreator::Others);
        kernel.kill();
        assert!(
            kernel
                .links
                .iter()
                .all(|link| link.creator != LinkCreator::DeadProcess),
            "{used}"
        );
    }
}

#[test]
fn an_interface_is_recognised_by_its_address_under_any_name() {
    let mut kernel = Kernel::new(&[("eth0", false), ("eth1", false)]);
    let text = "[lan0]\nmatch-mac = 02:00:00:00:00:03\n[v]\nkind = vlan\nid = 1\nparent = lan0\n";
    let mut builder = builder(text);
    assert!(kernel.run(&mut builder, ENOUGH));
    assert!(kernel.named("eth1").unwrap().up && !kernel.named("eth0").unwrap().up);
    assert_eq!(builder.name_of(3).unwrap().as_str(), "lan0");
    assert!(kernel.named("v").is_some());
}

#[test]
fn addresses_are_given_once_and_only_to_a_link_that_is_up() {
    let mut kernel = Kernel::new(&[("e0", false)]);
    let text = "[e0]\naddresses = 192.0.2.7/24\nroutes = default via 192.0.2.1\n";
    let mut builder = builder(text);
    assert!(kernel.run(&mut builder, 0) || builder.next_change(&kernel.links).is_none());
    kernel.link(2).up = true;
    assert!(matches!(
        builder.next_change(&kernel.links),
        Some(LinkChange::AddAddress(2, _))
    ));
    assert!(kernel.run(&mut builder, ENOUGH));
    let mut undone = Vec::new();
    while let Some(change) = builder.next_undo(&kernel.links) {
        undone.push(change);
    }
    assert!(matches!(
        undone[..],
        [LinkChange::RemoveRoute(..), LinkChange::RemoveAddress(..)]
    ));
}

#[test]
fn a_change_that_always_fails_is_tried_once() {
    let present = Kernel::new(&[("e0", true)]).links;
    let mut builder = builder("[v]\nkind = vlan\nid = 1\nparent = e0\n");
    let change = builder.next_change(&present).unwrap();
    builder.handle_result(change, ChangeOutcome::Failed, &present);
    assert_eq!(builder.next_change(&present), None);
    assert_eq!(builder.next_undo(&present), None);
}

/// Devices that may exist, and their states.
fn devices() -> impl Strategy<Value = Vec<(&'static str, bool)>> {
    vec(any::<(bool, bool)>(), 4).prop_map(|states| {
        let devices = ["e0", "e1", "e2", "e3"].into_iter().zip(states);
        devices
            .filter(|(_, (there, _))| *there)
            .map(|(name, (_, up))| (name, up))
            .collect()
    })
}

proptest! {
    #[test]
    fn everything_is_restored_after_any_number_of_steps(
        devices in devices(), module in any::<bool>(), steps in 0_usize..40
    ) {
        let mut kernel = Kernel::new(&devices);
        kernel.bonding_unloaded = module;
        let before = kernel.state();
        let mut builder = builder(ALL);
        kernel.run(&mut builder, steps);
        kernel.undo(&mut builder);
        let mut after = kernel.state();
        // A bond that appeared with its module is not removed.
        after.retain(|link| link.0 != "bond0" || before.contains(link));
        prop_assert_eq!(after, before);
    }

    #[test]
    fn interfaces_may_come_in_any_order(
        order in Just(vec!["e0", "e1", "e2", "e3"]).prop_shuffle(), module in any::<bool>()
    ) {
        let mut kernel = Kernel::new(&[]);
        kernel.bonding_unloaded = module;
        let mut builder = builder(ALL);
        for name in order {
            kernel.add_device(name, false);
            prop_assert!(kernel.run(&mut builder, ENOUGH));
        }
        assert_made(&kernel);
    }

    #[test]
    fn the_next_process_removes_all_links_of_a_killed_one(
        devices in devices(), steps in 0_usize..40
    ) {
        let mut kernel = Kernel::new(&devices);
        let names = |kernel: &Kernel| -> Vec<_> {
            kernel.state().into_iter().map(|link| (link.0, link.4)).collect()
        };
        let before = names(&kernel);
        kernel.run(&mut builder(ALL), steps);
        kernel.kill();
        let mut next = builder(ALL);
        prop_assert!(kernel.run(&mut next, ENOUGH));
        if devices.len() == 4 {
            assert_made(&kernel);
        }
        kernel.undo(&mut next);
        prop_assert_eq!(names(&kernel), before);
    }
}
