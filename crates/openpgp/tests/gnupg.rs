//! Messages and keys of GnuPG are read here, and ours are read by GnuPG.
#![allow(clippy::unwrap_used, reason = "in a test it is the assertion itself")]

mod home;

use std::time::Duration;

use home::Home;
use nightlatch_core::key_id::KeyId;
use nightlatch_core::sealed_secret::{SealedSecret, SecretHeader};
use nightlatch_core::secret::Secret;
use nightlatch_core::secret_name::SecretName;
use nightlatch_core::time::Wall;
use nightlatch_openpgp::{
    AdminKeyOptions, AdminKeys, Algorithm, Error, GenerateOptions, KeyPair, OpenFault, PublicKey,
    SecretKey, SignaturePolicy, decrypt, decrypt_with_passphrase, encrypt_and_sign, generate,
    generate_admin_key, open, seal,
};

/// White space, line ends of both kinds, a NUL and bytes that are no UTF-8: all must survive.
const PASSWORD: &[u8] = b" correct horse\r\nbattery \n\0\xff staple \n";

const NOW: Wall = Wall::from_unix_micros(1_790_000_000_000_000);

const MAX: usize = 1 << 20;

fn ours(primary: Algorithm, encryption: Algorithm) -> KeyPair {
    generate(&GenerateOptions {
        primary,
        encryption,
        name: "client.example.org",
        comment: "",
        email: "",
        created: NOW,
        expires: None,
    })
    .unwrap()
}

fn curve25519() -> KeyPair {
    ours(Algorithm::Curve25519, Algorithm::Curve25519)
}

fn secret_key(pair: &KeyPair) -> SecretKey {
    SecretKey::from_armored(pair.secret_armored.expose()).unwrap()
}

#[test]
fn gnupg_takes_our_curve25519_key_and_opens_what_it_sealed() {
    gnupg_opens(&curve25519());
}

#[test]
fn gnupg_takes_our_rsa_key_and_opens_what_it_sealed() {
    let rsa = Algorithm::Rsa { bits: 2048 };
    gnupg_opens(&ours(rsa, rsa));
}

fn gnupg_opens(pair: &KeyPair) {
    let home = Home::new();
    home.import(pair.secret_armored.expose());
    let listing = home.run(&["--with-colons", "--list-secret-keys"], b"");
    let listing = String::from_utf8(listing.stdout).unwrap();
    assert!(
        listing.contains(&format!("fpr:::::::::{}:", pair.fingerprint)),
        "{listing}"
    );
    assert!(listing.contains("::client.example.org:"), "{listing}");

    let key = secret_key(pair);
    let public = PublicKey::from_armored(pair.public_armored.as_bytes()).unwrap();
    let message = encrypt_and_sign(&public, &key, &Secret::new(PASSWORD.to_vec()), NOW).unwrap();
    let opened = home.run(
        &["--status-fd", "2", "--trust-model", "always", "--decrypt"],
        &message,
    );
    let status = String::from_utf8_lossy(&opened.stderr);
    assert_eq!(opened.stdout, PASSWORD, "{status}");
    for word in ["GOODMDC", "GOODSIG", "DECRYPTION_OKAY"] {
        assert!(status.contains(word), "{word}: {status}");
    }

    let again = decrypt(
        &key,
        Some(&public),
        &message,
        SignaturePolicy::Required,
        MAX,
    );
    assert_eq!(again.unwrap().expose(), PASSWORD);
}

#[test]
fn messages_of_gnupg_open_whatever_their_form() {
    for kind in ["ed25519/cv25519", "rsa4096/rsa4096"] {
        let home = Home::new();
        home.make_key("theirs", kind);
        let key = SecretKey::from_armored(&home.export_secret("theirs")).unwrap();
        let forms: [&[&str]; 6] = [
            &[],
            &["--compress-algo", "none"],
            &["--compress-algo", "zip"],
            &["--compress-algo", "zlib"],
            &["--armor"],
            &["--hidden-recipient", "theirs"],
        ];
        for form in forms {
            let message = home.seal("theirs", "theirs", form, PASSWORD);
            let opened = decrypt(&key, None, &message, SignaturePolicy::Required, MAX);
            assert_eq!(
                opened.as_ref().map(Secret::expose),
                Ok(PASSWORD),
                "{kind} {form:?}"
            );
        }
        // GnuPG itself turns line ends into CR LF here; what it wrote is handed on as it is.
        let text = home.seal("theirs", "theirs", &["--textmode"], b"one\ntwo\n");
        let opened = decrypt(&key, None, &text, SignaturePolicy::Required, MAX).unwrap();
        assert_eq!(opened.expose(), b"one\r\ntwo\r\n");
    }
}

/// Sections made with the defaults of GnuPG 1.4 carry such signatures.
#[test]
fn a_sha1_signature_of_old_still_counts() {
    let home = Home::new();
    home.make_key("old", "rsa2048/rsa2048");
    let key = SecretKey::from_armored(&home.export_secret("old")).unwrap();
    let message = home.seal("old", "old", &["--digest-algo", "SHA1"], PASSWORD);
    let opened = decrypt(&key, None, &message, SignaturePolicy::Required, MAX);
    assert_eq!(opened.unwrap().expose(), PASSWORD);
}

