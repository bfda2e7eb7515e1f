//! Announces a service until SIGTERM, for tests that need it on a host of its own.
//!
//! usage: `announce NAME PORT [INTERFACE]`; over IPv4 alone with ANNOUNCE_IPV4 in the environment
//!
//! Prints `announced as NAME` and `withdrawn` on standard error, beside the log, and `connected` when a client connects
//! to the port; it then sends nothing, as a server that hangs.
#![forbid(unsafe_code)]

use std::net::Ipv6Addr;
use std::process::ExitCode;

use nightlatch_server::publish::{self, Announcement};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let mut arguments = std::env::args().skip(1);
    let (Some(name), Some(Ok(port))) = (
        arguments.next(),
        arguments.next().map(|port| port.parse::<u16>()),
    ) else {
        eprintln!("usage: announce NAME PORT [INTERFACE]");
        return ExitCode::from(64);
    };
    let announcement = Announcement {
        name,
        port,
        interface: arguments.next(),
        ipv6: std::env::var_os("ANNOUNCE_IPV4").is_none(),
        ipv4: true,
    };
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return ExitCode::FAILURE;
    };
    let Ok(listener) = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await else {
        return ExitCode::FAILURE;
    };
    let (stop, stopped) = oneshot::channel();
    let mut publisher = publish::spawn(announcement, async {
        let _ = stopped.await;
    });
    eprintln!("started");
    let mut waiting = Vec::new();
    loop {
        tokio::select! {
            () = publisher.changed() => match publisher.name() {
                Some(name) => eprintln!("announced as {name}"),
                None => eprintln!("withdrawn"),
            },
            Ok((stream, peer)) = listener.accept() => {
                waiting.push(stream);
                eprintln!("connected from {}", peer.ip());
            }
            _ = terminate.recv() => break,
        }
    }
    let _ = stop.send(());
    publisher.finished().await;
    ExitCode::SUCCESS
}
