//! What is still to be done, in order: changes that wait for the store, and deeds that wait for them.
//!
//! A deed waits for every change of its own client that came before it. Another client's do not hold
//! it up: a full disk must not keep a machine from booting whose state does not change by it.

use std::collections::{HashSet, VecDeque};

use nightlatch_core::client::saved::Change;
use nightlatch_core::name::ClientName;

/// Changes on their way into the store, and what may be done once they are there.
#[derive(Debug)]
pub(super) struct Outbox<D> {
    /// Not in the store yet, in order.
    unwritten: Vec<Change>,
    /// How many changes ever came, and how many of them are durable.
    came: u64,
    durable: u64,
    steps: VecDeque<Step<D>>,
    /// Changes that nothing waits for are written within a while all the same.
    urgent: bool,
    /// The last commit failed.
    failing: bool,
}

#[derive(Debug)]
enum Step<D> {
    /// What comes after this of the same client waits until so many changes are durable.
    Barrier(u64, ClientName),
    /// The same, unless the store fails.
    Record(u64, ClientName),
    /// A deed of a client, or of none.
    Deed(Option<ClientName>, D),
    /// A deed that waits for every change before it, whoever's.
    Last(u64, D),
}

impl<D> Default for Outbox<D> {
    fn default() -> Self {
        Self {
            unwritten: Vec::new(),
            came: 0,
            durable: 0,
            steps: VecDeque::new(),
            urgent: false,
            failing: false,
        }
    }
}

impl<D> Outbox<D> {
    /// `change` must be durable before what comes after it of the same client.
    pub(super) fn change(&mut self, change: Change) {
        let name = change.client().cloned();
        self.change_soon(change);
        self.urgent = true;
        if let Some(name) = name {
            self.steps.push_back(Step::Barrier(self.came, name));
        }
    }

    /// `change` is to be durable before what comes after it of `client`; but a full disk must not
    /// keep a machine from booting.
    pub(super) fn record(&mut self, change: Change, client: ClientName) {
        self.change_soon(change);
        self.urgent = true;
        self.steps.push_back(Step::Record(self.came, client));
    }

    /// `change` is to be written with the next ones; nothing waits for it.
    pub(super) fn change_soon(&mut self, change: Change) {
        self.unwritten.push(change);
        self.came += 1;
    }

    /// `deed` is to be done after everything before it of `client`.
    pub(super) fn deed(&mut self, client: Option<ClientName>, deed: D) {
        self.steps.push_back(Step::Deed(client, deed));
    }

    /// `deed` is to be done when everything that came before is durable.
    pub(super) fn at_last(&mut self, deed: D) {
        self.urgent = true;
        self.steps.push_back(Step::Last(self.came, deed));
    }

    /// Somebody waits for what is unwritten.
    pub(super) fn hurry(&mut self) {
        self.urgent = true;
    }

    /// The deeds that nothing holds up any more, in order.
    pub(super) fn ready(&mut self) -> Vec<D> {
        let durable = self.durable;
        let failing = self.failing;
        let mut held: HashSet<ClientName> = HashSet::new();
        let mut ready = Vec::new();
        let mut kept = VecDeque::new();
        for step in self.steps.drain(..) {
            match step {
                Step::Barrier(number, ref name) if number > durable => {
                    held.insert(name.clone());
                    kept.push_back(step);
                }
                Step::Record(number, ref name) if number > durable && !failing => {
                    held.insert(name.clone());
                    kept.push_back(step);
                }
                Step::Last(number, _) if number > durable => kept.push_back(step),
                Step::Barrier(..) | Step::Record(..) => {}
                Step::Deed(Some(name), deed) if held.contains(&name) => {
                    kept.push_back(Step::Deed(Some(name), deed));
                }
                Step::Deed(_, deed) | Step::Last(_, deed) => ready.push(deed),
            }
        }
        self.steps = kept;
        ready
    }

    /// Whether something waits for the store.
    pub(super) fn is_urgent(&self) -> bool {
        self.urgent && !self.unwritten.is_empty()
    }

