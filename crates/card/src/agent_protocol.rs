//! The messages of an SSH agent that are understood here (draft-ietf-sshm-ssh-agent; OpenSSH's PROTOCOL.agent). Pure.
//!
//! ```text
//! frame    uint32 length, then that many bytes: byte type, contents
//! 11       request the identities          -> 12 number, (key, comment)*
//! 13       key, data, uint32 flags         -> 14 signature
//! 27       extension: name, contents; session-bind@openssh.com is read -> 5
//! others   (adding and removing keys, locking) -> 5
//! ```

use nightlatch_core::ssh::wire::{Malformed, WireReader, put_string};

/// The longest frame in bytes, without its length. Requests of OpenSSH have some kilobytes; clients must not make the agent
/// take more memory than that, each.
pub const MAX_FRAME: usize = 64 * 1024;

const FAILURE: u8 = 5;
const SUCCESS: u8 = 6;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
const EXTENSION: u8 = 27;

const SESSION_BIND: &[u8] = b"session-bind@openssh.com";

/// A message of a client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AgentRequest {
    /// The keys are asked for.
    List,
    /// A signature is asked for.
    Sign(SignRequest),
    /// The client names the SSH session that it uses the agent for, or forwards it to.
    SessionBind(SessionBind),
    /// A message of this type, which is always refused.
    Other(u8),
}

/// A signature over `data`, by the key `key`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignRequest {
    /// The public key as SSH writes it.
    pub key: Vec<u8>,
    /// The bytes to sign.
    pub data: Vec<u8>,
    /// Which hash of RSA is wanted.
    pub flags: u32,
}

/// `session-bind@openssh.com`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionBind {
    /// The host key of the server.
    pub host_key: Vec<u8>,
    /// The identifier of the session (RFC 4253, 7.2).
    pub session: Vec<u8>,
    /// The server's signature over the identifier.
    pub signature: Vec<u8>,
    /// True when the agent is forwarded to that server.
    pub forwarding: bool,
}

impl AgentRequest {
    /// Reads the contents of a frame.
    ///
    /// # Errors
    /// When a message that is understood has another form.
    pub fn parse(frame: &[u8]) -> Result<Self, Malformed> {
        let mut reader = WireReader::new(frame);
        let kind = reader.byte()?;
        let request = match kind {
            REQUEST_IDENTITIES => Self::List,
            SIGN_REQUEST => Self::Sign(SignRequest {
                key: reader.string()?.to_vec(),
                data: reader.string()?.to_vec(),
                flags: reader.number()?,
            }),
            EXTENSION if reader.string()? == SESSION_BIND => Self::SessionBind(SessionBind {
                host_key: reader.string()?.to_vec(),
                session: reader.string()?.to_vec(),
                signature: reader.string()?.to_vec(),
                forwarding: reader.byte()? != 0,
            }),
            other => return Ok(Self::Other(other)),
        };
        reader.end()?;
        Ok(request)
    }

    /// The contents of a frame with this message.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::List => vec![REQUEST_IDENTITIES],
            Self::Sign(request) => {
                let mut frame = vec![SIGN_REQUEST];
                put_string(&mut frame, &request.key);
                put_string(&mut frame, &request.data);
                frame.extend(request.flags.to_be_bytes());
                frame
            }
            Self::SessionBind(bind) => {
                let mut frame = vec![EXTENSION];
                put_string(&mut frame, SESSION_BIND);
                put_string(&mut frame, &bind.host_key);
                put_string(&mut frame, &bind.session);
                put_string(&mut frame, &bind.signature);
                frame.push(u8::from(bind.forwarding));
                frame
            }
            Self::Other(kind) => vec![*kind],
        }
    }
}

/// An answer of the agent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AgentAnswer {
    /// It is not done. The protocol has no room for a reason.
    Failure,
    /// It is done.
    Success,
    /// The keys: each with its comment.
    Identities(Vec<(Vec<u8>, String)>),
    /// The signature, with the name of its algorithm.
    Signature(Vec<u8>),
}

impl AgentAnswer {
    /// The whole frame.
    pub fn frame(&self) -> Vec<u8> {
        let mut body = Vec::new();
        match self {
            Self::Failure => body.push(FAILURE),
            Self::Success => body.push(SUCCESS),
            Self::Identities(keys) => {
                body.push(IDENTITIES_ANSWER);
                let count = u32::try_from(keys.len()).unwrap_or(u32::MAX);
                body.extend(count.to_be_bytes());
                for (key, comment) in keys {
                    put_string(&mut body, key);
                    put_string(&mut body, comment.as_bytes());
                }
            }
            Self::Signature(signature) => {
                body.push(SIGN_RESPONSE);
                put_string(&mut body, signature);
            }
        }
        let mut frame = Vec::with_capacity(body.len() + 4);
        put_string(&mut frame, &body);
        frame
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn requests() -> impl Strategy<Value = AgentRequest> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..40);
        let sign = (bytes(), bytes(), any::<u32>())
            .prop_map(|(key, data, flags)| AgentRequest::Sign(SignRequest { key, data, flags }));
        let bind = (bytes(), bytes(), bytes(), any::<bool>()).prop_map(
            |(host_key, session, signature, forwarding)| {
                AgentRequest::SessionBind(SessionBind {
                    host_key,
                    session,
                    signature,
                    forwarding,
                })
            },
        );
        prop_oneof![
            Just(AgentRequest::List),
            sign,
            bind,
            (0u8..10).prop_map(AgentRequest::Other)
        ]
    }

    proptest! {
        #[test]
        fn a_message_is_read_as_it_was_written_and_not_when_it_is_cut_off(request in requests()) {
            let frame = request.encode();
            prop_assert_eq!(AgentRequest::parse(&frame), Ok(request.clone()));
            if !matches!(request, AgentRequest::Other(_)) {
                for length in 0..frame.len() {
                    let read = AgentRequest::parse(&frame[..length]);
                    prop_assert!(matches!(read, Err(Malformed) | Ok(AgentRequest::Other(EXTENSION))));
                }
                prop_assert!(AgentRequest::parse(&[&frame[..], &[0]].concat()).is_err());
            }
        }

        #[test]
        fn no_frame_is_a_panic(frame in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = AgentRequest::parse(&frame);
        }
    }

    #[test]
    fn keys_are_never_added_removed_or_locked() {
        for kind in [17, 18, 19, 20, 21, 22, 23, 25, 26] {
            let read = AgentRequest::parse(&[kind, 1, 2, 3]);
            assert_eq!(read, Ok(AgentRequest::Other(kind)));
        }
        let mut other = vec![EXTENSION];
        put_string(&mut other, b"query");
        assert_eq!(
            AgentRequest::parse(&other),
            Ok(AgentRequest::Other(EXTENSION))
        );
        assert!(AgentRequest::parse(&[]).is_err());
    }

    #[test]
    fn answers_are_those_of_the_draft() {
        assert_eq!(AgentAnswer::Failure.frame(), [0, 0, 0, 1, 5]);
        assert_eq!(AgentAnswer::Success.frame(), [0, 0, 0, 1, 6]);
        let keys = AgentAnswer::Identities(vec![(vec![7, 8], "c".to_owned())]);
        assert_eq!(
            keys.frame(),
            [
                0, 0, 0, 16, 12, 0, 0, 0, 1, 0, 0, 0, 2, 7, 8, 0, 0, 0, 1, b'c'
            ]
        );
        let signature = AgentAnswer::Signature(vec![9]).frame();
        assert_eq!(signature, [0, 0, 0, 6, 14, 0, 0, 0, 1, 9]);
    }
}
