//! The number of connections to servers for named secrets. A server takes a few from one address only, and those of
//! heartbeats and goodbyes must find room there.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nightlatch_core::key_id::KeyId;

/// Connections whose server has not answered yet.
const MAX_ASKING: usize = 4;

/// Connections to one server that lets the requests wait for a person, as many as an honest one lets wait for a machine. They
/// take no place of those that ask.
const MAX_WAITING: usize = 4;

/// A request that queues shows that it is alive so often.
const SIGN: Duration = Duration::from_secs(5);

/// Counts connections.
#[derive(Debug, Default)]
pub(super) struct Connections {
    count: Mutex<Count>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct Count {
    asking: usize,
    waiting: BTreeMap<KeyId, usize>,
}

/// The right to one connection. Its drop makes room.
#[derive(Debug)]
pub(super) struct Permit<'c> {
    connections: &'c Connections,
    /// The server at which the request waits.
    waits_at: Option<KeyId>,
}

impl Connections {
    /// Waits for room. `sign` is called from time to time; its error ends the wait.
    pub(super) fn take<E>(&self, sign: impl FnMut() -> Result<(), E>) -> Result<Permit<'_>, E> {
        self.take_with(SIGN, sign)
    }

    fn take_with<E>(
        &self,
        every: Duration,
        mut sign: impl FnMut() -> Result<(), E>,
    ) -> Result<Permit<'_>, E> {
        let mut count = self.count();
        while count.asking >= MAX_ASKING {
            let (waited, end) = self
                .freed
                .wait_timeout(count, every)
                .unwrap_or_else(PoisonError::into_inner);
            count = waited;
            if end.timed_out() {
                drop(count);
                sign()?;
                count = self.count();
            }
        }
        count.asking += 1;
        Ok(Permit {
            connections: self,
            waits_at: None,
        })
    }

    fn count(&self) -> MutexGuard<'_, Count> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit<'_> {
    /// The server lets the request wait: it makes room for another one that asks. False where too many wait at this server:
    /// the connection must end.
    #[must_use]
    pub(super) fn waits(&mut self, server: KeyId) -> bool {
        if self.waits_at.is_some() {
            return true;
        }
        let mut count = self.connections.count();
        let waiting = count.waiting.entry(server).or_default();
        if *waiting >= MAX_WAITING {
            return false;
        }
        *waiting += 1;
        count.asking -= 1;
        self.waits_at = Some(server);
        self.connections.freed.notify_one();
        true
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut count = self.connections.count();
        match self.waits_at {
            Some(server) => {
                if let Some(waiting) = count.waiting.get_mut(&server) {
                    *waiting -= 1;
                }
                count.waiting.retain(|_, waiting| *waiting > 0);
            }
            None => count.asking -= 1,
        }
        self.connections.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(5);

    /// Ends the wait at the first sign.
    fn try_take(connections: &Connections) -> Option<Permit<'_>> {
        connections.take_with(SHORT, || Err(())).ok()
    }

    fn server(number: u8) -> KeyId {
        KeyId::from_bytes([number; 32]).unwrap()
    }

    #[test]
    fn four_ask_and_four_wait_at_each_server_and_the_next_queues_until_one_ends() {
        let connections = Connections::default();
        let mut waiting = Vec::new();
        for number in 1..=3 {
            while let Some(mut permit) = try_take(&connections) {
                if !permit.waits(server(number)) {
                    break;
                }
                assert!(permit.waits(server(number)));
                waiting.push(permit);
            }
        }
        assert_eq!(waiting.len(), 3 * MAX_WAITING);
        // None of them keeps another from asking.
        let mut asking: Vec<_> = std::iter::from_fn(|| try_take(&connections)).collect();
        assert_eq!(asking.len(), MAX_ASKING);
        asking.pop();
        asking.push(try_take(&connections).unwrap());
        drop((asking, waiting));
        let count = connections.count();
        assert_eq!((count.asking, count.waiting.len()), (0, 0));
    }

    #[test]
    fn one_that_queues_goes_on_when_there_is_room() {
        let connections = Connections::default();
        let mut taken: Vec<_> = (0..MAX_ASKING)
            .map(|_| try_take(&connections).unwrap())
            .collect();
        let mut signs = 0;
        let permit = connections.take_with(SHORT, || {
            signs += 1;
            if signs == 3 {
                taken.pop();
            }
            Ok::<(), ()>(())
        });
        assert!(permit.is_ok());
        assert!(signs >= 3);
    }
}
