//! What is still to be done, in order: changes that wait for the store, and deeds that wait for them.
//!
//! A deed waits for every change of its own client that came before it. Another client's do not hold
//! it up. While the store fails, only two things wait: a release, for what made the server more generous
//! (the registry says which changes these are), and the answer to an order. Everything else goes on, and
//! what waits stays bounded: of each client the last change counts.

use std::collections::{BTreeMap, HashMap, VecDeque};

use nightlatch_core::client::saved::{Change, Holder};
use nightlatch_core::name::ClientName;

/// Changes on their way into the store, and what may be done once they are there.
#[derive(Debug)]
pub(super) struct Outbox<D> {
    unwritten: Unwritten,
    /// How many changes ever came, how many of them were taken, and how many are durable.
    came: u64,
    taken: u64,
    durable: u64,
    /// What the next deed of each client waits for.
    needs: HashMap<ClientName, Needs>,
    steps: VecDeque<Step<D>>,
    /// Changes that nothing waits for are written within a while all the same.
    urgent: bool,
    /// The last commit failed.
    failing: bool,
}

/// So many changes must be durable first.
#[derive(Clone, Copy, Debug, Default)]
struct Needs {
    changes: u64,
    /// The same while the store fails.
    failing: u64,
}

#[derive(Debug)]
struct Step<D> {
    needs: Needs,
    deed: D,
}

impl<D> Default for Outbox<D> {
    fn default() -> Self {
        Self {
            unwritten: Unwritten::default(),
            came: 0,
            taken: 0,
            durable: 0,
            needs: HashMap::new(),
            steps: VecDeque::new(),
            urgent: false,
            failing: false,
        }
    }
}

impl<D> Outbox<D> {
    /// `change` must be durable before what comes after it of the same client.
    pub(super) fn change(&mut self, change: Change) {
        self.change_and_hold(change, true);
    }

    /// The same, unless the store fails.
    pub(super) fn change_stricter(&mut self, change: Change) {
        self.change_and_hold(change, false);
    }

    /// All that is unwritten is to be durable before what comes after this of `client`, unless the store
    /// fails: a full disk must not keep a machine from booting.
    pub(super) fn hold_for_unwritten(&mut self, client: ClientName) {
        self.hold(client, false);
    }

    fn hold(&mut self, client: ClientName, always: bool) {
        self.urgent = true;
        let needs = self.needs.entry(client).or_default();
        needs.changes = self.came;
        if always {
            needs.failing = self.came;
        }
    }

    fn change_and_hold(&mut self, change: Change, always: bool) {
        let client = change.client().cloned();
        self.change_soon(change);
        match client {
            Some(client) => self.hold(client, always),
            None => self.hurry(),
        }
    }

    /// `change` is to be written with the next ones; nothing waits for it.
    pub(super) fn change_soon(&mut self, change: Change) {
        self.unwritten.push(change);
        self.came += 1;
    }

    /// `deed` is to be done after everything before it of `client`; at once while the store fails.
    pub(super) fn deed(&mut self, client: Option<&ClientName>, deed: D) {
        let changes = self.needs_of(client).changes;
        let needs = Needs {
            changes,
            failing: 0,
        };
        self.steps.push_back(Step { needs, deed });
    }

    /// `deed` gives something away: while the store fails, what allowed it must be durable all the same.
    pub(super) fn release(&mut self, client: Option<&ClientName>, deed: D) {
        let needs = self.needs_of(client);
        self.steps.push_back(Step { needs, deed });
    }

    /// `deed` acknowledges what came before it of `client`.
    pub(super) fn acknowledge(&mut self, client: Option<&ClientName>, deed: D) {
        let changes = self.needs_of(client).changes;
        let failing = changes;
        let needs = Needs { changes, failing };
        self.steps.push_back(Step { needs, deed });
    }

    /// `deed` is to be done when everything that came before is durable.
    pub(super) fn at_last(&mut self, deed: D) {
        self.urgent = true;
        let needs = Needs {
            changes: self.came,
            failing: self.came,
        };
        self.steps.push_back(Step { needs, deed });
    }

    fn needs_of(&self, client: Option<&ClientName>) -> Needs {
        let needs = client.and_then(|client| self.needs.get(client));
        needs.copied().unwrap_or_default()
    }

    /// Somebody waits for what is unwritten.
    pub(super) fn hurry(&mut self) {
        self.urgent = true;
    }

    /// The deeds that nothing holds up any more, in order.
    pub(super) fn ready(&mut self) -> Vec<D> {
        let (durable, failing) = (self.durable, self.failing);
        let mut ready = Vec::new();
        let mut kept = VecDeque::new();
        for step in self.steps.drain(..) {
            let needs = if failing {
                step.needs.failing
            } else {
                step.needs.changes
            };
            if needs <= durable {
                ready.push(step.deed);
            } else {
                kept.push_back(step);
            }
        }
        self.steps = kept;
        ready
    }

    /// Whether something waits for the store.
    pub(super) fn is_urgent(&self) -> bool {
        self.urgent && self.is_unwritten()
    }

