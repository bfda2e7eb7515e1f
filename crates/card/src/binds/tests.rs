use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use nightlatch_core::ssh::wire::put_string;
use proptest::prelude::*;

use super::*;

pub(crate) fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

pub(crate) fn blob(pair: &Ed25519KeyPair) -> Vec<u8> {
    let mut blob = Vec::new();
    put_string(&mut blob, b"ssh-ed25519");
    put_string(&mut blob, pair.public_key().as_ref());
    blob
}

/// A good bind: the host with this seed has signed the session.
pub(crate) fn bind(seed: u8, session: u8, forwarding: bool) -> SessionBind {
    let host = pair(seed);
    let session = vec![session; 32];
    let mut signature = Vec::new();
    put_string(&mut signature, b"ssh-ed25519");
    put_string(&mut signature, host.sign(&session).as_ref());
    SessionBind {
        host_key: blob(&host),
        session,
        signature,
        forwarding,
    }
}

pub(crate) fn bound(binds: &[SessionBind]) -> ClientBinds {
    let mut client = ClientBinds::default();
    for bind in binds {
        client.bind(bind).unwrap();
    }
    client
}

fn fingerprint_of(seed: u8) -> String {
    fingerprint(&blob(&pair(seed)))
}

#[test]
fn a_login_is_of_the_session_that_was_bound() {
    let client = bound(&[bind(1, 5, false)]);
    let (key, other) = (blob(&pair(1)), blob(&pair(2)));
    for host_key in [None, Some(&key[..])] {
        let found = client.own_session(&[5; 32], host_key).unwrap();
        assert_eq!(found.fingerprint(), fingerprint_of(1));
    }
    assert_eq!(
        client.own_session(&[6; 32], None),
        Err(NotInSession::OtherSession)
    );
    assert_eq!(
        client.own_session(&[5; 32], Some(&other)),
        Err(NotInSession::OtherHostKey(fingerprint_of(1)))
    );
    let unbound = ClientBinds::default();
    assert_eq!(
        unbound.own_session(&[5; 32], None),
        Err(NotInSession::NotBound)
    );
}

#[test]
fn a_login_through_a_forwarded_agent_is_told_apart() {
    let forwarding = Err(NotInSession::Forwarding(fingerprint_of(1)));
    let first = bound(&[bind(1, 5, true)]);
    assert_eq!(first.own_session(&[5; 32], None), forwarding);
    assert_eq!(first.own_session(&[6; 32], None), forwarding);
    let second = bound(&[bind(1, 5, true), bind(2, 6, false)]);
    assert_eq!(second.own_session(&[6; 32], None), forwarding);
    // Where all hosts are allowed, the log still names the right one.
    let found = second.session(&[6; 32], None).unwrap();
    assert_eq!(found.fingerprint(), fingerprint_of(2));
    assert_eq!(
        second.session(&[5; 32], None),
        Err(NotInSession::OtherSession)
    );
}

#[test]
fn a_bind_that_is_not_right_ends_all_logins_of_its_connection() {
    let good = bind(1, 5, false);
    let wrong_signature = SessionBind {
        signature: bind(2, 5, false).signature,
        ..good.clone()
    };
    let other_session = SessionBind {
        session: vec![6; 32],
        ..good.clone()
    };
    let no_key = SessionBind {
        host_key: vec![0, 0],
        ..good.clone()
    };
    let no_session = SessionBind {
        session: Vec::new(),
        ..good.clone()
    };
    let long_session = SessionBind {
        session: vec![5; 65],
        ..good.clone()
    };
    for bad in [
        wrong_signature,
        other_session,
        no_key,
        no_session,
        long_session,
        // Another key for the same session, another use of it, and a session after it.
        bind(2, 5, false),
        bind(1, 5, true),
        bind(1, 6, false),
    ] {
        let mut client = bound(std::slice::from_ref(&good));
        let fault = client.bind(&bad).unwrap_err();
        let refused = Err(NotInSession::Refused(fault));
        assert_eq!(client.own_session(&[5; 32], None), refused, "{bad:?}");
        // A good one after it does not help.
        let _ = client.bind(&good);
        assert_eq!(client.own_session(&[5; 32], None), refused, "{bad:?}");
        // Where all hosts are allowed, such a connection counts as before.
        assert!(client.session(&[5; 32], None).is_ok());
    }
}

#[test]
fn a_chain_has_an_end_and_the_same_bind_may_come_again() {
    let mut client = ClientBinds::default();
    for session in 0..16 {
        client.bind(&bind(1, session, true)).unwrap();
        client.bind(&bind(1, session, true)).unwrap();
    }
    assert_eq!(client.sessions.len(), MAX_BINDS);
    // Not the last one.
    assert_eq!(client.bind(&bind(2, 3, true)), Err(BindFault::Changed));
    assert_eq!(client.bind(&bind(1, 16, true)), Err(BindFault::TooMany));
}

proptest! {
    /// Whatever is bound, a login counts only for a session whose host has signed it, and never after a refused bind.
    #[test]
    fn no_order_of_binds_lets_a_forwarded_login_through(
        binds in prop::collection::vec((1u8..4, 0u8..4, any::<bool>(), any::<bool>()), 0..6), session in 0u8..4
    ) {
        let mut client = ClientBinds::default();
        let mut all_good = true;
        for (seed, session, forwarding, is_good) in &binds {
            let mut bind = bind(*seed, *session, *forwarding);
            if !is_good {
                bind.signature = vec![1, 2, 3];
            }
            all_good &= client.bind(&bind).is_ok();
        }
        if client.own_session(&[session; 32], None).is_ok() {
            prop_assert!(all_good);
            prop_assert!(binds.iter().all(|it| it.1 == session && !it.2));
        }
    }
}
