use std::net::Ipv4Addr;

use tokio::net::TcpListener;

use super::*;

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB";

/// No test may hang for longer.
const PATIENCE: Duration = Duration::from_secs(120);

const MOMENT: Duration = Duration::from_millis(300);

fn key() -> HostKey {
    KEY.parse().unwrap()
}

/// What a check of a server that says `answer`, and then hangs or closes, ends with.
async fn answered_by(answer: Vec<u8>, closes: bool) -> Fault {
    answered_within(PATIENCE, answer, closes).await
}

async fn answered_within(limit: Duration, answer: Vec<u8>, closes: bool) -> Fault {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.write_all(&answer).await;
        if closes {
            let _ = stream.shutdown().await;
        }
        // Until the other side has gone.
        let mut bytes = [0; 1024];
        while matches!(stream.read(&mut bytes).await, Ok(1..)) {}
    });
    let key = key();
    let fault = within(limit, &host, &key).await.unwrap_err();
    server.abort();
    fault
}

#[tokio::test]
async fn a_server_that_hangs_closes_floods_or_talks_nonsense_proves_nothing() {
    let greeting = b"SSH-2.0-x\r\n".to_vec();
    let (hangs, closes) = (false, true);
    let fault = answered_by(Vec::new(), closes).await;
    assert!(matches!(fault, Fault::Closed), "{fault}");
    let fault = answered_by(greeting.clone(), closes).await;
    assert!(matches!(fault, Fault::Closed), "{fault}");
    let fault = answered_by(vec![b'x'; 1 << 20], hangs).await;
    assert!(matches!(fault, Fault::Proof(ProofError::NoSsh)), "{fault}");
    let ignored = [0, 0, 0, 12, 10, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0].repeat(1 << 16);
    let fault = answered_by([greeting.clone(), ignored].concat(), hangs).await;
    assert!(matches!(fault, Fault::Proof(ProofError::Flood)), "{fault}");
    let fault = answered_by([greeting.clone(), vec![0xff; 64]].concat(), hangs).await;
    assert!(
        matches!(fault, Fault::Proof(ProofError::Malformed)),
        "{fault}"
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
        let fault = answered_within(MOMENT, answer.to_vec(), false).await;
        assert!(matches!(fault, Fault::Late(MOMENT)), "{fault}");
    }
}

#[tokio::test]
async fn a_host_that_is_none_fails_with_the_reason() {
    let key = key();
    for host in ["", "a b", "tower:0", "tower:ssh", "[::1", "ff02::1"] {
        let fault = check(host, &key).await.unwrap_err();
        assert!(matches!(fault, Fault::Host(_)), "{host}: {fault}");
    }
}
