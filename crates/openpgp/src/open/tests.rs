use std::sync::LazyLock;

use nightlatch_core::time::Wall;
use pgp::composed::MessageBuilder;
use pgp::crypto::sym::SymmetricKeyAlgorithm;
use pgp::packet::{
    LiteralData, PacketTrait, SignatureConfig, Subpacket, SubpacketData, SymEncryptedProtectedData,
};
use pgp::types::{KeyDetails as _, SigningKey};
use proptest::prelude::*;
use rand::rngs::OsRng;

use super::*;
use crate::{Algorithm, GenerateOptions, encrypt_and_sign, generate};

const PASSWORD: &[u8] = b"correct horse battery staple";
const MAX: usize = 1 << 20;
const NOW: Wall = Wall::from_unix_micros(1_790_000_000_000_000);

static KEY: LazyLock<SecretKey> = LazyLock::new(|| key(Algorithm::Curve25519));

fn key(primary: Algorithm) -> SecretKey {
    let pair = generate(&GenerateOptions {
        primary,
        encryption: Algorithm::Curve25519,
        name: "client",
        comment: "",
        email: "",
        created: NOW,
        expires: None,
    });
    SecretKey::from_armored(pair.unwrap().secret_armored.expose()).unwrap()
}

static SEALED: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let plaintext = Secret::new(PASSWORD.to_vec());
    encrypt_and_sign(&KEY.public_key(), &KEY, &plaintext, NOW).unwrap()
});

fn open(message: &[u8]) -> Result<Vec<u8>, Error> {
    decrypt(&KEY, None, message, SignaturePolicy::Required, MAX)
        .map(|secret| secret.expose().to_vec())
}

/// Encrypts packets as they are, in ways that no honest program would.
fn seal_packets(packets: &[u8]) -> Vec<u8> {
    let algorithm = SymmetricKeyAlgorithm::AES256;
    let session_key = algorithm.new_session_key(OsRng);
    let public = KEY.public_key();
    let Some(KeyPart::Sub(recipient)) = public.encryptor() else {
        panic!("the key made above has a subkey to encrypt to");
    };
    let mut message = Vec::new();
    PublicKeyEncryptedSessionKey::from_session_key_v3(OsRng, &session_key, algorithm, recipient)
        .unwrap()
        .to_writer_with_header(&mut message)
        .unwrap();
    SymEncryptedProtectedData::encrypt_seipdv1(OsRng, algorithm, session_key.as_ref(), packets)
        .unwrap()
        .to_writer_with_header(&mut message)
        .unwrap();
    message
}

/// The packets of a signed literal, with as many signatures as asked for.
fn signed(plaintext: &'static [u8], signatures: usize) -> Vec<u8> {
    let signer: &dyn SigningKey = &KEY.0.primary_key;
    let mut builder = MessageBuilder::from_bytes("", plaintext);
    for _ in 0..signatures {
        builder.sign(signer, Password::empty(), HashAlgorithm::Sha256);
    }
    builder.to_vec(OsRng).unwrap()
}

fn compressed(plaintext: &[u8]) -> Vec<u8> {
    let mut builder = MessageBuilder::from_bytes("", plaintext.to_vec());
    builder.compression(CompressionAlgorithm::ZLIB);
    builder.to_vec(OsRng).unwrap()
}

#[test]
fn what_was_sealed_opens() {
    assert_eq!(open(&SEALED).as_deref(), Ok(PASSWORD));
}

#[test]
fn altered_content_under_a_good_encryption_is_a_bad_signature() {
    let mut packets = signed(PASSWORD, 1);
    assert_eq!(open(&seal_packets(&packets)).as_deref(), Ok(PASSWORD));
    let at = packets
        .windows(PASSWORD.len())
        .position(|window| window == PASSWORD)
        .unwrap();
    packets[at] ^= 1;
    assert_eq!(open(&seal_packets(&packets)), Err(Error::BadSignature));
}

#[test]
fn no_altered_byte_goes_unnoticed() {
    for at in 0..SEALED.len() {
        let mut altered = SEALED.clone();
        altered[at] ^= 0x01;
        // Only the packet framing has bits without meaning; no other content may come out.
        if let Ok(plaintext) = open(&altered) {
            assert_eq!(plaintext, PASSWORD, "byte {at}");
        }
    }
    let last = SEALED.len() - 1;
    let mut altered = SEALED.clone();
    altered[last] ^= 0x80;
    assert_eq!(open(&altered), Err(Error::Corrupted));
}

