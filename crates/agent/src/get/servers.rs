//! Asks the trusted servers for a named secret, one after the other: where each was last told first, then the other
//! places, the best first.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use nightlatch_core::key_id::KeyId;
use nightlatch_core::secret_name::SecretName;
use nightlatch_core::time::Monotonic;
use nightlatch_proto::local::{LocalAnswer, LocalWaiting};
use nightlatch_proto::release::{ReasonWord, SecretQuery, Waiting};
use nightlatch_proto::tls::{NamedSecret, ReportError};
use nightlatch_sys::clock;
use nightlatch_sys::deadline_stream::DeadlineStream;

use crate::attempt::{AttemptError, Limits, connect};
use crate::place::Place;
use crate::reporter::Reporter;

use super::connections::Connections;

/// Time to find a server that answers, anew after each that did. Whoever announces many places must not keep a caller
/// from its answer.
const FIND: Duration = Duration::from_secs(60);

/// Of that, what is left at least for a server that comes after a queue.
const LEAST: Duration = Duration::from_secs(30);

/// A server that lets a request wait says so every 30 s. One that is silent for so long is left.
const SILENCE: Duration = Duration::from_secs(90);

/// The longest time for which a request waits at a server that does not say how long.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

/// The answer of one server.
#[derive(Debug)]
pub(super) enum ServerAnswer {
    /// What should be a sealed secret.
    Given(NamedSecret),
    /// It gives none.
    Refused {
        reason: Option<ReasonWord>,
        retry: Option<Duration>,
    },
}

/// The caller is gone, or does not read.
#[derive(Debug)]
pub(super) struct CallerGone;

/// One pass over the servers.
pub(super) struct Pass<'a> {
    reporter: &'a Reporter,
    name: &'a SecretName,
    connections: &'a Connections,
    tell: &'a mut dyn FnMut(&LocalAnswer) -> Result<(), CallerGone>,
    /// Each server answers once.
    answered: BTreeSet<KeyId>,
    tried: BTreeSet<SocketAddr>,
    addresses: VecDeque<SocketAddr>,
    places: VecDeque<Place>,
    servers: usize,
    until: Monotonic,
}

impl<'a> Pass<'a> {
    /// `tell` gives the caller lines about what is done.
    pub(super) fn new(
        reporter: &'a Reporter,
        name: &'a SecretName,
        connections: &'a Connections,
        tell: &'a mut dyn FnMut(&LocalAnswer) -> Result<(), CallerGone>,
    ) -> Self {
        let state = reporter.state();
        let servers = state.schedule.server_count();
        let places = state.schedule.best_places().into();
        let addresses = state.addresses.values().copied().collect();
        drop(state);
        Self {
            reporter,
            name,
            connections,
            tell,
            answered: BTreeSet::new(),
            tried: BTreeSet::new(),
            addresses,
            places,
            servers,
            until: clock::now().mono.after(FIND),
        }
    }

    /// The next answer of a server, with its key and its address; `None` when there is none left to ask.
    pub(super) fn next(&mut self) -> Result<Option<(KeyId, SocketAddr, ServerAnswer)>, CallerGone> {
        while self.answered.len() < self.servers && clock::now().mono < self.until {
            // Before a name is resolved, which may take long.
            (self.tell)(&LocalAnswer::Trying)?;
            let Some(address) = self.next_address() else {
                break;
            };
            if let Some((key, answer)) = self.ask(address)? {
                self.until = clock::now().mono.after(FIND);
                return Ok(Some((key, address, answer)));
            }
        }
        Ok(None)
    }

    /// The trusted servers that have not answered.
    pub(super) fn unreached(&self) -> usize {
        self.servers.saturating_sub(self.answered.len())
    }

    fn next_address(&mut self) -> Option<SocketAddr> {
        loop {
            while let Some(address) = self.addresses.pop_front() {
                if self.tried.insert(address) {
                    return Some(address);
                }
            }
            let place = self.places.pop_front()?;
            match place.addresses() {
                Ok(addresses) => self.addresses = addresses.into(),
                Err(error) => {
                    let log = self.reporter.log;
                    log.debug(|| format!("cannot ask {place} for {}: {error}", self.name));
                }
            }
        }
    }

