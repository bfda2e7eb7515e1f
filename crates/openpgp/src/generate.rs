//! Makes key pairs of version 4, readable by GnuPG 2.2: a machine's, of a primary key that certifies, signs and
//! authenticates and a subkey that encrypts, and an administrator's, of a primary key that certifies and signs.

use std::time::Duration;

use nightlatch_core::key_id::Fingerprint;
use nightlatch_core::secret::Secret;
use nightlatch_core::time::Wall;
use pgp::composed::{ArmorOptions, KeyType, SignedKeyDetails, SignedSecretKey, SignedSecretSubKey};
use pgp::crypto::{ecc_curve::ECCCurve, hash::HashAlgorithm, sym::SymmetricKeyAlgorithm};
use pgp::packet::{
    self, Features, KeyFlags, PacketTrait, PubKeyInner, SignatureConfig, SignatureType, Subpacket,
    SubpacketData, UserId,
};
use pgp::types::{
    CompressionAlgorithm, KeyDetails, KeyVersion, PacketHeaderVersion, Password, S2kParams,
    StringToKey, Timestamp,
};
use rand::RngCore;
use rand::rngs::OsRng;
use zeroize::Zeroizing;

use crate::armor::comment_header;
use crate::seal::timestamp;
use crate::{Error, SecretKey};

/// The fewest bits of an RSA key that is made.
const MIN_RSA_BITS: u32 = 2048;

/// The most bits of an RSA key that is made: more makes boots slow and not safer.
const MAX_RSA_BITS: u32 = 4096;

/// Room for an armoured RSA-4096 secret key, so that writing it leaves no outgrown copies behind.
const ARMORED_ROOM: usize = 16 * 1024;

/// The most work that an iterated passphrase can ask for (RFC 9580, 3.7.1.3): 62 MiB to hash for each guess.
const PASSPHRASE_COUNT: u8 = 255;

/// The kind of a key or subkey.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    /// Ed25519 to sign, X25519 to encrypt, both in the form that GnuPG 2.2 knows.
    Curve25519,
    /// RSA with this many bits, 2048 to 4096.
    Rsa {
        /// Bits of the modulus.
        bits: u32,
    },
}

/// The properties of a new key pair.
#[derive(Clone, Debug)]
pub struct GenerateOptions<'a> {
    /// Kind of the primary key, which signs.
    pub primary: Algorithm,
    /// Kind of the subkey, which encrypts.
    pub encryption: Algorithm,
    /// The client's name, for the user id and the armour's comment.
    pub name: &'a str,
    /// Comment of the user id; may be empty.
    pub comment: &'a str,
    /// Address of the user id; may be empty.
    pub email: &'a str,
    /// The time of creation that the key carries.
    pub created: Wall,
    /// Time from creation after which other programs treat it as expired. Nightlatch never does.
    pub expires: Option<Duration>,
}

/// The properties of a new admin key, which signs and cannot encrypt.
#[derive(Clone, Debug)]
pub struct AdminKeyOptions<'a> {
    /// The administrator's name, for the user id and the armour's comment.
    pub name: &'a str,
    /// The time of creation that the key carries.
    pub created: Wall,
    /// What the secret key is to be locked with; never empty.
    pub passphrase: Option<&'a Secret>,
}

/// A fresh key pair in the form its files have.
#[derive(Debug)]
pub struct KeyPair {
    /// The text of `seckey.txt`, or of a file `admin-key`.
    pub secret_armored: Secret,
    /// The text of `pubkey.txt`.
    pub public_armored: String,
    /// Fingerprint of the primary key.
    pub fingerprint: Fingerprint,
}

/// Makes a key pair. RSA-4096 takes seconds, Curve25519 no time worth mentioning.
pub fn generate(options: &GenerateOptions<'_>) -> Result<KeyPair, Error> {
    let user_id = user_id(options.name, options.comment, options.email)?;
    let expires = options.expires.map(expiration).transpose()?;
    let primary = match options.primary {
        Algorithm::Curve25519 => KeyType::Ed25519Legacy,
        Algorithm::Rsa { bits } => rsa(bits)?,
    };
    let encryption = match options.encryption {
        Algorithm::Curve25519 => KeyType::ECDH(ECCCurve::Curve25519Legacy),
        Algorithm::Rsa { bits } => rsa(bits)?,
    };
    let plan = KeyPlan {
        user_id,
        created: timestamp(options.created),
        expires,
    };
    let key = build(&plan, &primary, &encryption).map_err(|_| Error::Library("make the key"))?;
    let comment = format!("Nightlatch client key for {}", options.name);
    armor(SecretKey(key), &comment)
}

