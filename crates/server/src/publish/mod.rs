//! Announces the server as `_mandos._tcp`: through Avahi where it runs, else by a responder of our own.
//!
//! Only one of them is at work at a time. Nothing here ever ends the server: what fails is logged
//! once and tried again, with pauses that grow to a bound.

mod avahi;
mod embedded;
mod sockets;
mod warn;

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use nightlatch_core::log_limit::{LogLimit, LogQuota, MAX_CLASSES};
use nightlatch_sys::clock;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use avahi::{Lookout, Published};

/// How long withdrawing may take: SIGTERM has to end the server within a second.
const WITHDRAWAL: Duration = Duration::from_millis(500);

/// How long to look for Avahi before we announce by ourselves. A bus that is there answers at once.
const FIRST_LOOK: Duration = Duration::from_secs(1);

/// What to announce.
#[derive(Clone, Debug)]
pub struct Announcement {
    /// The service's name, such as `Mandos`; another is chosen when it is taken on the link.
    pub name: String,
    /// The TCP port on which the server listens.
    pub port: u16,
    /// Announce on this interface only (`--interface`).
    pub interface: Option<String>,
    /// Announce over IPv6 (`use_ipv6`).
    pub ipv6: bool,
    /// Announce over IPv4. Together with IPv6 for those machines that have no link-local address; Mandos has one of
    /// them only.
    pub ipv4: bool,
}

/// The running announcement. Dropping it does not end it; its `shutdown` does.
#[derive(Debug)]
pub struct Publisher {
    name: watch::Receiver<Option<String>>,
    task: JoinHandle<()>,
}

impl Publisher {
    /// The name under which the service is announced now; `None` while it is not.
    pub fn name(&self) -> Option<String> {
        self.name.borrow().clone()
    }

    /// Waits until [`name`](Self::name) changes; for ever once the announcement has ended.
    pub async fn changed(&mut self) {
        if self.name.changed().await.is_err() {
            std::future::pending().await
        }
    }

    /// Waits until the service is withdrawn, after `shutdown` has come.
    pub async fn finished(self) {
        // Were the task to panic, there would be nothing left to withdraw.
        let _ = self.task.await;
    }
}

/// Starts to announce, until `shutdown` is ready; then withdraws with a goodbye. Needs a tokio
/// runtime with time and I/O.
pub fn spawn(
    announcement: Announcement,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Publisher {
    let (told, name) = watch::channel(None);
    let mut service = Service {
        name: announcement.name.clone(),
        announcement,
        told,
        log: LogLimit::new(LINES),
    };
    let task = tokio::spawn(async move {
        let announcement = service.announcement.clone();
        let watch = async {
            match announcement.ipv6 {
                true => warn::watch(&announcement).await,
                // Who wants no IPv6 misses none.
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            () = announce(&mut service, shutdown) => {}
            () = watch => {}
        }
    });
    Publisher { name, task }
}

/// What is announced, and as what.
#[derive(Debug)]
struct Service {
    announcement: Announcement,
    /// The name to claim. Once changed by a collision it stays: through failures, through restarts
    /// of Avahi, and when the other publisher takes over.
    name: String,
    told: watch::Sender<Option<String>>,
    /// Whoever claims every name that is chosen must not fill the log.
    log: LogLimit<&'static str>,
}

/// Names change once or twice, when the server comes to a network, and each restart of Avahi or of the bus is
/// two lines.
const LINES: LogQuota = LogQuota {
    class: 20,
    all: u32::MAX,
    classes: MAX_CLASSES,
};

impl Service {
    fn may_log(&mut self, kind: &'static str) -> bool {
        let now = clock::now().mono;
        for (kind, left_out) in self.log.close(now).into_iter().flat_map(|it| it.largest) {
            warn!(kind, left_out, "lines about the announcement were left out");
        }
        self.log.admit(kind, now)
    }

    fn announced(&mut self, by: &str) {
        if self.told.borrow().as_ref() == Some(&self.name) {
            return;
        }
        if self.may_log("announcing") {
            info!(name = %self.name, port = self.announcement.port, by, "announcing the service");
        }
        self.told.send_replace(Some(self.name.clone()));
    }

    fn withdrawn(&self) {
        self.told.send_if_modified(|name| name.take().is_some());
    }

    fn rename(&mut self, other: String) {
        if self.may_log("name taken") {
            warn!(taken = %self.name, chosen = %other, "the service name is taken on the network");
        }
        self.name = other;
    }
}

/// Whose turn it is next.
enum Turn {
    Avahi,
    Ours,
    End,
}

async fn announce(service: &mut Service, shutdown: impl Future<Output = ()>) {
    let mut shutdown = pin!(shutdown);
    let mut lookout = Lookout::default();
    let first = tokio::time::timeout(FIRST_LOOK, lookout.look());
    let mut turn = tokio::select! {
        found = first => if found.unwrap_or(false) { Turn::Avahi } else { Turn::Ours },
        () = &mut shutdown => Turn::End,
    };
    loop {
        turn = match turn {
            Turn::Avahi => {
                let mut published = Published::default();
                let bus = lookout.bus();
                let next = tokio::select! {
                    () = lookout.disappears() => Turn::Ours,
                    () = &mut shutdown => Turn::End,
                    never = published.publish(bus, service) => match never {},
                };
                service.withdrawn();
                if matches!(next, Turn::End) {
                    // Avahi would notice the closed connection too, but only later.
                    let _ = tokio::time::timeout(WITHDRAWAL, published.withdraw()).await;
                }
                next
            }
            Turn::Ours => {
                let next = async {
                    tokio::select! {
                        () = lookout.appears() => Turn::Avahi,
                        () = &mut shutdown => Turn::End,
                    }
                };
                let next = embedded::announce(service, next).await;
                service.withdrawn();
                next
            }
            Turn::End => return,
        };
    }
}
