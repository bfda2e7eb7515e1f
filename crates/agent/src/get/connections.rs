//! The number of connections to servers for named secrets. A server takes a few from one address only, and those of
//! heartbeats and goodbyes must find room there.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Connections whose server has not answered yet.
const MAX_ASKING: usize = 4;

/// Connections whose server lets the request wait for a person: they must not keep others from asking. A server lets four
/// requests of a machine wait, and a machine has few servers.
const MAX_WAITING: usize = 16;

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
    waiting: usize,
}

/// The right to one connection. Its drop makes room.
#[derive(Debug)]
pub(super) struct Permit<'c> {
    connections: &'c Connections,
    is_waiting: bool,
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
            is_waiting: false,
        })
    }

    fn count(&self) -> MutexGuard<'_, Count> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit<'_> {
    /// The server lets the request wait. It makes room for another one that asks, as long as few wait.
    pub(super) fn waits(&mut self) {
        let mut count = self.connections.count();
        if !self.is_waiting && count.waiting < MAX_WAITING {
            count.waiting += 1;
            count.asking -= 1;
            self.is_waiting = true;
            self.connections.freed.notify_one();
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut count = self.connections.count();
        match self.is_waiting {
            true => count.waiting -= 1,
            false => count.asking -= 1,
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

    #[test]
    fn four_ask_sixteen_wait_and_the_next_queues_until_one_ends() {
        let connections = Connections::default();
        let mut taken = Vec::new();
        while let Some(permit) = try_take(&connections) {
            taken.push(permit);
        }
        assert_eq!(taken.len(), MAX_ASKING);
        taken[0].waits();
        taken[0].waits();
        while let Some(mut permit) = try_take(&connections) {
            permit.waits();
            taken.push(permit);
        }
        assert_eq!(taken.len(), MAX_ASKING + MAX_WAITING);
        taken.truncate(MAX_ASKING);
        drop(taken.remove(1));
        assert!(try_take(&connections).is_some());
        drop(taken);
        let count = connections.count();
        assert_eq!((count.asking, count.waiting), (0, 0));
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
