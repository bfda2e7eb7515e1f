//! One connection: greeting, handshake, decision, secret or nothing, close.
//!
//! Sends nothing but TLS to a peer that is not authenticated, and nothing but the end to one that is refused.

use std::future::poll_fn;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::pin::Pin;

use nightlatch_core::event::RequestClaims;
use nightlatch_core::time::Monotonic;
use nightlatch_proto::greeting::{LineProgress, LineReader, MAX_LINE};
use nightlatch_proto::tls::{PeerError, ServerTls, authenticated, speaks_release};
use nightlatch_sys::clock;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::{Gatekeeper, Permit, SecretRequest, SessionEnd, SessionStage, Sessions};
use crate::limits::Slot;

/// A connection before its peer has proved a key.
#[derive(Clone, Copy)]
pub(super) struct Arrival<'a> {
    pub(super) address: SocketAddr,
    /// The time at which it was opened.
    pub(super) opened: Monotonic,
    pub(super) slot: &'a Slot,
}

impl<G: Gatekeeper> Sessions<G> {
    /// Serves the peer at the other end of `stream`, to the end of the connection. `slot` is its place.
    pub async fn run(&self, mut stream: TcpStream, address: SocketAddr, slot: &Slot) -> SessionEnd {
        let opened = clock::now().mono;
        match timeout(self.deadlines.greeting, read_greeting(&mut stream)).await {
            Ok(Ok(())) => {}
            Ok(Err(ended)) => return ended,
            Err(_) => return SessionEnd::Late(SessionStage::Greeting),
        }
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        // In a box of its own, made only now: an idle peer must not cost the memory for TLS.
        let arrival = Arrival {
            address,
            opened,
            slot,
        };
        Box::pin(self.shake_hands(stream, arrival)).await
    }

    async fn shake_hands(&self, stream: TcpStream, arrival: Arrival<'_>) -> SessionEnd {
        let connecting = self.connector.connect(ServerTls::peer_name(), stream);
        let mut tls = match timeout(self.deadlines.handshake, connecting).await {
            Ok(Ok(tls)) => tls,
            Ok(Err(error)) => return handshake_failed(error),
            Err(_) => return SessionEnd::Late(SessionStage::Handshake),
        };
        let proved = match authenticated(tls.get_ref().1) {
            Ok(proved) => proved,
            Err(error) => return SessionEnd::Handshake(error),
        };
        if speaks_release(tls.get_ref().1) {
            return self.serve_release(&mut tls, proved, arrival).await;
        }
        // The handshake was the request.
        let claims = RequestClaims::default();
        let request = SecretRequest::new(self.next_request(), &proved, arrival.address, claims);
        let decision = tokio::select! {
            biased;
            () = wait_for_input(&mut tls) => return SessionEnd::Gone,
            decision = self.gatekeeper.decide(request, None) => decision,
        };
        match decision {
            Ok(permit) => {
                self.deliver(&mut tls, permit, |_, _| Some(Vec::new()))
                    .await
            }
            Err(reason) => {
                self.close(&mut tls).await;
                SessionEnd::Refused(reason)
            }
        }
    }

    /// Sends the secret, after what `head` makes of the permit and the secret's length; nothing where that is `None`.
    pub(super) async fn deliver(
        &self,
        tls: &mut TlsStream<TcpStream>,
        permit: Permit,
        head: impl FnOnce(&Permit, usize) -> Option<Vec<u8>>,
    ) -> SessionEnd {
        let Some(secret) = permit.begin() else {
            drop(permit);
            self.close(tls).await;
            return SessionEnd::Revoked;
        };
        let length = secret.expose().len();
        let Some(head) = head(&permit, length) else {
            self.close(tls).await;
            return SessionEnd::TooLong(length);
        };
        let sending = async {
            let secret = secret.expose();
            // What the connection takes at once goes out together with the mark of its end.
            tls.get_mut().1.writer().write_all(&head)?;
            let taken = tls.get_mut().1.writer().write(secret)?;
            if let Some(rest @ [_, ..]) = secret.get(taken..) {
                tls.write_all(rest).await?;
            }
            // Flushes, and marks the end: without the mark the peer discards the payload.
            tls.shutdown().await
        };
        match timeout(self.deadlines.send, sending).await {
            Ok(Ok(())) => permit.delivered(),
            Ok(Err(error)) => return SessionEnd::NotSent(error),
            Err(_) => return SessionEnd::Late(SessionStage::Sending),
        }
        self.wait_for_close(tls).await;
        SessionEnd::Delivered
    }

    /// Closes with close_notify, without a payload.
    pub(super) async fn close(&self, tls: &mut TlsStream<TcpStream>) {
        // A peer that does not even take this gets its connection closed.
        if let Ok(Ok(())) = timeout(self.deadlines.close, tls.shutdown()).await {
            self.wait_for_close(tls).await;
        }
    }

    /// A socket that is closed while data from the peer is unread resets the connection, and the peer
    /// could lose what it has not read yet.
    pub(super) async fn wait_for_close(&self, tls: &mut TlsStream<TcpStream>) {
        let _ = timeout(self.deadlines.close, wait_for_input(tls)).await;
    }
}

/// Reads the first line. This future keeps only the line itself while it waits.
async fn read_greeting(stream: &mut TcpStream) -> Result<(), SessionEnd> {
    let mut reader = LineReader::new();
    loop {
        let mut progress = None;
        poll_fn(|context| {
            let mut bytes = [0; MAX_LINE];
            let mut buffer = ReadBuf::new(&mut bytes);
            Pin::new(&mut *stream)
                .poll_read(context, &mut buffer)
                .map_ok(|()| {
                    progress = Some(match buffer.filled() {
                        [] => reader.finish().map(LineProgress::Done),
                        bytes => reader.push(bytes),
                    });
                })
        })
        .await
        .map_err(SessionEnd::Broken)?;
        match progress {
            Some(Ok(LineProgress::Done(_))) => return Ok(()),
            Some(Err(error)) => return Err(SessionEnd::Greeting(error)),
            Some(Ok(LineProgress::More)) | None => {}
        }
    }
}

/// Waits until the peer closes, fails, or sends something, which the protocol does not allow.
pub(super) async fn wait_for_input(tls: &mut TlsStream<TcpStream>) {
    let _ = tls.read(&mut [0]).await;
}

fn handshake_failed(error: io::Error) -> SessionEnd {
    if let Some(peer) = PeerError::from_io(&error) {
        return SessionEnd::Handshake(peer);
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => SessionEnd::Handshake(PeerError::Closed),
        _ => SessionEnd::Broken(error),
    }
}
