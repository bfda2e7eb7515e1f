//! Callers that have not said what they ask for, or of whom it is not known yet whether they may. Every user of the machine can
//! open connections, and with subordinate user ids (subuid(5)) as many users: those that say nothing make room for others.

use std::collections::BTreeMap;
use std::mem;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The greatest number of callers that have said nothing, for root and for all other users together. For a new one, the one
/// that came first of the user with most of them is left.
const MAX_SILENT: usize = 32;

/// The greatest number of threads, with those that were left and have not ended, and those that wait for the user database. No
/// other caller is taken then.
const MAX_THREADS: usize = 128;

/// The greatest number of callers of one user that wait for the user database.
const MAX_OF_USER: usize = 32;

/// The callers that have come, in the order of their numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Arrivals(Arc<Mutex<ArrivalList>>);

#[derive(Debug, Default)]
struct ArrivalList {
    last: u64,
    root: BTreeMap<u64, ArrivedCaller>,
    others: BTreeMap<u64, ArrivedCaller>,
}

#[derive(Debug)]
struct ArrivedCaller {
    user: u32,
    state: ArrivalState,
}

#[derive(Debug)]
enum ArrivalState {
    /// It has said nothing on this connection.
    Silent(UnixStream),
    /// It was left, and its thread ends.
    Left,
    /// The user database is asked whether it may ask for what it has said.
    HasSaid,
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
    "too many callers wait for the user database, which says who may ask; `getent passwd` asks the same one"
)]
pub(super) struct TooManyArrivals;

impl Arrivals {
    /// A caller of this user has come; `stream` is its connection, which is shut down when it is left for another one.
    pub(super) fn enter(&self, user: u32, stream: UnixStream) -> Result<Arrival, TooManyArrivals> {
        let mut list = self.list();
        list.last += 1;
        let number = list.last;
        let callers = list.of(user);
        let waits = |it: &&ArrivedCaller| it.user == user && it.state.has_said();
        if callers.len() >= MAX_THREADS || callers.values().filter(waits).count() >= MAX_OF_USER {
            return Err(TooManyArrivals);
        }
        leave_one(callers);
        let state = ArrivalState::Silent(stream);
        callers.insert(number, ArrivedCaller { user, state });
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

/// Makes room for a caller that has said nothing.
fn leave_one(callers: &mut BTreeMap<u64, ArrivedCaller>) {
    let mut silent: BTreeMap<u32, usize> = BTreeMap::new();
    for caller in callers.values().filter(|it| it.state.is_silent()) {
        *silent.entry(caller.user).or_default() += 1;
    }
    if silent.values().sum::<usize>() < MAX_SILENT {
        return;
    }
    let most = silent.values().max();
    let left = callers
        .values_mut()
        .find(|it| it.state.is_silent() && silent.get(&it.user) == most);
    let Some(left) = left else { return };
    if let ArrivalState::Silent(stream) = mem::replace(&mut left.state, ArrivalState::Left) {
        // It may be closed already.
        let _ = stream.shutdown(Shutdown::Both);
    }
}

impl ArrivalState {
    const fn is_silent(&self) -> bool {
        matches!(self, Self::Silent(_))
    }

    const fn has_said(&self) -> bool {
        matches!(self, Self::HasSaid)
    }
}

impl ArrivalList {
    fn of(&mut self, user: u32) -> &mut BTreeMap<u64, ArrivedCaller> {
        match user {
            0 => &mut self.root,
            _ => &mut self.others,
        }
    }
}

impl Arrival {
    /// The caller has said what it asks for: it is not left for another one any more.
    pub(super) fn has_said(&mut self) {
        let mut list = self.arrivals.list();
        if let Some(caller) = list.of(self.user).get_mut(&self.number) {
            caller.state = ArrivalState::HasSaid;
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

    struct Entered {
        caller: UnixStream,
        /// The connection that its thread reads.
        _served: UnixStream,
        arrival: Result<Arrival, TooManyArrivals>,
    }

    fn enter(arrivals: &Arrivals, user: u32) -> Entered {
        let (caller, served) = UnixStream::pair().unwrap();
        caller.set_nonblocking(true).unwrap();
        Entered {
            caller,
            arrival: arrivals.enter(user, served.try_clone().unwrap()),
            _served: served,
        }
    }

    fn is_left(entered: &mut Entered) -> bool {
        matches!(entered.caller.read(&mut [0]), Ok(0))
    }

    #[test]
    fn the_caller_that_came_first_is_left_for_a_new_one_and_root_for_root_only() {
        let arrivals = Arrivals::default();
        let mut root = enter(&arrivals, 0);
        let mut others: Vec<_> = (1..=40).map(|user| enter(&arrivals, user)).collect();
        let left: Vec<bool> = others.iter_mut().map(is_left).collect();
        assert_eq!(left, [[true; 8].as_slice(), &[false; 32]].concat());
        assert!(!is_left(&mut root));
        // The threads of those that were left may not have ended.
        others.extend((41..=128).map(|user| enter(&arrivals, user)));
        assert!(others.iter().all(|it| it.arrival.is_ok()));
        assert_eq!(enter(&arrivals, 5).arrival.unwrap_err(), TooManyArrivals);
        assert!(enter(&arrivals, 0).arrival.is_ok());
        drop(others.remove(0));
        assert!(enter(&arrivals, 5).arrival.is_ok());
        drop((root, others));
        let list = arrivals.list();
        assert!(list.root.is_empty() && list.others.is_empty());
    }

    #[test]
    fn a_user_with_many_callers_leaves_its_own_and_takes_no_place_of_others() {
        let arrivals = Arrivals::default();
        let mut one = enter(&arrivals, 7);
        let mut many: Vec<_> = (0..40).map(|_| enter(&arrivals, 8)).collect();
        let mut another = enter(&arrivals, 9);
        assert!(!is_left(&mut one) && !is_left(&mut another));
        assert!(is_left(&mut many[0]) && !is_left(&mut many[39]));
    }

    #[test]
    fn a_user_whose_callers_wait_for_the_user_database_takes_no_place_of_others() {
        let arrivals = Arrivals::default();
        let said = |user| {
            let mut entered = enter(&arrivals, user);
            let said = entered.arrival.as_mut().map(Arrival::has_said).is_ok();
            (said, entered)
        };
        let all: Vec<_> = (0..40).map(|_| said(8)).collect();
        assert_eq!(all.iter().filter(|(said, _)| *said).count(), 32);
        assert!(said(9).0);
    }

    #[test]
    fn a_caller_that_has_said_what_it_asks_for_is_not_left() {
        let arrivals = Arrivals::default();
        let mut first = enter(&arrivals, 7);
        first.arrival.as_mut().unwrap().has_said();
        let mut others: Vec<_> = (100..150).map(|user| enter(&arrivals, user)).collect();
        assert!(!is_left(&mut first));
        assert!(is_left(&mut others[0]));
    }
}