/// Makes an admin key: Ed25519, which never expires.
pub fn generate_admin_key(options: &AdminKeyOptions<'_>) -> Result<KeyPair, Error> {
    let plan = KeyPlan {
        user_id: user_id(options.name, "", "")?,
        created: timestamp(options.created),
        expires: None,
    };
    let passphrase = options.passphrase;
    if passphrase.is_some_and(Secret::is_empty) {
        return Err(Error::Options("expected a passphrase that is not empty"));
    }
    let mut key = build_admin(&plan).map_err(|_| Error::Library("make the key"))?;
    if let Some(passphrase) = passphrase {
        let password = Password::from(passphrase.expose());
        key.primary_key
            .set_password_with_s2k(&password, protection())
            .map_err(|_| Error::Library("lock the key"))?;
    }
    let comment = format!("Nightlatch admin key of {}", options.name);
    armor(SecretKey(key), &comment)
}

/// AES-256 under an iterated and salted SHA-256: the strongest that a key of version 4 can have and GnuPG 2.2 reads.
fn protection() -> S2kParams {
    let algorithm = SymmetricKeyAlgorithm::AES256;
    let mut iv = vec![0; algorithm.block_size()];
    OsRng.fill_bytes(&mut iv);
    S2kParams::Cfb {
        sym_alg: algorithm,
        s2k: StringToKey::new_iterated(OsRng, HashAlgorithm::Sha256, PASSPHRASE_COUNT),
        iv: iv.into(),
    }
}

fn rsa(bits: u32) -> Result<KeyType, Error> {
    if (MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) {
        Ok(KeyType::Rsa(bits))
    } else {
        Err(Error::Options("expected 2048 to 4096 bits for RSA"))
    }
}

/// `NAME (COMMENT) <ADDRESS>`, as GnuPG writes a user id.
fn user_id(name: &str, comment: &str, email: &str) -> Result<String, Error> {
    if [name, comment, email]
        .iter()
        .any(|text| text.chars().any(char::is_control))
    {
        return Err(Error::Options(
            "expected a name, comment and address without control characters",
        ));
    }
    if name.is_empty() {
        return Err(Error::Options("expected a name"));
    }
    let mut text = name.to_owned();
    if !comment.is_empty() {
        text += &format!(" ({comment})");
    }
    if !email.is_empty() {
        text += &format!(" <{email}>");
    }
    Ok(text)
}

fn expiration(after: Duration) -> Result<pgp::types::Duration, Error> {
    match u32::try_from(after.as_secs()) {
        Ok(seconds) if seconds > 0 => Ok(pgp::types::Duration::from_secs(seconds)),
        _ => Err(Error::Options(
            "expected it to expire between a second and 136 years after its creation",
        )),
    }
}

struct KeyPlan {
    user_id: String,
    created: Timestamp,
    expires: Option<pgp::types::Duration>,
}

fn build(
    plan: &KeyPlan,
    primary: &KeyType,
    encryption: &KeyType,
) -> Result<SignedSecretKey, pgp::errors::Error> {
    let primary = primary_key(plan, primary)?;
    let (public, secret) = encryption.generate(OsRng)?;
    let inner = PubKeyInner::new(
        KeyVersion::V4,
        encryption.to_alg(),
        plan.created,
        None,
        public,
    )?;
    let subkey = packet::SecretSubkey::new(packet::PublicSubkey::from_inner(inner)?, secret)?;

    let mut flags = KeyFlags::default();
    flags.set_certify(true);
    flags.set_sign(true);
    flags.set_authentication(true);
    let details = certified(plan, &primary, flags)?;
    let binding = binding(plan, &primary)?.sign_subkey_binding(
        &primary,
        primary.public_key(),
        &Password::empty(),
        subkey.public_key(),
    )?;
    let subkey = SignedSecretSubKey::new(subkey, vec![binding]);
    Ok(SignedSecretKey::new(primary, details, vec![], vec![subkey]))
}

fn build_admin(plan: &KeyPlan) -> Result<SignedSecretKey, pgp::errors::Error> {
    let primary = primary_key(plan, &KeyType::Ed25519Legacy)?;
    let mut flags = KeyFlags::default();
    flags.set_certify(true);
    flags.set_sign(true);
    let details = certified(plan, &primary, flags)?;
    Ok(SignedSecretKey::new(primary, details, vec![], vec![]))
}

