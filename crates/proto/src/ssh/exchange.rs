//! The messages in their order: greetings, KEXINIT, the two of the key exchange.

use std::fmt;

use aws_lc_rs::rand;
use nightlatch_core::ssh::HostKey;
use nightlatch_core::ssh::wire::{WireReader, put_string};

use super::kex::{ExchangeTranscript, METHODS, Method, OwnKey};
use super::packet::{
    self, DEBUG, DISCONNECT, IGNORE, Incoming, KEX_ECDH_INIT, KEX_ECDH_REPLY, KEXINIT,
};
use super::{ProofError, ProofProgress, signature};

const GREETING: &str = concat!("SSH-2.0-nightlatch_", env!("CARGO_PKG_VERSION"));

/// Most bytes from a server, with the lines before its greeting and ignored messages: several times the largest
/// exchange.
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
    transcript: ExchangeTranscript,
    state: ExchangeState,
}

enum ExchangeState {
    Greeting,
    Init,
    Reply {
        own: OwnKey,
        /// The signature algorithm.
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
            transcript: ExchangeTranscript {
                our_greeting: GREETING.into(),
                ..ExchangeTranscript::default()
            },
            state: ExchangeState::Greeting,
        };
        (exchange, format!("{GREETING}\r\n").into())
    }

    pub(super) fn receive(&mut self, bytes: &[u8]) -> Result<ProofProgress, ProofError> {
        self.incoming.add(bytes, MAX_RECEIVED)?;
        let mut send = Vec::new();
        if matches!(self.state, ExchangeState::Greeting) {
            let Some(greeting) = self.incoming.greeting()? else {
                return Ok(ProofProgress::Continue { send });
            };
            self.transcript.their_greeting = greeting;
            self.transcript.our_init = own_init(self.pinned)?;
            send = packet::packet(&self.transcript.our_init);
            self.state = ExchangeState::Init;
        }
        while let Some(payload) = self.incoming.packet()? {
            match payload.first().copied().unwrap_or_default() {
                DISCONNECT => return Err(ProofError::Disconnected(packet::reason(&payload))),
                IGNORE | DEBUG => {}
                message => match self.message(message, payload)? {
                    ProofProgress::Continue { send: more } => send.extend(more),
                    proved @ ProofProgress::Proved(_) => return Ok(proved),
                },
            }
        }
        Ok(ProofProgress::Continue { send })
    }

    fn message(&mut self, message: u8, payload: Vec<u8>) -> Result<ProofProgress, ProofError> {
        match (
            std::mem::replace(&mut self.state, ExchangeState::Over),
            message,
        ) {
            (ExchangeState::Init, KEXINIT) => {
                let agreed = agree(self.pinned, &payload)?;
                self.transcript.their_init = payload;
                let own = OwnKey::make(agreed.method)?;
                let mut init = vec![KEX_ECDH_INIT];
                put_string(&mut init, &own.public);
                self.state = ExchangeState::Reply {
                    own,
                    algorithm: agreed.algorithm,
                    skip: agreed.skip,
                };
                let send = packet::packet(&init);
                Ok(ProofProgress::Continue { send })
            }
            (
                ExchangeState::Reply {
                    own,
                    algorithm,
                    skip: true,
                },
                KEX_ECDH_INIT..=49,
            ) => {
                self.state = ExchangeState::Reply {
                    own,
                    algorithm,
                    skip: false,
                };
                Ok(ProofProgress::Continue { send: Vec::new() })
            }
            (
                ExchangeState::Reply {
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
    ) -> Result<ProofProgress, ProofError> {
        let mut reader = WireReader::new(payload);
        reader.byte()?;
        let host_key = reader.string()?;
        let theirs = reader.string()?;
        let signature = reader.string()?;
        reader.end()?;
        if host_key != self.pinned.blob() {
            return Err(ProofError::OtherKey);
        }
        let hash = own.hash(&self.transcript, host_key, theirs)?;
        signature::verify(self.pinned, algorithm, &hash, signature).map(ProofProgress::Proved)
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

struct AgreedAlgorithms {
    method: Method,
    algorithm: &'static str,
    skip: bool,
}

/// The first of ours that the server has too (RFC 4253, 7.1).
fn agree(pinned: &HostKey, their_init: &[u8]) -> Result<AgreedAlgorithms, ProofError> {
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
    Ok(AgreedAlgorithms {
        method: *method,
        algorithm,
        skip: guessed && !right,
    })
}
