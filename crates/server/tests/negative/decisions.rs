//! After the handshake: the effect of each decision on the peer, and the calls that the gatekeeper gets.

use std::io::Read;
use std::sync::Arc;

use nightlatch_core::event::Refusal;
use nightlatch_core::secret::Secret;
use nightlatch_proto::priority::Priority;
use nightlatch_proto::tls::{BootTls, FetchError, FetchedSecret, ServerTls};
use nightlatch_server::session::{Deadlines, SessionEnd, SessionStage, Sessions};

use crate::gate::{Gate, Script};
use crate::hostile::{WAYS_TO_LEAVE, connected, fetch, key, seed};
use crate::{SHORT, meet, meet_with, patient};

#[tokio::test]
async fn a_released_secret_arrives_whole() {
    // More than a record, and more than TLS keeps in its buffers.
    let secret: Vec<u8> = (0..300_000u32).map(|i| i as u8).collect();
    let gate = Gate::releasing(&secret);
    let (ended, fetched) = meet(&gate, patient(), |mut stream| fetch(key(), &mut stream)).await;
    assert!(matches!(ended, SessionEnd::Delivered), "{ended:?}");
    assert!(fetched.unwrap().payload.expose() == secret);
    assert_eq!(gate.calls(), ["requested", "delivered"]);
}

#[tokio::test]
async fn a_server_with_a_key_proves_it() {
    let own = key();
    let trusted = own.key_id();
    let gate = Gate::releasing(b"secret");
    let tls = ServerTls::new(Some(&own), &Priority::default()).unwrap();
    let sessions = Sessions::new(gate, &tls, patient());
    let (_, fetched) = meet_with(&sessions, move |mut stream| {
        let boot = BootTls::new(key(), vec![trusted], &Priority::default(), seed()).unwrap();
        boot.fetch(&mut stream, 1000)
    })
    .await;
    assert_eq!(fetched.unwrap().server_key, Some(trusted));
}

#[tokio::test]
async fn a_refusal_is_an_orderly_end_without_a_byte() {
    for reason in [
        Refusal::UnknownKey,
        Refusal::Disabled,
        Refusal::Denied,
        Refusal::ApprovalTimedOut,
        Refusal::Removed,
    ] {
        let gate = Gate::new(Script::Refuse(reason));
        let (ended, fetched) = meet(&gate, patient(), |mut stream| fetch(key(), &mut stream)).await;
        assert!(
            matches!(fetched, Err(FetchError::Refused)),
            "{reason:?}: {fetched:?}"
        );
        assert!(
            matches!(ended, SessionEnd::Refused(given) if given == reason),
            "{ended:?}"
        );
        assert_eq!(gate.calls(), ["requested"]);
    }
}

#[tokio::test]
async fn a_rehearsal_gets_the_reason_of_a_refusal() {
    let gate = Gate::new(Script::Refuse(Refusal::Disabled));
    let tls = ServerTls::new(Some(&key()), &Priority::default()).unwrap();
    let sessions = Sessions::new(gate, &tls.offering_release(), patient());
    let (ended, fetched) = meet_with(&sessions, rehearse).await;
    assert!(
        matches!(&fetched, Err(FetchError::RefusedFor(reason)) if reason.as_str() == "disabled"),
        "{fetched:?}"
    );
    assert!(matches!(ended, SessionEnd::Refused(Refusal::Disabled)));
}

#[tokio::test]
async fn a_server_without_a_key_allows_no_rehearsal() {
    let gate = Gate::releasing(b"secret");
    let (_, fetched) = meet(&gate, patient(), rehearse).await;
    assert!(
        matches!(fetched, Err(FetchError::NoRehearsal)),
        "{fetched:?}"
    );
    assert!(gate.calls().is_empty(), "nothing was asked for");
}

fn rehearse(mut stream: std::net::TcpStream) -> Result<FetchedSecret, FetchError> {
    let boot = BootTls::new(key(), vec![], &Priority::default(), seed()).unwrap();
    boot.rehearsing().fetch(&mut stream, 1000)
}

#[tokio::test]
async fn a_permit_that_is_revoked_in_time_releases_nothing() {
    let gate = Gate::new(Script::ReleaseAndRevoke);
    let (ended, fetched) = meet(&gate, patient(), |mut stream| fetch(key(), &mut stream)).await;
    assert!(matches!(fetched, Err(FetchError::Refused)), "{fetched:?}");
    assert!(matches!(ended, SessionEnd::Revoked), "{ended:?}");
    assert_eq!(gate.calls(), ["requested", "failed"]);
}

#[tokio::test]
async fn a_peer_that_leaves_while_it_waits_is_reported() {
    for (how, leave) in WAYS_TO_LEAVE {
        let gate = Gate::new(Script::Wait);
        let (ended, ()) = meet(&gate, patient(), move |stream| leave(connected(stream))).await;
        assert!(matches!(ended, SessionEnd::Gone), "{how}: {ended:?}");
        assert_eq!(gate.calls(), ["requested", "gone"], "{how}");
    }
}

#[tokio::test]
async fn a_peer_that_does_not_read_its_secret_is_disconnected() {
    // Far more than fits into the buffers of both sockets.
    let secret = Arc::new(Secret::new(vec![7; 64 << 20]));
    let gate = Gate::new(Script::Release(secret));
    let deadlines = Deadlines {
        send: SHORT,
        ..patient()
    };
    let (done, until) = std::sync::mpsc::channel::<()>();
    let meeting = meet(&gate, deadlines, move |stream| {
        let tls = connected(stream);
        // Holds the connection open, and reads nothing, until the session is over.
        let _ = until.recv();
        drop(tls);
    });
    let watch = async {
        while gate.calls().len() < 2 {
            tokio::task::yield_now().await;
        }
        drop(done);
    };
    let ((ended, ()), ()) = tokio::join!(meeting, watch);
    assert!(
        matches!(ended, SessionEnd::Late(SessionStage::Sending)),
        "{ended:?}"
    );
    assert_eq!(gate.calls(), ["requested", "failed"]);
}

#[tokio::test]
async fn a_peer_that_resets_the_connection_has_not_got_its_secret() {
    let secret = Arc::new(Secret::new(vec![7; 64 << 20]));
    let gate = Gate::new(Script::Release(secret));
    let (ended, ()) = meet(&gate, patient(), |stream| {
        let mut tls = connected(stream);
        tls.read_exact(&mut [0]).unwrap();
        // Dropped with unread bytes: a reset.
    })
    .await;
    assert!(matches!(ended, SessionEnd::NotSent(_)), "{ended:?}");
    assert_eq!(gate.calls(), ["requested", "failed"]);
}

#[tokio::test]
async fn a_peer_that_never_closes_has_its_secret_all_the_same() {
    let gate = Gate::releasing(b"secret");
    let deadlines = Deadlines {
        close: SHORT,
        ..patient()
    };
    let (done, until) = std::sync::mpsc::channel::<()>();
    let (ended, ()) = meet(&gate, deadlines, move |stream| {
        let mut tls = connected(stream);
        let mut secret = Vec::new();
        tls.read_to_end(&mut secret).unwrap();
        assert_eq!(secret, b"secret");
        // It has seen our end and does not answer; only the deadline frees the session.
        let _ = until.recv_timeout(SHORT * 3);
    })
    .await;
    drop(done);
    assert!(matches!(ended, SessionEnd::Delivered), "{ended:?}");
    assert_eq!(gate.calls(), ["requested", "delivered"]);
}