#[test]
fn a_message_cut_anywhere_is_refused() {
    for length in 0..SEALED.len() {
        assert!(open(&SEALED[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn something_after_the_message_is_refused() {
    let mut longer = SEALED.clone();
    longer.extend_from_slice(&SEALED);
    assert!(open(&longer).is_err());
}

/// RFC 9580, 5.7: packet type 9 has no integrity protection.
#[test]
fn encryption_without_integrity_protection_is_refused() {
    let old_format_type_9 = [0x80 | 9 << 2, 4, 1, 2, 3, 4];
    assert_eq!(open(&old_format_type_9), Err(Error::Unprotected));
}

#[test]
fn too_long_a_plaintext_is_refused() {
    let exactly = decrypt(
        &KEY,
        None,
        &SEALED,
        SignaturePolicy::Required,
        PASSWORD.len(),
    );
    assert_eq!(exactly.unwrap().expose(), PASSWORD);
    let limit = PASSWORD.len() - 1;
    let refused = decrypt(&KEY, None, &SEALED, SignaturePolicy::Required, limit);
    assert_eq!(refused, Err(Error::PlaintextTooLarge { limit }));
}

#[test]
fn a_compressed_bomb_is_refused() {
    let bomb = seal_packets(&compressed(&vec![0; 4 * MAX]));
    assert!(bomb.len() < MAX / 8);
    let refused = decrypt(&KEY, None, &bomb, SignaturePolicy::Optional, MAX);
    assert_eq!(refused, Err(Error::PlaintextTooLarge { limit: MAX }));
}

#[test]
fn compression_within_compression_is_refused() {
    // Old format packet type 8, indeterminate length, algorithm 0: uncompressed.
    let mut twice = vec![0x80 | 8 << 2 | 3, 0];
    twice.extend(compressed(PASSWORD));
    let refused = decrypt(
        &KEY,
        None,
        &seal_packets(&twice),
        SignaturePolicy::Optional,
        MAX,
    );
    assert_eq!(
        refused,
        Err(Error::Malformed("expected literal data in it"))
    );
}

#[test]
fn bzip2_is_named_as_what_is_missing() {
    let bzip2 = [0x80 | 8 << 2 | 3, 3, b'B', b'Z', b'h'];
    assert_eq!(open(&seal_packets(&bzip2)), Err(Error::Compression));
}

#[test]
fn a_message_of_very_many_signatures_is_refused() {
    assert_eq!(
        open(&seal_packets(&signed(PASSWORD, 7))).as_deref(),
        Ok(PASSWORD)
    );
    assert_eq!(
        open(&seal_packets(&signed(PASSWORD, 8))),
        Err(Error::Malformed("there are too many packets in it"))
    );
}

#[test]
fn too_long_a_message_is_refused_unread() {
    assert_eq!(
        open(&vec![0x80; MAX_MESSAGE + 1]),
        Err(Error::MessageTooLarge { limit: MAX_MESSAGE })
    );
}

fn other_key() -> SecretKey {
    let pair = generate(&GenerateOptions {
        primary: Algorithm::Curve25519,
        encryption: Algorithm::Curve25519,
        name: "other",
        comment: "",
        email: "",
        created: NOW,
        expires: None,
    });
    SecretKey::from_armored(pair.unwrap().secret_armored.expose()).unwrap()
}

#[test]
fn the_public_key_must_be_of_the_same_pair() {
    let open = |verifier: &PublicKey| {
        let required = SignaturePolicy::Required;
        decrypt(&KEY, Some(verifier), &SEALED, required, MAX).map(drop)
    };
    assert_eq!(open(&KEY.public_key()), Ok(()));
    assert_eq!(open(&other_key().public_key()), Err(Error::KeysDiffer));
}

#[test]
fn a_signature_of_another_key_is_none_of_ours() {
    let other = other_key();
    let signer: &dyn SigningKey = &other.0.primary_key;
    let mut builder = MessageBuilder::from_bytes("", PASSWORD);
    builder.sign(signer, Password::empty(), HashAlgorithm::Sha256);
    let packets = builder.to_vec(OsRng).unwrap();
    assert_eq!(open(&seal_packets(&packets)), Err(Error::WrongSigner));
}

/// A literal behind a signature of this kind over it, which no honest program would make of most kinds.
fn signed_as(kind: SignatureType, hash: HashAlgorithm, signer: &pgp::packet::SecretKey) -> Vec<u8> {
    let mut config = SignatureConfig::v4(kind, signer.algorithm(), hash);
    let issuer = SubpacketData::IssuerKeyId(signer.legacy_key_id());
    config.unhashed_subpackets = vec![Subpacket::regular(issuer).unwrap()];
    let mut hasher = hash.new_hasher().unwrap();
    hasher.update(PASSWORD);
    let length = config.hash_signature_data(&mut hasher).unwrap();
    hasher.update(&config.trailer(length).unwrap());
    let digest = hasher.finalize();
    let numbers = signer.sign(&Password::empty(), hash, &digest).unwrap();
    let signature = Signature::from_config(config, [digest[0], digest[1]], numbers).unwrap();
    let mut packets = Vec::new();
    signature.to_writer_with_header(&mut packets).unwrap();
    LiteralData::from_bytes("", PASSWORD.into())
        .unwrap()
        .to_writer_with_header(&mut packets)
        .unwrap();
    packets
}

/// The library checks the numbers of a signature of any kind. What the key signed as something else, as a
/// user id, must not come back as data.
#[test]
fn a_signature_that_is_not_over_data_is_none() {
    let open = |kind| {
        open(&seal_packets(&signed_as(
            kind,
            HashAlgorithm::Sha256,
            &KEY.0.primary_key,
        )))
    };
    for kind in [SignatureType::Binary, SignatureType::Text] {
        assert_eq!(open(kind).as_deref(), Ok(PASSWORD), "{kind:?}");
    }
    for kind in [
        SignatureType::Standalone,
        SignatureType::CertGeneric,
        SignatureType::CertPersona,
        SignatureType::CertCasual,
        SignatureType::CertPositive,
        SignatureType::SubkeyBinding,
        SignatureType::KeyBinding,
        SignatureType::Key,
        SignatureType::KeyRevocation,
        SignatureType::SubkeyRevocation,
        SignatureType::CertRevocation,
        SignatureType::Timestamp,
        SignatureType::ThirdParty,
    ] {
        assert_eq!(open(kind), Err(Error::WrongSigner), "{kind:?}");
    }
}

/// Ed25519 signs no short digests at all.
#[test]
fn a_signature_over_an_md5_digest_is_none() {
    let key = key(Algorithm::Rsa { bits: 2048 });
    let read = |hash| {
        let packets = signed_as(SignatureType::Binary, hash, &key.0.primary_key);
        read_content(&packets, MAX, |message| verify(message, &key.public_key()))
            .map(|(it, ())| it.expose().to_vec())
    };
    for hash in [HashAlgorithm::Sha1, HashAlgorithm::Sha256] {
        assert_eq!(read(hash).as_deref(), Ok(PASSWORD), "{hash:?}");
    }
    assert_eq!(read(HashAlgorithm::Md5), Err(Error::WrongSigner));
}

#[test]
fn a_key_whose_own_signature_does_not_fit_is_refused() {
    let problem = "its own signature on it does not fit";
    // The last bytes are those of the signature that binds the last subkey.
    let tampered = |mut bytes: Vec<u8>| {
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        bytes
    };
    let secret = pgp::ser::Serialize::to_bytes(&KEY.0).unwrap();
    assert!(SecretKey::from_armored(&secret).is_ok());
    let expected = "secret key";
    let refused = SecretKey::from_armored(&tampered(secret)).map(drop);
    assert_eq!(refused, Err(Error::BadKey { expected, problem }));
    let public = pgp::ser::Serialize::to_bytes(&KEY.public_key().0).unwrap();
    assert!(PublicKey::from_armored(&public).is_ok());
    let expected = "public key";
    let refused = PublicKey::from_armored(&tampered(public)).map(drop);
    assert_eq!(refused, Err(Error::BadKey { expected, problem }));
}

#[test]
fn errors_and_keys_show_nothing_secret() {
    let shown = format!("{:?} {:?}", *KEY, open(&SEALED[1..]));
    assert!(shown.starts_with("SecretKey("), "{shown}");
    assert!(shown.len() < 200, "{shown}");
}

proptest! {
    #[test]
    fn any_bytes_are_opened_or_refused(bytes: Vec<u8>) {
        let _ = open(&bytes);
        let _ = open(&seal_packets(&bytes));
        let _ = SecretKey::from_armored(&bytes);
        let _ = PublicKey::from_armored(&bytes);
    }

    #[test]
    fn any_damage_is_survived(at: prop::sample::Index, bytes: [u8; 3]) {
        let mut packets = signed(PASSWORD, 1);
        let at = at.index(packets.len() - bytes.len());
        packets[at..at + bytes.len()].copy_from_slice(&bytes);
        if let Ok(plaintext) = open(&seal_packets(&packets)) {
            prop_assert_eq!(plaintext, PASSWORD);
        }
    }
}
