//! Callers that have not said what they ask for, or of whom it is not known yet whether they may. Every user of the machine can
//! open connections, and with subordinate user ids (subuid(5)) as many users: those that say nothing make room for others.

use std::collections::BTreeMap;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The greatest number of them, for root and for all other users together: the one that came first is left for a new one.
const MAX_ARRIVALS: usize = 32;

/// The same with those that were left and whose thread has not ended, as when the user database does not answer. No other
/// is taken then.
const MAX_THREADS: usize = 128;

/// The callers that have come, in the order of their numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Arrivals(Arc<Mutex<ArrivalList>>);

#[derive(Debug, Default)]
struct ArrivalList {
    last: u64,
    root: BTreeMap<u64, Option<UnixStream>>,
    others: BTreeMap<u64, Option<UnixStream>>,
}

/// A caller that has come. Its drop says that it is known what follows.
#[derive(Debug)]
pub(super) struct Arrival {
    arrivals: Arrivals,
    user: u32,
    number: u64,
}

/// No more callers are taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{MAX_THREADS} callers wait for the user database, which says who may ask; `getent passwd` asks the same one"
)]
pub(super) struct TooManyArrivals;

impl Arrivals {
    /// A caller of this user has come; `stream` is its connection, which is shut down when it is left for another one.
    pub(super) fn enter(&self, user: u32, stream: UnixStream) -> Result<Arrival, TooManyArrivals> {
        let mut list = self.list();
        list.last += 1;
        let number = list.last;
        let callers = list.of(user);
        if callers.len() >= MAX_THREADS {
            return Err(TooManyArrivals);
        }
        let mut open = callers.values_mut().filter(|stream| stream.is_some());
        if let Some(oldest) = open.next()
            && open.count() + 1 >= MAX_ARRIVALS
            && let Some(oldest) = oldest.take()
        {
            // It may be closed already.
            let _ = oldest.shutdown(Shutdown::Both);
        }
        callers.insert(number, Some(stream));
        drop(list);
        Ok(Arrival {
            arrivals: self.clone(),
            user,
            number,
        })
    }

    fn list(&self) -> MutexGuard<'_, ArrivalList> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ArrivalList {
    fn of(&mut self, user: u32) -> &mut BTreeMap<u64, Option<UnixStream>> {
        match user {
            0 => &mut self.root,
            _ => &mut self.others,
        }
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        let mut list = self.arrivals.list();
        list.of(self.user).remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn the_caller_that_came_first_is_left_for_a_new_one_and_root_for_root_only() {
        let arrivals = Arrivals::default();
        let mut enter = |user| {
            let (caller, stream) = UnixStream::pair().unwrap();
            caller.set_nonblocking(true).unwrap();
            (caller, arrivals.enter(user, stream))
        };
        let is_left = |(caller, _): &mut (UnixStream, _)| matches!(caller.read(&mut [0]), Ok(0));
        let mut root = enter(0);
        let mut others: Vec<_> = (1..=40).map(&mut enter).collect();
        let left: Vec<bool> = others.iter_mut().map(is_left).collect();
        assert_eq!(left, [[true; 8].as_slice(), &[false; 32]].concat());
        assert!(!is_left(&mut root));
        // The threads of those that were left may still wait for the user database.
        others.extend((41..=128).map(&mut enter));
        assert!(others.iter().all(|(_, arrival)| arrival.is_ok()));
        assert_eq!(enter(5).1.unwrap_err(), TooManyArrivals);
        assert!(enter(0).1.is_ok());
        drop(others.remove(0));
        assert!(enter(5).1.is_ok());
        drop((root, others));
        let list = arrivals.list();
        assert!(list.root.is_empty() && list.others.is_empty());
    }
}
