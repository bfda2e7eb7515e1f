//! The right to send one secret once, which a disable can revoke until the sending begins.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use nightlatch_core::registry::{self, ReleasedSecret};
use nightlatch_core::secret_name::SecretName;
use nightlatch_proto::release::Terms;
use nightlatch_sys::clock;

const GRANTED: u8 = 0;
const SENDING: u8 = 1;
const REVOKED: u8 = 2;

/// The state of one permit, shared with whoever may revoke it: one atomic step decides whether the secret
/// is sent or the permit revoked.
#[derive(Clone, Debug, Default)]
pub struct PermitState(Arc<AtomicU8>);

impl PermitState {
    /// Revokes the permit, unless the sending has begun.
    pub fn revoke(&self) {
        self.change(REVOKED);
    }

    /// True when a part of the secret may have been sent.
    pub(crate) fn has_begun(&self) -> bool {
        self.0.load(Ordering::Acquire) == SENDING
    }

    fn begin(&self) -> bool {
        self.change(SENDING)
    }

    fn change(&self, to: u8) -> bool {
        let order = Ordering::AcqRel;
        self.0
            .compare_exchange(GRANTED, to, order, Ordering::Acquire)
            .is_ok()
    }
}

/// The right to send one secret of a client once. Dropped, it reports that the secret was not delivered.
pub struct Permit {
    state: PermitState,
    secret: ReleasedSecret,
    terms: registry::DeadlineTerms,
    alarmed: bool,
    report: Option<Box<dyn FnOnce(bool) + Send>>,
}

impl Permit {
    /// A permit to send `secret`; `alarmed` when its grant raised an alarm. `report` is called exactly once,
    /// with true when the secret was delivered.
    pub fn new(
        state: PermitState,
        secret: ReleasedSecret,
        terms: registry::DeadlineTerms,
        alarmed: bool,
        report: impl FnOnce(bool) + Send + 'static,
    ) -> Self {
        Self {
            state,
            secret,
            terms,
            alarmed,
            report: Some(Box::new(report)),
        }
    }

    /// The secret, to be sent now; `None` when the permit was revoked or used. A secret whose sending has
    /// begun cannot be called back.
    pub fn begin(&self) -> Option<ReleasedSecret> {
        self.state.begin().then(|| self.secret.clone())
    }

    /// The name of the secret, and its serial.
    pub fn label(&self) -> (SecretName, u64) {
        self.secret.label()
    }

    /// The time that the machine may be away from now, told to one that rehearses.
    pub fn terms(&self) -> Terms {
        Terms {
            left: self.terms.deadline.since(clock::now().mono),
            timeout: self.terms.timeout,
            interval: self.terms.interval,
            alarm: self.alarmed,
        }
    }

    /// The whole secret, and the mark of its end, left for the peer.
    pub fn delivered(mut self) {
        self.report(true);
    }

    fn report(&mut self, delivered: bool) {
        if let Some(report) = self.report.take() {
            report(delivered);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.report(false);
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}
