//! A gatekeeper that decides as a test wants, and keeps the calls that it got.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use nightlatch_core::event::Refusal;
use nightlatch_core::registry::{self, ReleasedSecret};
use nightlatch_core::secret::Secret;
use nightlatch_proto::release::Token;
use nightlatch_server::session::{
    Gatekeeper, LifeAnswer, LifeReport, Permit, PermitState, SecretRequest, WaitNotifier,
};
use nightlatch_sys::clock;

/// The decision of a gate.
#[derive(Clone)]
pub(crate) enum Script {
    Release(Arc<Secret>),
    /// Release, and revoke before the sending begins.
    ReleaseAndRevoke,
    Refuse(Refusal),
    /// No decision, as while an approval is missing.
    Wait,
    /// The same, and it says that it waits for approval for this long.
    WaitForApproval(Duration),
    /// A panic, as by a fault of the program.
    Panic,
}

/// A call that a gate got.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum GateCall {
    Requested(SecretRequest),
    Heard(LifeReport),
    Gone,
    Delivered,
    Failed,
}

#[derive(Clone)]
pub(crate) struct Gate {
    script: Script,
    calls: Arc<Mutex<Vec<GateCall>>>,
    called: Arc<Condvar>,
}

impl Gate {
    pub(crate) fn new(script: Script) -> Self {
        Self {
            script,
            calls: Arc::default(),
            called: Arc::default(),
        }
    }

    /// Releases these bytes to every request.
    pub(crate) fn releasing(secret: &[u8]) -> Self {
        Self::new(Script::Release(Arc::new(Secret::new(secret.to_vec()))))
    }

    /// The calls in their order, by name.
    pub(crate) fn calls(&self) -> Vec<&'static str> {
        let calls = self.calls.lock().unwrap();
        calls
            .iter()
            .map(|call| match call {
                GateCall::Requested(_) => "requested",
                GateCall::Heard(_) => "heard",
                GateCall::Gone => "gone",
                GateCall::Delivered => "delivered",
                GateCall::Failed => "failed",
            })
            .collect()
    }

    /// The sign of life of the first call.
    pub(crate) fn heard(&self) -> LifeReport {
        match self.calls.lock().unwrap().first() {
            Some(GateCall::Heard(report)) => report.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// The request of the first call.
    pub(crate) fn first(&self) -> SecretRequest {
        match self.calls.lock().unwrap().first() {
            Some(GateCall::Requested(request)) => request.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// `may_wait` of each request, in their order.
    pub(crate) fn may_wait(&self) -> Vec<bool> {
        let calls = self.calls.lock().unwrap();
        let asked = calls.iter().filter_map(|call| match call {
            GateCall::Requested(request) => Some(request.may_wait),
            _ => None,
        });
        asked.collect()
    }

    /// Waits until it has got `number` requests. Fails after 30 seconds.
    pub(crate) fn wait_for_requests(&self, number: usize) {
        let too_few = |calls: &mut Vec<GateCall>| {
            let requests = calls
                .iter()
                .filter(|it| matches!(it, GateCall::Requested(_)));
            requests.count() < number
        };
        let calls = self.calls.lock().unwrap();
        let limit = Duration::from_secs(30);
        let (calls, waited) = self
            .called
            .wait_timeout_while(calls, limit, too_few)
            .unwrap();
        assert!(!waited.timed_out(), "{calls:?}");
    }

    fn push(&self, call: GateCall) {
        self.calls.lock().unwrap().push(call);
        self.called.notify_all();
    }

    fn permit(&self, secret: Arc<Secret>, state: PermitState) -> Permit {
        let terms = registry::DeadlineTerms {
            deadline: clock::now().mono.after(LEFT),
            timeout: TIMEOUT,
            interval: INTERVAL,
        };
        let gate = self.clone();
        let secret = ReleasedSecret::Boot(secret);
        Permit::new(state, secret, terms, true, move |delivered| {
            gate.push(if delivered {
                GateCall::Delivered
            } else {
                GateCall::Failed
            });
        })
    }
}

/// The terms in the answer to a rehearsal.
pub(crate) const LEFT: Duration = Duration::from_secs(100);
pub(crate) const TIMEOUT: Duration = Duration::from_secs(300);
pub(crate) const INTERVAL: Duration = Duration::from_secs(120);

/// The answer to a sign of life.
pub(crate) const LIFE_ANSWER: LifeAnswer = LifeAnswer {
    next: Duration::from_secs(15),
    token: Token::from_bytes([7; 16]),
    window: None,
};

impl Gatekeeper for Gate {
    async fn decide(
        &self,
        request: SecretRequest,
        waits: Option<WaitNotifier>,
    ) -> Result<Permit, Refusal> {
        self.push(GateCall::Requested(request));
        let mut undecided = Undecided(Some(self));
        let state = PermitState::default();
        let secret = match &self.script {
            Script::Wait => std::future::pending().await,
            Script::WaitForApproval(left) => {
                let waits = waits.unwrap();
                waits.send_replace(Some(clock::now().mono.after(*left)));
                std::future::pending().await
            }
            Script::Panic => panic!("on purpose"),
            Script::Refuse(reason) => {
                undecided.0 = None;
                return Err(*reason);
            }
            Script::Release(secret) => Arc::clone(secret),
            Script::ReleaseAndRevoke => {
                state.revoke();
                Arc::new(Secret::new(b"revoked".to_vec()))
            }
        };
        undecided.0 = None;
        Ok(self.permit(secret, state))
    }

    async fn life(&self, report: LifeReport) -> Result<LifeAnswer, Refusal> {
        self.push(GateCall::Heard(report));
        match &self.script {
            Script::Refuse(reason) => Err(*reason),
            _ => Ok(LIFE_ANSWER),
        }
    }
}

struct Undecided<'a>(Option<&'a Gate>);

impl Drop for Undecided<'_> {
    fn drop(&mut self) {
        if let Some(gate) = self.0
            && !std::thread::panicking()
        {
            gate.push(GateCall::Gone);
        }
    }
}
