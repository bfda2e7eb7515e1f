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

/// The most time in the queue for connections that is added to [`FIND`]: a search ends, however many others ask.
const QUEUE: Duration = Duration::from_secs(5 * 60);

/// A server that lets a request wait says so every 30 s. One that is silent for so long is left.
const SILENCE: Duration = Duration::from_secs(90);

/// The longest time for which a request waits at a server that does not say how long.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

/// The longest time for which a request waits at a server, whatever that says: then other servers are asked, and this one
/// again with the next request.
const LONGEST_TOLD_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// The same while another trusted server was not reached: that one may give the secret at once when it is back.
const LONGEST_WAIT_ALONE: Duration = Duration::from_secs(60 * 60);

/// The greatest number of notices to wait within [`NOTICES_WITHIN`]. A server sends one every 30 s and at each change; one
/// that sends more floods the machine, and is left.
const MOST_NOTICES: u32 = 60;
const NOTICES_WITHIN: Duration = Duration::from_secs(60);

/// The answer of one server.
#[derive(Debug)]
pub(super) enum ServerAnswer {
    /// Bytes that should be a sealed secret.
    Given(NamedSecret),
    /// The server gives no secret.
    Refused {
        reason: Option<ReasonWord>,
        retry: Option<Duration>,
    },
}

/// The caller is gone, or does not read.
#[derive(Debug)]
pub(super) struct CallerGone;

