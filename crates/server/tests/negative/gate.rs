//! A gatekeeper that says what a test wants, and remembers what it heard.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use nightlatch_core::event::Refusal;
use nightlatch_core::key_id::KeyId;
use nightlatch_core::secret::Secret;
use nightlatch_proto::rehearsal::RehearsalTerms;
use nightlatch_proto::tls::Authenticated;
use nightlatch_server::session::{Gatekeeper, Peer, Permit, Request, Verdict};

/// What it answers.
#[derive(Clone)]
pub(crate) enum Script {
    Release(Arc<Secret>),
    /// Released, and revoked before the sending begins.
    ReleaseInVain,
    Refuse(Refusal),
    /// No answer, as while an approval is missing.
    Wait,
    /// Our own fault.
    Panic,
}

/// What it heard, in this order.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Heard {
    Asked(KeyId, Peer),
    Gone,
    Delivered,
    Failed,
}

#[derive(Clone)]
pub(crate) struct Gate {
    script: Script,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Gate {
    pub(crate) fn new(script: Script) -> Self {
        Self {
            script,
            heard: Arc::default(),
        }
    }

    /// Releases these bytes to anyone.
    pub(crate) fn releasing(secret: &[u8]) -> Self {
        Self::new(Script::Release(Arc::new(Secret::new(secret.to_vec()))))
    }

    /// What was heard, without who asked.
    pub(crate) fn heard(&self) -> Vec<&'static str> {
        let heard = self.heard.lock().unwrap();
        heard
            .iter()
            .map(|heard| match heard {
                Heard::Asked(..) => "asked",
                Heard::Gone => "gone",
                Heard::Delivered => "delivered",
                Heard::Failed => "failed",
            })
            .collect()
    }

    /// Who asked first.
    pub(crate) fn first(&self) -> (KeyId, Peer) {
        match self.heard.lock().unwrap().first() {
            Some(Heard::Asked(key, peer)) => (*key, peer.clone()),
            other => panic!("{other:?}"),
        }
    }

    fn hear(&self, heard: Heard) {
        self.heard.lock().unwrap().push(heard);
    }
}

impl Gatekeeper for Gate {
    type Request = Asking;

    async fn request(&self, who: Authenticated, peer: Peer) -> Asking {
        self.hear(Heard::Asked(who.key_id(), peer));
        Asking {
            gate: self.clone(),
            answered: false,
        }
    }
}

pub(crate) struct Asking {
    gate: Gate,
    answered: bool,
}

impl Request for Asking {
    type Permit = Right;

    async fn verdict(&mut self) -> Verdict<Right> {
        let secret = match &self.gate.script {
            Script::Wait => std::future::pending().await,
            Script::Panic => panic!("on purpose"),
            Script::Refuse(reason) => {
                self.answered = true;
                return Verdict::Refuse(*reason);
            }
            Script::Release(secret) => Some(Arc::clone(secret)),
            Script::ReleaseInVain => None,
        };
        self.answered = true;
        Verdict::Release(Right {
            gate: self.gate.clone(),
            secret,
        })
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if !self.answered && !std::thread::panicking() {
            self.gate.hear(Heard::Gone);
        }
    }
}

/// What it says to a machine that rehearses.
pub(crate) const TERMS: RehearsalTerms = RehearsalTerms {
    left: Duration::from_secs(100),
    timeout: Duration::from_secs(300),
    interval: Duration::from_secs(120),
    alarm: true,
};

pub(crate) struct Right {
    gate: Gate,
    secret: Option<Arc<Secret>>,
}

impl Permit for Right {
    fn begin(&self) -> Option<Arc<Secret>> {
        self.secret.clone()
    }

    fn terms(&self) -> RehearsalTerms {
        TERMS
    }

    fn delivered(self) {
        self.gate.hear(Heard::Delivered);
    }

    fn failed(self) {
        self.gate.hear(Heard::Failed);
    }
}
