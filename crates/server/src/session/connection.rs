//! One connection: greeting, handshake, decision, secret or nothing, close.
//!
//! Sends nothing but TLS to a peer that is not authenticated, and nothing but the end to one that is refused.

use std::future::poll_fn;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::pin::Pin;

use nightlatch_proto::greeting::{GreetingOptions, LineProgress, LineReader, MAX_LINE};
use nightlatch_proto::rehearsal::RehearsalAnswer;
use nightlatch_proto::tls::{ASK, PeerError, ServerTls, authenticated, waits_to_be_asked};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::{Gatekeeper, Permit, SecretRequest, SessionEnd, SessionStage, Sessions};

impl<G: Gatekeeper> Sessions<G> {
    /// Serves the peer at the other end of `stream`, to the end of the connection.
    pub async fn run(&self, mut stream: TcpStream, address: SocketAddr) -> SessionEnd {
        let greeting = match timeout(self.deadlines.greeting, read_greeting(&mut stream)).await {
            Ok(Ok(greeting)) => greeting,
            Ok(Err(ended)) => return ended,
            Err(_) => return SessionEnd::Late(SessionStage::Greeting),
        };
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        // In a box of its own, made only now: an idle peer must not cost the memory for TLS.
        Box::pin(self.shake_hands(stream, address, greeting)).await
    }

    async fn shake_hands(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        greeting: GreetingOptions,
    ) -> SessionEnd {
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
        if waits_to_be_asked(tls.get_ref().1) {
            match timeout(self.deadlines.handshake, reads_ask(&mut tls)).await {
                Ok(true) => {}
                // A machine that has found this server at another address too.
                Ok(false) => return SessionEnd::NotAsked,
                Err(_) => return SessionEnd::Late(SessionStage::Asking),
            }
        }
        let rehearsal = greeting.rehearsal;
        let request = SecretRequest::new(self.next_request(), &proved, address, greeting);
        let decision = tokio::select! {
            biased;
            () = wait_for_input(&mut tls) => return SessionEnd::Gone,
            decision = self.gatekeeper.decide(request) => decision,
        };
        match decision {
            Ok(permit) => self.deliver(&mut tls, permit, rehearsal).await,
            Err(reason) => {
                if rehearsal {
                    let answer = RehearsalAnswer::Refused(reason.as_str().to_owned());
                    // As with the end: a peer that does not even take this gets nothing.
                    let line = answer.to_string();
                    let _ = timeout(self.deadlines.close, tls.write_all(line.as_bytes())).await;
                }
                self.close(&mut tls).await;
                SessionEnd::Refused(reason)
            }
        }
    }

    async fn deliver(
        &self,
        tls: &mut TlsStream<TcpStream>,
        permit: Permit,
        rehearsal: bool,
    ) -> SessionEnd {
        let Some(secret) = permit.begin() else {
            drop(permit);
            self.close(tls).await;
            return SessionEnd::Revoked;
        };
        let head = rehearsal.then(|| RehearsalAnswer::Released(permit.terms()).to_string());
        let sending = async {
            let secret = secret.expose();
            if let Some(head) = head {
                tls.write_all(head.as_bytes()).await?;
            }
            // What the connection takes at once goes out together with the mark of its end.
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
    async fn close(&self, tls: &mut TlsStream<TcpStream>) {
        // A peer that does not even take this gets its connection closed.
        if let Ok(Ok(())) = timeout(self.deadlines.close, tls.shutdown()).await {
            self.wait_for_close(tls).await;
        }
    }

    /// A socket that is closed while data from the peer is unread resets the connection, and the peer
    /// could lose what it has not read yet.
    async fn wait_for_close(&self, tls: &mut TlsStream<TcpStream>) {
        let _ = timeout(self.deadlines.close, wait_for_input(tls)).await;
    }
}

/// Reads the first line. This future keeps only the line itself while it waits.
async fn read_greeting(stream: &mut TcpStream) -> Result<GreetingOptions, SessionEnd> {
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
            Some(Ok(LineProgress::Done(greeting))) => return Ok(greeting.options),
            Some(Err(error)) => return Err(SessionEnd::Greeting(error)),
            Some(Ok(LineProgress::More)) | None => {}
        }
    }
}

/// True when the peer asks for its secret; false as soon as it sends anything else, or closes.
async fn reads_ask(tls: &mut TlsStream<TcpStream>) -> bool {
    let mut ask = [0; ASK.len()];
    tls.read_exact(&mut ask).await.is_ok() && ask == ASK
}

/// Waits until the peer closes, fails, or sends something, which the protocol does not allow.
async fn wait_for_input(tls: &mut TlsStream<TcpStream>) {
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
