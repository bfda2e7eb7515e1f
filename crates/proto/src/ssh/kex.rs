//! Elliptic curve Diffie-Hellman (RFC 5656, RFC 8731): the methods that are offered, and the exchange hash.

use aws_lc_rs::agreement::{
    Algorithm, ECDH_P256, ECDH_P384, ECDH_P521, EphemeralPrivateKey, UnparsedPublicKey, X25519,
    agree_ephemeral,
};
use aws_lc_rs::digest::{self, SHA256, SHA384, SHA512};
use aws_lc_rs::rand::SystemRandom;
use nightlatch_core::ssh::wire::{put_magnitude, put_string};

use super::ProofError;

/// A method of key exchange, in the order of preference.
#[derive(Clone, Copy)]
pub(super) struct Method {
    pub(super) name: &'static str,
    curve: &'static Algorithm,
    hash: &'static digest::Algorithm,
}

pub(super) static METHODS: [Method; 5] = [
    method("curve25519-sha256", &X25519, &SHA256),
    method("curve25519-sha256@libssh.org", &X25519, &SHA256),
    method("ecdh-sha2-nistp256", &ECDH_P256, &SHA256),
    method("ecdh-sha2-nistp384", &ECDH_P384, &SHA384),
    method("ecdh-sha2-nistp521", &ECDH_P521, &SHA512),
];

const fn method(
    name: &'static str,
    curve: &'static Algorithm,
    hash: &'static digest::Algorithm,
) -> Method {
    Method { name, curve, hash }
}

/// Our half of an exchange.
pub(super) struct OwnKey {
    method: Method,
    private: EphemeralPrivateKey,
    pub(super) public: Vec<u8>,
}

/// The messages of both sides that go into the exchange hash.
#[derive(Default)]
pub(super) struct ExchangeTranscript {
    pub(super) our_greeting: Vec<u8>,
    pub(super) their_greeting: Vec<u8>,
    pub(super) our_init: Vec<u8>,
    pub(super) their_init: Vec<u8>,
}

impl OwnKey {
    pub(super) fn make(method: Method) -> Result<Self, ProofError> {
        let failed = |_| ProofError::OwnKey;
        let private =
            EphemeralPrivateKey::generate(method.curve, &SystemRandom::new()).map_err(failed)?;
        let public = private.compute_public_key().map_err(failed)?;
        let public = public.as_ref().to_vec();
        Ok(Self {
            method,
            private,
            public,
        })
    }

    /// The exchange hash `H` (RFC 5656, 4) with the server's `host_key` and ephemeral key.
    pub(super) fn hash(
        self,
        transcript: &ExchangeTranscript,
        host_key: &[u8],
        theirs: &[u8],
    ) -> Result<Vec<u8>, ProofError> {
        let mut text = Vec::new();
        for part in [
            &transcript.our_greeting,
            &transcript.their_greeting,
            &transcript.our_init,
            &transcript.their_init,
        ] {
            put_string(&mut text, part);
        }
        put_string(&mut text, host_key);
        put_string(&mut text, &self.public);
        put_string(&mut text, theirs);
        let theirs = UnparsedPublicKey::new(self.method.curve, theirs);
        agree_ephemeral(self.private, theirs, ProofError::Malformed, |secret| {
            put_magnitude(&mut text, secret);
            Ok(())
        })?;
        Ok(digest::digest(self.method.hash, &text).as_ref().to_vec())
    }
}
