use std::sync::LazyLock;

use nightlatch_core::secret::Secret;
use nightlatch_core::time::Wall;
use pgp::composed::{
    KeyType, SecretKeyParamsBuilder, SignedKeyDetails, SignedSecretSubKey, SubkeyParamsBuilder,
};
use pgp::crypto::ecc_curve::ECCCurve;
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{PacketTrait, SignatureConfig, SignatureType, Subpacket, UserId};
use pgp::types::{KeyVersion, PacketHeaderVersion, Password, Timestamp};
use rand::rngs::OsRng;

use super::*;
use crate::{SignaturePolicy, decrypt, encrypt_and_sign};

const ED25519: KeyType = KeyType::Ed25519Legacy;
const X25519: KeyType = KeyType::ECDH(ECCCurve::Curve25519Legacy);
const RSA: KeyType = KeyType::Rsa(2048);

type Set = fn(&mut KeyFlags, bool);
const CERTIFY: Set = KeyFlags::set_certify;
const SIGN: Set = KeyFlags::set_sign;
const AUTHENTICATE: Set = KeyFlags::set_authentication;
const ENCRYPT_COMMS: Set = KeyFlags::set_encrypt_comms;
const ENCRYPT_STORAGE: Set = KeyFlags::set_encrypt_storage;

