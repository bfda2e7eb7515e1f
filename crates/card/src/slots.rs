//! The clients that are connected, by user. When a user has too many, the one that was idle for longest is closed: clients keep
//! connections for hours without a word.

use std::collections::BTreeMap;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The greatest number of clients. Each is a thread and a connection, and two descriptors of the usual 1,024.
const MAX_CLIENTS: usize = 400;

/// The greatest number of clients of one user.
const MAX_OF_USER: usize = 256;

/// All clients.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slots(Arc<Mutex<Clients>>);

#[derive(Debug, Default)]
struct Clients {
    next: u64,
    by_number: BTreeMap<u64, Client>,
}

#[derive(Debug)]
struct Client {
    user: u32,
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

impl Slots {
    fn clients(&self) -> MutexGuard<'_, Clients> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for a client; `None` when all others are being answered.
    pub(crate) fn take(&self, user: u32, stream: UnixStream) -> Option<Slot> {
        let mut clients = self.clients();
        let of_user = clients
            .by_number
            .values()
            .filter(|it| it.user == user)
            .count();
        if of_user >= MAX_OF_USER || clients.by_number.len() >= MAX_CLIENTS {
            clients.close_longest_idle(user)?;
        }
        let number = clients.next;
        clients.next += 1;
        let client = Client {
            user,
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
    fn close_longest_idle(&mut self, user: u32) -> Option<()> {
        let idle = self
            .by_number
            .iter()
            .filter(|(_, client)| client.user == user);
        let idle = idle.filter_map(|(number, client)| Some((client.idle_since?, *number)));
        let (_, number) = idle.min()?;
        let client = self.by_number.remove(&number)?;
        // Its thread ends by it. One that has closed already is no error.
        let _ = client.stream.shutdown(Shutdown::Both);
        Some(())
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
            (slots.take(user, ours), theirs)
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
}
