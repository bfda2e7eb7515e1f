use aws_lc_rs::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
    ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RSA_PKCS1_SHA512, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use nightlatch_core::ssh::wire::{WireReader, put_magnitude, put_string};
use nightlatch_core::ssh::{HostKey, HostKeyKind};
use proptest::prelude::*;

use super::*;

/// A private host key.
enum Signer {
    Ed25519(Ed25519KeyPair),
    Ecdsa(HostKeyKind, EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl Signer {
    fn ed25519() -> Self {
        Self::Ed25519(Ed25519KeyPair::generate().unwrap())
    }

    fn ecdsa(kind: HostKeyKind) -> Self {
        let algorithm = match kind {
            HostKeyKind::EcdsaP256 => &ECDSA_P256_SHA256_FIXED_SIGNING,
            HostKeyKind::EcdsaP384 => &ECDSA_P384_SHA384_FIXED_SIGNING,
            _ => &ECDSA_P521_SHA512_FIXED_SIGNING,
        };
        Self::Ecdsa(kind, EcdsaKeyPair::generate(algorithm).unwrap())
    }

    fn rsa() -> Self {
        Self::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    fn blob(&self) -> Vec<u8> {
        let mut blob = Vec::new();
        match self {
            Self::Ed25519(pair) => {
                put_string(&mut blob, b"ssh-ed25519");
                put_string(&mut blob, pair.public_key().as_ref());
            }
            Self::Ecdsa(kind, pair) => {
                put_string(&mut blob, kind.name().as_bytes());
                put_string(&mut blob, &kind.name().as_bytes()["ecdsa-sha2-".len()..]);
                put_string(&mut blob, pair.public_key().as_ref());
            }
            Self::Rsa(pair) => {
                put_string(&mut blob, b"ssh-rsa");
                // RSAPublicKey (RFC 8017, A.1.1): the modulus after a header of eight bytes, the exponent.
                let der = pair.public_key().as_ref();
                let (modulus, exponent) = der[8..].split_at(257);
                put_magnitude(&mut blob, &exponent[2..]);
                put_magnitude(&mut blob, modulus);
            }
        }
        blob
    }

    fn public(&self) -> HostKey {
        let blob = self.blob();
        let name = WireReader::new(&blob).string().unwrap();
        let name = std::str::from_utf8(name).unwrap();
        format!("{name} {}", BASE64.encode(&blob)).parse().unwrap()
    }

    fn sign(&self, algorithm: &str, hash: &[u8]) -> Vec<u8> {
        let bytes = match self {
            Self::Ed25519(pair) => pair.sign(hash).as_ref().to_vec(),
            Self::Ecdsa(_, pair) => {
                let both = pair.sign(&SystemRandom::new(), hash).unwrap();
                let (r, s) = both.as_ref().split_at(both.as_ref().len() / 2);
                let mut bytes = Vec::new();
                put_magnitude(&mut bytes, r);
                put_magnitude(&mut bytes, s);
                bytes
            }
            Self::Rsa(pair) => {
                let padding = match algorithm {
                    "rsa-sha2-512" => &RSA_PKCS1_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut bytes = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &SystemRandom::new(), hash, &mut bytes)
                    .unwrap();
                bytes
            }
        };
        let mut signature = Vec::new();
        put_string(&mut signature, algorithm.as_bytes());
        put_string(&mut signature, &bytes);
        signature
    }
}

/// Deviations of a faulty server.
#[derive(Default)]
struct Odd {
    before: Vec<u8>,
    /// In place of the algorithms that its key has.
    algorithms: Option<&'static str>,
    /// Named in the signature.
    signs_as: Option<&'static str>,
    /// Shown in place of the key that signs.
    shown: Option<Vec<u8>>,
    /// Sent between the messages.
    between: Vec<u8>,
    /// Sent after KEXINIT.
    after_init: Vec<u8>,
    guess: Option<u8>,
    methods: Option<&'static str>,
    /// Changes the hash that is signed.
    other_hash: bool,
    /// Its ephemeral key.
    ephemeral: Option<Vec<u8>>,
}

/// A server in two parts: its bytes up to its KEXINIT, and its reply as a function of what it received.
struct FakeSshServer<'s> {
    signer: &'s Signer,
    odd: Odd,
    init: Vec<u8>,
}

impl<'s> FakeSshServer<'s> {
    fn new(signer: &'s Signer, odd: Odd) -> Self {
        let mut init = vec![packet::KEXINIT];
        init.extend([9; 16]);
        let kind = signer.public().kind();
        let algorithms = kind.algorithms().join(",");
        let methods = odd.methods.unwrap_or("unknown,curve25519-sha256");
        let lists = [methods, odd.algorithms.unwrap_or(&algorithms)];
        for list in lists.into_iter().chain(["x"; 8]) {
            put_string(&mut init, list.as_bytes());
        }
        init.push(odd.guess.unwrap_or_default());
        init.extend([0; 4]);
        Self { signer, odd, init }
    }

    fn first(&self) -> Vec<u8> {
        let mut out = self.odd.before.clone();
        out.extend(b"SSH-2.0-test server\r\n");
        out.extend(&self.odd.between);
        out.extend(packet::packet(&self.init));
        out.extend(&self.odd.after_init);
        out
    }

    /// `heard` has the payloads of the client's KEXINIT and its ECDH message.
    fn reply(&self, heard: &[Vec<u8>]) -> Vec<u8> {
        let theirs = WireReader::new(&heard[1][1..]).string().unwrap();
        let private = EphemeralPrivateKey::generate(&X25519, &SystemRandom::new()).unwrap();
        let own = private.compute_public_key().unwrap().as_ref().to_vec();
        let own = self.odd.ephemeral.clone().unwrap_or(own);
        let blob = self.signer.blob();
        let mut text = Vec::new();
        let greeting = concat!("SSH-2.0-nightlatch_", env!("CARGO_PKG_VERSION"));
        for part in [
            greeting.as_bytes(),
            b"SSH-2.0-test server",
            &heard[0],
            &self.init,
            &blob,
            theirs,
            &own,
        ] {
            put_string(&mut text, part);
        }
        agree_ephemeral(
            private,
            UnparsedPublicKey::new(&X25519, theirs),
            (),
            |secret| {
                put_magnitude(&mut text, secret);
                Ok(())
            },
        )
        .unwrap();
        let mut hash = digest(&SHA256, &text).as_ref().to_vec();
        hash[0] ^= u8::from(self.odd.other_hash);
        let agreed = heard_algorithm(&heard[0], &self.init);
        let signature = self
            .signer
            .sign(self.odd.signs_as.unwrap_or(&agreed), &hash);
        let mut payload = vec![packet::KEX_ECDH_REPLY];
        put_string(&mut payload, self.odd.shown.as_ref().unwrap_or(&blob));
        put_string(&mut payload, &own);
        put_string(&mut payload, &signature);
        let mut out = self.odd.between.clone();
        out.extend(packet::packet(&payload));
        out
    }
}

fn heard_algorithm(client: &[u8], server: &[u8]) -> String {
    let names = |init: &[u8]| -> Vec<String> {
        let mut reader = WireReader::new(init);
        reader.bytes(17).unwrap();
        drop(reader.names().unwrap());
        reader.names().unwrap().map(str::to_owned).collect()
    };
    let theirs = names(server);
    let ours = names(client);
    ours.into_iter().find(|name| theirs.contains(name)).unwrap()
}

/// Runs an exchange, the server's bytes coming in pieces of `piece`.
fn run(pinned: &HostKey, server: &FakeSshServer<'_>, piece: usize) -> Result<Verified, ProofError> {
    let (mut proof, first) = HostKeyProof::begin(pinned);
    assert!(first.starts_with(b"SSH-2.0-nightlatch_") && first.ends_with(b"\r\n"));
    let mut incoming = packet::Incoming::default();
    let mut heard = Vec::new();
    let mut queue = server.first();
    while !queue.is_empty() {
        let bytes: Vec<u8> = queue.drain(..piece.min(queue.len())).collect();
        match proof.receive(&bytes)? {
            ProofProgress::Proved(verified) => return Ok(verified),
            ProofProgress::Continue { send } => incoming.add(&send, usize::MAX).unwrap(),
        }
        while let Some(payload) = incoming.packet().unwrap() {
            heard.push(payload);
            if heard.len() == 2 {
                queue.extend(server.reply(&heard));
            }
        }
    }
    panic!("the server has said all and nothing came of it");
}

fn check(signer: &Signer, odd: Odd) -> Result<Verified, ProofError> {
    run(&signer.public(), &FakeSshServer::new(signer, odd), 7)
}

#[test]
fn whoever_signs_with_the_pinned_key_is_believed() {
    let signers = [
        Signer::ed25519(),
        Signer::ecdsa(HostKeyKind::EcdsaP256),
        Signer::ecdsa(HostKeyKind::EcdsaP384),
        Signer::ecdsa(HostKeyKind::EcdsaP521),
        Signer::rsa(),
    ];
    for signer in &signers {
        for piece in [1, 7, 100_000] {
            let server = FakeSshServer::new(signer, Odd::default());
            assert_eq!(run(&signer.public(), &server, piece), Ok(Verified(())));
        }
    }
}

#[test]
fn an_rsa_key_signs_by_sha2_only() {
    let signer = Signer::rsa();
    let only = |algorithms| Odd {
        algorithms: Some(algorithms),
        ..Odd::default()
    };
    assert_eq!(check(&signer, only("rsa-sha2-256")), Ok(Verified(())));
    assert!(matches!(
        check(&signer, only("ssh-rsa")),
        Err(ProofError::NothingInCommon(_))
    ));
    let odd = Odd {
        signs_as: Some("ssh-rsa"),
        ..Odd::default()
    };
    assert_eq!(check(&signer, odd), Err(ProofError::OtherAlgorithm));
    let weaker = Odd {
        signs_as: Some("rsa-sha2-256"),
        ..Odd::default()
    };
    assert_eq!(check(&signer, weaker), Err(ProofError::OtherAlgorithm));
}

#[test]
fn an_impostor_with_the_public_key_is_refused() {
    let (machine, impostor) = (Signer::ed25519(), Signer::ed25519());
    let odd = Odd {
        shown: Some(machine.blob()),
        ..Odd::default()
    };
    let server = FakeSshServer::new(&impostor, odd);
    let refused = run(&machine.public(), &server, 100).unwrap_err();
    assert_eq!(refused, ProofError::BadSignature);
    assert!(refused.is_other_host());
    // Nor does a signature over another exchange help, as one recorded before would be.
    let odd = Odd {
        other_hash: true,
        ..Odd::default()
    };
    assert_eq!(check(&machine, odd), Err(ProofError::BadSignature));
}

#[test]
fn another_key_is_refused() {
    let (pinned, changed) = (Signer::ed25519(), Signer::ed25519());
    let server = FakeSshServer::new(&changed, Odd::default());
    let refused = run(&pinned.public(), &server, 100);
    assert_eq!(refused, Err(ProofError::OtherKey));
    let other_kind = Signer::ecdsa(HostKeyKind::EcdsaP256);
    let server = FakeSshServer::new(&other_kind, Odd::default());
    let refused = run(&pinned.public(), &server, 100);
    assert!(matches!(refused, Err(ProofError::NothingInCommon(_))));
}

#[test]
fn an_ephemeral_key_that_gives_the_secret_away_is_refused() {
    let signer = Signer::ed25519();
    for ephemeral in [vec![0; 32], vec![], vec![9; 31]] {
        let odd = Odd {
            ephemeral: Some(ephemeral),
            ..Odd::default()
        };
        assert_eq!(check(&signer, odd), Err(ProofError::Malformed));
    }
}

#[test]
fn what_a_server_may_say_besides_is_passed_over() {
    let signer = Signer::ed25519();
    let ignore = packet::packet(&[packet::IGNORE, 0, 0, 0, 0]);
    let debug = packet::packet(&[packet::DEBUG, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    for odd in [
        Odd {
            before: b"welcome\r\nto this\n".to_vec(),
            ..Odd::default()
        },
        Odd {
            between: [ignore, debug].concat(),
            ..Odd::default()
        },
        Odd {
            guess: Some(1),
            methods: Some("curve25519-sha256"),
            ..Odd::default()
        },
    ] {
        assert_eq!(check(&signer, odd), Ok(Verified(())));
    }
}

#[test]
fn a_wrong_guess_is_skipped() {
    let signer = Signer::ed25519();
    let odd = |guess| Odd {
        guess: Some(guess),
        after_init: packet::packet(&[packet::KEX_ECDH_REPLY, 1, 2, 3]),
        ..Odd::default()
    };
    assert_eq!(check(&signer, odd(1)), Ok(Verified(())));
    assert_eq!(check(&signer, odd(0)), Err(ProofError::Malformed));
}

fn begun(pinned: &HostKey, bytes: &[u8]) -> Result<ProofProgress, ProofError> {
    HostKeyProof::begin(pinned).0.receive(bytes)
}

#[test]
fn garbage_and_floods_end_at_once() {
    let pinned = Signer::ed25519().public();
    let greeting = b"SSH-2.0-x\r\n".as_slice();
    let after = |bytes: &[u8]| begun(&pinned, &[greeting, bytes].concat());
    for (result, error) in [
        (begun(&pinned, b"HTTP/1.1 400 Bad Request\r\n\r\n"), None),
        (begun(&pinned, b"SSH-1.5-old\r\n"), Some(ProofError::NoSsh)),
        (
            begun(&pinned, b"SSH-2.0-\x1b[2J\n"),
            Some(ProofError::NoSsh),
        ),
        (begun(&pinned, &[b'x'; 8192]), Some(ProofError::NoSsh)),
        (
            begun(&pinned, &b"x\n".repeat(5000)),
            Some(ProofError::NoSsh),
        ),
        (
            begun(&pinned, &[b"SSH-2.0-", &[b'x'; 300][..]].concat()),
            Some(ProofError::NoSsh),
        ),
        (after(&[0xff; 16]), Some(ProofError::Malformed)),
        (after(&[0; 16]), Some(ProofError::Malformed)),
        (after(&[0, 0, 0, 12, 255]), None),
        (
            after(&[0, 0, 0, 12, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            Some(ProofError::Malformed),
        ),
        (
            after(&packet::packet(&[21])),
            Some(ProofError::Unexpected(21)),
        ),
        (
            after(&packet::packet(&[31])),
            Some(ProofError::Unexpected(31)),
        ),
        (after(&packet::packet(&[20])), Some(ProofError::Malformed)),
        (
            after(&packet::disconnect_message()),
            Some(ProofError::Disconnected(11)),
        ),
        (
            after(&packet::packet(&[2]).repeat(10_000)),
            Some(ProofError::Flood),
        ),
    ] {
        match error {
            Some(error) => assert_eq!(result, Err(error)),
            None => assert!(matches!(result, Ok(ProofProgress::Continue { .. }))),
        }
    }
}

proptest! {
    #[test]
    fn nothing_but_a_signature_proves_anything(bytes: Vec<u8>, pieces in 1usize..40) {
        let pinned = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"
            .parse::<HostKey>()
            .unwrap();
        let (mut proof, _) = HostKeyProof::begin(&pinned);
        for part in [&b"SSH-2.0-x\n"[..], &bytes].concat().chunks(pieces) {
            match proof.receive(part) {
                Ok(ProofProgress::Continue { .. }) => {}
                Ok(ProofProgress::Proved(_)) => panic!("proved by {bytes:?}"),
                Err(_) => break,
            }
        }
    }
}