fn primary_key(plan: &KeyPlan, kind: &KeyType) -> Result<packet::SecretKey, pgp::errors::Error> {
    let (public, secret) = kind.generate(OsRng)?;
    let inner = PubKeyInner::new(KeyVersion::V4, kind.to_alg(), plan.created, None, public)?;
    packet::SecretKey::new(packet::PublicKey::from_inner(inner)?, secret)
}

/// The user id with the primary key's signature on it.
fn certified(
    plan: &KeyPlan,
    primary: &packet::SecretKey,
    flags: KeyFlags,
) -> Result<SignedKeyDetails, pgp::errors::Error> {
    let user_id = UserId::from_str(PacketHeaderVersion::default(), &plan.user_id)?;
    let certification = certification(plan, primary, flags)?.sign_certification(
        primary,
        primary.public_key(),
        &Password::empty(),
        user_id.tag(),
        &user_id,
    )?;
    let users = vec![user_id.into_signed(certification)];
    Ok(SignedKeyDetails::new(vec![], vec![], users, vec![]))
}

/// The primary key's signature on its user id, with the preferences of the key.
///
/// Compression is declined: a password gains nothing by it.
fn certification(
    plan: &KeyPlan,
    primary: &packet::SecretKey,
    flags: KeyFlags,
) -> Result<SignatureConfig, pgp::errors::Error> {
    let mut features = Features::default();
    features.set_seipd_v1(true);
    let mut config = self_signature(plan, primary, SignatureType::CertPositive, flags)?;
    config.hashed_subpackets.extend([
        Subpacket::regular(SubpacketData::Features(features))?,
        Subpacket::regular(SubpacketData::PreferredSymmetricAlgorithms(
            [SymmetricKeyAlgorithm::AES256, SymmetricKeyAlgorithm::AES128]
                .into_iter()
                .collect(),
        ))?,
        Subpacket::regular(SubpacketData::PreferredHashAlgorithms(
            [HashAlgorithm::Sha512, HashAlgorithm::Sha256]
                .into_iter()
                .collect(),
        ))?,
        Subpacket::regular(SubpacketData::PreferredCompressionAlgorithms(
            [CompressionAlgorithm::Uncompressed].into_iter().collect(),
        ))?,
        Subpacket::regular(SubpacketData::IsPrimary(true))?,
    ]);
    Ok(config)
}

/// The primary key's signature that binds the encryption subkey to it.
fn binding(
    plan: &KeyPlan,
    primary: &packet::SecretKey,
) -> Result<SignatureConfig, pgp::errors::Error> {
    let mut flags = KeyFlags::default();
    flags.set_encrypt_comms(true);
    flags.set_encrypt_storage(true);
    self_signature(plan, primary, SignatureType::SubkeyBinding, flags)
}

fn self_signature(
    plan: &KeyPlan,
    primary: &packet::SecretKey,
    kind: SignatureType,
    flags: KeyFlags,
) -> Result<SignatureConfig, pgp::errors::Error> {
    let mut config = SignatureConfig::v4(kind, primary.algorithm(), HashAlgorithm::Sha512);
    config.hashed_subpackets = vec![
        Subpacket::regular(SubpacketData::IssuerFingerprint(primary.fingerprint()))?,
        Subpacket::regular(SubpacketData::SignatureCreationTime(plan.created))?,
        Subpacket::regular(SubpacketData::KeyFlags(flags))?,
    ];
    if let Some(expires) = plan.expires {
        config
            .hashed_subpackets
            .push(Subpacket::regular(SubpacketData::KeyExpirationTime(
                expires,
            ))?);
    }
    config.unhashed_subpackets = vec![Subpacket::regular(SubpacketData::IssuerKeyId(
        primary.legacy_key_id(),
    ))?];
    Ok(config)
}

fn armor(key: SecretKey, comment: &str) -> Result<KeyPair, Error> {
    let headers = comment_header(comment);
    let armored = || ArmorOptions::from(Some(&headers));
    let mut secret = Zeroizing::new(Vec::with_capacity(ARMORED_ROOM));
    key.0
        .to_armored_writer(&mut *secret, armored())
        .map_err(|_| Error::Library("write the secret key"))?;
    let public_armored = key.public_key().to_armored(comment)?;
    Ok(KeyPair {
        secret_armored: Secret::new(std::mem::take(&mut *secret)),
        public_armored,
        fingerprint: key.fingerprint(),
    })
}
