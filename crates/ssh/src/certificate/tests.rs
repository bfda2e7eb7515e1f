use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use proptest::prelude::*;

use super::*;

/// Everything that a certificate says.
#[derive(Clone)]
pub(crate) struct Wanted<'w> {
    pub(crate) kind: u32,
    pub(crate) principals: &'w [&'w str],
    pub(crate) valid: (u64, u64),
    pub(crate) critical: &'w [u8],
}

pub(crate) const FOR_WEB1: Wanted<'static> = Wanted {
    kind: HOST,
    principals: &["web1"],
    valid: (100, 200),
    critical: b"",
};

pub(crate) fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

pub(crate) fn key(pair: &Ed25519KeyPair) -> HostKey {
    let mut blob = Vec::new();
    put_string(&mut blob, b"ssh-ed25519");
    put_string(&mut blob, pair.public_key().as_ref());
    HostKey::from_blob(&blob).unwrap()
}

pub(crate) fn sign(pair: &Ed25519KeyPair, data: &[u8]) -> Vec<u8> {
    let mut signature = Vec::new();
    put_string(&mut signature, b"ssh-ed25519");
    put_string(&mut signature, pair.sign(data).as_ref());
    signature
}

/// A certificate for the key of `host`, signed by `authority`.
pub(crate) fn certificate(
    host: &Ed25519KeyPair,
    authority: &Ed25519KeyPair,
    it: &Wanted,
) -> Vec<u8> {
    let mut blob = Vec::new();
    put_string(&mut blob, b"ssh-ed25519-cert-v01@openssh.com");
    put_string(&mut blob, &[7; 32]);
    put_string(&mut blob, host.public_key().as_ref());
    blob.extend([0; 8]);
    blob.extend(it.kind.to_be_bytes());
    put_string(&mut blob, b"an id");
    let mut principals = Vec::new();
    for principal in it.principals {
        put_string(&mut principals, principal.as_bytes());
    }
    put_string(&mut blob, &principals);
    blob.extend(it.valid.0.to_be_bytes());
    blob.extend(it.valid.1.to_be_bytes());
    put_string(&mut blob, it.critical);
    put_string(&mut blob, b"");
    put_string(&mut blob, b"");
    put_string(&mut blob, key(authority).blob());
    let signature = sign(authority, &blob);
    put_string(&mut blob, &signature);
    blob
}

fn read(wanted: &Wanted) -> Result<HostCertificate, IdentityError> {
    match HostIdentity::parse(&certificate(&pair(1), &pair(2), wanted))? {
        HostIdentity::Certified(certificate) => Ok(*certificate),
        HostIdentity::Plain(_) => panic!("a plain key"),
    }
}

#[test]
fn a_certificate_is_for_its_hosts_and_its_time() {
    let certificate = read(&FOR_WEB1).unwrap();
    assert_eq!(certificate.key, key(&pair(1)));
    assert_eq!(*certificate.authority(), key(&pair(2)));
    assert_eq!(certificate.check("web1", 100), Ok(()));
    assert_eq!(certificate.check("web1", 199), Ok(()));
    assert_eq!(certificate.check("web1", 99), Err(NotCertified::NotYet));
    assert_eq!(certificate.check("web1", 200), Err(NotCertified::Expired));
    for other in ["web2", "web", "web11", "*", ""] {
        let refused = certificate.check(other, 150);
        assert!(
            matches!(refused, Err(NotCertified::OtherHost { .. })),
            "{other}"
        );
    }
    // OpenSSH takes these for all hosts.
    let nobody = read(&Wanted {
        principals: &[],
        ..FOR_WEB1
    });
    assert!(nobody.unwrap().check("web1", 150).is_err());
    let pattern = read(&Wanted {
        principals: &["*"],
        ..FOR_WEB1
    });
    assert!(pattern.unwrap().check("web1", 150).is_err());
}

#[test]
fn what_is_no_sound_certificate_of_a_host_is_refused() {
    let user = read(&Wanted {
        kind: 1,
        ..FOR_WEB1
    });
    assert_eq!(user, Err(IdentityError::NotHost(1)));
    let mut option = Vec::new();
    put_string(&mut option, b"force-command");
    put_string(&mut option, b"");
    let critical = read(&Wanted {
        critical: &option,
        ..FOR_WEB1
    });
    let name = "force-command".to_owned();
    assert_eq!(critical, Err(IdentityError::CriticalOption(name)));
    let good = certificate(&pair(1), &pair(2), &FOR_WEB1);
    for length in 0..good.len() {
        assert!(HostIdentity::parse(&good[..length]).is_err(), "{length}");
    }
    assert!(HostIdentity::parse(&[&good[..], &[0]].concat()).is_err());
    assert!(HostIdentity::parse(&vec![0; MAX_BLOB + 1]).is_err());
    // Each byte of it is signed, but for the lengths before the signature, and the signature itself.
    for at in 0..good.len() {
        let mut changed = good.clone();
        changed[at] ^= 1;
        assert!(HostIdentity::parse(&changed).is_err(), "{at}");
    }
}

#[test]
fn a_signature_counts_for_its_key_and_its_bytes_only() {
    let (one, two) = (pair(1), pair(2));
    let signature = sign(&one, b"data");
    assert_eq!(verify_by_any(&key(&one), b"data", &signature), Ok(()));
    let bad = Err(SignatureError::Bad);
    assert_eq!(verify_by_any(&key(&two), b"data", &signature), bad);
    assert_eq!(verify_by_any(&key(&one), b"date", &signature), bad);
    let mut other = Vec::new();
    put_string(&mut other, b"ssh-rsa");
    put_string(&mut other, &[1; 64]);
    assert_eq!(
        verify_by_any(&key(&one), b"data", &other),
        Err(SignatureError::OtherAlgorithm)
    );
    assert_eq!(
        verify_by_any(&key(&one), b"data", &[]),
        Err(SignatureError::Malformed)
    );
}

proptest! {
    #[test]
    fn no_bytes_are_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0usize..400) {
        let _ = HostIdentity::parse(&bytes);
        let _ = verify_by_any(&key(&pair(1)), b"data", &bytes);
        let mut spliced = certificate(&pair(1), &pair(2), &FOR_WEB1);
        spliced.truncate(cut);
        spliced.extend(&bytes);
        let _ = HostIdentity::parse(&spliced);
    }
}
