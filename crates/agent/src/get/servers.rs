//! Asks the trusted servers for a named secret, one after the other: where each was last told first, then named places,
//! then found ones.

use std::collections::BTreeSet;
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

/// Time to find a server that answers, anew after each that did. Whoever announces many places must not keep a caller
/// from its answer.
const FIND: Duration = Duration::from_secs(60);

/// A server that lets a request wait says so every 30 s. One that is silent for so long is left.
const SILENCE: Duration = Duration::from_secs(90);

/// The longest time for which a request waits at one server.
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
    tell: &'a mut dyn FnMut(&LocalAnswer) -> io::Result<()>,
    /// Each server answers once.
    answered: BTreeSet<KeyId>,
    tried: BTreeSet<SocketAddr>,
    addresses: Vec<SocketAddr>,
    places: Vec<Place>,
    servers: usize,
    until: Monotonic,
}

impl<'a> Pass<'a> {
    /// `tell` gives the caller lines about what is done.
    pub(super) fn new(
        reporter: &'a Reporter,
        name: &'a SecretName,
        tell: &'a mut dyn FnMut(&LocalAnswer) -> io::Result<()>,
    ) -> Self {
        let state = reporter.state();
        let ways = state.schedule.ways();
        let servers = ways.len();
        let mut places: Vec<Place> = Vec::new();
        for place in ways.into_iter().flat_map(|(_, places)| places) {
            if !places.contains(&place) {
                places.push(place);
            }
        }
        // Taken from the end.
        places.sort_by_key(|place| matches!(place, Place::Named(_)));
        let addresses = state.addresses.values().copied().collect();
        drop(state);
        Self {
            reporter,
            name,
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
        while self.answered.len() < self.servers
            && clock::now().mono < self.until
            && let Some(address) = self.next_address()
        {
            (self.tell)(&LocalAnswer::Trying).map_err(|_| CallerGone)?;
            if let Some((key, answer)) = self.ask(address)? {
                self.until = clock::now().mono.after(FIND);
                return Ok(Some((key, address, answer)));
            }
        }
        Ok(None)
    }

    fn next_address(&mut self) -> Option<SocketAddr> {
        loop {
            while let Some(address) = self.addresses.pop() {
                if self.tried.insert(address) {
                    return Some(address);
                }
            }
            let place = self.places.pop()?;
            match place.addresses() {
                Ok(mut addresses) => {
                    addresses.reverse();
                    self.addresses = addresses;
                }
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
        let end = clock::now().mono.after(LONGEST_WAIT);
        let limits = Limits::heartbeat(end);
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
        let mut waiting = |notice: &Waiting, stream: &mut DeadlineStream| {
            stream.renew(SILENCE.min(end.since(clock::now().mono)));
            (self.tell)(&LocalAnswer::Waiting(local(notice))).inspect_err(|_| is_gone = true)
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
