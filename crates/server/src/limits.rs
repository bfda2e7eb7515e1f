//! Limits on the number of connections at once, in all and from one address.
//!
//! A machine needs one. A peer that opens thousands must not keep the others from being served.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// File descriptors that are never used for connections. A flood of connections must not keep checkers from
/// starting: machines would miss their proofs of life and be disabled. Enough for 64 checkers with
/// their pipes, the store, the log and D-Bus.
const RESERVED: u64 = 512;

/// Raises the process's soft limit of file descriptors as far as needed and allowed (getrlimit(2)), and
/// returns for how many of `wanted` connections they are enough. At least one.
pub fn within_descriptors(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let needed = u64::try_from(wanted)
        .unwrap_or(u64::MAX)
        .saturating_add(RESERVED);
    let current = limit.current.unwrap_or(u64::MAX);
    let reachable = needed.min(limit.maximum.unwrap_or(u64::MAX)).max(current);
    let raised = Rlimit {
        current: Some(reachable),
        ..limit
    };
    let available = if reachable > current && setrlimit(Resource::Nofile, raised).is_ok() {
        reachable
    } else {
        current
    };
    let connections = beside_the_reserve(available, wanted);
    if connections < wanted {
        tracing::warn!(
            wanted,
            connections,
            descriptors = available,
            "fewer connections than configured: the limit of open files is too low"
        );
    }
    connections
}

/// All descriptors but the reserve, or half of them when there are less than two reserves.
fn beside_the_reserve(descriptors: u64, wanted: usize) -> usize {
    let free = descriptors - RESERVED.min(descriptors / 2);
    usize::try_from(free)
        .unwrap_or(usize::MAX)
        .min(wanted)
        .max(1)
}

/// This part of the places, of one address and in all, is enough for connections on which a person decides on a named
/// secret. The others are for boots and signs of life, which must not find every place taken for an hour.
const WAITING_PART: usize = 4;

/// The limits, and the connections counted. Clones share the counts.
#[derive(Clone, Debug)]
pub struct ConnectionLimits {
    total: Arc<Semaphore>,
    per_source: usize,
    /// Places of connections that may wait for a person's decision on a named secret.
    waiting: Arc<Semaphore>,
    sources: Arc<Mutex<HashMap<IpAddr, SourceCount>>>,
}

/// The connections from one address.
#[derive(Clone, Copy, Debug, Default)]
struct SourceCount {
    open: usize,
    /// Those of them that have a [`WaitingPlace`].
    waiting: usize,
}

impl ConnectionLimits {
    /// At most `total` connections at once, and at most `per_source` from one address; at least one of each.
    pub fn new(total: usize, per_source: usize) -> Self {
        Self {
            total: Arc::new(Semaphore::new(total.clamp(1, Semaphore::MAX_PERMITS))),
            per_source: per_source.max(1),
            waiting: Arc::new(Semaphore::new(part(total))),
            sources: Arc::default(),
        }
    }

    /// Raises the total to at least `connections`, before there is one. Each listening socket holds one place
    /// while it waits, so with fewer places than sockets some would never be served.
    pub fn ensure(&self, connections: usize) {
        let missing = connections.saturating_sub(self.total.available_permits());
        self.total.add_permits(missing);
    }

    /// Waits until there is room for one more connection. Nothing is accepted before: new connections wait in
    /// the kernel's backlog, where they cost us nothing.
    pub async fn room(&self) -> ConnectionPermit {
        // The semaphore is never closed; should it be, the count per source still holds.
        ConnectionPermit(Arc::clone(&self.total).acquire_owned().await.ok())
    }

    /// Counts a connection from `source` until the slot is dropped.
    pub fn admit(
        &self,
        room: ConnectionPermit,
        source: IpAddr,
    ) -> Result<Slot, TooManyConnections> {
        let source = source.to_canonical();
        let mut sources = lock(&self.sources);
        let entry = sources.entry(source).or_default();
        if entry.open >= self.per_source {
            return Err(TooManyConnections(self.per_source));
        }
        entry.open += 1;
        drop(sources);
        Ok(Slot {
            source,
            limits: self.clone(),
            _room: room,
        })
    }
}

/// The places of connections that may wait, of so many: never all.
fn part(places: usize) -> usize {
    let part = (places / WAITING_PART).max(1);
    part.min(places.saturating_sub(1))
        .min(Semaphore::MAX_PERMITS)
}

/// A place for one connection from any address.
#[derive(Debug)]
pub struct ConnectionPermit(
    #[expect(dead_code, reason = "held, not read")] Option<OwnedSemaphorePermit>,
);

/// The place of one connection; free when dropped.
#[derive(Debug)]
pub struct Slot {
    source: IpAddr,
    limits: ConnectionLimits,
    _room: ConnectionPermit,
}

impl Slot {
    /// A place in which the connection may wait for a person's decision on a named secret; `None` where too many have
    /// one.
    pub fn waiting_place(&self) -> Option<WaitingPlace<'_>> {
        let total = Arc::clone(&self.limits.waiting).try_acquire_owned().ok()?;
        let mut sources = lock(&self.limits.sources);
        let count = sources.get_mut(&self.source)?;
        if count.waiting >= part(self.limits.per_source) {
            return None;
        }
        count.waiting += 1;
        Some(WaitingPlace {
            slot: self,
            _total: total,
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Entry::Occupied(mut entry) = lock(&self.limits.sources).entry(self.source) {
            entry.get_mut().open -= 1;
            if entry.get().open == 0 {
                entry.remove();
            }
        }
    }
}

/// The place of a connection that may wait; free when dropped.
#[derive(Debug)]
pub struct WaitingPlace<'a> {
    slot: &'a Slot,
    _total: OwnedSemaphorePermit,
}

