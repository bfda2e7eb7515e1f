//! The log lines of connections, within quotas: peers without a key must not fill the log.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nightlatch_core::error_chain::format_error;
use nightlatch_core::log_limit::{LogLimit, LogQuota, MAX_CLASSES, OmittedLines, SourceClass};
use nightlatch_core::time::Monotonic;
use nightlatch_sys::clock;
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::Level;

use super::{SessionEnd, SessionStage};
use crate::limits::TooManyConnections;

/// Enough to see why a machine in one network fails while another network floods the server.
const QUOTA: LogQuota = LogQuota {
    class: 3,
    all: 10,
    classes: MAX_CLASSES,
};

/// The source of a line, and its kind.
type ConnectionClass = (SourceClass, &'static str);

/// Writes the lines and counts those that it leaves out.
#[derive(Debug)]
pub(super) struct ConnectionLog {
    limit: Mutex<LogLimit<ConnectionClass>>,
    /// A window has begun.
    begun: Notify,
}

impl ConnectionLog {
    pub(super) const fn new() -> Self {
        Self {
            limit: Mutex::new(LogLimit::new(QUOTA)),
            begun: Notify::const_new(),
        }
    }

    /// Logs at the end of each window how many lines were left out. Never ends.
    pub(super) async fn close_windows(&self) {
        loop {
            let now = clock::now().mono;
            let ends = {
                let mut limit = self.lock();
                log_left_out(limit.close(now));
                limit.ends()
            };
            match ends {
                Some(ends) => sleep(ends.since(now)).await,
                None => self.begun.notified().await,
            }
        }
    }

    /// Logs how many lines were left out until now.
    pub(super) fn finish(&self) {
        log_left_out(self.lock().finish());
    }

    /// Logs the end of a connection. Decisions are logged by the gatekeeper, with the client's name.
    pub(super) fn ended(&self, address: SocketAddr, ended: &SessionEnd) {
        let peer = SocketAddr::new(address.ip().to_canonical(), address.port());
        match ended {
            SessionEnd::Greeting(error) => self.refused(peer, "greeting", error),
            SessionEnd::Handshake(error) => self.refused(peer, "handshake", error),
            SessionEnd::Request(error) => self.refused(peer, "request", error),
            SessionEnd::Late(stage @ (SessionStage::Greeting | SessionStage::Handshake)) => {
                if self.admit(peer.ip(), "late", Level::INFO) {
                    tracing::info!(%peer, reason = %format_args!("too long for {stage}"), "refused");
                }
            }
            SessionEnd::Broken(error) => {
                if self.admit(peer.ip(), "broken", Level::DEBUG) {
                    tracing::debug!(%peer, %error, "the connection failed");
                }
            }
            SessionEnd::TooLong(length) => {
                if self.admit(peer.ip(), "too long", Level::WARN) {
                    tracing::warn!(%peer, length, "the secret is too long to be sent");
                }
            }
            SessionEnd::NotSent(error) => {
                if self.admit(peer.ip(), "not sent", Level::DEBUG) {
                    tracing::debug!(%peer, %error, "the secret could not be sent");
                }
            }
            SessionEnd::Late(stage @ (SessionStage::Asking | SessionStage::Sending)) => {
                if self.admit(peer.ip(), "not sent", Level::DEBUG) {
                    tracing::debug!(%peer, "the peer took too long for {stage}");
                }
            }
            SessionEnd::Delivered
            | SessionEnd::Heard
            | SessionEnd::Refused(_)
            | SessionEnd::Revoked
            | SessionEnd::NotAsked
            | SessionEnd::Gone => {
                if self.admit(peer.ip(), "closed", Level::DEBUG) {
                    tracing::debug!(%peer, ?ended, "connection closed");
                }
            }
        }
    }

    /// Logs a connection that was closed because of the limits.
    pub(super) fn turned_away(&self, peer: SocketAddr, error: TooManyConnections) {
        self.refused(peer, "too many", &error);
    }

    /// Logs that accept(2) failed, within a quota: peers can cause it, and end it, at will.
    pub(super) fn cannot_accept(&self, listener: SocketAddr, error: &std::io::Error) {
        if self.admit(listener.ip(), "cannot accept", Level::ERROR) {
            tracing::error!(%error, "cannot accept connections, will keep trying");
        }
    }

    fn refused(&self, peer: SocketAddr, kind: &'static str, error: &dyn Error) {
        if self.admit(peer.ip(), kind, Level::INFO) {
            tracing::info!(%peer, reason = %format_error(error), "refused");
        }
    }

    fn admit(&self, source: IpAddr, kind: &'static str, level: Level) -> bool {
        // What the level leaves out was not left out by a quota.
        let written = match level {
            Level::DEBUG => tracing::enabled!(Level::DEBUG),
            Level::INFO => tracing::enabled!(Level::INFO),
            _ => true,
        };
        written && self.count((source.into(), kind), clock::now().mono)
    }

    fn count(&self, class: ConnectionClass, now: Monotonic) -> bool {
        let mut limit = self.lock();
        log_left_out(limit.close(now));
        if limit.ends().is_none() {
            self.begun.notify_one();
        }
        limit.admit(class, now)
    }

    /// Nothing panics while it holds the lock, so a poisoned count is still right.
    fn lock(&self) -> MutexGuard<'_, LogLimit<ConnectionClass>> {
        self.limit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn log_left_out(left_out: Option<OmittedLines<ConnectionClass>>) {
    const SENTENCE: &str = "lines about connections in the last minute were left out";
    let Some(OmittedLines { largest, others }) = left_out else {
        return;
    };
    for ((network, kind), left_out) in largest {
        tracing::warn!(%network, kind, left_out, "{SENTENCE}");
    }
    if others > 0 {
        tracing::warn!(left_out = others, "{SENTENCE}: other networks and kinds");
    }
}
