//! Signs of life of booted machines, and pauses of this server.

use std::time::Duration;

use nightlatch_core::client::Client;
use nightlatch_core::event::{ClientId, Refusal, RequestId};
use nightlatch_core::registry::{RequestAnswer, SignOfLife};
use nightlatch_core::time::Now;
use nightlatch_proto::release::Token;
use nightlatch_sys::clock;
use tokio::sync::oneshot;

use super::actor::{Driver, LONGEST_SLEEP};
use super::effect::Effect;
use super::requests::{Answerer, RequestEntry};
use crate::random;
use crate::session::{LifeAnswer, LifeReport};

/// The host was suspended, or this program stopped, when something is so much overdue.
const PAUSE: Duration = Duration::from_secs(5);

impl Driver {
    pub(super) fn handle_life(
        &mut self,
        report: LifeReport,
        answer: oneshot::Sender<Result<LifeAnswer, Refusal>>,
        now: Now,
    ) {
        // A deadline that passed counts before it is decided who gets a token.
        self.registry.handle_timeout(now);
        let LifeReport {
            peer,
            boot,
            resumes,
            earlier_boots,
            poke_port,
            poked,
            rejected,
            goodbye,
            opened,
        } = report;
        let (id, key) = (peer.id, peer.key);
        let token = Token::from_bytes(random::token());
        let client = self.registry.by_host_key(&key);
        // A client that is refused gets no token: the one that its agent has stays.
        let gets_token = |client: &Client| client.is_enabled() || client.needs_proof();
        let gets_token = client
            .and_then(|id| self.registry.client(id))
            .is_some_and(gets_token);
        let pokeable = client.is_some_and(|client| match goodbye {
            None if gets_token => {
                let poke = (poke_port, poked);
                self.pokes
                    .heard(client, peer.address, poke, token, now.mono)
            }
            _ => self.pokes.arrive(client),
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
        // Before its answer, which says that they were heard.
        if let Some(client) = client {
            for rejection in rejected {
                self.registry.handle_rejected(client, rejection, now);
            }
        }
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

    /// Tells the registry of a pause, if there was one: nothing follows from the silence of agents meanwhile.
    pub(super) fn notice_pause(&mut self) {
        let now = clock::now();
        let due = self.registry.poll_timeout();
        let is_overdue = due.is_some_and(|due| due.after(PAUSE) < now.mono);
        // With something due, the loop turns at least this often.
        let turn = self.last_turn.after(LONGEST_SLEEP + PAUSE);
        let did_not_turn = due.is_some() && turn < now.mono;
        if is_overdue || did_not_turn {
            self.registry.handle_gap(now);
        }
    }
}
