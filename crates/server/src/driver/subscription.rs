//! The stream of events, audit records and command results from the driver to the D-Bus part, in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nightlatch_bus::client::ClientView;
use nightlatch_core::event::ClientId;
use nightlatch_core::record::RecordLine;
use tokio::sync::mpsc;

use super::admin_command::AdminError;
use super::report::EventReport;

/// Updates that may wait to be received. A subscriber with more gets the state of all clients instead of each
/// event.
const BACKLOG: usize = 20_000;

#[derive(Debug)]
pub(crate) enum Update {
    /// The state of all clients: first, and again after events were left out.
    AllClients(Vec<(ClientId, ClientView)>),
    Event(Box<EventNotice>),
    /// A line was added to the audit log.
    Recorded(RecordLine),
    /// The command with this number was carried out and is durable, or was not. Comes after the events that
    /// it caused.
    CommandDone(u64, Result<Option<ClientId>, AdminError>),
}

/// An event, and the state of its client after it.
#[derive(Debug)]
pub(crate) struct EventNotice {
    pub(crate) report: EventReport,
    /// `None` when the client is gone.
    pub(crate) view: Option<ClientView>,
    /// The command line of the check that the event is about.
    pub(crate) command: Option<Arc<str>>,
}

/// The driver's end of a subscription.
#[derive(Debug)]
pub(super) struct Subscriber {
    sender: mpsc::UnboundedSender<Update>,
    waiting: Arc<AtomicUsize>,
    behind: bool,
}

/// The receiving end of a subscription.
#[derive(Debug)]
pub(crate) struct Subscription {
    receiver: mpsc::UnboundedReceiver<Update>,
    waiting: Arc<AtomicUsize>,
}

impl Subscriber {
    pub(super) fn new() -> (Self, Subscription) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let waiting = Arc::<AtomicUsize>::default();
        let subscription = Subscription {
            receiver,
            waiting: Arc::clone(&waiting),
        };
        let subscriber = Self {
            sender,
            waiting,
            behind: true,
        };
        (subscriber, subscription)
    }

    /// True when it needs the state of all clients before anything else.
    pub(super) fn needs_all(&self) -> bool {
        self.behind && self.waiting.load(Ordering::Relaxed) == 0
    }

    /// True when events are sent to it.
    pub(super) fn gets_events(&self) -> bool {
        !self.behind
    }

    /// Sends an update, or leaves it out when too many wait already.
    pub(super) fn offer(&mut self, update: Update) {
        if matches!(update, Update::AllClients(_)) {
            self.behind = false;
        } else if self.waiting.load(Ordering::Relaxed) >= BACKLOG {
            self.behind = true;
        }
        if !self.behind {
            self.send(update);
        }
    }

    /// Sends an update that must not be left out. `false` when the subscriber is gone.
    pub(super) fn send(&self, update: Update) -> bool {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.sender.send(update).is_ok()
    }

    pub(super) fn is_gone(&self) -> bool {
        self.sender.is_closed()
    }
}

impl Subscription {
    /// The next update, if one waits already.
    pub(crate) fn try_next(&mut self) -> Option<Update> {
        let update = self.receiver.try_recv().ok()?;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        Some(update)
    }

    /// The next update; `None` when the driver has ended.
    pub(crate) async fn next(&mut self) -> Option<Update> {
        let update = self.receiver.recv().await?;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        Some(update)
    }
}

#[cfg(test)]
mod tests {
    use nightlatch_core::event::{Alarm, Event};

    use super::*;

    #[tokio::test]
    async fn a_slow_subscriber_gets_the_state_of_all_clients_and_every_command_result() {
        let (mut subscriber, mut subscription) = Subscriber::new();
        assert!(subscriber.needs_all() && !subscriber.gets_events());
        subscriber.offer(Update::AllClients(Vec::new()));
        let event = || {
            Update::Event(Box::new(EventNotice {
                report: EventReport {
                    event: Event::Alarmed(None, Alarm::SameBoot),
                    client: None,
                    request: None,
                },
                view: None,
                command: None,
            }))
        };
        (0..BACKLOG + 5).for_each(|_| subscriber.offer(event()));
        assert!(!subscriber.gets_events() && !subscriber.needs_all());
        subscriber.send(Update::CommandDone(7, Ok(None)));
        for _ in 0..BACKLOG {
            assert!(!matches!(
                subscription.next().await,
                Some(Update::CommandDone(..))
            ));
        }
        assert!(matches!(
            subscription.next().await,
            Some(Update::CommandDone(7, _))
        ));
        assert!(subscriber.needs_all());
    }
}
