//! The life of one connection: greeting, handshake, verdict, secret or nothing, close.
//!
//! Says nothing to a peer that is not authenticated but TLS, and nothing to one that is refused but
//! the end.

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

use super::{Ended, Gatekeeper, Peer, Permit, Request, Sessions, Stage, Verdict};
use crate::words::refusal;

impl<G: Gatekeeper> Sessions<G> {
    /// Serves the peer at the other end of `stream` up to the end.
    pub async fn attend(&self, mut stream: TcpStream, address: SocketAddr) -> Ended {
        let words = match timeout(self.deadlines.greeting, greeting(&mut stream)).await {
            Ok(Ok(words)) => words,
            Ok(Err(ended)) => return ended,
            Err(_) => return Ended::Late(Stage::Greeting),
        };
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        let peer = Peer { address, words };
        // In a box of its own, made only now: an idle peer must not cost the room for TLS.
        Box::pin(self.shake_hands(stream, peer)).await
    }

    async fn shake_hands(&self, stream: TcpStream, peer: Peer) -> Ended {
        let connecting = self.connector.connect(ServerTls::peer_name(), stream);
        let mut tls = match timeout(self.deadlines.handshake, connecting).await {
            Ok(Ok(tls)) => tls,
            Ok(Err(error)) => return handshake_failed(error),
            Err(_) => return Ended::Late(Stage::Handshake),
        };
        let who = match authenticated(tls.get_ref().1) {
            Ok(who) => who,
            Err(error) => return Ended::Handshake(error),
        };
        if waits_to_be_asked(tls.get_ref().1) {
            match timeout(self.deadlines.handshake, is_asked(&mut tls)).await {
                Ok(true) => {}
                // A machine that has found this server at another address too.
                Ok(false) => return Ended::NotAsked,
                Err(_) => return Ended::Late(Stage::Asking),
            }
        }
        let rehearsal = peer.words.rehearsal;
        let asking = async {
            let mut request = self.gatekeeper.request(who, peer).await;
            let verdict = request.verdict().await;
            (request, verdict)
        };
        // The request lives until its peer is served: only an unanswered one is dropped early.
        let (_request, verdict) = tokio::select! {
            biased;
            () = anything(&mut tls) => return Ended::Gone,
            answered = asking => answered,
        };
        match verdict {
            Verdict::Release(permit) => self.deliver(&mut tls, permit, rehearsal).await,
            Verdict::Refuse(reason) => {
                if rehearsal {
                    let answer = RehearsalAnswer::Refused(refusal(reason).to_owned());
                    // As with the end: a peer that takes not even this gets none.
                    let said = answer.to_string();
                    let _ = timeout(self.deadlines.close, tls.write_all(said.as_bytes())).await;
                }
                self.close(&mut tls).await;
                Ended::Refused(reason)
            }
        }
    }

    async fn deliver(
        &self,
        tls: &mut TlsStream<TcpStream>,
        permit: impl Permit,
        rehearsal: bool,
    ) -> Ended {
        let Some(secret) = permit.begin() else {
            permit.failed();
            self.close(tls).await;
            return Ended::Revoked;
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
            // Flushes, and marks the end: without the mark the payload is none.
            tls.shutdown().await
        };
        match timeout(self.deadlines.send, sending).await {
            Ok(Ok(())) => permit.delivered(),
            Ok(Err(error)) => {
                permit.failed();
                return Ended::NotSent(error);
            }
            Err(_) => {
                permit.failed();
                return Ended::Late(Stage::Sending);
            }
        }
        self.wait_for_close(tls).await;
        Ended::Delivered
    }

    /// Closes in good order without having sent anything.
    async fn close(&self, tls: &mut TlsStream<TcpStream>) {
        // A peer that takes not even this gets an end of another kind.
        if let Ok(Ok(())) = timeout(self.deadlines.close, tls.shutdown()).await {
            self.wait_for_close(tls).await;
        }
    }

    /// A socket that is closed while something from the peer is unread resets the connection, and
    /// the peer could lose what it has not read yet.
    async fn wait_for_close(&self, tls: &mut TlsStream<TcpStream>) {
        let _ = timeout(self.deadlines.close, anything(tls)).await;
    }
}

/// Reads the first line. Nothing of it is kept in this future while it waits but the line itself.
async fn greeting(stream: &mut TcpStream) -> Result<GreetingOptions, Ended> {
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
        .map_err(Ended::Broken)?;
        match progress {
            Some(Ok(LineProgress::Done(greeting))) => return Ok(greeting.options),
            Some(Err(error)) => return Err(Ended::Greeting(error)),
            Some(Ok(LineProgress::More)) | None => {}
        }
    }
}

/// Waits until the peer asks; anything else it does is its end.
async fn is_asked(tls: &mut TlsStream<TcpStream>) -> bool {
    let mut ask = [0; ASK.len()];
    tls.read_exact(&mut ask).await.is_ok() && ask == ASK
}

/// Waits until the peer closes, fails, or speaks, which it has no reason to.
async fn anything(tls: &mut TlsStream<TcpStream>) {
    let _ = tls.read(&mut [0]).await;
}

fn handshake_failed(error: io::Error) -> Ended {
    if let Some(peer) = PeerError::from_io(&error) {
        return Ended::Handshake(peer);
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => Ended::Handshake(PeerError::Closed),
        _ => Ended::Broken(error),
    }
}