    /// Whether anything is unwritten.
    pub(super) fn is_unwritten(&self) -> bool {
        !self.unwritten.changes.is_empty()
    }

    /// How many entries of the record are unwritten.
    pub(super) fn unwritten_records(&self) -> usize {
        self.unwritten.records
    }

    /// All unwritten changes, to be committed in one transaction.
    pub(super) fn take(&mut self) -> Vec<Change> {
        self.urgent = false;
        self.taken = self.came;
        self.unwritten.take()
    }

    /// What [`Self::take`] gave is durable.
    pub(super) fn committed(&mut self) {
        self.failing = false;
        self.durable = self.taken;
        let durable = self.durable;
        self.needs.retain(|_, needs| needs.changes > durable);
    }

    /// What [`Self::take`] gave could not be written, and is to be tried again before the rest.
    pub(super) fn put_back(&mut self, changes: Vec<Change>) {
        let later = self.unwritten.take();
        for change in changes.into_iter().chain(later) {
            self.unwritten.push(change);
        }
        self.urgent = true;
        self.failing = true;
    }

    /// Takes out the deeds that `wanted` makes something of, though they still wait.
    pub(super) fn take_out<T>(&mut self, mut wanted: impl FnMut(&D) -> Option<T>) -> Vec<T> {
        let mut taken = Vec::new();
        self.steps.retain(|step| match wanted(&step.deed) {
            Some(it) => {
                taken.push(it);
                false
            }
            None => true,
        });
        taken
    }
}

/// Changes in order. One that another one makes void is not kept: a disk may be full for days, while ten
/// thousand clients are checked every two minutes.
#[derive(Debug, Default)]
struct Unwritten {
    changes: BTreeMap<u64, Change>,
    next: u64,
    /// Where the change of each thing is.
    places: HashMap<Thing, u64>,
    records: usize,
}

/// What a change replaces all of.
#[derive(PartialEq, Eq, Hash, Debug)]
enum Thing {
    Row(ClientName),
    State(ClientName),
    Tombstone(Holder),
    Trust,
    DropRecords,
}

impl Unwritten {
    fn push(&mut self, change: Change) {
        let thing = match &change {
            Change::Put(row) => {
                // A row holds its state.
                self.forget(&Thing::State(row.name.clone()));
                Some(Thing::Row(row.name.clone()))
            }
            Change::Forget(name) => {
                self.forget(&Thing::State(name.clone()));
                Some(Thing::Row(name.clone()))
            }
            Change::State(name, _) => Some(Thing::State(name.clone())),
            Change::Bury(tombstone) => Some(Thing::Tombstone(tombstone.holder())),
            Change::Unbury(holder) => Some(Thing::Tombstone(holder.clone())),
            Change::Trust(_) => Some(Thing::Trust),
            Change::DropRecords(_) => Some(Thing::DropRecords),
            Change::Record(_) => {
                self.records += 1;
                None
            }
        };
        if let Some(thing) = thing {
            self.forget(&thing);
            self.places.insert(thing, self.next);
        }
        self.changes.insert(self.next, change);
        self.next += 1;
    }

    fn forget(&mut self, thing: &Thing) {
        if let Some(place) = self.places.remove(thing) {
            self.changes.remove(&place);
        }
    }

