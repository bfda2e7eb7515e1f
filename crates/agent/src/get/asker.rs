//! Asking the server at one address for a named secret, in a thread of its own: where the server lets the request wait,
//! others are asked beside it.

use std::collections::BTreeSet;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
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
use crate::log::Log;
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

/// What happens at one server.
#[derive(Debug)]
pub(super) enum AskerEvent {
    /// The request has left the queue for connections, after so long.
    Begins(Duration),
    /// The server lets the request wait.
    Waits {
        address: SocketAddr,
        server: KeyId,
        /// The connection, with the first notice: to shut it down ends the wait.
        socket: Option<TcpStream>,
        notice: LocalWaiting,
    },
    /// The server has answered, or there is none that could.
    Ends {
        address: SocketAddr,
        server: Option<KeyId>,
        answer: Option<ServerAnswer>,
    },
}

/// One request to the server at one address. Its drop tells the end, whatever was the reason.
pub(super) struct Asker {
    pub(super) reporter: Arc<Reporter>,
    pub(super) connections: Arc<Connections>,
    pub(super) name: SecretName,
    pub(super) address: SocketAddr,
    /// The servers that are not asked again.
    pub(super) known: BTreeSet<KeyId>,
    /// True when nobody wants an answer any more.
    pub(super) is_over: Arc<AtomicBool>,
    pub(super) events: Sender<AskerEvent>,
    pub(super) server: Option<KeyId>,
    pub(super) answer: Option<ServerAnswer>,
}

impl Asker {
    /// Asks, and tells events meanwhile.
    pub(super) fn run(mut self) {
        self.answer = self.ask();
    }

    fn ask(&mut self) -> Option<ServerAnswer> {
        let queued = clock::now().mono;
        let is_over = Arc::clone(&self.is_over);
        let connections = Arc::clone(&self.connections);
        let go_on = || match is_over.load(Ordering::Relaxed) {
            true => Err(()),
            false => Ok(()),
        };
        let mut permit = connections.take(go_on).ok()?;
        // Time in the queue is no time of this server's.
        let begin = clock::now().mono;
        self.tell(AskerEvent::Begins(begin.since(queued))).ok()?;
        let limits = Limits::heartbeat(begin.after(FIND));
        let (server, mut stream) = match connect(&self.reporter.tls, self.address, &limits) {
            Ok(connected) => connected,
            Err(error) => return self.fault(&format_error(&error)),
        };
        let key = server.server_key();
        if self.known.contains(&key) || go_on().is_err() {
            server.leave(&mut stream);
            stream.shutdown();
            return None;
        }
        self.server = Some(key);
        let query = SecretQuery {
            name: self.name.clone(),
            boot: self.reporter.nonce(&key),
        };
        stream.renew(limits.reply());
        let mut bound = WaitBound::new(clock::now().mono);
        let mut waiting = |notice: &Waiting, stream: &mut DeadlineStream| {
            permit.waits();
            let socket = match bound.has_begun {
                true => None,
                false => Some(stream.socket()?),
            };
            let left = bound.next(notice.left, clock::now().mono);
            stream.renew(left.map_err(io::Error::other)?);
            self.tell(AskerEvent::Waits {
                address: self.address,
                server: key,
                socket,
                notice: local(notice),
            })
        };
        let result = server.get(query, &mut stream, &mut waiting);
        stream.shutdown();
        match result {
            Ok(given) => Some(ServerAnswer::Given(given)),
            Err(ReportError::RefusedFor { reason, retry }) => Some(ServerAnswer::Refused {
                reason: Some(reason),
                retry,
            }),
            // One that lets a request wait says why it refuses it in the end: this one goes down.
            Err(ReportError::Refused) if bound.has_begun => {
                self.fault("the server ended the connection while the request waited")
            }
            Err(ReportError::Refused) => Some(ServerAnswer::Refused {
                reason: None,
                retry: None,
            }),
            // The connection or the answer was at fault; another address of the server may do.
            Err(error) => self.fault(&format_error(&error)),
        }
    }

    /// Fails when nobody wants an answer any more.
    fn tell(&self, event: AskerEvent) -> io::Result<()> {
        let sent = self.events.send(event);
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn fault(&self, what: &str) -> Option<ServerAnswer> {
        let log: Log = self.reporter.log;
        log.debug(|| format!("cannot ask {} for {}: {what}", self.address, self.name));
        None
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        let ends = AskerEvent::Ends {
            address: self.address,
            server: self.server,
            answer: self.answer.take(),
        };
        // The receiver may be gone.
        let _ = self.tell(ends);
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
