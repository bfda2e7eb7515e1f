//! Who may use the card, by the kernel's word for who a peer is.

use nightlatch_core::settings::caller::AllowedCaller;
use nightlatch_core::settings::card::CardSettings;
use nightlatch_sys::peers::PeerCredentials;
use nightlatch_sys::users::{UserDatabase, id_of, is_among};

/// The rules of card.conf.
#[derive(Clone, Debug)]
pub(crate) struct AccessRules {
    /// The agent's own user.
    own: u32,
    allow: Vec<AllowedCaller>,
}

impl AccessRules {
    pub(crate) fn new(own: u32, settings: &CardSettings) -> Self {
        Self {
            own,
            allow: settings.allow.clone(),
        }
    }

    /// True for those who may unlock and lock: root and the agent's own user.
    pub(crate) const fn may_unlock(&self, user: u32) -> bool {
        user == 0 || user == self.own
    }

    /// True for those who may list the key, have something signed, and ask for the state. Names are looked up now: a user may
    /// have been made since the agent was started. A database that fails allows nobody.
    pub(crate) fn may_use(&self, peer: &PeerCredentials, database: &impl UserDatabase) -> bool {
        self.may_unlock(peer.user) || is_among(peer, &self.allow, database).unwrap_or(false)
    }

    /// The users and groups of `allow` that this machine does not have now. A database that fails says nothing about them.
    pub(crate) fn unknown(&self, database: &impl UserDatabase) -> Vec<AllowedCaller> {
        let all = self.allow.iter();
        let unknown = all.filter(|caller| matches!(id_of(caller, database), Ok(None)));
        unknown.cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// `backup` is the user 34, `operators` the group 37; to look up `broken` fails.
    struct Made;

    impl UserDatabase for Made {
        fn user_id(&self, name: &str) -> io::Result<Option<u32>> {
            match name {
                "backup" => Ok(Some(34)),
                "broken" => Err(io::ErrorKind::TimedOut.into()),
                _ => Ok(None),
            }
        }

        fn group_id(&self, name: &str) -> io::Result<Option<u32>> {
            Ok((name == "operators").then_some(37))
        }
    }

    #[test]
    fn those_that_are_named_may_use_it_and_only_root_and_its_own_user_unlock_it() {
        let settings = CardSettings {
            allow: vec![
                AllowedCaller::User("broken".to_owned()),
                AllowedCaller::User("backup".to_owned()),
                AllowedCaller::Group("operators".to_owned()),
            ],
            ..CardSettings::default()
        };
        let rules = AccessRules::new(990, &settings);
        for (user, groups, may_use, may_unlock) in [
            (0, &[0][..], true, true),
            (990, &[990], true, true),
            (34, &[34], true, false),
            (1000, &[1000, 37], true, false),
            (1000, &[1000], false, false),
            // A group with the number of a user, and the other way round.
            (37, &[34], false, false),
        ] {
            let groups = groups.to_vec();
            let peer = PeerCredentials { user, groups };
            assert_eq!(rules.may_use(&peer, &Made), may_use, "{peer:?}");
            assert_eq!(rules.may_unlock(user), may_unlock, "{peer:?}");
        }
        let nobody = AccessRules::new(990, &CardSettings::default());
        let groups = vec![34, 37];
        assert!(!nobody.may_use(&PeerCredentials { user: 34, groups }, &Made));
    }

    #[test]
    fn names_that_are_nobodys_are_told_and_those_that_cannot_be_looked_up_are_not() {
        let user = |name: &str| AllowedCaller::User(name.to_owned());
        let group = |name: &str| AllowedCaller::Group(name.to_owned());
        let settings = CardSettings {
            allow: vec![
                user("broken"),
                user("bakcup"),
                user("backup"),
                group("backup"),
                group("operators"),
            ],
            ..CardSettings::default()
        };
        let unknown = AccessRules::new(1, &settings).unknown(&Made);
        assert_eq!(unknown, [user("bakcup"), group("backup")]);
    }
}
