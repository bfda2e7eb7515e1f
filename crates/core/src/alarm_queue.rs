//! Queue of alarms for a person, with one slot for each kind of message of each client.
//!
//! A client that repeats alarms fills only its own slots, and the repeats are counted.

use std::collections::VecDeque;
use std::time::Duration;

use crate::name::ClientName;
use crate::time::Monotonic;

/// Shortest time between two messages of one kind about one client. Repeats within it are reported together at its
/// end: a pager that never stops is switched off.
pub const PAUSE: Duration = Duration::from_secs(30);

/// Client and kind of a message. `None` stands for the server itself.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Subject {
    client: Option<ClientName>,
    kind: &'static str,
}

#[derive(Debug)]
struct AlarmSlot<T> {
    subject: Subject,
    /// Earliest time of the next message.
    not_before: Option<Monotonic>,
    waiting: Option<QueuedAlarm<T>>,
}

/// A message that is due.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QueuedAlarm<T> {
    /// The first of its kind since the last one was reported.
    pub first: T,
    /// Number of further messages of the kind.
    pub repeats: u64,
}

/// Waiting messages, the oldest first, at most one for each pair of client and kind.
#[derive(Debug)]
pub struct AlarmQueue<T> {
    slots: VecDeque<AlarmSlot<T>>,
}

impl<T> Default for AlarmQueue<T> {
    fn default() -> Self {
        Self {
            slots: VecDeque::new(),
        }
    }
}

impl<T> AlarmQueue<T> {
    /// Adds a message, or counts it when one of its kind about this client is waiting.
    pub fn push(&mut self, client: Option<&ClientName>, kind: &'static str, message: T) {
        let new = QueuedAlarm {
            first: message,
            repeats: 0,
        };
        let known = self
            .slots
            .iter()
            .position(|slot| slot.subject.kind == kind && slot.subject.client.as_ref() == client);
        let Some(known) = known else {
            return self.slots.push_back(AlarmSlot {
                subject: Subject {
                    client: client.cloned(),
                    kind,
                },
                not_before: None,
                waiting: Some(new),
            });
        };
        if let Some(waiting) = self.slots.get_mut(known).and_then(|it| it.waiting.as_mut()) {
            waiting.repeats = waiting.repeats.saturating_add(1);
        } else if let Some(slot) = self.slots.remove(known) {
            // The slot moves to the end of the queue.
            self.slots.push_back(AlarmSlot {
                waiting: Some(new),
                ..slot
            });
        }
    }

    /// Removes and returns the next message that is due.
    pub fn pop(&mut self, now: Monotonic) -> Option<QueuedAlarm<T>> {
        self.slots
            .retain(|slot| slot.waiting.is_some() || slot.not_before > Some(now));
        let due = |slot: &AlarmSlot<T>| slot.waiting.is_some() && slot.not_before <= Some(now);
        let slot = self.slots.iter_mut().find(|slot| due(slot))?;
        slot.not_before = Some(now.after(PAUSE));
        slot.waiting.take()
    }

    /// Time at which [`Self::pop`] returns a message; `None` when none waits.
    pub fn next_due(&self, now: Monotonic) -> Option<Monotonic> {
        self.slots
            .iter()
            .filter(|slot| slot.waiting.is_some())
            .map(|slot| slot.not_before.unwrap_or(now))
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic::from_boot(Duration::from_secs(seconds))
    }

    fn name(name: &str) -> ClientName {
        ClientName::new(name).unwrap()
    }

    fn message(first: u32, repeats: u64) -> Option<QueuedAlarm<u32>> {
        Some(QueuedAlarm { first, repeats })
    }

    #[test]
    fn one_client_never_takes_the_slot_of_another() {
        let mut queue = AlarmQueue::default();
        for number in 0..1000 {
            queue.push(Some(&name("tower")), "second-request", number);
        }
        queue.push(Some(&name("vault")), "second-request", 2000);
        queue.push(Some(&name("tower")), "same-boot", 3000);
        assert_eq!(queue.pop(at(0)), message(0, 999));
        queue.push(Some(&name("tower")), "second-request", 4000);
        assert_eq!(queue.pop(at(0)), message(2000, 0));
        assert_eq!(queue.pop(at(0)), message(3000, 0));
        assert_eq!(queue.pop(at(0)), None);
    }

    #[test]
    fn repeats_are_reported_together_after_the_pause() {
        let mut queue = AlarmQueue::default();
        assert_eq!(queue.next_due(at(0)), None);
        queue.push(None, "unknown-keys", 1);
        assert_eq!(queue.next_due(at(0)), Some(at(0)));
        assert_eq!(queue.pop(at(0)), message(1, 0));
        assert_eq!(queue.next_due(at(0)), None);
        for number in 2..10 {
            queue.push(None, "unknown-keys", number);
        }
        assert_eq!(queue.pop(at(29)), None);
        assert_eq!(queue.next_due(at(29)), Some(at(30)));
        assert_eq!(queue.pop(at(30)), message(2, 7));
    }

    #[test]
    fn empty_slots_are_dropped_after_the_pause() {
        let mut queue = AlarmQueue::default();
        queue.push(Some(&name("web1")), "waits", 1);
        assert_eq!(queue.pop(at(0)), message(1, 0));
        assert_eq!(queue.slots.len(), 1, "it remembers the pause");
        assert_eq!(queue.pop(at(30)), None);
        assert!(queue.slots.is_empty());
    }
}
