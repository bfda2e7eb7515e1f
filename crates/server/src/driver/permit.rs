//! The right to send one secret once, which a disable can take back until the sending begins.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use nightlatch_core::event::RequestId;
use nightlatch_core::registry;
use nightlatch_core::secret::Secret;
use nightlatch_proto::rehearsal;
use nightlatch_sys::clock;

use super::{Command, Handle};
use crate::session::Permit;

const GRANTED: u8 = 0;
const SENDING: u8 = 1;
const REVOKED: u8 = 2;

/// What the driver keeps of a right that it gave: one atomic step decides whether the secret goes
/// out or the right is taken back.
#[derive(Clone, Debug, Default)]
pub(super) struct Ticket(Arc<AtomicU8>);

impl Ticket {
    /// Takes the right back, unless the sending has begun.
    pub(super) fn revoke(&self) {
        self.take(REVOKED);
    }

    fn begin(&self) -> bool {
        self.take(SENDING)
    }

    fn take(&self, to: u8) -> bool {
        let order = Ordering::AcqRel;
        self.0
            .compare_exchange(GRANTED, to, order, Ordering::Acquire)
            .is_ok()
    }
}

/// The terms that a machine is told which rehearses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) terms: registry::DeadlineTerms,
    /// The grant raised an alarm.
    pub(super) alarmed: bool,
}

/// The right to send one client's secret once.
pub struct DriverPermit {
    request: RequestId,
    ticket: Ticket,
    secret: Arc<Secret>,
    terms: Terms,
    handle: Handle,
    delivered: bool,
}

impl DriverPermit {
    pub(super) fn new(
        request: RequestId,
        ticket: Ticket,
        secret: Arc<Secret>,
        terms: Terms,
        handle: Handle,
    ) -> Self {
        Self {
            request,
            ticket,
            secret,
            terms,
            handle,
            delivered: false,
        }
    }
}

impl Permit for DriverPermit {
    fn begin(&self) -> Option<Arc<Secret>> {
        self.ticket.begin().then(|| Arc::clone(&self.secret))
    }

    fn terms(&self) -> rehearsal::RehearsalTerms {
        let Terms { terms, alarmed } = self.terms;
        rehearsal::RehearsalTerms {
            left: terms.deadline.since(clock::now().mono),
            timeout: terms.timeout,
            interval: terms.interval,
            alarm: alarmed,
        }
    }

    fn delivered(mut self) {
        self.delivered = true;
    }

    fn failed(self) {}
}

impl Drop for DriverPermit {
    fn drop(&mut self) {
        let report = if self.delivered {
            Command::Delivered
        } else {
            Command::Failed
        };
        self.handle.send(report(self.request));
    }
}

impl fmt::Debug for DriverPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DriverPermit").field(&self.request).finish()
    }
}
