//! Asking the server at one address for a named secret, in a thread of its own: where the server lets the request wait,
//! others are asked beside it.

use std::collections::BTreeSet;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nightlatch_core::error_chain::format_error;
use nightlatch_core::key_id::KeyId;
use nightlatch_core::secret_name::SecretName;
use nightlatch_proto::local::LocalWaiting;
use nightlatch_proto::release::{ReasonWord, SecretQuery, Waiting};
use nightlatch_proto::tls::{NamedSecret, ReportError};
use nightlatch_sys::clock;
use nightlatch_sys::deadline_stream::DeadlineStream;

use super::connections::Connections;
use super::limits::{FIND, WaitBound};
use crate::attempt::{Limits, connect};
use crate::place::Place;
use crate::reporter::Reporter;

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

/// What happens in a thread of a pass.
#[derive(Debug)]
pub(super) enum PassEvent {
    /// The addresses of a place are looked up.
    Resolved(Place, Vec<SocketAddr>),
    /// The request has left the queue for connections, after so long.
    Begins(Duration),
    /// The server lets the request of the asker with this number wait.
    Waits(u64, KeyId, LocalWaiting),
    /// The asker with this number has an answer of this server, or there is none that could give one.
    Ends(u64, SocketAddr, Option<(KeyId, ServerAnswer)>),
}

/// The connection of an asker, which another thread may cut.
#[derive(Debug, Default)]
pub(super) struct Line(Mutex<LineState>);

#[derive(Debug, Default)]
struct LineState {
    is_cut: bool,
    socket: Option<TcpStream>,
}

impl Line {
    /// Ends the request, now or before it is sent.
    pub(super) fn cut(&self) {
        let mut state = self.state();
        state.is_cut = true;
        if let Some(socket) = state.socket.take() {
            // It may be closed already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// The connection is there. An error when it was cut before.
    fn connected(&self, socket: TcpStream) -> Result<(), CutOff> {
        let mut state = self.state();
        state.socket = Some(socket);
        match state.is_cut {
            true => Err(CutOff),
            false => Ok(()),
        }
    }

    fn go_on(&self) -> Result<(), CutOff> {
        match self.state().is_cut {
            true => Err(CutOff),
            false => Ok(()),
        }
    }

    fn state(&self) -> MutexGuard<'_, LineState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nobody wants an answer any more.
#[derive(Debug)]
struct CutOff;

/// One request to the server at one address. Its drop tells the end, whatever was the reason.
pub(super) struct Asker {
    pub(super) number: u64,
    pub(super) reporter: Arc<Reporter>,
    pub(super) connections: Arc<Connections>,
    pub(super) name: SecretName,
    pub(super) address: SocketAddr,
    /// The servers that are not asked again.
    pub(super) known: BTreeSet<KeyId>,
    pub(super) line: Arc<Line>,
    pub(super) events: Sender<PassEvent>,
    pub(super) answer: Option<(KeyId, ServerAnswer)>,
}

impl Asker {
    /// Asks, and tells events meanwhile.
    pub(super) fn run(mut self) {
        self.answer = self.ask();
    }

    fn ask(&self) -> Option<(KeyId, ServerAnswer)> {
        let queued = clock::now().mono;
        let mut permit = self.connections.take(|| self.line.go_on()).ok()?;
        self.line.go_on().ok()?;
        // Time in the queue is no time of this server's.
        let begin = clock::now().mono;
        self.tell(PassEvent::Begins(begin.since(queued)));
        let limits = Limits::heartbeat(begin.after(FIND));
        let (server, mut stream) = match connect(&self.reporter.tls, self.address, &limits) {
            Ok(connected) => connected,
            Err(error) => return self.fault(&format_error(&error)),
        };
        let key = server.server_key();
        let line = match stream.socket() {
            Ok(socket) => self.line.connected(socket),
            Err(error) => return self.fault(&error.to_string()),
        };
        if line.is_err() || self.known.contains(&key) {
            server.leave(&mut stream);
            stream.shutdown();
            return None;
        }
        let query = SecretQuery {
            name: self.name.clone(),
            boot: self.reporter.nonce(&key),
        };
        stream.renew(limits.reply());
        let mut bound = WaitBound::new(clock::now().mono);
        let mut asked_person = false;
        let mut waiting = |notice: &Waiting, stream: &mut DeadlineStream| {
            let left = bound.next(notice.left, clock::now().mono);
            stream.renew(left.map_err(io::Error::other)?);
            if !permit.waits(key) {
                return Err(io::Error::other("too many requests wait at this server"));
            }
            let notice = local(notice);
            asked_person |= notice.is_for_person();
            self.tell(PassEvent::Waits(self.number, key, notice));
            Ok(())
        };
        let result = server.get(query, &mut stream, &mut waiting);
        stream.shutdown();
        let answer = match result {
            Ok(given) => ServerAnswer::Given(given),
            Err(ReportError::RefusedFor { reason, retry }) => {
                let reason = Some(match asked_person {
                    true => reason,
                    false => of_another_request(reason),
                });
                ServerAnswer::Refused { reason, retry }
            }
            // One that lets a request wait says why it refuses it in the end: this one goes down.
            Err(ReportError::Refused) if bound.has_begun => {
                return self.fault("the server ended the connection while the request waited");
            }
            Err(ReportError::Refused) => ServerAnswer::Refused {
                reason: None,
                retry: None,
            },
            // The connection or the answer was at fault; another address of the server may do.
            Err(error) => return self.fault(&format_error(&error)),
        };
        Some((key, answer))
    }

    /// An answer that nobody waits for is dropped.
    fn tell(&self, event: PassEvent) {
        let _ = self.events.send(event);
    }

    fn fault<T>(&self, what: &str) -> Option<T> {
        let log = self.reporter.log;
        log.debug(|| format!("cannot ask {} for {}: {what}", self.address, self.name));
        None
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        let answer = self.answer.take();
        self.tell(PassEvent::Ends(self.number, self.address, answer));
    }
}

/// The reason of a refusal that no person has decided on: a denial is then of another request.
fn of_another_request(reason: ReasonWord) -> ReasonWord {
    match reason.is_denial() {
        true => ReasonWord::denied_before(),
        false => reason,
    }
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
    use std::io::Read as _;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_line_is_cut_before_and_after_it_is_connected() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connect = || TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let line = Line::default();
        let mut socket = connect();
        assert!(line.go_on().is_ok());
        assert!(line.connected(socket.try_clone().unwrap()).is_ok());
        line.cut();
        assert_eq!(socket.read(&mut [0]).unwrap(), 0);
        assert!(line.go_on().is_err());
        assert!(line.connected(connect()).is_err());
    }
}