    fn take(&mut self) -> Vec<Change> {
        self.places.clear();
        self.records = 0;
        std::mem::take(&mut self.changes).into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nightlatch_core::client::saved::Trust;
    use nightlatch_store::contract;

    fn forget(name: &str) -> Change {
        Change::Forget(ClientName::new(name).unwrap())
    }

    fn of(name: &str) -> Option<ClientName> {
        Some(ClientName::new(name).unwrap())
    }

    fn state(name: &str, seed: u8) -> Change {
        Change::State(ClientName::new(name).unwrap(), contract::state(seed).into())
    }

    fn put(name: &str) -> Change {
        Change::Put(contract::client(name, 1).into())
    }

    #[test]
    fn a_deed_waits_for_its_own_clients_change_only() {
        let mut outbox = Outbox::default();
        outbox.deed(of("a").as_ref(), 1);
        outbox.change(forget("a"));
        outbox.deed(of("a").as_ref(), 2);
        outbox.deed(of("b").as_ref(), 3);
        outbox.deed(None, 4);
        outbox.at_last(5);
        assert_eq!(outbox.ready(), [1, 3, 4]);
        outbox.take();
        assert_eq!(outbox.ready(), [] as [i32; 0]);
        outbox.committed();
        assert_eq!(outbox.ready(), [2, 5]);
    }

    #[test]
    fn while_the_store_fails_only_what_gives_away_or_acknowledges_waits() {
        let mut outbox = Outbox::default();
        let a = of("a");
        outbox.change_stricter(forget("a"));
        outbox.deed(a.as_ref(), 1);
        outbox.release(a.as_ref(), 2);
        outbox.acknowledge(a.as_ref(), 3);
        assert_eq!(outbox.ready(), [] as [i32; 0]);
        let changes = outbox.take();
        outbox.put_back(changes);
        // What made the server stricter holds up no release.
        assert_eq!(outbox.ready(), [1, 2]);
        outbox.change(put("a"));
        outbox.deed(a.as_ref(), 4);
        outbox.release(a.as_ref(), 5);
        outbox.release(of("b").as_ref(), 6);
        assert_eq!(outbox.ready(), [4, 6]);
        outbox.take();
        outbox.committed();
        assert_eq!(outbox.ready(), [3, 5]);
    }

    #[test]
    fn what_came_while_a_commit_was_under_way_waits_for_the_next() {
        let mut outbox = Outbox::default();
        outbox.change(forget("a"));
        outbox.take();
        outbox.change(forget("a"));
        outbox.deed(of("a").as_ref(), 1);
        outbox.committed();
        assert_eq!(outbox.ready(), [] as [i32; 0]);
        outbox.take();
        outbox.committed();
        assert_eq!(outbox.ready(), [1]);
    }

    #[test]
    fn what_could_not_be_written_is_tried_again_first() {
        let mut outbox: Outbox<u8> = Outbox::default();
        outbox.change(forget("a"));
        let first = outbox.take();
        assert!(!outbox.is_urgent());
        outbox.change_soon(forget("b"));
        outbox.put_back(first);
        assert!(outbox.is_urgent());
        assert_eq!(outbox.take(), [forget("a"), forget("b")]);
    }

    #[test]
    fn of_each_client_the_last_change_is_kept() {
        let mut outbox: Outbox<u8> = Outbox::default();
        for seed in 0..100 {
            outbox.change_soon(state("a", seed));
            outbox.change(state("b", seed));
            outbox.change(Change::Trust(Trust::Partial));
            let taken = outbox.take();
            outbox.put_back(taken);
        }
        assert_eq!(
            outbox.take(),
            [
                state("a", 99),
                state("b", 99),
                Change::Trust(Trust::Partial)
            ]
        );
        // A row holds its state, and a state that comes after it stays after it.
        let changes = [state("a", 1), put("a"), state("a", 2), state("a", 3)];
        changes.into_iter().for_each(|it| outbox.change_soon(it));
        assert_eq!(outbox.take(), [put("a"), state("a", 3)]);
        let changes = [put("a"), state("a", 1), forget("a"), state("a", 3)];
        changes.into_iter().for_each(|it| outbox.change_soon(it));
        assert_eq!(outbox.take(), [forget("a"), state("a", 3)]);
    }

    #[test]
    fn a_change_that_may_wait_holds_nothing_up() {
        let mut outbox = Outbox::default();
        outbox.change_soon(forget("a"));
        outbox.deed(of("a").as_ref(), 1);
        assert_eq!(outbox.ready(), [1]);
        assert!(outbox.is_unwritten() && !outbox.is_urgent());
    }

    #[test]
    fn records_that_were_taken_are_unwritten_no_more_until_they_come_back() {
        let mut outbox: Outbox<u8> = Outbox::default();
        let entry = nightlatch_core::record::Entry {
            time: nightlatch_core::time::Wall::from_unix_micros(0),
            kind: nightlatch_core::record::Kind::Alarm,
            client: None,
            alarm: true,
            text: "{}".into(),
        };
        outbox.change_soon(Change::Record(entry.into()));
        assert_eq!(outbox.unwritten_records(), 1);
        let taken = outbox.take();
        assert_eq!(outbox.unwritten_records(), 0);
        outbox.put_back(taken);
        assert_eq!(outbox.unwritten_records(), 1);
    }

    #[test]
    fn a_release_waits_for_its_record_unless_the_store_fails() {
        let mut outbox = Outbox::default();
        let name = of("a").unwrap();
        let record = |outbox: &mut Outbox<_>, entry| {
            outbox.change_soon(forget(entry));
            outbox.hold_for_unwritten(name.clone());
        };
        record(&mut outbox, "x");
        outbox.release(of("a").as_ref(), 1);
        assert!(outbox.is_urgent());
        assert_eq!(outbox.ready(), [] as [i32; 0]);
        let changes = outbox.take();
        outbox.put_back(changes);
        assert_eq!(outbox.ready(), [1]);
        record(&mut outbox, "y");
        outbox.release(of("a").as_ref(), 2);
        assert_eq!(outbox.ready(), [2], "while it fails nobody waits");
        outbox.take();
        outbox.committed();
        record(&mut outbox, "z");
        outbox.release(of("a").as_ref(), 3);
        assert_eq!(outbox.ready(), [] as [i32; 0], "and then again");
    }

    #[test]
    fn what_still_waits_can_be_taken_out() {
        let mut outbox = Outbox::default();
        outbox.change(forget("a"));
        outbox.deed(of("a").as_ref(), 1);
        outbox.deed(of("a").as_ref(), 2);
        assert_eq!(
            outbox.take_out(|deed| (*deed == 1).then_some("one")),
            ["one"]
        );
        outbox.take();
        outbox.committed();
        assert_eq!(outbox.ready(), [2]);
    }
}
