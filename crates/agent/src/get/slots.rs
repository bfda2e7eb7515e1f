//! The number of callers that are served at once: in all, and of one user. They may ask for what they have named.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The greatest number of callers in all. Each is a thread and a connection, and all that ask for one name share a thread
/// and one more for each server.
const MAX_CALLERS: usize = 64;

/// Of these, the places that only root can take: its services need their secrets at boot.
const ROOT_SHARE: usize = 16;

/// The greatest number of callers of one user other than root, who must not keep others out.
const MAX_OF_USER: usize = 8;

/// Counts callers by user.
#[derive(Clone, Debug, Default)]
pub(super) struct Slots(Arc<Mutex<BTreeMap<u32, usize>>>);

/// The place of a caller that is served. Its drop makes room.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Slots,
    user: u32,
}

/// There is no room.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum NoSlot {
    #[error("the agent serves {MAX_CALLERS} callers already, as many as it can; try again")]
    All,
    #[error(
        "the agent serves {MAX_OF_USER} callers of this user already, as many as it does; try again"
    )]
    User,
}

impl Slots {
    /// Room for one more caller of this user.
    pub(super) fn take(&self, user: u32) -> Result<Slot, NoSlot> {
        let mut callers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = callers.values().sum();
        let own = callers.get(&user).copied().unwrap_or(0);
        let (most, most_own) = match user {
            0 => (MAX_CALLERS, MAX_CALLERS),
            _ => (MAX_CALLERS - ROOT_SHARE, MAX_OF_USER),
        };
        if own >= most_own {
            return Err(if user == 0 { NoSlot::All } else { NoSlot::User });
        }
        let others = match user {
            0 => all,
            _ => all - callers.get(&0).copied().unwrap_or(0),
        };
        if all >= MAX_CALLERS || others >= most {
            return Err(NoSlot::All);
        }
        callers.insert(user, own + 1);
        drop(callers);
        Ok(Slot {
            slots: self.clone(),
            user,
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut callers = self.slots.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = callers.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                callers.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_eight_and_root_what_is_left() {
        let slots = Slots::default();
        let mut taken = Vec::new();
        for user in 1..=6 {
            taken.extend((0..8).map(|_| slots.take(user).unwrap()));
            assert_eq!(slots.take(user).unwrap_err(), NoSlot::User);
        }
        assert_eq!(slots.take(7).unwrap_err(), NoSlot::All);
        taken.extend((0..16).map(|_| slots.take(0).unwrap()));
        assert_eq!(slots.take(0).unwrap_err(), NoSlot::All);
        drop(taken.remove(0));
        assert_eq!(slots.take(7).map(|slot| slot.user), Ok(7));
        drop(taken);
        let all: Vec<Slot> = (0..64).map(|_| slots.take(0).unwrap()).collect();
        assert_eq!(slots.take(0).unwrap_err(), NoSlot::All);
        assert_eq!(slots.take(1).unwrap_err(), NoSlot::All);
        drop(all);
        assert!(slots.0.lock().unwrap().is_empty());
    }

    #[test]
    fn a_caller_that_ends_in_a_panic_makes_room_too() {
        let slots = Slots::default();
        for _ in 0..20 {
            let slot = slots.take(1).unwrap();
            let ended = std::thread::spawn(move || {
                let _slot = slot;
                std::panic::resume_unwind(Box::new(()));
            });
            assert!(ended.join().is_err());
        }
    }
}