/// Key flags in the self-signature on a part.
#[derive(Clone, Copy)]
enum Says<'a> {
    Nothing,
    Flags(&'a [Set]),
    /// Not covered by a signature: anybody could have added them.
    Unprotected(&'a [Set]),
    /// In a signature on the key itself. Only for a primary key.
    OnTheKey(&'a [Set]),
}
use Says::{Flags, Nothing, OnTheKey, Unprotected};

fn subpacket(flags: &[Set]) -> Subpacket {
    let mut it = KeyFlags::default();
    for set in flags {
        set(&mut it, true);
    }
    Subpacket::regular(SubpacketData::KeyFlags(it)).unwrap()
}

fn config(kind: SignatureType, signer: &packet::SecretKey, says: Says<'_>) -> SignatureConfig {
    let mut config = SignatureConfig::v4(kind, signer.algorithm(), HashAlgorithm::Sha512);
    let created = SubpacketData::SignatureCreationTime(Timestamp::from_secs(1));
    let issuer = SubpacketData::IssuerKeyId(signer.legacy_key_id());
    config.hashed_subpackets = vec![Subpacket::regular(created).unwrap()];
    config.unhashed_subpackets = vec![Subpacket::regular(issuer).unwrap()];
    match says {
        Nothing => {}
        Flags(flags) | OnTheKey(flags) => config.hashed_subpackets.push(subpacket(flags)),
        Unprotected(flags) => config.unhashed_subpackets.push(subpacket(flags)),
    }
    config
}

/// An RSA key takes a moment to make.
static RSA_PRIMARY: LazyLock<packet::SecretKey> = LazyLock::new(|| primary(&RSA));

fn primary(kind: &KeyType) -> packet::SecretKey {
    let (public, secret) = kind.generate(OsRng).unwrap();
    let created = Timestamp::from_secs(1);
    let inner = packet::PubKeyInner::new(KeyVersion::V4, kind.to_alg(), created, None, public);
    let public = packet::PublicKey::from_inner(inner.unwrap()).unwrap();
    packet::SecretKey::new(public, secret).unwrap()
}

/// A subkey that was made so many seconds after 1970.
fn subkey(kind: &KeyType, created: u32) -> packet::SecretSubkey {
    let (public, secret) = kind.generate(OsRng).unwrap();
    let created = Timestamp::from_secs(created);
    let inner = packet::PubKeyInner::new(KeyVersion::V4, kind.to_alg(), created, None, public);
    let public = packet::PublicSubkey::from_inner(inner.unwrap()).unwrap();
    packet::SecretSubkey::new(public, secret).unwrap()
}

fn key(
    primary: packet::SecretKey,
    says: Says<'_>,
    subkeys: &[(KeyType, u32, Says<'_>)],
) -> SecretKey {
    let nobody = Password::empty();
    let (on_user, on_key) = match says {
        OnTheKey(_) => (Nothing, Some(says)),
        _ => (says, None),
    };
    let user = UserId::from_str(PacketHeaderVersion::default(), "client").unwrap();
    let certification = config(SignatureType::CertPositive, &primary, on_user)
        .sign_certification(&primary, primary.public_key(), &nobody, user.tag(), &user)
        .unwrap();
    let direct = on_key.map(|says| {
        config(SignatureType::Key, &primary, says)
            .sign_key(&primary, &nobody, primary.public_key())
            .unwrap()
    });
    let subkeys = subkeys.iter().map(|(kind, created, says)| {
        let subkey = subkey(kind, *created);
        let binding = config(SignatureType::SubkeyBinding, &primary, *says)
            .sign_subkey_binding(&primary, primary.public_key(), &nobody, subkey.public_key())
            .unwrap();
        SignedSecretSubKey::new(subkey, vec![binding])
    });
    let subkeys = subkeys.collect();
    let details = SignedKeyDetails::new(
        vec![],
        direct.into_iter().collect(),
        vec![user.into_signed(certification)],
        vec![],
    );
    let key = SignedSecretKey::new(primary, details, vec![], subkeys);
    SecretKey::from_armored(&pgp::ser::Serialize::to_bytes(&key).unwrap()).unwrap()
}

/// The parts of a key by their numbers: 0 is the primary key.
#[derive(PartialEq, Eq, Debug)]
struct Uses {
    signs: Vec<usize>,
    verifies: Vec<usize>,
    decrypts: Vec<usize>,
    encrypts: Option<usize>,
}

fn uses(key: &SecretKey) -> Uses {
    let subkeys = key.0.secret_subkeys.iter().map(|sub| sub.key.fingerprint());
    let all: Vec<_> = std::iter::once(key.0.primary_key.fingerprint())
        .chain(subkeys)
        .collect();
    fn number<P: KeyDetails, S: KeyDetails>(
        all: &[pgp::types::Fingerprint],
        part: KeyPart<&P, &S>,
    ) -> usize {
        let fingerprint = match part {
            KeyPart::Primary(key) => key.fingerprint(),
            KeyPart::Sub(key) => key.fingerprint(),
        };
        all.iter().position(|it| *it == fingerprint).unwrap()
    }
    let public = key.public_key();
    Uses {
        signs: key.signers().map(|part| number(&all, part)).collect(),
        verifies: public.verifiers().map(|part| number(&all, part)).collect(),
        decrypts: key.decryptors().map(|part| number(&all, part)).collect(),
        encrypts: public.encryptor().map(|part| number(&all, part)),
    }
}

/// The parts that sign are those that verify.
fn assert_uses(key: &SecretKey, signs: &[usize], decrypts: &[usize], encrypts: Option<usize>) {
    let expected = Uses {
        signs: signs.to_vec(),
        verifies: signs.to_vec(),
        decrypts: decrypts.to_vec(),
        encrypts,
    };
    assert_eq!(uses(key), expected);
}

#[test]
fn each_part_does_what_its_flags_allow_and_nothing_else() {
    let key = key(
        primary(&ED25519),
        Flags(&[CERTIFY]),
        &[
            (X25519, 3, Flags(&[ENCRYPT_COMMS])),
            (X25519, 2, Flags(&[ENCRYPT_STORAGE])),
            // The newest, but not for this.
            (X25519, 4, Flags(&[AUTHENTICATE])),
            (ED25519, 2, Flags(&[SIGN])),
            (ED25519, 2, Flags(&[AUTHENTICATE])),
        ],
    );
    assert_uses(&key, &[4], &[1, 2], Some(1));
}

#[test]
fn without_flags_a_part_does_what_its_algorithm_can() {
    let parts = [(X25519, 2, Nothing), (ED25519, 2, Nothing)];
    assert_uses(
        &key(primary(&ED25519), Nothing, &parts),
        &[0, 2],
        &[1],
        Some(1),
    );
    assert_uses(&key(RSA_PRIMARY.clone(), Nothing, &[]), &[0], &[0], Some(0));
}

#[test]
fn flags_give_no_algorithm_what_it_cannot_do() {
    let every: &[Set] = &[SIGN, ENCRYPT_COMMS, ENCRYPT_STORAGE];
    let parts = [(X25519, 2, Flags(every)), (ED25519, 2, Flags(every))];
    assert_uses(
        &key(primary(&ED25519), Flags(every), &parts),
        &[0, 2],
        &[1],
        Some(1),
    );
}

#[test]
fn a_primary_key_decrypts_only_where_its_flags_say_so() {
    let rsa = |says| key(RSA_PRIMARY.clone(), says, &[]);
    assert_uses(&rsa(Flags(&[CERTIFY, SIGN])), &[0], &[], None);
    assert_uses(&rsa(Flags(&[CERTIFY, ENCRYPT_STORAGE])), &[], &[0], Some(0));
    // A subkey comes first.
    let parts = [(X25519, 1, Flags(&[ENCRYPT_COMMS]))];
    let both = key(RSA_PRIMARY.clone(), Flags(&[ENCRYPT_COMMS]), &parts);
    assert_uses(&both, &[], &[1, 0], Some(1));
}

#[test]
fn flags_count_where_a_signature_covers_them() {
    let of_primary = |says| key(primary(&ED25519), says, &[]);
    assert_uses(&of_primary(OnTheKey(&[CERTIFY])), &[], &[], None);
    assert_uses(&of_primary(OnTheKey(&[CERTIFY, SIGN])), &[0], &[], None);
    // These take nothing away, as they could not give anything.
    assert_uses(&of_primary(Unprotected(&[CERTIFY])), &[0], &[], None);
    let parts = [(X25519, 2, Unprotected(&[AUTHENTICATE]))];
    let key = key(primary(&ED25519), Flags(&[CERTIFY]), &parts);
    assert_uses(&key, &[], &[1], Some(1));
}

const NOW: Wall = Wall::from_unix_micros(1_790_000_000_000_000);

fn sealed(recipient: &SecretKey, signer: &SecretKey) -> Result<Vec<u8>, Error> {
    let password = Secret::new(b"password".to_vec());
    encrypt_and_sign(&recipient.public_key(), signer, &password, NOW)
}

/// The same key packets under self-signatures with other flags.
#[test]
fn a_part_that_may_not_sign_or_decrypt_does_not_when_a_message_comes() {
    let signer = primary(&ED25519);
    let parts = [(X25519, 2, Flags(&[ENCRYPT_COMMS]))];
    let may = key(signer.clone(), Flags(&[CERTIFY, SIGN]), &parts);
    let reflagged = |on_primary: &[Set], on_sub: &[Set]| {
        let nobody = Password::empty();
        let mut key = may.0.clone();
        let user = UserId::from_str(PacketHeaderVersion::default(), "client").unwrap();
        let certification = config(SignatureType::CertPositive, &signer, Flags(on_primary))
            .sign_certification(&signer, signer.public_key(), &nobody, user.tag(), &user)
            .unwrap();
        key.details.users = vec![user.into_signed(certification)];
        let sub = &mut key.secret_subkeys[0];
        let binding = config(SignatureType::SubkeyBinding, &signer, Flags(on_sub))
            .sign_subkey_binding(&signer, signer.public_key(), &nobody, sub.key.public_key())
            .unwrap();
        sub.signatures = vec![binding];
        SecretKey(key)
    };
    let message = sealed(&may, &may).unwrap();
    let open =
        |key: &SecretKey| decrypt(key, None, &message, SignaturePolicy::Required, 100).map(drop);
    assert_eq!(open(&may), Ok(()));
    let certifies = reflagged(&[CERTIFY], &[ENCRYPT_COMMS]);
    assert_eq!(open(&certifies), Err(Error::WrongSigner));
    assert_eq!(
        sealed(&may, &certifies),
        Err(Error::Incapable { what: "sign" })
    );
    let authenticates = reflagged(&[CERTIFY, SIGN], &[AUTHENTICATE]);
    assert_eq!(
        open(&authenticates),
        Err(Error::Incapable { what: "decrypt" })
    );
    assert_eq!(
        sealed(&authenticates, &may),
        Err(Error::Incapable { what: "encrypt" })
    );
}

#[test]
fn a_key_of_another_version_is_refused() {
    let encryption = SubkeyParamsBuilder::default()
        .version(KeyVersion::V6)
        .key_type(KeyType::X25519)
        .created_at(Timestamp::from_secs(1))
        .can_encrypt(pgp::composed::EncryptionCaps::All)
        .build()
        .unwrap();
    let key = SecretKeyParamsBuilder::default()
        .version(KeyVersion::V6)
        .key_type(KeyType::Ed25519)
        .created_at(Timestamp::from_secs(1))
        .can_certify(true)
        .can_sign(true)
        .subkey(encryption)
        .build()
        .unwrap()
        .generate(OsRng)
        .unwrap();
    key.verify_bindings().unwrap();
    let problem = "its version is not 4";
    let secret = pgp::ser::Serialize::to_bytes(&key).unwrap();
    let expected = "secret key";
    let refused = SecretKey::from_armored(&secret).map(drop);
    assert_eq!(refused, Err(Error::BadKey { expected, problem }));
    let public = pgp::ser::Serialize::to_bytes(&key.to_public_key()).unwrap();
    let expected = "public key";
    let refused = PublicKey::from_armored(&public).map(drop);
    assert_eq!(refused, Err(Error::BadKey { expected, problem }));
}