    /// The answer of the server at `address`; `None` when there is no server that has not answered yet.
    fn ask(&mut self, address: SocketAddr) -> Result<Option<(KeyId, ServerAnswer)>, CallerGone> {
        let log = self.reporter.log;
        let fault = |error: &dyn std::fmt::Display| {
            log.debug(|| format!("cannot ask {address} for {}: {error}", self.name));
        };
        let mut permit = self
            .connections
            .take(|| (self.tell)(&LocalAnswer::Trying))?;
        // Time in the queue is no time of this server's.
        let begin = clock::now().mono;
        self.until = self.until.max(begin.after(LEAST));
        let limits = Limits::heartbeat(begin.after(FIND));
        let (server, mut stream) = match connect(&self.reporter.tls, address, &limits) {
            Ok(connected) => connected,
            Err(error) => {
                fault(&shown(&error));
                return Ok(None);
            }
        };
        let key = server.server_key();
        if self.answered.contains(&key) {
            server.leave(&mut stream);
            stream.shutdown();
            return Ok(None);
        }
        let query = SecretQuery {
            name: self.name.clone(),
            boot: self.reporter.nonce(&key),
        };
        stream.renew(limits.reply());
        let mut is_gone = false;
        let mut bound = WaitBound::new();
        let mut waiting = |notice: &Waiting, stream: &mut DeadlineStream| {
            permit.waits();
            stream.renew(bound.next(notice.left, clock::now().mono));
            (self.tell)(&LocalAnswer::Waiting(local(notice))).map_err(|CallerGone| {
                is_gone = true;
                io::ErrorKind::BrokenPipe.into()
            })
        };
        let result = server.get(query, &mut stream, &mut waiting);
        stream.shutdown();
        if is_gone {
            return Err(CallerGone);
        }
        let answer = match result {
            Ok(given) => ServerAnswer::Given(given),
            Err(ReportError::RefusedFor { reason, retry }) => ServerAnswer::Refused {
                reason: Some(reason),
                retry,
            },
            // One that lets a request wait says why it refuses it in the end: this one goes down.
            Err(ReportError::Refused) if bound.has_begun => {
                fault(&"the server ended the connection while the request waited");
                return Ok(None);
            }
            Err(ReportError::Refused) => ServerAnswer::Refused {
                reason: None,
                retry: None,
            },
            // The connection or the answer was at fault; another address of the server may do.
            Err(error) => {
                fault(&nightlatch_core::error_chain::format_error(&error));
                return Ok(None);
            }
        };
        self.answered.insert(key);
        Ok(Some((key, answer)))
    }
}

/// The end of a wait at one server: when the server has said that it is decided, and no sooner, however long that is.
struct WaitBound {
    begin: Monotonic,
    /// The server has let the request wait.
    has_begun: bool,
    end: Option<Monotonic>,
}

impl WaitBound {
    fn new() -> Self {
        Self {
            begin: clock::now().mono,
            has_begun: false,
            end: None,
        }
    }

    /// The time for the next line of a server that has `left` until it decides. Its first word for that counts: one that puts
    /// it off again and again would keep the request from other servers.
    fn next(&mut self, left: Option<Duration>, now: Monotonic) -> Duration {
        self.has_begun = true;
        if self.end.is_none() {
            self.end = left.map(|left| now.after(left).after(SILENCE));
        }
        let end = self.end.unwrap_or(self.begin.after(LONGEST_WAIT));
        SILENCE.min(end.since(now))
    }
}

fn shown(error: &AttemptError) -> String {
    nightlatch_core::error_chain::format_error(error)
}

fn local(notice: &Waiting) -> LocalWaiting {
    let reason = notice.reason.as_ref();
    LocalWaiting {
        reason: reason.and_then(|reason| ReasonWord::new(reason.as_str())),
        left: notice.left,
        reference: notice.reference,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_lasts_as_long_as_the_server_says_and_not_longer() {
        let hour = Duration::from_secs(3600);
        let at = |after: Duration| Monotonic::from_boot(after);
        let bound = || WaitBound {
            begin: at(Duration::ZERO),
            has_begun: false,
            end: None,
        };
        let mut long = bound();
        assert_eq!(long.next(None, at(Duration::ZERO)), SILENCE);
        assert_eq!(long.next(Some(hour * 48), at(hour / 2)), SILENCE);
        // A later word does not move the end.
        assert_eq!(long.next(Some(hour * 48), at(hour * 48)), SILENCE);
        let end = hour * 48 + hour / 2 + SILENCE;
        assert_eq!(long.next(Some(hour), at(end)), Duration::ZERO);
        let mut without = bound();
        assert_eq!(without.next(None, at(hour - SILENCE / 2)), SILENCE / 2);
        assert_eq!(without.next(None, at(hour)), Duration::ZERO);
    }
}
