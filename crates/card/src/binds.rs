//! The SSH sessions to which a client has bound its connection (`session-bind@openssh.com`, OpenSSH's PROTOCOL.agent). Pure.
//!
//! ssh(1) binds each connection to an agent before it asks for a signature; where it forwards the agent to the server, it says
//! so. So the last bind is the session of the login, and those before it are the hosts through which the agent was forwarded.

use nightlatch_core::ssh::fingerprint;
use nightlatch_ssh::certificate::{HostIdentity, IdentityError};
use nightlatch_ssh::{SignatureError, verify_by_any};

use crate::agent_protocol::SessionBind;

/// The greatest number of sessions of a connection.
const MAX_BINDS: usize = 16;

/// The longest identifier of a session in bytes: it is a hash, of 64 bytes at most (RFC 4253, 7.2).
const MAX_SESSION: usize = 64;

/// A session, and the host that has proved that it is a part of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BoundSession {
    session: Vec<u8>,
    /// As the client has sent it: a host-bound login must name the same.
    host_key: Vec<u8>,
    identity: HostIdentity,
    is_forwarding: bool,
}

impl BoundSession {
    /// The key or certificate that the host has shown, and signed the session with.
    pub fn identity(&self) -> &HostIdentity {
        &self.identity
    }

    /// The fingerprint of the host's key, as `ssh-keygen -l` prints it: of the plain key, also where there is a certificate.
    pub fn fingerprint(&self) -> String {
        fingerprint(self.identity.key().blob())
    }
}

/// The sessions of one connection.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClientBinds {
    sessions: Vec<BoundSession>,
    /// The first bind that was refused. Nothing that follows it makes the connection good again.
    fault: Option<BindFault>,
}

/// A bind that is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BindFault {
    /// The host key is malformed, or of no supported kind.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The identifier of the session has no possible length.
    #[error("expected the identifier of a session of 1 to {MAX_SESSION} bytes, found {0} bytes")]
    Session(usize),
    /// The host has not signed the session.
    #[error("the host key has not signed the session: {0}")]
    Signature(#[from] SignatureError),
    /// The same session twice.
    #[error("the same session was bound before with another host key, or for another use")]
    Changed,
    /// A session after one that is not forwarded.
    #[error("a session was bound after one to which the agent is not forwarded")]
    AfterLogin,
    /// More sessions than a chain of hosts has.
    #[error("more than {MAX_BINDS} sessions were bound")]
    TooMany,
}

/// A login is not asked for in the session of the connection.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotInSession {
    /// No session was bound.
    #[error(
        "the client has not bound its connection to a session: it is ssh before 8.9, or libssh2, paramiko or another library; use ssh of OpenSSH 8.9 or later"
    )]
    NotBound,
    /// A bind was refused.
    #[error(
        "a bind of this connection was refused ({0}); connect anew with ssh of OpenSSH 8.9 or later"
    )]
    Refused(BindFault),
    /// The session is one to which the agent is forwarded.
    #[error(
        "the agent is forwarded to the host with the key {0}, and the login comes from there; log in without ForwardAgent (-A), by ProxyJump (-J)"
    )]
    Forwarding(String),
    /// Not the session of the last bind.
    #[error(
        "the login is of another session than the one to which the client has bound its connection"
    )]
    OtherSession,
    /// Not the host key of the last bind.
    #[error("the login names another host key than the one of its session, which is {0}")]
    OtherHostKey(String),
}

impl ClientBinds {
    /// Takes a bind, after the host's signature was verified.
    ///
    /// # Errors
    /// When it is not one of ssh(1): the connection is of no use for logins to named hosts from then on.
    pub fn bind(&mut self, bind: &SessionBind) -> Result<&BoundSession, BindFault> {
        match self.judge(bind) {
            Ok(Some(new)) => self.sessions.push(new),
            Ok(None) => {}
            Err(fault) => {
                self.fault.get_or_insert_with(|| fault.clone());
                return Err(fault);
            }
        }
        // There is at least the one above.
        self.sessions.last().ok_or(BindFault::TooMany)
    }

    /// The session to add, if it is not the last one again.
    fn judge(&self, bind: &SessionBind) -> Result<Option<BoundSession>, BindFault> {
        if !(1..=MAX_SESSION).contains(&bind.session.len()) {
            return Err(BindFault::Session(bind.session.len()));
        }
        let identity = HostIdentity::parse(&bind.host_key)?;
        verify_by_any(identity.key(), &bind.session, &bind.signature)?;
        let new = BoundSession {
            session: bind.session.clone(),
            host_key: bind.host_key.clone(),
            identity,
            is_forwarding: bind.forwarding,
        };
        if self.sessions.last() == Some(&new) {
            return Ok(None);
        }
        if self.sessions.iter().any(|old| old.session == new.session) {
            return Err(BindFault::Changed);
        }
        if self.sessions.last().is_some_and(|last| !last.is_forwarding) {
            return Err(BindFault::AfterLogin);
        }
        match self.sessions.len() < MAX_BINDS {
            true => Ok(Some(new)),
            false => Err(BindFault::TooMany),
        }
    }

    /// The session of a login, if the client has proved it: the login is asked for in the session of the last bind, and by this
    /// machine itself, not through a host to which the agent is forwarded.
    ///
    /// # Errors
    /// When that is not so.
    pub fn own_session(
        &self,
        session: &[u8],
        host_key: Option<&[u8]>,
    ) -> Result<&BoundSession, NotInSession> {
        if let Some(fault) = &self.fault {
            return Err(NotInSession::Refused(fault.clone()));
        }
        let last = self.session(session, host_key)?;
        let forwarding = self.sessions.iter().find(|bound| bound.is_forwarding);
        match forwarding {
            Some(host) => Err(NotInSession::Forwarding(host.fingerprint())),
            None => Ok(last),
        }
    }

    /// The session of a login, forwarded or not: the login is of the session of the last bind that was accepted.
    ///
    /// # Errors
    /// When it is of none, or of another one.
    pub fn session(
        &self,
        session: &[u8],
        host_key: Option<&[u8]>,
    ) -> Result<&BoundSession, NotInSession> {
        let last = self.sessions.last().ok_or(NotInSession::NotBound)?;
        if last.session != session {
            return match last.is_forwarding {
                true => Err(NotInSession::Forwarding(last.fingerprint())),
                false => Err(NotInSession::OtherSession),
            };
        }
        match host_key {
            Some(named) if named != last.host_key => {
                Err(NotInSession::OtherHostKey(last.fingerprint()))
            }
            _ => Ok(last),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
