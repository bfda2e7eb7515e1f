use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use nightlatch_core::key_id::KeyId;
use nightlatch_core::secret_name::SecretName;
use pgp::composed::MessageBuilder;
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::sym::SymmetricKeyAlgorithm;
use pgp::packet::{KeyFlags, SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::types::{CompressionAlgorithm, KeyDetails, Password, SigningKey, Timestamp};
use proptest::prelude::*;
use rand::rngs::OsRng;

use super::*;
use crate::key::KeyPart;
use crate::{AdminKeyOptions, Algorithm, GenerateOptions, KeyPair, generate, generate_admin_key};

const SECOND: i64 = 1_000_000;
const NOW: Wall = Wall::from_unix_micros(1_796_000_000 * SECOND);
const VALUE: &[u8] = b"\n\nhost value \0\xff\n";

static HOST: LazyLock<SecretKey> = LazyLock::new(|| machine_key(None));
static ADMIN: LazyLock<SecretKey> = LazyLock::new(|| secret(&admin_pair(None)));

fn machine_key(expires: Option<Duration>) -> SecretKey {
    let options = GenerateOptions {
        primary: Algorithm::Curve25519,
        encryption: Algorithm::Curve25519,
        name: "web1",
        comment: "",
        email: "",
        created: NOW,
        expires,
    };
    secret(&generate(&options).unwrap())
}

fn admin_pair(passphrase: Option<&Secret>) -> KeyPair {
    generate_admin_key(&AdminKeyOptions {
        name: "alice@desk",
        created: NOW,
        passphrase,
    })
    .unwrap()
}

fn secret(pair: &KeyPair) -> SecretKey {
    SecretKey::from_armored(pair.secret_armored.expose()).unwrap()
}

fn header() -> SecretHeader {
    SecretHeader {
        host: KeyId::from_bytes([7; 32]).unwrap(),
        name: SecretName::new("postgres.password").unwrap(),
        serial: 1_796_000_000_000,
        created: NOW,
        expires: None,
    }
}

fn value() -> Secret {
    Secret::new(VALUE.to_vec())
}

fn trusted() -> AdminKeys {
    ADMIN.public_key().into()
}

fn sealed() -> SealedSecret {
    seal(&value(), &header(), &HOST.public_key(), &ADMIN, NOW).unwrap()
}

fn open_now(sealed: &SealedSecret) -> Result<Vec<u8>, OpenFault> {
    open(sealed, &HOST, &trusted(), NOW).map(|it| it.value.expose().to_vec())
}

/// A message to the host that an administrator's key signs, made by `change` in a way that [`seal`] never does.
fn message(plaintext: &[u8], change: impl FnOnce(&mut Builder<'_>)) -> SealedSecret {
    let mut builder =
        MessageBuilder::from_reader("", plaintext).seipd_v1(OsRng, SymmetricKeyAlgorithm::AES256);
    let public = HOST.public_key();
    let Some(KeyPart::Sub(recipient)) = public.encryptor() else {
        panic!("the key made above has a subkey to encrypt to");
    };
    builder.encrypt_to_key(OsRng, recipient).unwrap();
    change(&mut builder);
    SealedSecret::new(&header(), &builder.to_vec(OsRng).unwrap()).unwrap()
}

type Builder<'a> = MessageBuilder<'a, &'a [u8], pgp::composed::EncryptionSeipdV1>;

fn sign(builder: &mut Builder<'_>, key: &'static SecretKey, hash: HashAlgorithm) {
    let signer: &dyn SigningKey = &key.0.primary_key;
    builder.sign(signer, Password::empty(), hash);
}

fn plaintext() -> Vec<u8> {
    header().plaintext(&value()).unwrap().expose().to_vec()
}

#[test]
fn what_was_sealed_opens_and_names_its_author() {
    let other = secret(&admin_pair(None)).public_key();
    let list = [&other, &ADMIN.public_key()].map(|key| key.to_armored("").unwrap());
    let list = AdminKeys::from_armored(list.concat().as_bytes()).unwrap();
    let opened = open(&sealed(), &HOST, &list, NOW).unwrap();
    assert_eq!(opened.header, header());
    assert_eq!(opened.value.expose(), VALUE);
    assert_eq!(opened.signer, ADMIN.fingerprint());
    // Keys and signatures that never expire are believed by any clock.
    for now in [0, i64::from(u32::MAX) * 2 * SECOND] {
        let now = Wall::from_unix_micros(now);
        assert!(open(&sealed(), &HOST, &list, now).is_ok());
    }
}

#[test]
fn what_is_added_around_a_genuine_secret_does_not_make_it_another_one() {
    let sealed = sealed();
    // Another session key, as for a second recipient: anybody can put it in front.
    let stranger = machine_key(None).public_key();
    let other = seal(&value(), &header(), &stranger, &ADMIN, NOW).unwrap();
    let packet = &other.message()[..2 + usize::from(other.message()[1])];
    let padded = [packet, sealed.message()].concat();
    let padded = SealedSecret::new(&header(), &padded).unwrap();
    assert_ne!(padded.digest(), sealed.digest());
    let opened = |sealed: &SealedSecret| open(sealed, &HOST, &trusted(), NOW).unwrap();
    assert_eq!(opened(&padded).digest, opened(&sealed).digest);
    // The same value, sealed again.
    let again = seal(&value(), &header(), &HOST.public_key(), &ADMIN, NOW).unwrap();
    assert_eq!(opened(&again).value, opened(&sealed).value);
}

#[test]
fn another_author_or_another_machine_is_forged() {
    let other = secret(&admin_pair(None));
    for author in [&other, &*HOST] {
        let sealed = seal(&value(), &header(), &HOST.public_key(), author, NOW).unwrap();
        let forged = OpenFault::Forged(Error::WrongSigner);
        assert_eq!(open_now(&sealed), Err(forged));
    }
    let machine = machine_key(None);
    let found = open(&sealed(), &machine, &trusted(), NOW).map(|_| ());
    assert_eq!(found, Err(OpenFault::Forged(Error::NotForThisKey)));
    let unsigned = message(&plaintext(), |_| {});
    assert_eq!(open_now(&unsigned), Err(OpenFault::Forged(Error::Unsigned)));
}

#[test]
fn another_header_in_clear_is_swapped() {
    let sealed = sealed();
    let changes: [fn(&mut SecretHeader); 5] = [
        |header| header.host = KeyId::from_bytes([8; 32]).unwrap(),
        |header| header.name = SecretName::new("other").unwrap(),
        |header| header.serial += 1,
        |header| header.created = NOW.after(Duration::from_secs(1)),
        |header| header.expires = Some(NOW.after(Duration::from_secs(60))),
    ];
    for change in changes {
        let mut header = header();
        change(&mut header);
        let swapped = SealedSecret::new(&header, sealed.message()).unwrap();
        assert_eq!(open_now(&swapped), Err(OpenFault::Swapped), "{header:?}");
    }
}

#[test]
fn exactly_one_strong_signature_over_binary_data_counts() {
    let one = message(&plaintext(), |it| sign(it, &ADMIN, HashAlgorithm::Sha256));
    assert_eq!(open_now(&one).as_deref(), Ok(VALUE));
    let two = message(&plaintext(), |it| {
        sign(it, &ADMIN, HashAlgorithm::Sha256);
        sign(it, &HOST, HashAlgorithm::Sha256);
    });
    let several = OpenFault::Forged(Error::SeveralSignatures);
    assert_eq!(open_now(&two), Err(several));
    let text = message(&plaintext(), |it| {
        it.sign_text();
        sign(it, &ADMIN, HashAlgorithm::Sha256);
    });
    let bad = OpenFault::Forged(Error::BadSignature);
    assert_eq!(open_now(&text), Err(bad));
}

#[test]
fn a_signature_over_a_sha1_digest_does_not_count() {
    static RSA: LazyLock<SecretKey> = LazyLock::new(|| {
        let rsa = Algorithm::Rsa { bits: 2048 };
        let options = GenerateOptions {
            primary: rsa,
            encryption: Algorithm::Curve25519,
            name: "old",
            comment: "",
            email: "",
            created: NOW,
            expires: None,
        };
        secret(&generate(&options).unwrap())
    });
    let open = |hash| {
        let sealed = message(&plaintext(), |it| sign(it, &RSA, hash));
        open(&sealed, &HOST, &RSA.public_key().into(), NOW).map(|_| ())
    };
    assert_eq!(open(HashAlgorithm::Sha256), Ok(()));
    let bad = OpenFault::Forged(Error::BadSignature);
    assert_eq!(open(HashAlgorithm::Sha1), Err(bad));
}

#[test]
fn an_expired_key_is_believed_in_its_time_only() {
    let admin = machine_key(Some(Duration::from_secs(60)));
    let sealed = seal(&value(), &header(), &HOST.public_key(), &admin, NOW).unwrap();
    let public = admin.public_key();
    assert_eq!(public.expires(), Some(NOW.after(Duration::from_secs(60))));
    let list = public.into();
    let open = |seconds: i64| {
        let now = Wall::from_unix_micros(NOW.unix_micros() + seconds * SECOND);
        open(&sealed, &HOST, &list, now).map(|_| ())
    };
    let outdated = OpenFault::Forged(Error::Outdated {
        signer: admin.fingerprint(),
        problem: "that key has expired, or the clock is wrong",
    });
    assert_eq!(open(0), Ok(()));
    assert_eq!(open(59), Ok(()));
    assert_eq!(open(60), Err(outdated.clone()));
    assert_eq!(open(-1), Err(outdated));
}

#[test]
fn a_revoked_key_is_believed_never() {
    let mut key = admin_key();
    let primary = &key.0.primary_key;
    let config = config(SignatureType::KeyRevocation, primary);
    let revocation = config
        .sign_key(primary, &Password::empty(), primary.public_key())
        .unwrap();
    let sealed = seal(&value(), &header(), &HOST.public_key(), &key, NOW).unwrap();
    key.0.details.revocation_signatures.push(revocation);
    let public = reread(&key.public_key());
    assert!(public.is_revoked());
    let outdated = OpenFault::Forged(Error::Outdated {
        signer: key.fingerprint(),
        problem: "that key is revoked",
    });
    let found = open(&sealed, &HOST, &public.into(), NOW).map(|_| ());
    assert_eq!(found, Err(outdated));
}

fn admin_key() -> SecretKey {
    secret(&admin_pair(None))
}

fn config(kind: SignatureType, signer: &pgp::packet::SecretKey) -> SignatureConfig {
    let mut config = SignatureConfig::v4(kind, signer.algorithm(), HashAlgorithm::Sha256);
    let created = SubpacketData::SignatureCreationTime(Timestamp::from_secs(1_796_000_000));
    let issuer = SubpacketData::IssuerKeyId(signer.legacy_key_id());
    config.hashed_subpackets = vec![Subpacket::regular(created).unwrap()];
    config.unhashed_subpackets = vec![Subpacket::regular(issuer).unwrap()];
    config
}

fn reread(key: &PublicKey) -> PublicKey {
    PublicKey::from_armored(&key.to_bytes().unwrap()).unwrap()
}

/// A newer self-signature that says nothing of an expiry lifts that of an older one.
#[test]
fn the_newest_self_signature_decides_about_the_expiry() {
    let mut key = machine_key(Some(Duration::from_secs(60)));
    let primary = &key.0.primary_key;
    let renewed = |seconds, lifetime: Option<u32>| {
        let mut config = config(SignatureType::CertPositive, primary);
        let created = SubpacketData::SignatureCreationTime(Timestamp::from_secs(seconds));
        let mut flags = KeyFlags::default();
        flags.set_sign(true);
        config.hashed_subpackets = vec![
            Subpacket::regular(created).unwrap(),
            Subpacket::regular(SubpacketData::KeyFlags(flags)).unwrap(),
        ];
        if let Some(lifetime) = lifetime {
            let lifetime = pgp::types::Duration::from_secs(lifetime);
            let expires = SubpacketData::KeyExpirationTime(lifetime);
            let expires = Subpacket::regular(expires).unwrap();
            config.hashed_subpackets.push(expires);
        }
        let user = &key.0.details.users[0];
        let tag = pgp::types::Tag::UserId;
        config
            .sign_certification(
                primary,
                primary.public_key(),
                &Password::empty(),
                tag,
                &user.id,
            )
            .unwrap()
    };
    let newest = renewed(1_796_000_002, None);
    let older = renewed(1_796_000_001, Some(5));
    key.0.details.users[0].signatures.splice(0..0, [newest]);
    key.0.details.users[0].signatures.push(older);
    assert_eq!(reread(&key.public_key()).expires(), None);
}

#[test]
fn a_message_of_another_form_is_malformed() {
    let base64 = BASE64.encode(sealed().message());
    let armored = format!("-----BEGIN PGP MESSAGE-----\n\n{base64}\n-----END PGP MESSAGE-----\n");
    let sealed = SealedSecret::new(&header(), armored.as_bytes()).unwrap();
    assert!(matches!(
        open_now(&sealed),
        Err(OpenFault::Message(Error::Malformed(_)))
    ));
    let bomb = vec![0; 4 * MAX_SEALED];
    let bomb = message(&bomb, |it| {
        it.compression(CompressionAlgorithm::ZLIB);
        sign(it, &ADMIN, HashAlgorithm::Sha256);
    });
    let limit = MAX_SEALED;
    let too_large = OpenFault::Message(Error::PlaintextTooLarge { limit });
    assert_eq!(open_now(&bomb), Err(too_large));
    let signed = |plaintext: &[u8]| {
        let sealed = message(plaintext, |it| sign(it, &ADMIN, HashAlgorithm::Sha256));
        open_now(&sealed)
    };
    assert_eq!(
        signed(b"no header"),
        Err(OpenFault::Plaintext(SealedSecretError::NoHeader))
    );
    let header = &plaintext()[..plaintext().len() - VALUE.len()];
    let length = SealedSecretError::ValueLength;
    assert_eq!(signed(header), Err(OpenFault::Plaintext(length(0))));
    let long = [header, &vec![1; MAX_VALUE + 1]].concat();
    assert_eq!(
        signed(&long),
        Err(OpenFault::Plaintext(length(MAX_VALUE + 1)))
    );
    assert_eq!(
        signed(&[header, &vec![1; MAX_VALUE]].concat()).map(|it| it.len()),
        Ok(MAX_VALUE)
    );
}

#[test]
fn what_no_machine_would_open_is_not_sealed() {
    let empty = Secret::new(Vec::new());
    let public = HOST.public_key();
    let found = seal(&empty, &header(), &public, &ADMIN, NOW);
    let length = SealedSecretError::ValueLength(0);
    assert_eq!(found.map(|_| ()), Err(SealFault::Form(length)));
    let found = seal(&value(), &header(), &ADMIN.public_key(), &ADMIN, NOW);
    let incapable = Error::Incapable { what: "encrypt" };
    assert_eq!(found.map(|_| ()), Err(SealFault::OpenPgp(incapable)));
}

#[test]
fn no_altered_byte_gives_another_value() {
    let sealed = sealed();
    for at in 0..sealed.as_bytes().len() {
        let mut altered = sealed.as_bytes().to_vec();
        altered[at] ^= 1;
        if let Ok(altered) = SealedSecret::from_bytes(altered)
            && let Ok(value) = open_now(&altered)
        {
            assert_eq!(value, VALUE, "byte {at}");
        }
    }
}

#[test]
fn an_admin_key_with_a_passphrase_opens_with_that_one_only() {
    let passphrase = Secret::new(b"a passphrase".to_vec());
    let pair = admin_pair(Some(&passphrase));
    let file = pair.secret_armored.expose();
    assert_eq!(SecretKey::from_armored(file).map(drop), Err(Error::Locked));
    let wrong = Secret::new(b"another".to_vec());
    assert_eq!(
        SecretKey::unlock(file, &wrong).map(drop),
        Err(Error::WrongKeyPassphrase)
    );
    let admin = SecretKey::unlock(file, &passphrase).unwrap();
    assert_eq!(admin.fingerprint(), pair.fingerprint);
    assert!(admin.can_sign());
    let sealed = seal(&value(), &header(), &HOST.public_key(), &admin, NOW).unwrap();
    let public = PublicKey::of_secret_key(file).unwrap();
    assert!(public.can_sign() && !public.can_encrypt());
    assert_eq!(public.user_id().as_deref(), Some("alice@desk"));
    assert!(open(&sealed, &HOST, &public.into(), NOW).is_ok());
    let refused = generate_admin_key(&AdminKeyOptions {
        name: "alice",
        created: NOW,
        passphrase: Some(&Secret::new(Vec::new())),
    });
    assert!(matches!(refused, Err(Error::Options(_))));
}

#[test]
fn a_list_has_each_key_once_and_nothing_else() {
    let [one, two] = [(); 2].map(|()| admin_pair(None));
    let (a, b) = (one.public_armored.as_str(), two.public_armored.as_str());
    let read = |text: &str| {
        let keys = AdminKeys::from_armored(text.as_bytes())?;
        Ok(keys.iter().map(PublicKey::fingerprint).collect::<Vec<_>>())
    };
    let (first, second) = (one.fingerprint, two.fingerprint);
    assert_eq!(read(a), Ok(vec![first]));
    let list = format!("# alice\n{a}\n\n # bob\n{b}{a}");
    assert_eq!(read(&list), Ok(vec![first, second]));
    assert_eq!(read(&list.replace('\n', "\r\n")), Ok(vec![first, second]));
    let binary = [a, b].map(|it| PublicKey::from_armored(it.as_bytes()).unwrap().to_bytes());
    let binary = binary.map(Result::unwrap).concat();
    let keys = AdminKeys::from_armored(&binary).unwrap();
    assert_eq!(keys.iter().count(), 2);

    let half = &a[..a.len() / 2];
    for text in ["", "# none\n", "alice\n", half, &format!("{half}\n{b}")] {
        assert!(matches!(read(text), Err(Error::BadKey { .. })), "{text}");
    }
    // The secret key by mistake, a damaged key after a good one.
    let secret = String::from_utf8(one.secret_armored.expose().to_vec()).unwrap();
    assert!(read(&secret).is_err());
    let mut damaged = PublicKey::from_armored(b.as_bytes())
        .unwrap()
        .to_bytes()
        .unwrap();
    *damaged.last_mut().unwrap() ^= 1;
    let whole = PublicKey::from_armored(a.as_bytes()).unwrap().to_bytes();
    let damaged = [whole.unwrap(), damaged].concat();
    let found = AdminKeys::from_armored(&damaged).map(drop);
    assert!(
        matches!(found, Err(Error::InList { number: 2, .. })),
        "{found:?}"
    );
}

#[test]
fn a_public_key_has_a_form_for_a_section() {
    let key = HOST.public_key();
    let text = key.to_base64().unwrap();
    assert!(!text.contains('\n'));
    let again = PublicKey::from_base64(&format!(" {}\n", text.replace('M', "\n M"))).unwrap();
    assert_eq!(again.fingerprint(), key.fingerprint());
    assert!(again.can_encrypt());
    assert!(matches!(
        PublicKey::from_base64("!"),
        Err(Error::BadKey { .. })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_value_comes_back(
        value in prop::collection::vec(any::<u8>(), 1..5000),
        serial in 1..u64::MAX,
        expires in prop::option::of(1..1_000_000_u64),
    ) {
        let expires = expires.map(|seconds| NOW.after(Duration::from_secs(seconds)));
        let header = SecretHeader { serial, expires, ..header() };
        let secret = Secret::new(value.clone());
        let sealed = seal(&secret, &header, &HOST.public_key(), &ADMIN, NOW).unwrap();
        let opened = open(&sealed, &HOST, &trusted(), NOW).unwrap();
        prop_assert_eq!(opened.header, header);
        prop_assert_eq!(opened.value.expose(), value);
    }

    #[test]
    fn any_message_is_opened_or_refused(bytes in prop::collection::vec(any::<u8>(), 1..500), file: Vec<u8>) {
        let sealed = SealedSecret::new(&header(), &bytes).unwrap();
        prop_assert!(open_now(&sealed).is_err());
        let _ = AdminKeys::from_armored(&file);
    }
}