/// A pass over the trusted servers for one secret: each answers once at most. A server that lets the request wait is left
/// while others are to be asked, and asked again after them: one of them cannot keep the secret of the others from the
/// machine.
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
    /// The servers that were left.
    deferred: VecDeque<(KeyId, SocketAddr)>,
    servers: usize,
    limit: SearchLimit,
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
            deferred: VecDeque::new(),
            servers,
            limit: SearchLimit::new(clock::now().mono),
        }
    }

    /// The next answer of a server, with its key and its address; `None` when there is none left to ask.
    pub(super) fn next(&mut self) -> Result<Option<(KeyId, SocketAddr, ServerAnswer)>, CallerGone> {
        while self.answered.len() < self.servers {
            // Before a name is resolved, which may take long.
            (self.tell)(&LocalAnswer::Trying)?;
            let is_over = self.limit.is_over(clock::now().mono);
            let new = (!is_over).then(|| self.next_address()).flatten();
            let found = new.map(|address| (address, true)).or_else(|| {
                let (_, address) = self.deferred.pop_front()?;
                Some((address, false))
            });
            let Some((address, may_leave)) = found else {
                break;
            };
            if let Some((key, answer)) = self.ask(address, may_leave)? {
                self.limit = SearchLimit::new(clock::now().mono);
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

    /// True when a server is left that may be at one of the remaining places, besides the one that is asked.
    fn has_others(&self) -> bool {
        let is_a_place_left = !(self.addresses.is_empty() && self.places.is_empty());
        is_a_place_left && self.answered.len() + self.deferred.len() + 1 < self.servers
    }

    /// The answer of the server at `address`; `None` when there is no server that has not answered yet, or when it lets the
    /// request wait, and it `may_leave` for others.
    fn ask(
        &mut self,
        address: SocketAddr,
        may_leave: bool,
    ) -> Result<Option<(KeyId, ServerAnswer)>, CallerGone> {
        let log = self.reporter.log;
        let fault = |error: &dyn std::fmt::Display| {
            log.debug(|| format!("cannot ask {address} for {}: {error}", self.name));
        };
        let queued = clock::now().mono;
        let mut permit = self
            .connections
            .take(|| (self.tell)(&LocalAnswer::Trying))?;
        // Time in the queue is no time of this server's.
        let begin = clock::now().mono;
        self.limit.add_queue(begin.since(queued));
        let limits = Limits::heartbeat(begin.after(FIND));
        let (server, mut stream) = match connect(&self.reporter.tls, address, &limits) {
            Ok(connected) => connected,
            Err(error) => {
                fault(&shown(&error));
                return Ok(None);
            }
        };
        let key = server.server_key();
        let is_deferred = self.deferred.iter().any(|(deferred, _)| *deferred == key);
        if self.answered.contains(&key) || is_deferred {
            server.leave(&mut stream);
            stream.shutdown();
            return Ok(None);
        }
        let query = SecretQuery {
            name: self.name.clone(),
            boot: self.reporter.nonce(&key),
        };
        stream.renew(limits.reply());
        let may_leave = may_leave && self.has_others();
        let (mut is_gone, mut is_left) = (false, false);
        let longest = match self.answered.len() + self.deferred.len() + 1 < self.servers {
            true => LONGEST_WAIT_ALONE,
            false => LONGEST_TOLD_WAIT,
        };
        let mut bound = WaitBound::new(longest, clock::now().mono);
        let mut waiting = |notice: &Waiting, stream: &mut DeadlineStream| {
            if may_leave {
                is_left = true;
                return Err(io::ErrorKind::Interrupted.into());
            }
            permit.waits();
            let left = bound.next(notice.left, clock::now().mono);
            stream.renew(left.map_err(io::Error::other)?);
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
        if is_left {
            log.debug(|| {
                format!(
                    "{address} lets the request for {} wait; others come first",
                    self.name
                )
            });
            self.deferred.push_back((key, address));
            return Ok(None);
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

/// The end of the search for the next server that answers: [`FIND`] after its beginning, without the time in the queue for
/// connections, of which [`QUEUE`] counts at most.
#[derive(Debug)]
struct SearchLimit {
    until: Monotonic,
    queue_left: Duration,
}

impl SearchLimit {
    fn new(now: Monotonic) -> Self {
        Self {
            until: now.after(FIND),
            queue_left: QUEUE,
        }
    }

    fn is_over(&self, now: Monotonic) -> bool {
        now >= self.until
    }

    /// A connection was queued for so long.
    fn add_queue(&mut self, queued: Duration) {
        let added = queued.min(self.queue_left);
        self.queue_left -= added;
        self.until = self.until.after(added);
    }
}

/// The bounds of a wait at one server: its end, when the server has said that it is decided, and the pace of its notices.
#[derive(Debug)]
struct WaitBound {
    begin: Monotonic,
    /// The longest time to wait, whatever the server says.
    longest: Duration,
    /// The server has let the request wait.
    has_begun: bool,
    end: Option<Monotonic>,
    /// The beginning of the present [`NOTICES_WITHIN`], and the notices since.
    counted_from: Monotonic,
    notices: u32,
}

/// The server sends more notices than a server has reason to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the server sent more than {MOST_NOTICES} notices to wait within {} s", NOTICES_WITHIN.as_secs())]
struct NoticeFlood;

impl WaitBound {
    const fn new(longest: Duration, now: Monotonic) -> Self {
        Self {
            begin: now,
            longest,
            has_begun: false,
            end: None,
            counted_from: now,
            notices: 0,
        }
    }

    /// The time for the next notice of a server that has `left` until it decides. Its first word for that counts, up to the
    /// longest time: one that puts it off again and again would keep the request from other servers.
    fn next(&mut self, left: Option<Duration>, now: Monotonic) -> Result<Duration, NoticeFlood> {
        self.has_begun = true;
        if now.since(self.counted_from) >= NOTICES_WITHIN {
            self.counted_from = now;
            self.notices = 0;
        }
        self.notices += 1;
        if self.notices > MOST_NOTICES {
            return Err(NoticeFlood);
        }
        if self.end.is_none() {
            self.end = left.map(|left| now.after(left.min(self.longest)).after(SILENCE));
        }
        let end = self.end.unwrap_or(self.begin.after(LONGEST_WAIT));
        Ok(SILENCE.min(end.since(now)))
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

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(after: Duration) -> Monotonic {
        Monotonic::from_boot(after)
    }

    fn bound() -> WaitBound {
        WaitBound::new(LONGEST_TOLD_WAIT, at(Duration::ZERO))
    }

    #[test]
    fn a_wait_lasts_as_long_as_the_server_says_and_not_longer() {
        let mut long = bound();
        assert_eq!(long.next(None, at(Duration::ZERO)), Ok(SILENCE));
        assert_eq!(long.next(Some(HOUR * 20), at(HOUR / 2)), Ok(SILENCE));
        // A later word does not move the end.
        assert_eq!(long.next(Some(HOUR * 20), at(HOUR * 20)), Ok(SILENCE));
        let end = HOUR * 20 + HOUR / 2 + SILENCE;
        assert_eq!(long.next(Some(HOUR), at(end)), Ok(Duration::ZERO));
        let mut without = bound();
        assert_eq!(without.next(None, at(HOUR - SILENCE / 2)), Ok(SILENCE / 2));
        assert_eq!(without.next(None, at(HOUR)), Ok(Duration::ZERO));
    }

    #[test]
    fn no_server_keeps_a_request_for_longer_than_a_day() {
        for told in [HOUR * 48, Duration::MAX] {
            let mut bound = bound();
            assert_eq!(bound.next(Some(told), at(Duration::ZERO)), Ok(SILENCE));
            let end = LONGEST_TOLD_WAIT + SILENCE;
            assert_eq!(bound.next(Some(told), at(end)), Ok(Duration::ZERO));
        }
    }

    #[test]
    fn beside_a_server_that_is_away_a_wait_is_shorter() {
        let mut alone = WaitBound::new(LONGEST_WAIT_ALONE, at(Duration::ZERO));
        assert_eq!(alone.next(Some(HOUR * 24), at(Duration::ZERO)), Ok(SILENCE));
        let end = LONGEST_WAIT_ALONE + SILENCE;
        assert_eq!(alone.next(Some(HOUR * 24), at(end)), Ok(Duration::ZERO));
    }

    #[test]
    fn a_flood_of_notices_ends_a_wait_and_their_usual_pace_never_does() {
        let mut usual = bound();
        for number in 0..2880 {
            let now = at(Duration::from_secs(30) * number);
            assert!(usual.next(Some(HOUR * 24), now).is_ok(), "{number}");
        }
        let mut flood = bound();
        let mut notices = (0..2 * MOST_NOTICES).map(|number| {
            let now = at(Duration::from_millis(100) * number);
            flood.next(Some(HOUR), now)
        });
        let ended = notices.position(|it| it == Err(NoticeFlood));
        assert_eq!(ended, usize::try_from(MOST_NOTICES).ok());
    }

    #[test]
    fn a_search_ends_however_many_places_there_are_and_a_queue_costs_it_nothing() {
        let second = Duration::from_secs(1);
        // Places where each try takes a second.
        let mut limit = SearchLimit::new(at(Duration::ZERO));
        let tries = |limit: &mut SearchLimit, queued: Duration| {
            let mut now = Duration::ZERO;
            let mut tries = 0;
            while !limit.is_over(at(now)) && tries < 10_000 {
                tries += 1;
                limit.add_queue(queued);
                now += queued + second;
            }
            (tries, now)
        };
        assert_eq!(tries(&mut limit, Duration::ZERO), (60, FIND));
        let mut limit = SearchLimit::new(at(Duration::ZERO));
        assert_eq!(tries(&mut limit, second * 2), (60, FIND * 3));
        // A queue that is longer than all that counts of it.
        let mut limit = SearchLimit::new(at(Duration::ZERO));
        let (tries, took) = tries(&mut limit, second * 60);
        assert!(tries >= 5 && took <= FIND + QUEUE + second * 61, "{took:?}");
    }
}
