use std::net::Ipv4Addr;

use tokio::net::TcpListener;

use super::*;

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB";

/// Only a test that hangs takes this long.
const PATIENCE: Duration = Duration::from_secs(120);

const MOMENT: Duration = Duration::from_millis(300);

fn key() -> HostKey {
    KEY.parse().unwrap()
}

/// The error of a check of a server that sends `answer`, and then hangs or closes.
async fn answered_by(answer: Vec<u8>, closes: bool) -> HostKeyCheckError {
    answered_within(PATIENCE, answer, closes).await
}

async fn answered_within(limit: Duration, answer: Vec<u8>, closes: bool) -> HostKeyCheckError {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.write_all(&answer).await;
        if closes {
            let _ = stream.shutdown().await;
        }
        // Until the other end closes.
        let mut bytes = [0; 1024];
        while matches!(stream.read(&mut bytes).await, Ok(1..)) {}
    });
    let key = key();
    let error = within(limit, &host, &key).await.unwrap_err();
    server.abort();
    error
}

#[tokio::test]
async fn a_server_that_hangs_closes_floods_or_is_malformed_proves_nothing() {
    let greeting = b"SSH-2.0-x\r\n".to_vec();
    let (hangs, closes) = (false, true);
    let error = answered_by(Vec::new(), closes).await;
    assert!(matches!(error, HostKeyCheckError::Closed), "{error}");
    let error = answered_by(greeting.clone(), closes).await;
    assert!(matches!(error, HostKeyCheckError::Closed), "{error}");
    let error = answered_by(vec![b'x'; 1 << 20], hangs).await;
    assert!(
        matches!(error, HostKeyCheckError::Proof(ProofError::NoSsh)),
        "{error}"
    );
    let ignored = [0, 0, 0, 12, 10, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0].repeat(1 << 16);
    let error = answered_by([greeting.clone(), ignored].concat(), hangs).await;
    assert!(
        matches!(error, HostKeyCheckError::Proof(ProofError::Flood)),
        "{error}"
    );
    let error = answered_by([greeting.clone(), vec![0xff; 64]].concat(), hangs).await;
    assert!(
        matches!(error, HostKeyCheckError::Proof(ProofError::Malformed)),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up() {
    for answer in [
        &b""[..],
        b"SSH-2.0-x",
        b"SSH-2.0-x\r\n",
        b"SSH-2.0-x\r\n\0\0\0\x0c",
    ] {
        let error = answered_within(MOMENT, answer.to_vec(), false).await;
        assert!(matches!(error, HostKeyCheckError::Late(MOMENT)), "{error}");
    }
}

#[tokio::test]
async fn a_malformed_host_fails_with_the_reason() {
    let key = key();
    for host in ["", "a b", "tower:0", "tower:ssh", "[::1", "ff02::1"] {
        let error = check(host, &key).await.unwrap_err();
        assert!(
            matches!(error, HostKeyCheckError::Host(_)),
            "{host}: {error}"
        );
    }
}
