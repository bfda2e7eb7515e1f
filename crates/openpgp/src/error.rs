//! Errors of keys and messages.
//!
//! No variant carries text of the library below: it might quote what was just decrypted.

use nightlatch_core::key_id::Fingerprint;

/// An error of the key file, of the message, or of the request, in this order.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The key file is longer than [`MAX_KEY_FILE`](crate::MAX_KEY_FILE).
    #[error("the key file is too large: expected at most {limit} bytes")]
    KeyTooLarge {
        /// The most bytes a key file may have.
        limit: usize,
    },
    /// The file holds no key of the kind asked for, or a damaged one.
    #[error("this is no usable OpenPGP {expected}: {problem}")]
    BadKey {
        /// `public key` or `secret key`.
        expected: &'static str,
        /// The reason, as a phrase.
        problem: &'static str,
    },
    /// The secret key is protected by a passphrase, which cannot be typed during an unattended boot.
    #[error("the secret key is protected by a passphrase: expected one without")]
    Locked,
    /// The secret key is protected by another passphrase.
    #[error("the secret key does not open with this passphrase")]
    WrongKeyPassphrase,
    /// One of the keys of a list is unusable.
    #[error("key {number} of the list: {error}")]
    InList {
        /// Its place, from 1.
        number: usize,
        /// What is wrong with it.
        error: Box<Error>,
    },
    /// The key has no part that can do what is asked, with an algorithm supported here.
    #[error("the key cannot {what}: expected an RSA or Curve25519 key that may")]
    Incapable {
        /// `encrypt`, `sign` or `decrypt`.
        what: &'static str,
    },
    /// The public key and the secret key are not of one pair.
    #[error("the public key does not belong to the secret key")]
    KeysDiffer,

    /// The message is longer than [`MAX_MESSAGE`](crate::MAX_MESSAGE).
    #[error("the message is too large: expected at most {limit} bytes")]
    MessageTooLarge {
        /// The most bytes a message may have.
        limit: usize,
    },
    /// The plaintext is longer than the caller allows.
    #[error("the message holds too much: expected at most {limit} bytes of plaintext")]
    PlaintextTooLarge {
        /// The most bytes the caller allows.
        limit: usize,
    },
    /// The bytes do not follow the grammar of an encrypted OpenPGP message (RFC 9580, 10.3).
    #[error("this is no well-formed OpenPGP message: {0}")]
    Malformed(&'static str),
    /// It is an OpenPGP message, but not an encrypted one.
    #[error("the message is not encrypted")]
    NotEncrypted,
    /// None of the recipients is this key.
    #[error("the message is encrypted to another key")]
    NotForThisKey,
    /// It is encrypted by another passphrase, or by none.
    #[error("the message does not open with this passphrase")]
    WrongPassphrase,
    /// The encryption carries no integrity protection (RFC 9580, 5.7): it could have been altered.
    #[error("the message has no integrity protection (no MDC)")]
    Unprotected,
    /// The integrity check failed: the message was damaged or altered.
    #[error("the message is damaged or was altered on the way")]
    Corrupted,
    /// The content is compressed by an algorithm that is not supported.
    #[error("the message is compressed in an unsupported way: expected ZIP, ZLIB or none")]
    Compression,
    /// The content carries no signature.
    #[error("the message is not signed")]
    Unsigned,
    /// The content is signed, but not by the client's own key, or by no trusted one.
    #[error("the message is signed by another key")]
    WrongSigner,
    /// A signature names the client's own key, or a trusted one, and does not fit the content.
    #[error("the signature of the message is wrong")]
    BadSignature,

    /// The content carries more than the one signature that it must have.
    #[error("the message has several signatures: expected one")]
    SeveralSignatures,
    /// A trusted key has made the signature, which must not be believed all the same.
    #[error("the message is signed by the trusted key {signer}, but {problem}")]
    Outdated {
        /// The fingerprint of the trusted key.
        signer: Fingerprint,
        /// The reason, as a clause.
        problem: &'static str,
    },

    /// A key of this kind or size is not made.
    #[error("cannot make such a key: {0}")]
    Options(&'static str),
    /// The library below failed at something that should always work.
    #[error("the OpenPGP library failed to {0}")]
    Library(&'static str),
}
