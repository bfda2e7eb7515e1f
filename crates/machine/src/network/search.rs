//! On which interfaces a server is announced (RFC 6762). Only listens and asks: no server is connected to.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use nightlatch_core::network::snapshot::{KernelLink, Snapshot};
use nightlatch_core::time::Monotonic;
use nightlatch_proto::discovery::{
    Arrival, BATCH, Browser, BrowserEvent, FIRST_QUESTION, GROUP_V4, GROUP_V6, InterfaceIndex,
    MAX_MESSAGE, MDNS_PORT,
};
use nightlatch_sys::clock;
use nightlatch_sys::mdns::{MdnsGroups, MdnsSocket};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

const GROUPS: MdnsGroups = MdnsGroups {
    v6: GROUP_V6,
    v4: GROUP_V4,
    port: MDNS_PORT,
};

/// True when a server could be announced on a link: it is in use, and has neighbours of its own.
pub(crate) fn is_searched(link: &KernelLink, snapshot: &Snapshot) -> bool {
    let master = link.present.master.and_then(|it| snapshot.link(it));
    let hidden = master.is_some_and(|it| matches!(it.kind(), "bond" | "bridge" | "team"));
    link.present.up && link.running && link.ethernet && !link.loopback && !hidden
}

/// The links, of `wanted`, on which a server announces itself within `wait`; one that is this very machine does not
/// count.
pub(super) fn search(
    wanted: &BTreeSet<u32>,
    snapshot: &Snapshot,
    wait: Duration,
) -> io::Result<BTreeSet<u32>> {
    let sockets = sockets(wanted, snapshot)?;
    let mut browser = Browser::new();
    let start = clock::now().mono;
    let until = start.after(wait);
    for index in wanted {
        browser.interface_added(InterfaceIndex(*index), FIRST_QUESTION, start);
    }
    let mut found = BTreeSet::new();
    while found.len() < wanted.len() {
        let now = clock::now().mono;
        if until <= now {
            break;
        }
        read(&sockets, &mut browser, now);
        browser.handle_timeout(now);
        while let Some(transmit) = browser.poll_transmit(now) {
            let asking = sockets
                .iter()
                .filter(|socket| socket.interface == transmit.interface.0);
            for socket in asking {
                if let Some(group) = socket.asks {
                    // The browser asks again by itself.
                    let _ = socket.socket.send_to(&transmit.payload, group);
                }
            }
        }
        while let Some(event) = browser.poll_event() {
            if let BrowserEvent::Found(server) = event
                && !snapshot.has_address(server.addr.ip())
            {
                found.insert(server.interface.0);
            }
        }
        let next = browser.poll_timeout().map_or(until, |next| next.min(until));
        wait_for(&sockets, next.since(now))?;
    }
    Ok(found)
}

fn read(sockets: &[MdnsSocket], browser: &mut Browser, now: Monotonic) {
    let mut buffer = vec![0; MAX_MESSAGE];
    for socket in sockets {
        for _ in 0..BATCH {
            let Ok((length, source)) = socket.socket.recv_from(&mut buffer) else {
                break;
            };
            let arrival = Arrival {
                interface: InterfaceIndex(socket.interface),
                source,
                multicast: socket.multicast,
                hop_limit: None,
            };
            // What is ignored is mostly other hosts' questions, and our own.
            let _ = browser.handle_packet(arrival, &buffer[..length], now);
        }
    }
}

fn wait_for(sockets: &[MdnsSocket], time: Duration) -> io::Result<()> {
    let mut descriptors: Vec<PollFd<'_>> = sockets
        .iter()
        .map(|socket| PollFd::new(&socket.socket, PollFlags::IN))
        .collect();
    let time = Timespec {
        tv_sec: time.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    };
    match poll(&mut descriptors, Some(&time)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Sockets for all links. A link on which none can be made is left out; without any the first reason counts.
fn sockets(wanted: &BTreeSet<u32>, snapshot: &Snapshot) -> io::Result<Vec<MdnsSocket>> {
    let mut own: BTreeMap<u32, Ipv6Addr> = BTreeMap::new();
    let mut v4: BTreeSet<u32> = BTreeSet::new();
    for seen in &snapshot.addresses {
        match seen.cidr.ip {
            IpAddr::V4(_) => {
                v4.insert(seen.link);
            }
            IpAddr::V6(v6) if v6.is_unicast_link_local() => {
                own.insert(seen.link, v6);
            }
            IpAddr::V6(_) => {}
        }
    }
    let mut sockets = Vec::new();
    let mut failed = None;
    for index in wanted {
        for socket in GROUPS.sockets(*index, own.get(index).copied(), v4.contains(index)) {
            match socket {
                Ok(socket) => sockets.push(socket),
                Err(error) => {
                    failed.get_or_insert(error);
                }
            }
        }
    }
    match failed {
        Some(error) if sockets.is_empty() => Err(error),
        _ => Ok(sockets),
    }
}
