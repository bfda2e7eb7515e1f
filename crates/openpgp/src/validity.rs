//! The signature of an administrator: made by a trusted key that may be believed now.
//!
//! The clock is looked at only where a key or a signature expires; one before the creation counts as expired, since it
//! is wrong.

use nightlatch_core::key_id::Fingerprint;
use nightlatch_core::time::Wall;
use pgp::composed::Message;
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType, SubpacketData};
use pgp::types::{Duration, KeyDetails, Timestamp, VerifyingKey};

use crate::key::KeyPart;
use crate::{AdminKeys, Error, PublicKey};

const MICROS: i64 = 1_000_000;

impl PublicKey {
    /// The time from which its signatures count no more.
    pub fn expires(&self) -> Option<Wall> {
        let primary = &self.0.primary_key;
        expiry(primary.created_at(), self.lifetime()?)
    }

    /// True once it has revoked itself, for whatever reason.
    pub fn is_revoked(&self) -> bool {
        !self.0.details.revocation_signatures.is_empty()
    }

    /// True when it is a later state of the key `other`: revoked, or with newer self-signatures, as one whose expiry was
    /// moved. A revoked key stays revoked, however new the signatures of a copy are that does not tell.
    pub fn supersedes(&self, other: &Self) -> bool {
        let state = |key: &Self| (key.is_revoked(), key.signed_at());
        self.fingerprint() == other.fingerprint() && state(self) > state(other)
    }

    /// The time of the newest signature on the key, its names and its subkeys; all are its own, as they were verified by it.
    fn signed_at(&self) -> Option<Timestamp> {
        let details = &self.0.details;
        let users = details.users.iter().flat_map(|user| &user.signatures);
        let subkeys = self.0.public_subkeys.iter();
        users
            .chain(&details.direct_signatures)
            .chain(&details.revocation_signatures)
            .chain(subkeys.flat_map(|sub| &sub.signatures))
            .filter_map(Signature::created)
            .max()
    }

    /// The reason why the primary key must not be believed.
    fn problem(&self, now: Wall) -> Option<&'static str> {
        if self.is_revoked() {
            return Some("that key is revoked");
        }
        is_over(self.0.primary_key.created_at(), self.lifetime(), now)
            .then_some("that key has expired, or the clock is wrong")
    }

    /// The reason why the subkey `part` must not be believed.
    fn subkey_problem(&self, part: &impl KeyDetails, now: Wall) -> Option<&'static str> {
        let mut subkeys = self.0.public_subkeys.iter();
        let Some(sub) = subkeys.find(|sub| sub.key.fingerprint() == part.fingerprint()) else {
            return Some("its subkey is unknown");
        };
        let signatures = || sub.signatures.iter();
        if signatures().any(|it| it.typ() == Some(SignatureType::SubkeyRevocation)) {
            return Some("its subkey is revoked");
        }
        let bindings = signatures().filter(|it| it.typ() == Some(SignatureType::SubkeyBinding));
        is_over(sub.key.created_at(), newest_lifetime(bindings), now)
            .then_some("its subkey has expired, or the clock is wrong")
    }

    /// The time from creation to expiry, by the newest self-signature.
    fn lifetime(&self) -> Option<Duration> {
        let details = &self.0.details;
        let users = details.users.iter().flat_map(|user| &user.signatures);
        let users = users.filter(|it| it.typ() != Some(SignatureType::CertRevocation));
        newest_lifetime(users.chain(&details.direct_signatures))
    }
}

fn newest_lifetime<'a>(signatures: impl Iterator<Item = &'a Signature>) -> Option<Duration> {
    signatures
        .max_by_key(|signature| signature.created())?
        .key_expiration_time()
        // RFC 9580, 5.2.3.13: zero is never.
        .filter(|lifetime| lifetime.as_secs() > 0)
}

fn expiry(created: Timestamp, lifetime: Duration) -> Option<Wall> {
    let seconds = i64::from(created.as_secs()) + i64::from(lifetime.as_secs());
    Some(Wall::from_unix_micros(seconds * MICROS))
}

fn is_over(created: Timestamp, lifetime: Option<Duration>, now: Wall) -> bool {
    let begin = Wall::from_unix_micros(i64::from(created.as_secs()) * MICROS);
    let expires = lifetime.and_then(|lifetime| expiry(created, lifetime));
    expires.is_some_and(|expires| now >= expires || now < begin)
}

/// The fingerprint of the trusted key that has signed the content just read: by exactly one signature over binary data,
/// with a digest of the SHA-2 family or newer, and not outdated.
pub(crate) fn verify_admin(
    message: &Message<'_>,
    trusted: &AdminKeys,
    now: Wall,
) -> Result<Fingerprint, Error> {
    let Message::Signed { reader, .. } = message else {
        return Err(Error::Unsigned);
    };
    if reader.num_signatures() != 1 {
        return Err(Error::SeveralSignatures);
    }
    let signature = reader.signature(0).filter(|it| is_strict(it));
    let signature = signature.ok_or(Error::BadSignature)?;
    let mut verdict = Error::WrongSigner;
    for key in trusted.iter() {
        for part in key.verifiers() {
            let (valid, named, problem) = match part {
                KeyPart::Primary(part) => (check(message, 0, part), names(signature, part), None),
                KeyPart::Sub(part) => (
                    check(message, 0, part),
                    names(signature, part),
                    key.subkey_problem(part, now),
                ),
            };
            if valid {
                let signer = key.fingerprint();
                let problem = key.problem(now).or(problem);
                let problem = problem.or_else(|| signature_problem(signature, now));
                return match problem {
                    None => Ok(signer),
                    Some(problem) => Err(Error::Outdated { signer, problem }),
                };
            }
            if named {
                verdict = Error::BadSignature;
            }
        }
    }
    Err(verdict)
}

/// True for a signature over binary data whose every critical statement is understood here.
fn is_strict(signature: &Signature) -> bool {
    let hash = matches!(
        signature.hash_alg(),
        Some(
            HashAlgorithm::Sha256
                | HashAlgorithm::Sha384
                | HashAlgorithm::Sha512
                | HashAlgorithm::Sha3_256
                | HashAlgorithm::Sha3_512
        )
    );
    let Some(config) = signature.config() else {
        return false;
    };
    let understood = config.hashed_subpackets().all(|subpacket| {
        !subpacket.is_critical
            || matches!(
                subpacket.data,
                SubpacketData::SignatureCreationTime(_)
                    | SubpacketData::SignatureExpirationTime(_)
                    | SubpacketData::IssuerKeyId(_)
                    | SubpacketData::IssuerFingerprint(_)
            )
    });
    hash && understood && signature.typ() == Some(SignatureType::Binary)
}

fn signature_problem(signature: &Signature, now: Wall) -> Option<&'static str> {
    let Some(created) = signature.created() else {
        return Some("its signature has no time");
    };
    let lifetime = signature.signature_expiration_time();
    let lifetime = lifetime.filter(|lifetime| lifetime.as_secs() > 0);
    is_over(created, lifetime, now).then_some("its signature has expired, or the clock is wrong")
}

/// True when `key` has made the signature `index` of the content just read.
pub(crate) fn check(message: &Message<'_>, index: usize, key: &impl VerifyingKey) -> bool {
    message.verify_nested_explicit(index, key).is_ok()
}

/// True when `signature` says that `key` has made it.
pub(crate) fn names(signature: &Signature, key: &impl KeyDetails) -> bool {
    signature.issuer_key_id().contains(&&key.legacy_key_id())
        || signature.issuer_fingerprint().contains(&&key.fingerprint())
}