    /// Whether anything is unwritten.
    pub(super) fn is_unwritten(&self) -> bool {
        !self.unwritten.is_empty()
    }

    /// How many changes are unwritten.
    pub(super) fn unwritten(&self) -> usize {
        self.unwritten.len()
    }

    /// All unwritten changes, to be committed in one transaction.
    pub(super) fn take(&mut self) -> Vec<Change> {
        self.urgent = false;
        std::mem::take(&mut self.unwritten)
    }

    /// What [`Self::take`] gave is durable.
    pub(super) fn committed(&mut self, count: usize) {
        self.failing = false;
        self.durable += count as u64;
    }

    /// What [`Self::take`] gave could not be written, and is to be tried again before the rest.
    pub(super) fn put_back(&mut self, mut changes: Vec<Change>) {
        changes.append(&mut self.unwritten);
        self.unwritten = changes;
        self.urgent = true;
        self.failing = true;
    }

    /// Takes out the deeds that `wanted` makes something of, though they still wait.
    pub(super) fn take_out<T>(&mut self, mut wanted: impl FnMut(&D) -> Option<T>) -> Vec<T> {
        let mut taken = Vec::new();
        self.steps.retain(|step| match step {
            Step::Deed(_, deed) => match wanted(deed) {
                Some(it) => {
                    taken.push(it);
                    false
                }
                None => true,
            },
            _ => true,
        });
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forget(name: &str) -> Change {
        Change::Forget(ClientName::new(name).unwrap())
    }

    fn of(name: &str) -> Option<ClientName> {
        Some(ClientName::new(name).unwrap())
    }

    #[test]
    fn a_deed_waits_for_its_own_clients_change_only() {
        let mut outbox = Outbox::default();
        outbox.deed(of("a"), 1);
        outbox.change(forget("a"));
        outbox.deed(of("a"), 2);
        outbox.deed(of("b"), 3);
        outbox.deed(None, 4);
        outbox.at_last(5);
        assert_eq!(outbox.ready(), [1, 3, 4]);
        let changes = outbox.take();
        assert_eq!(outbox.ready(), [] as [i32; 0]);
        outbox.committed(changes.len());
        assert_eq!(outbox.ready(), [2, 5]);
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
    fn a_change_that_may_wait_holds_nothing_up() {
        let mut outbox = Outbox::default();
        outbox.change_soon(forget("a"));
        outbox.deed(of("a"), 1);
        assert_eq!(outbox.ready(), [1]);
        assert!(outbox.is_unwritten() && !outbox.is_urgent());
    }

    #[test]
    fn a_release_waits_for_its_record_unless_the_store_fails() {
        let mut outbox = Outbox::default();
        let name = of("a").unwrap();
        outbox.record(forget("x"), name.clone());
        outbox.deed(of("a"), 1);
        assert!(outbox.is_urgent());
        assert_eq!(outbox.ready(), [] as [i32; 0]);
        let changes = outbox.take();
        outbox.put_back(changes);
        assert_eq!(outbox.ready(), [1]);
        outbox.record(forget("y"), name);
        outbox.deed(of("a"), 2);
        assert_eq!(outbox.ready(), [2], "while it fails nobody waits");
        let changes = outbox.take();
        outbox.committed(changes.len());
        outbox.record(forget("z"), of("a").unwrap());
        outbox.deed(of("a"), 3);
        assert_eq!(outbox.ready(), [] as [i32; 0], "and then again");
    }

    #[test]
    fn what_still_waits_can_be_taken_out() {
        let mut outbox = Outbox::default();
        outbox.change(forget("a"));
        outbox.deed(of("a"), 1);
        outbox.deed(of("a"), 2);
        assert_eq!(
            outbox.take_out(|deed| (*deed == 1).then_some("one")),
            ["one"]
        );
        let changes = outbox.take();
        outbox.committed(changes.len());
        assert_eq!(outbox.ready(), [2]);
    }
}
