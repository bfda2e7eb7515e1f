//! The way in, of both sockets: who is connected is looked up in the peer's own thread, and takes a place among those who may use the
//! card only after that. A user database that hangs keeps a bounded number of threads.

use std::io;
use std::os::unix::net::UnixStream;

use nightlatch_sys::peers::PeerCredentials;
use nightlatch_sys::users::UserDatabase;

use crate::access::AccessRules;
use crate::slots::{Slot, Slots};

/// The rules, and the places.
#[derive(Debug)]
pub(crate) struct Admission {
    access: AccessRules,
    /// Those who may use the card.
    admitted: Slots,
    /// Those that are being looked up, or told that they may not use the card.
    newcomers: Slots,
}

/// A peer that has not been looked up. Root and the agent's own user need no place: they are not looked up.
#[derive(Debug)]
pub(crate) struct Newcomer {
    slot: Option<Slot>,
    stream: UnixStream,
}

/// A peer that is not admitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NotAdmitted {
    /// It may not use the card.
    NotAllowed,
    /// Its user has too many connections.
    TooMany,
}

impl Admission {
    pub(crate) fn new(access: AccessRules) -> Self {
        Self {
            access,
            admitted: Slots::default(),
            newcomers: Slots::for_newcomers(),
        }
    }

    pub(crate) const fn access(&self) -> &AccessRules {
        &self.access
    }

    /// Room for the thread of a new peer; `None` when its user has too many of them, or all users together.
    pub(crate) fn begin(&self, user: u32, stream: &UnixStream) -> io::Result<Option<Newcomer>> {
        let slot = match self.access.may_unlock(user) {
            true => None,
            false => match self.newcomers.take(user, false, stream.try_clone()?) {
                // Its thread does not end when its stream is closed: the look-up may hang. It keeps its place until then.
                Some(slot) => {
                    slot.set_idle(false);
                    Some(slot)
                }
                None => return Ok(None),
            },
        };
        let stream = stream.try_clone()?;
        Ok(Some(Newcomer { slot, stream }))
    }

    /// Looks the peer up, which may take long. Gives its place among those who may use the card.
    pub(crate) fn finish(
        &self,
        newcomer: &mut Newcomer,
        peer: &PeerCredentials,
        database: &impl UserDatabase,
    ) -> Result<Slot, NotAdmitted> {
        if !self.access.may_use(peer, database) {
            return Err(NotAdmitted::NotAllowed);
        }
        let is_trusted = self.access.may_unlock(peer.user);
        let stream = newcomer.stream.try_clone();
        let stream = stream.map_err(|_| NotAdmitted::TooMany)?;
        let slot = self.admitted.take(peer.user, is_trusted, stream);
        let slot = slot.ok_or(NotAdmitted::TooMany)?;
        newcomer.slot = None;
        Ok(slot)
    }
}

#[cfg(test)]
mod tests {
    use nightlatch_core::settings::caller::AllowedCaller;
    use nightlatch_core::settings::card::CardSettings;

    use super::*;
    use crate::slots::MAX_NEWCOMERS_OF_USER;

    /// `backup` is the user 34.
    struct Made;

    impl UserDatabase for Made {
        fn user_id(&self, name: &str) -> io::Result<Option<u32>> {
            Ok((name == "backup").then_some(34))
        }

        fn group_id(&self, _: &str) -> io::Result<Option<u32>> {
            Ok(None)
        }
    }

    fn admission() -> Admission {
        let allow = vec![AllowedCaller::User("backup".to_owned())];
        let settings = CardSettings {
            allow,
            ..CardSettings::default()
        };
        Admission::new(AccessRules::new(1, &settings))
    }

    fn connect(admission: &Admission, user: u32) -> Option<Newcomer> {
        let (ours, _) = UnixStream::pair().unwrap();
        admission.begin(user, &ours).unwrap()
    }

    /// The user database hangs: nobody is looked up to the end.
    #[test]
    fn those_that_are_being_looked_up_are_bounded_and_keep_neither_others_nor_root_out() {
        let admission = admission();
        let newcomers: Vec<_> = (0..MAX_NEWCOMERS_OF_USER)
            .map(|_| connect(&admission, 1000))
            .collect();
        assert!(newcomers.iter().all(Option::is_some));
        assert!(connect(&admission, 1000).is_none());
        let mut other = connect(&admission, 34).unwrap();
        let mut root = connect(&admission, 0).unwrap();
        let peer = |user| PeerCredentials {
            user,
            groups: Vec::new(),
        };
        let admitted = admission.finish(&mut other, &peer(34), &Made);
        assert!(admitted.is_ok() && other.slot.is_none());
        assert!(admission.finish(&mut root, &peer(0), &Made).is_ok());
        drop(newcomers);
        let mut refused = connect(&admission, 1000).unwrap();
        let end = admission.finish(&mut refused, &peer(1000), &Made);
        assert!(matches!(end, Err(NotAdmitted::NotAllowed)));
        assert!(refused.slot.is_some());
    }
}
