//! Announces the server as `_mandos._tcp`: through Avahi if it runs, else by a responder of our own.
//!
//! Only one of them works at a time. Nothing here ever ends the server: a failure is logged once and tried
//! again, with pauses that grow up to a limit.

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

use avahi::{AvahiMonitor, AvahiPublisher};

/// Longest time for withdrawing: SIGTERM has to end the server within a second.
const WITHDRAWAL: Duration = Duration::from_millis(500);

/// Longest time to look for Avahi before our own responder starts. A running bus answers at once.
const AVAHI_SEARCH: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub struct ServiceAnnouncement {
    /// Its name, such as `Mandos`; another is chosen when it is taken on the link.
    pub name: String,
    /// The TCP port on which the server listens.
    pub port: u16,
    /// Announce on this interface only (`--interface`).
    pub interface: Option<String>,
    /// Announce over IPv6 (`use_ipv6`).
    pub ipv6: bool,
    /// Announce over IPv4. With IPv6 too for machines without a link-local address; Mandos uses only one of them.
    pub ipv4: bool,
}

/// The running announcement. It ends by its `shutdown`, not by being dropped.
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
    announcement: ServiceAnnouncement,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Publisher {
    let (announced_name, name) = watch::channel(None);
    let mut service = PublishedService {
        name: announcement.name.clone(),
        announcement,
        announced_name,
        log: LogLimit::new(LINES),
    };
    let task = tokio::spawn(async move {
        let announcement = service.announcement.clone();
        let watch = async {
            match announcement.ipv6 {
                true => warn::watch(&announcement).await,
                // Without IPv6 no link-local address is needed.
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

/// The service and the name that it has now.
#[derive(Debug)]
struct PublishedService {
    announcement: ServiceAnnouncement,
    /// The name to claim. A name changed by a collision stays: through failures, restarts of Avahi, and when the
    /// other publisher takes over.
    name: String,
    announced_name: watch::Sender<Option<String>>,
    /// A host that claims every name that is chosen must not fill the log.
    log: LogLimit<&'static str>,
}

/// Names change once or twice, when the server comes to a network, and each restart of Avahi or of the bus is
/// two lines.
const LINES: LogQuota = LogQuota {
    class: 20,
    all: u32::MAX,
    classes: MAX_CLASSES,
};

impl PublishedService {
    fn may_log(&mut self, kind: &'static str) -> bool {
        let now = clock::now().mono;
        for (kind, left_out) in self.log.close(now).into_iter().flat_map(|it| it.largest) {
            warn!(kind, left_out, "lines about the announcement were left out");
        }
        self.log.admit(kind, now)
    }

    fn announced(&mut self, by: &str) {
        if self.announced_name.borrow().as_ref() == Some(&self.name) {
            return;
        }
        if self.may_log("announcing") {
            info!(name = %self.name, port = self.announcement.port, by, "announcing the service");
        }
        self.announced_name.send_replace(Some(self.name.clone()));
    }

    fn withdrawn(&self) {
        self.announced_name
            .send_if_modified(|name| name.take().is_some());
    }

    fn rename(&mut self, other: String) {
        if self.may_log("name taken") {
            warn!(taken = %self.name, chosen = %other, "the service name is taken on the network");
        }
        self.name = other;
    }
}

enum NextPublisher {
    Avahi,
    Embedded,
    None,
}

async fn announce(service: &mut PublishedService, shutdown: impl Future<Output = ()>) {
    let mut shutdown = pin!(shutdown);
    let mut monitor = AvahiMonitor::default();
    let first = tokio::time::timeout(AVAHI_SEARCH, monitor.find());
    let mut next = tokio::select! {
        found = first => if found.unwrap_or(false) { NextPublisher::Avahi } else { NextPublisher::Embedded },
        () = &mut shutdown => NextPublisher::None,
    };
    loop {
        next = match next {
            NextPublisher::Avahi => {
                let mut publisher = AvahiPublisher::default();
                let bus = monitor.bus();
                let next = tokio::select! {
                    () = monitor.disappears() => NextPublisher::Embedded,
                    () = &mut shutdown => NextPublisher::None,
                    never = publisher.publish(bus, service) => match never {},
                };
                service.withdrawn();
                if matches!(next, NextPublisher::None) {
                    // Avahi would notice the closed connection too, but only later.
                    let _ = tokio::time::timeout(WITHDRAWAL, publisher.withdraw()).await;
                }
                next
            }
            NextPublisher::Embedded => {
                let next = async {
                    tokio::select! {
                        () = monitor.appears() => NextPublisher::Avahi,
                        () = &mut shutdown => NextPublisher::None,
                    }
                };
                let next = embedded::announce(service, next).await;
                service.withdrawn();
                next
            }
            NextPublisher::None => return,
        };
    }
}