impl Drop for WaitingPlace<'_> {
    fn drop(&mut self) {
        if let Some(count) = lock(&self.slot.limits.sources).get_mut(&self.slot.source) {
            count.waiting -= 1;
        }
    }
}

/// The limit of connections from one address is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there are already {0} connections from this address")]
pub struct TooManyConnections(usize);

/// Nothing panics while it holds the lock, so a poisoned count is still right.
fn lock(
    sources: &Mutex<HashMap<IpAddr, SourceCount>>,
) -> MutexGuard<'_, HashMap<IpAddr, SourceCount>> {
    sources.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

    async fn admit(limits: &ConnectionLimits, source: IpAddr) -> Result<Slot, TooManyConnections> {
        limits.admit(limits.room().await, source)
    }

    #[test]
    fn connections_never_take_the_last_descriptors() {
        assert_eq!(beside_the_reserve(u64::MAX, 4096), 4096);
        assert_eq!(beside_the_reserve(4096 + RESERVED, 4096), 4096);
        assert_eq!(beside_the_reserve(2048, 4096), 2048 - 512);
        assert_eq!(beside_the_reserve(100, 4096), 50);
        assert_eq!(beside_the_reserve(0, 4096), 1);
    }

    #[tokio::test]
    async fn connections_from_one_address_are_limited() {
        let limits = ConnectionLimits::new(10, 2);
        let first = admit(&limits, HERE).await.unwrap();
        let _second = admit(&limits, HERE).await.unwrap();
        assert_eq!(
            admit(&limits, HERE).await.unwrap_err(),
            TooManyConnections(2)
        );
        let _other = admit(&limits, THERE).await.unwrap();
        drop(first);
        let _third = admit(&limits, HERE).await.unwrap();
    }

    #[tokio::test]
    async fn an_ipv4_address_is_the_same_in_both_notations() {
        let limits = ConnectionLimits::new(10, 1);
        let _slot = admit(&limits, HERE).await.unwrap();
        let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
        assert!(admit(&limits, mapped.into()).await.is_err());
    }

    #[tokio::test]
    async fn there_is_room_again_when_a_connection_ends() {
        let limits = ConnectionLimits::new(1, 10);
        let slot = admit(&limits, HERE).await.unwrap();
        let waits = limits.clone();
        let mut room = polled(async move { waits.room().await });
        assert!(room.is_pending());
        drop(slot);
        assert!(!room.is_pending());
        assert!(lock(&limits.sources).is_empty());
    }

    #[tokio::test]
    async fn a_refused_connection_frees_its_place() {
        let limits = ConnectionLimits::new(2, 1);
        let _slot = admit(&limits, HERE).await.unwrap();
        assert!(admit(&limits, HERE).await.is_err());
        let _other = admit(&limits, THERE).await.unwrap();
    }

    #[tokio::test]
    async fn a_quarter_of_the_places_may_wait() {
        let limits = ConnectionLimits::new(12, 8);
        let mut slots = Vec::new();
        for _ in 0..8 {
            slots.push(admit(&limits, HERE).await.unwrap());
        }
        let here: Vec<_> = slots.iter().filter_map(Slot::waiting_place).collect();
        assert_eq!(here.len(), 2);
        // Three in all, whatever their addresses.
        let others = [
            admit(&limits, THERE).await.unwrap(),
            admit(&limits, THERE).await.unwrap(),
        ];
        let one = others[0].waiting_place();
        assert!(one.is_some());
        assert!(others[1].waiting_place().is_none());
        drop(here);
        assert!(others[1].waiting_place().is_some());
        drop(one);
        drop((slots, others));
        assert!(lock(&limits.sources).is_empty());
        assert_eq!(limits.waiting.available_permits(), 3);
    }

    #[tokio::test]
    async fn the_only_place_of_an_address_is_not_for_waiting() {
        let limits = ConnectionLimits::new(10, 1);
        let slot = admit(&limits, HERE).await.unwrap();
        assert!(slot.waiting_place().is_none());
    }

    #[tokio::test]
    async fn each_listening_socket_has_a_place() {
        let limits = ConnectionLimits::new(1, 10);
        limits.ensure(2);
        limits.ensure(1);
        let (_one, _two) = (limits.room().await, limits.room().await);
        let waits = limits.clone();
        assert!(polled(async move { waits.room().await }).is_pending());
    }

    #[tokio::test]
    async fn limits_of_zero_allow_one_connection() {
        let limits = ConnectionLimits::new(0, 0);
        let _slot = admit(&limits, HERE).await.unwrap();
    }

    /// A future that is polled by hand.
    struct Polled(std::pin::Pin<Box<dyn Future<Output = ConnectionPermit>>>);

    impl Polled {
        fn is_pending(&mut self) -> bool {
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            self.0.as_mut().poll(&mut context).is_pending()
        }
    }

    fn polled(future: impl Future<Output = ConnectionPermit> + 'static) -> Polled {
        Polled(Box::pin(future))
    }
}
