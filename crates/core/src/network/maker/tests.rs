use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::network::Mac;

/// A link's name, whether it is up, its address and largest packet, its master and its kind.
type Picture = (
    String,
    bool,
    Option<Mac>,
    u32,
    Option<String>,
    Option<String>,
);

/// A kernel, as far as links matter: what ip-link(8) and the documentation of bonding say it does.
#[derive(Clone, Debug)]
struct Kernel {
    links: Vec<Present>,
    next: u32,
    parents: BTreeMap<u32, u32>,
    /// Loading the module of bonding will make `bond0`.
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
            kernel.plug_in(name, *up);
        }
        kernel
    }

    fn plug_in(&mut self, name: &str, up: bool) {
        let index = self.add(name, None, By::Others);
        let mac = Mac([2, 0, 0, 0, 0, u8::try_from(index).unwrap()]);
        let link = self.link(index);
        (link.mac, link.permanent_mac, link.up) = (Some(mac), Some(mac), up);
    }

    fn add(&mut self, name: &str, kind: Option<&str>, maker: By) -> u32 {
        let index = self.next;
        self.next += 1;
        self.links.push(Present {
            index,
            name: name.to_owned(),
            kind: kind.map(str::to_owned),
            mtu: 1500,
            maker,
            ..Present::default()
        });
        index
    }

    fn link(&mut self, index: u32) -> &mut Present {
        self.links
            .iter_mut()
            .find(|link| link.index == index)
            .unwrap()
    }

    fn named(&self, name: &str) -> Option<&Present> {
        self.links.iter().find(|link| link.name == name)
    }

    fn apply(&mut self, change: &Change) -> Outcome {
        let bond = |kernel: &Self, index: u32| {
            let master = kernel.links.iter().find(|link| link.index == index);
            master.is_some_and(|link| link.kind.as_deref() == Some("bond"))
        };
        match change {
            Change::Create { name, new, .. } => {
                let kind = match new {
                    New::Vlan { .. } => "vlan",
                    New::Bond { .. } => "bond",
                    New::Bridge { .. } => "bridge",
                };
                if kind == "bond" && std::mem::take(&mut self.bonding_unloaded) {
                    self.add("bond0", Some("bond"), By::Others);
                }
                if self.named(name.as_str()).is_some() {
                    return Outcome::WasThere;
                }
                let index = self.add(name.as_str(), Some(kind), By::Us);
                if let New::Vlan { parent, .. } = new {
                    self.parents.insert(index, *parent);
                }
            }
            Change::CreateRawBond(name) => {
                self.add(name.as_str(), Some("bond"), By::Others);
            }
            Change::Remove(index) => self.remove(*index),
            Change::HandOver(index) => self.link(*index).maker = By::Others,
            Change::SetMaster(index, None) => self.release(*index),
            Change::SetMaster(index, Some(master)) => {
                if bond(self, *master) {
                    if self.link(*index).up {
                        return Outcome::Failed;
                    }
                    self.link(*index).up = true;
                }
                self.link(*index).master = Some(*master);
            }
            Change::SetUp(index, up) => self.link(*index).up = *up,
            Change::SetMtu(index, mtu) => self.link(*index).mtu = *mtu,
            Change::SetMac(index, mac) => self.link(*index).mac = Some(*mac),
            _ => {}
        }
        Outcome::Made
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

    /// All there is, without the numbers, which nobody can put back.
    fn picture(&self) -> Vec<Picture> {
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

    /// Lets a maker do at most `steps` changes; tells whether it came to an end.
    fn run(&mut self, maker: &mut Maker, steps: usize) -> bool {
        for _ in 0..steps {
            let present = self.links.clone();
            let Some(change) = maker.next_change(&present) else {
                return true;
            };
            let outcome = self.apply(&change);
            maker.handle_outcome(change, outcome, &present);
        }
        false
    }

    fn undo(&mut self, maker: &mut Maker) {
        while let Some(change) = maker.next_undo(&self.links.clone()) {
            self.apply(&change);
        }
    }

    /// The process is killed: what it made is nobody's.
    fn kill(&mut self) {
        for link in self.links.iter_mut().filter(|link| link.maker == By::Us) {
            link.maker = By::TheDead;
        }
    }
}

/// More than any definition here needs.
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

fn maker(text: &str) -> Maker {
    Maker::new(Definition::parse(text).unwrap(), true)
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
    let before = kernel.picture();
    let mut maker = maker(ALL);
    assert!(kernel.run(&mut maker, ENOUGH));
    assert_made(&kernel);
    kernel.undo(&mut maker);
    assert_eq!(kernel.picture(), before);
}

#[test]
fn a_bond_that_the_module_makes_when_it_is_loaded_is_not_taken_for_ours() {
    let mut kernel = Kernel::new(&[("e0", false), ("e1", false)]);
    kernel.bonding_unloaded = true;
    let before = kernel.picture();
    let mut maker = maker(ALL);
    assert!(kernel.run(&mut maker, ENOUGH));
    assert_eq!(master_of(&kernel, "e0").as_deref(), Some("bond0"));
    kernel.undo(&mut maker);
    assert_eq!(kernel.picture(), before);
}

#[test]
fn a_bond_that_the_module_made_before_is_there_again_afterwards() {
    let mut kernel = Kernel::new(&[("e0", false)]);
    kernel.add("bond0", Some("bond"), By::Others);
    let before = kernel.picture();
    let mut maker = maker(ALL);
    assert!(kernel.run(&mut maker, ENOUGH));
    assert_eq!(kernel.named("bond0").unwrap().maker, By::Us);
    kernel.undo(&mut maker);
    assert_eq!(kernel.picture(), before);
}

#[test]
fn a_link_that_others_made_is_used_and_left_alone() {
    let mut kernel = Kernel::new(&[("e0", true), ("e1", true), ("e2", false), ("e3", false)]);
    kernel.add("br0", Some("bridge"), By::Others);
    let mut maker = maker("[br0]\nkind = bridge\nmembers = e0 e1\n");
    let before = kernel.picture();
    assert!(kernel.run(&mut maker, ENOUGH));
    assert_eq!(kernel.picture(), before);
}

#[test]
fn a_member_that_somebody_uses_is_left_alone_and_told_once() {
    let mut kernel = Kernel::new(&[("e0", true), ("e1", false)]);
    kernel.link(2).in_use = true;
    let mut maker = maker("[b]\nkind = bond\nmembers = e0 e1\n");
    assert!(kernel.run(&mut maker, ENOUGH));
    assert!(kernel.named("e0").unwrap().up && master_of(&kernel, "e0").is_none());
    assert_eq!(master_of(&kernel, "e1").as_deref(), Some("b"));
    assert_eq!(maker.poll_refused(&kernel.links).unwrap().as_str(), "e0");
    assert!(kernel.run(&mut maker, ENOUGH));
    assert_eq!(maker.poll_refused(&kernel.links), None);
}

/// Takes everything back; the changes, in their order.
fn undone(kernel: &mut Kernel, maker: &mut Maker) -> Vec<Change> {
    let mut all = Vec::new();
    while let Some(change) = maker.next_undo(&kernel.links.clone()) {
        kernel.apply(&change);
        all.push(change);
    }
    all
}

// The kernel forgets the routes of a link that goes down: removing them then would fail.
#[test]
fn routes_and_addresses_go_before_the_link_that_the_caller_took_up() {
    let mut kernel = Kernel::new(&[("e0", false)]);
    let mut maker = maker(
        "[e0]\nmac = 02:00:00:00:00:99\naddresses = 192.0.2.7/24\nroutes = default via 192.0.2.1\n",
    );
    assert!(kernel.run(&mut maker, ENOUGH));
    kernel.link(2).up = true;
    maker.handle_taken_up(2);
    assert!(kernel.run(&mut maker, ENOUGH));
    let undone = undone(&mut kernel, &mut maker);
    assert!(
        matches!(
            undone[..],
            [
                Change::RemoveRoute(2, _),
                Change::RemoveAddress(2, _),
                Change::SetUp(2, false),
                Change::SetMac(2, _),
            ]
        ),
        "{undone:?}"
    );
}

#[test]
fn what_others_use_by_now_is_left_to_them() {
    let mut kernel = Kernel::new(&[("e0", false), ("e1", false)]);
    let mut maker = maker("[e0]\naddresses = 192.0.2.7/24\n");
    for index in [2, 3] {
        kernel.link(index).up = true;
        maker.handle_taken_up(index);
    }
    assert!(kernel.run(&mut maker, ENOUGH));
    kernel.link(2).used_by_others = true;
    let undone = undone(&mut kernel, &mut maker);
    assert!(
        matches!(
            undone[..],
            [Change::RemoveAddress(2, _), Change::SetUp(3, false)]
        ),
        "{undone:?}"
    );
    assert_eq!(maker.poll_left().as_deref(), Some("e0"));
    assert_eq!(maker.poll_left(), None);
}

/// A bond, with the VLAN on it and the members in it, of which others use any part from the bond up.
#[test]
fn all_that_a_used_link_is_made_of_is_left_with_it() {
    for used in ["bond0", "bond0.5", "br0"] {
        let mut kernel = Kernel::new(&[("e0", true), ("e1", false), ("e2", false), ("e3", false)]);
        let mut maker = maker(ALL);
        assert!(kernel.run(&mut maker, ENOUGH));
        let index = kernel.named(used).unwrap().index;
        kernel.link(index).used_by_others = true;
        undone(&mut kernel, &mut maker);
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
        // Nobody takes it for what a killed client left behind.
        assert_eq!(kernel.named(used).unwrap().maker, By::Others);
        kernel.kill();
        assert!(
            kernel.links.iter().all(|link| link.maker != By::TheDead),
            "{used}"
        );
    }
}

#[test]
fn an_interface_is_recognised_by_its_address_under_any_name() {
    let mut kernel = Kernel::new(&[("eth0", false), ("eth1", false)]);
    let text = "[lan0]\nmatch-mac = 02:00:00:00:00:03\n[v]\nkind = vlan\nid = 1\nparent = lan0\n";
    let mut maker = maker(text);
    assert!(kernel.run(&mut maker, ENOUGH));
    assert!(kernel.named("eth1").unwrap().up && !kernel.named("eth0").unwrap().up);
    assert_eq!(maker.name_of(3).unwrap().as_str(), "lan0");
    assert!(kernel.named("v").is_some());
}

#[test]
fn addresses_are_given_once_and_only_to_a_link_that_is_up() {
    let mut kernel = Kernel::new(&[("e0", false)]);
    let text = "[e0]\naddresses = 192.0.2.7/24\nroutes = default via 192.0.2.1\n";
    let mut maker = maker(text);
    assert!(kernel.run(&mut maker, 0) || maker.next_change(&kernel.links).is_none());
    kernel.link(2).up = true;
    assert!(matches!(
        maker.next_change(&kernel.links),
        Some(Change::AddAddress(2, _))
    ));
    assert!(kernel.run(&mut maker, ENOUGH));
    let mut undone = Vec::new();
    while let Some(change) = maker.next_undo(&kernel.links) {
        undone.push(change);
    }
    assert!(matches!(
        undone[..],
        [Change::RemoveRoute(..), Change::RemoveAddress(..)]
    ));
}

#[test]
fn what_always_fails_is_tried_once() {
    let present = Kernel::new(&[("e0", true)]).links;
    let mut maker = maker("[v]\nkind = vlan\nid = 1\nparent = e0\n");
    let change = maker.next_change(&present).unwrap();
    maker.handle_outcome(change, Outcome::Failed, &present);
    assert_eq!(maker.next_change(&present), None);
    assert_eq!(maker.next_undo(&present), None);
}

/// Devices that may be there, and whether they are up.
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
    fn whatever_ends_it_and_whenever_everything_is_as_it_was(
        devices in devices(), module in any::<bool>(), steps in 0_usize..40
    ) {
        let mut kernel = Kernel::new(&devices);
        kernel.bonding_unloaded = module;
        let before = kernel.picture();
        let mut maker = maker(ALL);
        kernel.run(&mut maker, steps);
        kernel.undo(&mut maker);
        let mut after = kernel.picture();
        // One that came with its module while ours was to be made is nobody's to remove.
        after.retain(|link| link.0 != "bond0" || before.contains(link));
        prop_assert_eq!(after, before);
    }

    #[test]
    fn interfaces_may_come_in_any_order(
        order in Just(vec!["e0", "e1", "e2", "e3"]).prop_shuffle(), module in any::<bool>()
    ) {
        let mut kernel = Kernel::new(&[]);
        kernel.bonding_unloaded = module;
        let mut maker = maker(ALL);
        for name in order {
            kernel.plug_in(name, false);
            prop_assert!(kernel.run(&mut maker, ENOUGH));
        }
        assert_made(&kernel);
    }

    #[test]
    fn one_that_was_killed_leaves_nothing_that_the_next_does_not_remove(
        devices in devices(), steps in 0_usize..40
    ) {
        let mut kernel = Kernel::new(&devices);
        let names = |kernel: &Kernel| -> Vec<_> {
            kernel.picture().into_iter().map(|link| (link.0, link.4)).collect()
        };
        let before = names(&kernel);
        kernel.run(&mut maker(ALL), steps);
        kernel.kill();
        let mut next = maker(ALL);
        prop_assert!(kernel.run(&mut next, ENOUGH));
        if devices.len() == 4 {
            assert_made(&kernel);
        }
        kernel.undo(&mut next);
        prop_assert_eq!(names(&kernel), before);
    }
}
