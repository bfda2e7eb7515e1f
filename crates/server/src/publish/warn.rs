//! Says of which interfaces no boot client can find this server, because they have no IPv6 link-local address.
//!
//! Runs beside whichever publisher is at work, and decides nothing: the kernel's news go to `core`'s watch, whose remarks go
//! to the log.

use std::io;

use nightlatch_core::network::link_local::{LinkLocalMonitor, LinkLocalNotice, ObservedInterface};
use nightlatch_sys::link_local;
use nightlatch_sys::netif::{self, NetworkChanges};
use tracing::{debug, info, warn};

use super::Announcement;
use super::embedded::{is_wanted, now, watched};

/// Watches until it is dropped.
pub(super) async fn watch(announcement: &Announcement) {
    if let Err(error) = until_error(announcement).await {
        debug!(reason = %error, "cannot watch the interfaces' addresses");
    }
    std::future::pending().await
}

async fn until_error(announcement: &Announcement) -> io::Result<()> {
    let changes = watched(NetworkChanges::listen()?)?;
    let mut known = LinkLocalMonitor::default();
    loop {
        let all = netif::interfaces()?;
        let wanted = all.iter().filter(|it| is_wanted(it, announcement));
        for remark in known.update(link_local::observe(wanted)?, now()) {
            say(&remark, announcement);
        }
        let due = async {
            match known.poll_timeout() {
                Some(due) => tokio::time::sleep(due.since(now())).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ready = changes.readable() => {
                let mut ready = ready?;
                ready.get_inner().drain()?;
                ready.clear_ready();
            }
            () = due => {}
        }
    }
}

fn say(remark: &LinkLocalNotice, announcement: &Announcement) {
    match remark {
        LinkLocalNotice::Lacks(observed) => {
            let (interface, reason) = (&observed.name, reason(observed));
            let hint = observed.reason.map(|reason| reason.hint(interface));
            let hint = hint.as_deref();
            if observed.has_ipv4 && announcement.ipv4 {
                warn!(%interface, %reason, hint, "no IPv6 link-local address: the server is announced there over IPv4 only");
            } else {
                warn!(%interface, %reason, hint, "no IPv6 link-local address: no boot client finds the server there");
            }
        }
        LinkLocalNotice::HasNow { name } => {
            info!(interface = %name, "there is an IPv6 link-local address now");
        }
    }
}

fn reason(observed: &ObservedInterface) -> String {
    match observed.reason {
        Some(reason) => reason.to_string(),
        None => "the kernel gives no reason".to_owned(),
    }
}
