//! The messages in their order: greetings, KEXINIT, the two of the key exchange.

use std::fmt;

use aws_lc_rs::rand;
use nightlatch_core::ssh::HostKey;
use nightlatch_core::ssh::wire::{WireReader, put_string};

use super::kex::{METHODS, Method, OwnKey, Said};
use super::packet::{
    self, DEBUG, DISCONNECT, IGNORE, Incoming, KEX_ECDH_INIT, KEX_ECDH_REPLY, KEXINIT,
};
use super::{Progress, ProofError, signature};

const GREETING: &str = concat!("SSH-2.0-nightlatch_", env!("CARGO_PKG_VERSION"));

/// All that a server may send, with what it says before its greeting and messages to be ignored: several
/// times what the largest exchange takes.
const MAX_RECEIVED: usize = 128 * 1024;

/// Bytes of randomness in KEXINIT.
const COOKIE: usize = 16;

/// Never used, but a server breaks off when it has none of these.
const CIPHERS: &str = "chacha20-poly1305@openssh.com,aes256-gcm@openssh.com,aes128-gcm@openssh.com,\
    aes256-ctr,aes192-ctr,aes128-ctr,aes256-cbc,aes128-cbc";
const MACS: &str = "hmac-sha2-256-etm@openssh.com,hmac-sha2-512-etm@openssh.com,hmac-sha2-256,\
    hmac-sha2-512,hmac-sha1";
const COMPRESSION: &str = "none,zlib@openssh.com,zlib";

pub(super) struct Exchange<'k> {
    pinned: &'k HostKey,
    incoming: Incoming,
    said: Said,
    step: Step,
}

enum Step {
    Greeting,
    Init,
    Reply {
        own: OwnKey,
        /// The signature's.
        algorithm: &'static str,
        /// The server guessed the method wrong: its next message is none.
        skip: bool,
    },
    Over,
}

impl fmt::Debug for Exchange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").finish_non_exhaustive()
    }
}

impl<'k> Exchange<'k> {
    pub(super) fn begin(pinned: &'k HostKey) -> (Self, Vec<u8>) {
        let exchange = Self {
            pinned,
            incoming: Incoming::default(),
            said: Said {
                our_greeting: GREETING.into(),
                ..Said::default()
            },
            step: Step::Greeting,
        };
        (exchange, format!("{GREETING}\r\n").into())
    }

    pub(super) fn receive(&mut self, bytes: &[u8]) -> Result<Progress, ProofError> {
        self.incoming.add(bytes, MAX_RECEIVED)?;
        let mut send = Vec::new();
        if matches!(self.step, Step::Greeting) {
            let Some(greeting) = self.incoming.greeting()? else {
                return Ok(Progress::Continue { send });
            };
            self.said.their_greeting = greeting;
            self.said.our_init = own_init(self.pinned)?;
            send = packet::packet(&self.said.our_init);
            self.step = Step::Init;
        }
        while let Some(payload) = self.incoming.packet()? {
            match payload.first().copied().unwrap_or_default() {
                DISCONNECT => return Err(ProofError::Disconnected(packet::reason(&payload))),
                IGNORE | DEBUG => {}
                message => match self.message(message, payload)? {
                    Progress::Continue { send: more } => send.extend(more),
                    proved @ Progress::Proved(_) => return Ok(proved),
                },
            }
        }
        Ok(Progress::Continue { send })
    }

    fn message(&mut self, message: u8, payload: Vec<u8>) -> Result<Progress, ProofError> {
        match (std::mem::replace(&mut self.step, Step::Over), message) {
            (Step::Init, KEXINIT) => {
                let agreed = agree(self.pinned, &payload)?;
                self.said.their_init = payload;
                let own = OwnKey::make(agreed.method)?;
                let mut init = vec![KEX_ECDH_INIT];
                put_string(&mut init, &own.public);
                self.step = Step::Reply {
                    own,
                    algorithm: agreed.algorithm,
                    skip: agreed.skip,
                };
                let send = packet::packet(&init);
                Ok(Progress::Continue { send })
            }
            (
                Step::Reply {
                    own,
                    algorithm,
                    skip: true,
                },
                KEX_ECDH_INIT..=49,
            ) => {
                self.step = Step::Reply {
                    own,
                    algorithm,
                    skip: false,
                };
                Ok(Progress::Continue { send: Vec::new() })
            }
            (
                Step::Reply {
                    own,
                    algorithm,
                    skip: false,
                },
                KEX_ECDH_REPLY,
            ) => self.reply(own, algorithm, &payload),
            (_, message) => Err(ProofError::Unexpected(message)),
        }
    }

    fn reply(
        &self,
        own: OwnKey,
        algorithm: &'static str,
        payload: &[u8],
    ) -> Result<Progress, ProofError> {
        let mut reader = WireReader::new(payload);
        reader.byte()?;
        let host_key = reader.string()?;
        let theirs = reader.string()?;
        let signature = reader.string()?;
        reader.end()?;
        if host_key != self.pinned.blob() {
            return Err(ProofError::OtherKey);
        }
        let hash = own.hash(&self.said, host_key, theirs)?;
        signature::verify(self.pinned, algorithm, &hash, signature).map(Progress::Proved)
    }
}

fn own_init(pinned: &HostKey) -> Result<Vec<u8>, ProofError> {
    let mut cookie = [0; COOKIE];
    rand::fill(&mut cookie).map_err(|_| ProofError::OwnKey)?;
    let methods = METHODS.each_ref().map(|method| method.name).join(",");
    let algorithms = pinned.kind().algorithms().join(",");
    let mut init = vec![KEXINIT];
    init.extend_from_slice(&cookie);
    for list in [
        &*methods,
        &*algorithms,
        CIPHERS,
        CIPHERS,
        MACS,
        MACS,
        COMPRESSION,
        COMPRESSION,
        "",
        "",
    ] {
        put_string(&mut init, list.as_bytes());
    }
    // No guess follows; a reserved number.
    init.extend_from_slice(&[0; 5]);
    Ok(init)
}

struct Agreed {
    method: Method,
    algorithm: &'static str,
    skip: bool,
}

/// The first of ours that the server has too (RFC 4253, 7.1).
fn agree(pinned: &HostKey, their_init: &[u8]) -> Result<Agreed, ProofError> {
    let mut reader = WireReader::new(their_init);
    reader.bytes(1 + COOKIE)?;
    let methods = reader.names()?;
    let algorithms = reader.names()?;
    for _ in 0..8 {
        reader.string()?;
    }
    let guessed = reader.byte()? != 0;
    reader.number()?;
    reader.end()?;
    let method = METHODS
        .iter()
        .find(|ours| methods.clone().any(|theirs| theirs == ours.name))
        .ok_or(ProofError::NothingInCommon("method of key exchange"))?;
    let algorithm = pinned
        .kind()
        .algorithms()
        .iter()
        .find(|ours| algorithms.clone().any(|theirs| theirs == **ours))
        .ok_or(ProofError::NothingInCommon(
            "algorithm of the pinned host key",
        ))?;
    // A guess is right when both sides prefer the same (RFC 4253, 7).
    let right = methods.clone().next() == METHODS.first().map(|ours| ours.name)
        && algorithms.clone().next() == pinned.kind().algorithms().first().copied();
    Ok(Agreed {
        method: *method,
        algorithm,
        skip: guessed && !right,
    })
}
