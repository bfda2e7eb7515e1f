//! The clients that are connected, by user. When a user has too many, the one that was idle for longest is closed: clients keep
//! connections for hours without a word. When all users together have too many, the user with the most gives way. Root and the
//! agent's own user are never refused, and never give way to others.

use std::collections::BTreeMap;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The greatest number of clients. Each is a thread and a connection, and two descriptors of the unit's 4,096.
const MAX_CLIENTS: usize = 400;

/// The greatest number of clients of one user.
const MAX_OF_USER: usize = 256;

/// The greatest number of threads of one user that look the user up. Four users are needed to have all.
pub(crate) const MAX_NEWCOMERS_OF_USER: usize = 100;

/// All clients.
#[derive(Clone, Debug)]
pub(crate) struct Slots(Arc<Mutex<Clients>>);

#[derive(Debug)]
struct Clients {
    /// The greatest number of one user.
    max_of_user: usize,
    next: u64,
    by_number: BTreeMap<u64, Client>,
}

#[derive(Debug)]
struct Client {
    user: u32,
    is_trusted: bool,
    stream: UnixStream,
    /// When it has become idle, in the order of such events; `None` while it is answered.
    idle_since: Option<u64>,
}

/// The place of a client. Its drop makes room.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Slots,
    number: u64,
}

impl Default for Slots {
    fn default() -> Self {
        Self::new(MAX_OF_USER)
    }
}

impl Slots {
    fn new(max_of_user: usize) -> Self {
        Self(Arc::new(Mutex::new(Clients {
            max_of_user,
            next: 0,
            by_number: BTreeMap::new(),
        })))
    }

    /// For clients whose user is being looked up.
    pub(crate) fn for_newcomers() -> Self {
        Self::new(MAX_NEWCOMERS_OF_USER)
    }

    fn clients(&self) -> MutexGuard<'_, Clients> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for a client; `None` when there is none. `is_trusted` is true for root and the agent's own user.
    pub(crate) fn take(&self, user: u32, is_trusted: bool, stream: UnixStream) -> Option<Slot> {
        let mut clients = self.clients();
        let made = if clients.of(user) >= clients.max_of_user {
            clients.close_one(user, false)
        } else if clients.by_number.len() >= MAX_CLIENTS {
            clients.make_room(user, is_trusted)
        } else {
            true
        };
        if !made && !is_trusted {
            return None;
        }
        let number = clients.next;
        clients.next += 1;
        let client = Client {
            user,
            is_trusted,
            stream,
            idle_since: Some(number),
        };
        clients.by_number.insert(number, client);
        drop(clients);
        let slots = self.clone();
        Some(Slot { slots, number })
    }
}

impl Clients {
    fn of(&self, user: u32) -> usize {
        let all = self.by_number.values();
        all.filter(|client| client.user == user).count()
    }

    /// Closes a client of the user who has the most of them. For a trusted user it may be one that is being answered.
    fn make_room(&mut self, user: u32, is_trusted: bool) -> bool {
        let others = self.by_number.values().filter(|it| !it.is_trusted);
        let most = others.map(|it| (self.of(it.user), it.user)).max();
        match most {
            Some((count, most)) if is_trusted || count > self.of(user) => {
                self.close_one(most, is_trusted)
            }
            _ => self.close_one(user, false),
        }
    }

    /// Closes the client of this user that was idle for longest, or else, with `busy_too`, the oldest one.
    fn close_one(&mut self, user: u32, busy_too: bool) -> bool {
        let its = self.by_number.iter().filter(|(_, it)| it.user == user);
        let by_age = its.map(|(number, it)| (it.idle_since.is_none(), it.idle_since, *number));
        let Some((is_busy, _, number)) = by_age.min() else {
            return false;
        };
        if is_busy && !busy_too {
            return false;
        }
        if let Some(client) = self.by_number.remove(&number) {
            // Its thread ends by it. One that has closed already is no error.
            let _ = client.stream.shutdown(Shutdown::Both);
        }
        true
    }
}

impl Slot {
    /// The client waits for an answer, or does not.
    pub(crate) fn set_idle(&self, is_idle: bool) {
        let mut clients = self.slots.clients();
        let moment = clients.next;
        clients.next += 1;
        if let Some(client) = clients.by_number.get_mut(&self.number) {
            client.idle_since = is_idle.then_some(moment);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.clients().by_number.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn the_one_that_was_idle_for_longest_makes_room_and_only_for_its_user() {
        let slots = Slots::default();
        let connect = |user| {
            let (ours, theirs) = UnixStream::pair().unwrap();
            (slots.take(user, user == 0, ours), theirs)
        };
        let (other, mut other_end) = connect(2);
        let mut taken: Vec<_> = (0..MAX_OF_USER).map(|_| connect(1)).collect();
        assert!(taken.iter().all(|(slot, _)| slot.is_some()));
        // The first was idle for longest, until it was answered.
        taken[0].0.as_ref().unwrap().set_idle(false);
        taken[0].0.as_ref().unwrap().set_idle(true);
        let (newest, _newest_end) = connect(1);
        assert!(newest.is_some());
        assert_eq!(taken[1].1.read(&mut [0]).unwrap(), 0);
        for (slot, _) in &taken {
            slot.as_ref().unwrap().set_idle(false);
        }
        newest.as_ref().unwrap().set_idle(false);
        assert!(connect(1).0.is_none());
        assert!(connect(2).0.is_some());
        other_end.set_nonblocking(true).unwrap();
        assert!(other.is_some() && other_end.read(&mut [0]).is_err());
        drop((taken, newest, other));
        assert!(slots.clients().by_number.is_empty());
    }

    /// Two users can have all places: neither keeps root out, nor one who has few.
    #[test]
    fn the_user_with_the_most_clients_gives_way_and_root_is_never_refused() {
        let slots = Slots::default();
        let connect = |user| {
            let (ours, theirs) = UnixStream::pair().unwrap();
            (slots.take(user, user == 0, ours), theirs)
        };
        let mut oldest = [connect(1), connect(1)];
        let first: Vec<_> = (2..MAX_OF_USER).map(|_| connect(1).0).collect();
        let second: Vec<_> = (MAX_OF_USER..MAX_CLIENTS).map(|_| connect(2).0).collect();
        assert!(connect(3).0.is_some());
        assert_eq!(oldest[0].1.read(&mut [0]).unwrap(), 0);
        let busy = oldest.iter().map(|(slot, _)| slot);
        for slot in busy.chain(&first).chain(&second) {
            slot.as_ref().unwrap().set_idle(false);
        }
        // The place of the one that has ended.
        let third = connect(3);
        assert!(third.0.is_some());
        third.0.as_ref().unwrap().set_idle(false);
        assert!(connect(3).0.is_none());
        let roots: Vec<_> = (0..20).map(|_| connect(0)).collect();
        assert!(roots.iter().all(|(slot, _)| slot.is_some()));
        assert_eq!(oldest[1].1.read(&mut [0]).unwrap(), 0);
        for (slot, end) in &roots {
            slot.as_ref().unwrap().set_idle(false);
            end.set_nonblocking(true).unwrap();
        }
        let last = connect(0);
        assert!(last.0.is_some());
        assert!(connect(3).0.is_none());
        for (_, end) in &roots {
            assert!((&*end).read(&mut [0]).is_err());
        }
    }
}
