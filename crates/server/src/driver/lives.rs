//! Signs of life of booted machines, and pauses of this server.

use std::time::Duration;

use nightlatch_core::event::{ClientId, Refusal, RequestId};
use nightlatch_core::registry::{RequestAnswer, SignOfLife};
use nightlatch_core::time::Now;
use nightlatch_proto::release::Token;
use nightlatch_sys::clock;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::actor::Driver;
use super::effect::Effect;
use super::requests::{Answerer, RequestEntry};
use crate::random;
use crate::session::{LifeAnswer, LifeReport};

/// A loop that is so much later than it was to wake has not run: the host was suspended, or this program stopped.
const PAUSE: Duration = Duration::from_secs(5);

impl Driver {
    pub(super) fn handle_life(
        &mut self,
        report: LifeReport,
        answer: oneshot::Sender<Result<LifeAnswer, Refusal>>,
        now: Now,
    ) {
        let LifeReport {
            peer,
            boot,
            resumes,
            earlier_boots,
            poke_port,
            goodbye,
            opened,
        } = report;
        let (id, key) = (peer.id, peer.key);
        let token = Token::from_bytes(random::token());
        let client = self.registry.by_host_key(&key);
        let pokeable = client.is_some_and(|client| match goodbye {
            Some(_) => self.pokes.arrive(client),
            None => self
                .pokes
                .heard(client, peer.address, poke_port, token, now.mono),
        });
        let answer = Answerer::Life(answer, token, client);
        let open = RequestEntry::new(peer, answer, None, now.wall);
        self.requests.insert(id, open);
        let sign = SignOfLife {
            boot,
            resumes,
            earlier_boots,
            opened,
            goodbye,
            pokeable,
        };
        self.registry.handle_life(id, &key, &sign, now);
    }

    /// Answers once what the sign of life changed is durable.
    pub(super) fn answer_life(
        &mut self,
        request: RequestId,
        client: Option<ClientId>,
        (sender, token): (oneshot::Sender<Result<LifeAnswer, Refusal>>, Token),
        answer: RequestAnswer,
    ) {
        self.requests.remove(&request);
        let answer = match answer {
            RequestAnswer::Alive { next, window } => Ok(LifeAnswer {
                next,
                token,
                window,
            }),
            RequestAnswer::Refuse(reason) => Err(reason),
            // Only a request for a secret gets one.
            RequestAnswer::Release(_) => return,
        };
        let client = client.and_then(|client| self.name(client));
        let effect = Effect::AnswerLife(sender, answer);
        self.journal.outbox.release(client.as_ref(), effect);
    }

    /// Tells the registry of a pause, if there was one: this loop was to wake at `wakes`, and began to wait at `since`.
    pub(super) fn notice_pause(&mut self, since: Now, wakes: Option<Instant>, started: Instant) {
        let Some(wakes) = wakes else {
            return;
        };
        let planned = wakes.saturating_duration_since(started);
        let now = clock::now();
        if now.mono.since(since.mono) > planned + PAUSE {
            self.registry.handle_gap(now);
        }
    }
}
