//! What the D-Bus part hears of the driver: one stream of events, records and replies, in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nightlatch_bus::client::ClientView;
use nightlatch_core::event::{ClientId, Event};
use nightlatch_core::name::ClientName;
use nightlatch_core::record::Line;
use tokio::sync::mpsc;

use super::order::OrderError;
use crate::session::Asker;

/// Who hears slower than this is behind gets a fresh picture of all instead of each event.
const BACKLOG: usize = 20_000;

/// One thing heard.
#[derive(Debug)]
pub(crate) enum Told {
    /// All clients as they stand: first, and again after events were left out.
    All(Vec<(ClientId, ClientView)>),
    /// Something happened.
    Event(Box<Notice>),
    /// An entry is in the record.
    Recorded(Line),
    /// The order with this number was carried out and is durable, or was not. It is told after the
    /// events that it caused.
    Done(u64, Result<Option<ClientId>, OrderError>),
}

/// An event, and how its client stands after it.
#[derive(Debug)]
pub(crate) struct Notice {
    pub(crate) event: Event,
    pub(crate) client: Option<(ClientId, ClientName)>,
    /// `None` when the client is gone.
    pub(crate) view: Option<ClientView>,
    pub(crate) asker: Option<Asker>,
    /// The command line of the check that the event is about.
    pub(crate) command: Option<Arc<str>>,
}

/// The driver's end.
#[derive(Debug)]
pub(super) struct Listener {
    sender: mpsc::UnboundedSender<Told>,
    waiting: Arc<AtomicUsize>,
    behind: bool,
}

/// The listener's end.
#[derive(Debug)]
pub(crate) struct Heard {
    receiver: mpsc::UnboundedReceiver<Told>,
    waiting: Arc<AtomicUsize>,
}

impl Listener {
    pub(super) fn new() -> (Self, Heard) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let waiting = Arc::<AtomicUsize>::default();
        let heard = Heard {
            receiver,
            waiting: Arc::clone(&waiting),
        };
        let listener = Self {
            sender,
            waiting,
            behind: true,
        };
        (listener, heard)
    }

    /// Whether it needs a picture of all before anything else makes sense to it.
    pub(super) fn needs_all(&self) -> bool {
        self.behind && self.waiting.load(Ordering::Relaxed) == 0
    }

    /// Whether events reach it.
    pub(super) fn hears(&self) -> bool {
        !self.behind
    }

    /// Tells what may be left out when too much waits already.
    pub(super) fn tell(&mut self, told: Told) {
        if matches!(told, Told::All(_)) {
            self.behind = false;
        } else if self.waiting.load(Ordering::Relaxed) >= BACKLOG {
            self.behind = true;
        }
        if !self.behind {
            self.send(told);
        }
    }

    /// Tells what must not be left out. `false` when nobody listens any more.
    pub(super) fn send(&self, told: Told) -> bool {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.sender.send(told).is_ok()
    }

    pub(super) fn is_gone(&self) -> bool {
        self.sender.is_closed()
    }
}

impl Heard {
    /// The next thing when it is here already.
    pub(crate) fn try_next(&mut self) -> Option<Told> {
        let told = self.receiver.try_recv().ok()?;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        Some(told)
    }

    /// The next thing; `None` when the driver has ended.
    pub(crate) async fn next(&mut self) -> Option<Told> {
        let told = self.receiver.recv().await?;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        Some(told)
    }
}

#[cfg(test)]
mod tests {
    use nightlatch_core::event::Alarm;

    use super::*;

    #[tokio::test]
    async fn who_is_too_slow_gets_a_picture_of_all_and_every_reply() {
        let (mut listener, mut heard) = Listener::new();
        assert!(listener.needs_all() && !listener.hears());
        listener.tell(Told::All(Vec::new()));
        let event = || {
            Told::Event(Box::new(Notice {
                event: Event::Alarmed(None, Alarm::SameBoot),
                client: None,
                view: None,
                asker: None,
                command: None,
            }))
        };
        (0..BACKLOG + 5).for_each(|_| listener.tell(event()));
        assert!(!listener.hears() && !listener.needs_all());
        listener.send(Told::Done(7, Ok(None)));
        for _ in 0..BACKLOG {
            assert!(!matches!(heard.next().await, Some(Told::Done(..))));
        }
        assert!(matches!(heard.next().await, Some(Told::Done(7, _))));
        assert!(listener.needs_all());
    }
}