#[test]
fn each_missing_or_foreign_signature_is_told_apart() {
    let home = Home::new();
    home.make_key("mine", "ed25519/cv25519");
    home.make_key("other", "ed25519/cv25519");
    let mine = SecretKey::from_armored(&home.export_secret("mine")).unwrap();
    let other = SecretKey::from_armored(&home.export_secret("other")).unwrap();
    let open = |message: &[u8], policy| {
        decrypt(&mine, None, message, policy, MAX).map(|secret| secret.expose().to_vec())
    };

    let unsigned = home.seal_unsigned("mine", PASSWORD);
    assert_eq!(
        open(&unsigned, SignaturePolicy::Required),
        Err(Error::Unsigned)
    );
    assert_eq!(
        open(&unsigned, SignaturePolicy::Optional).as_deref(),
        Ok(PASSWORD)
    );

    let foreign = home.seal("mine", "other", &[], PASSWORD);
    assert_eq!(
        open(&foreign, SignaturePolicy::Required),
        Err(Error::WrongSigner)
    );
    assert_eq!(
        open(&foreign, SignaturePolicy::Optional).as_deref(),
        Ok(PASSWORD)
    );

    let both = home.seal("mine", "other", &["--local-user", "mine"], PASSWORD);
    assert_eq!(
        open(&both, SignaturePolicy::Required).as_deref(),
        Ok(PASSWORD)
    );

    let to_other = home.seal("other", "mine", &[], PASSWORD);
    for policy in [SignaturePolicy::Required, SignaturePolicy::Optional] {
        assert_eq!(open(&to_other, policy), Err(Error::NotForThisKey));
    }

    let signed_only = home.run(&["--local-user", "mine", "--sign"], PASSWORD);
    assert_eq!(
        open(&signed_only.stdout, SignaturePolicy::Optional),
        Err(Error::NotEncrypted)
    );

    let refused = decrypt(
        &mine,
        Some(&other.public_key()),
        &unsigned,
        SignaturePolicy::Optional,
        MAX,
    );
    assert_eq!(refused, Err(Error::KeysDiffer));
}

#[test]
fn a_wrong_clock_hinders_nothing() {
    let home = Home::new();
    // Made in 2088, valid for one day, used a month later: expired and in the future at once.
    home.make_key_at("future", "ed25519/cv25519", "20880101T000000", "1d");
    let key = SecretKey::from_armored(&home.export_secret("future")).unwrap();
    let message = home.seal(
        "future",
        "future",
        &["--faked-system-time", "20880101T120000!"],
        PASSWORD,
    );
    let opened = decrypt(&key, None, &message, SignaturePolicy::Required, MAX);
    assert_eq!(opened.unwrap().expose(), PASSWORD);

    let expired = generate(&GenerateOptions {
        primary: Algorithm::Curve25519,
        encryption: Algorithm::Curve25519,
        name: "expired",
        comment: "long ago",
        email: "root@client.example.org",
        created: Wall::from_unix_micros(0),
        expires: Some(Duration::from_secs(60)),
    })
    .unwrap();
    let key = secret_key(&expired);
    let sealed = encrypt_and_sign(
        &key.public_key(),
        &key,
        &Secret::new(PASSWORD.to_vec()),
        Wall::from_unix_micros(0),
    )
    .unwrap();
    let opened = decrypt(&key, None, &sealed, SignaturePolicy::Required, MAX);
    assert_eq!(opened.unwrap().expose(), PASSWORD);

    home.import(expired.public_armored.as_bytes());
    let listing = home.run(&["--with-colons", "--list-keys", "expired"], b"");
    let listing = String::from_utf8(listing.stdout).unwrap();
    assert!(
        listing.contains("::expired (long ago) <root@client.example.org>:"),
        "{listing}"
    );
    assert!(listing.contains("pub:e:255:22:"), "{listing}");
}

#[test]
fn a_key_with_a_passphrase_is_refused() {
    let home = Home::new();
    let unlock = ["--pinentry-mode", "loopback", "--passphrase", "secret"];
    home.run(
        &[&unlock[..], &["--quick-generate-key", "locked", "ed25519"]].concat(),
        b"",
    );
    let export = [&unlock[..], &["--armor", "--export-secret-keys"]].concat();
    let locked = home.run(&export, b"").stdout;
    assert_eq!(SecretKey::from_armored(&locked).unwrap_err(), Error::Locked);
}

#[test]
fn what_gnupg_encrypted_by_a_passphrase_opens_with_that_one_only() {
    let home = Home::new();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "a passphrase\n").unwrap();
    let file = file.path().to_str().unwrap();
    let options = ["--pinentry-mode", "loopback", "--passphrase-file", file];
    let sealed = home.run(&[&options[..], &["--symmetric"]].concat(), PASSWORD);
    let open = |passphrase: &[u8], max| {
        decrypt_with_passphrase(&Secret::new(passphrase.to_vec()), &sealed.stdout, max)
    };
    assert_eq!(open(b"a passphrase", MAX).unwrap().expose(), PASSWORD);
    assert_eq!(open(b"another", MAX), Err(Error::WrongPassphrase));
    let limit = PASSWORD.len() - 1;
    assert_eq!(
        open(b"a passphrase", limit),
        Err(Error::PlaintextTooLarge { limit })
    );
}

