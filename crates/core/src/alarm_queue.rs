//! What waits to be told to a person: one place for each kind of message of each client.
//!
//! A client that raises one alarm after the other fills its own places only, and its repeats are counted.

use std::collections::VecDeque;
use std::time::Duration;

use crate::name::ClientName;
use crate::time::Monotonic;

/// The shortest time between two messages of one kind about one client. Repeats within it are told
/// together when it is over: a pager that never stops is switched off.
pub const PAUSE: Duration = Duration::from_secs(30);

/// A message of one kind about one client; `None` for the server itself.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Subject {
    client: Option<ClientName>,
    kind: &'static str,
}

#[derive(Debug)]
struct Place<T> {
    subject: Subject,
    /// The next message about it is not told before.
    not_before: Option<Monotonic>,
    waiting: Option<Message<T>>,
}

/// A message whose turn it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message<T> {
    /// The first of its kind since the last one was told.
    pub first: T,
    /// So many more came since.
    pub repeats: u64,
}

/// The messages that wait, the one that waits longest first. Holds at most one for each pair of client and
/// kind.
#[derive(Debug)]
pub struct AlarmQueue<T> {
    places: VecDeque<Place<T>>,
}

impl<T> Default for AlarmQueue<T> {
    fn default() -> Self {
        Self {
            places: VecDeque::new(),
        }
    }
}

impl<T> AlarmQueue<T> {
    /// Adds a message, or counts it when one of its kind about this client waits already.
    pub fn push(&mut self, client: Option<&ClientName>, kind: &'static str, message: T) {
        let fresh = Message {
            first: message,
            repeats: 0,
        };
        let known = self.places.iter().position(|place| {
            place.subject.kind == kind && place.subject.client.as_ref() == client
        });
        let Some(known) = known else {
            return self.places.push_back(Place {
                subject: Subject {
                    client: client.cloned(),
                    kind,
                },
                not_before: None,
                waiting: Some(fresh),
            });
        };
        if let Some(waiting) = self
            .places
            .get_mut(known)
            .and_then(|it| it.waiting.as_mut())
        {
            waiting.repeats = waiting.repeats.saturating_add(1);
        } else if let Some(place) = self.places.remove(known) {
            // Behind all that wait already.
            self.places.push_back(Place {
                waiting: Some(fresh),
                ..place
            });
        }
    }

    /// The next message that may be told now.
    pub fn pop(&mut self, now: Monotonic) -> Option<Message<T>> {
        self.places
            .retain(|place| place.waiting.is_some() || place.not_before > Some(now));
        let due = |place: &Place<T>| place.waiting.is_some() && place.not_before <= Some(now);
        let place = self.places.iter_mut().find(|place| due(place))?;
        place.not_before = Some(now.after(PAUSE));
        place.waiting.take()
    }

    /// When [`Self::pop`] has a message next; `None` when none waits.
    pub fn next_due(&self, now: Monotonic) -> Option<Monotonic> {
        self.places
            .iter()
            .filter(|place| place.waiting.is_some())
            .map(|place| place.not_before.unwrap_or(now))
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

    fn message(first: u32, repeats: u64) -> Option<Message<u32>> {
        Some(Message { first, repeats })
    }

    #[test]
    fn one_client_never_takes_the_place_of_another() {
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
    fn repeats_are_told_together_once_the_pause_is_over() {
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
    fn nothing_is_kept_of_what_is_over() {
        let mut queue = AlarmQueue::default();
        queue.push(Some(&name("web1")), "waits", 1);
        assert_eq!(queue.pop(at(0)), message(1, 0));
        assert_eq!(queue.places.len(), 1, "it remembers the pause");
        assert_eq!(queue.pop(at(30)), None);
        assert!(queue.places.is_empty());
    }
}