#[test]
fn a_message_to_a_key_opens_with_no_passphrase() {
    let pair = curve25519();
    let public = PublicKey::from_armored(pair.public_armored.as_bytes()).unwrap();
    let password = Secret::new(PASSWORD.to_vec());
    let sealed = encrypt_and_sign(&public, &secret_key(&pair), &password, NOW).unwrap();
    assert_eq!(
        decrypt_with_passphrase(&password, &sealed, MAX),
        Err(Error::WrongPassphrase)
    );
}

fn header() -> SecretHeader {
    SecretHeader {
        host: KeyId::from_bytes([7; 32]).unwrap(),
        name: SecretName::new("postgres.password").unwrap(),
        serial: 1,
        created: NOW,
        expires: None,
    }
}

#[test]
fn gnupg_opens_a_sealed_secret_and_signs_with_our_locked_admin_key() {
    let home = Home::new();
    let passphrase = Secret::new(b"a passphrase".to_vec());
    let admin = generate_admin_key(&AdminKeyOptions {
        name: "alice",
        created: NOW,
        passphrase: Some(&passphrase),
    })
    .unwrap();
    let host = curve25519();
    home.import(host.secret_armored.expose());
    home.import(admin.public_armored.as_bytes());
    let key = SecretKey::unlock(admin.secret_armored.expose(), &passphrase).unwrap();
    let host_key = secret_key(&host);
    let value = Secret::new(PASSWORD.to_vec());
    let sealed = seal(&value, &header(), &host_key.public_key(), &key, NOW).unwrap();
    let opened = home.run(
        &["--status-fd", "2", "--trust-model", "always", "--decrypt"],
        sealed.message(),
    );
    let status = String::from_utf8_lossy(&opened.stderr);
    let plaintext = header().plaintext(&value).unwrap();
    assert_eq!(opened.stdout, plaintext.expose(), "{status}");
    let valid = format!("VALIDSIG {}", admin.fingerprint);
    for word in ["GOODMDC", "GOODSIG", &valid, "DECRYPTION_OKAY"] {
        assert!(status.contains(word), "{word}: {status}");
    }

    home.import(admin.secret_armored.expose());
    let listing = home.run(&["--with-colons", "--list-secret-keys", "alice"], b"");
    let listing = String::from_utf8(listing.stdout).unwrap();
    assert!(listing.contains(":scSC:"), "{listing}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), passphrase.expose()).unwrap();
    let file = file.path().to_str().unwrap();
    let unlock = ["--pinentry-mode", "loopback", "--passphrase-file", file];
    let theirs = home.seal("client.example.org", "alice", &unlock, plaintext.expose());
    let theirs = SealedSecret::new(&header(), &theirs).unwrap();
    let trusted = AdminKeys::from_armored(admin.public_armored.as_bytes()).unwrap();
    let opened = open(&theirs, &host_key, &trusted, NOW).unwrap();
    assert_eq!(opened.value, value);
    assert_eq!(opened.signer, admin.fingerprint);
}

#[test]
fn an_admin_key_of_gnupg_is_believed_until_it_is_revoked() {
    let home = Home::new();
    home.make_key("alice", "ed25519/cv25519");
    home.make_key("bob", "rsa2048/rsa2048");
    let host = curve25519();
    home.import(host.public_armored.as_bytes());
    let host_key = secret_key(&host);
    let value = Secret::new(PASSWORD.to_vec());
    let plaintext = header().plaintext(&value).unwrap();
    let sealed = |signer| {
        let message = home.seal("client.example.org", signer, &[], plaintext.expose());
        SealedSecret::new(&header(), &message).unwrap()
    };
    let both = || {
        let list = home.run(&["--armor", "--export", "alice", "bob"], b"");
        AdminKeys::from_armored(&list.stdout).unwrap()
    };
    let messages = [sealed("alice"), sealed("bob")];
    let list = both();
    let fingerprints: Vec<_> = list.iter().map(PublicKey::fingerprint).collect();
    for (sealed, fingerprint) in messages.iter().zip(&fingerprints) {
        let opened = open(sealed, &host_key, &list, NOW).unwrap();
        assert_eq!(opened.value, value);
        assert_eq!(opened.signer, *fingerprint);
    }

    home.revoke(&fingerprints[1].to_string());
    let list = both();
    assert!(open(&messages[0], &host_key, &list, NOW).is_ok());
    let revoked = Error::Outdated {
        signer: fingerprints[1],
        problem: "that key is revoked",
    };
    let found = open(&messages[1], &host_key, &list, NOW).map(|_| ());
    assert_eq!(found, Err(OpenFault::Forged(revoked)));
}
