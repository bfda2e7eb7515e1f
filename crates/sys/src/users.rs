//! The users and groups of a machine by name, and whether a peer is one of those that a file allows something.

use std::io;

use nightlatch_core::settings::caller::AllowedCaller;

use crate::peers::PeerCredentials;
use crate::privileges;

/// The user database of a machine, which may be a service that is slow or fails.
pub trait UserDatabase {
    /// The id of the user with this name. `None`: there is none.
    ///
    /// # Errors
    /// When the database fails.
    fn user_id(&self, name: &str) -> io::Result<Option<u32>>;

    /// The id of the group with this name. `None`: there is none.
    ///
    /// # Errors
    /// When the database fails.
    fn group_id(&self, name: &str) -> io::Result<Option<u32>>;
}

/// The user database that nsswitch.conf(5) names.
#[derive(Clone, Copy, Debug)]
pub struct SystemUsers;

impl UserDatabase for SystemUsers {
    fn user_id(&self, name: &str) -> io::Result<Option<u32>> {
        Ok(privileges::account(name)?.map(|account| account.uid))
    }

    fn group_id(&self, name: &str) -> io::Result<Option<u32>> {
        privileges::group_id(name)
    }
}

/// The id of a user or group.
///
/// # Errors
/// When the database fails.
pub fn id_of(caller: &AllowedCaller, users: &impl UserDatabase) -> io::Result<Option<u32>> {
    match caller {
        AllowedCaller::User(name) => users.user_id(name),
        AllowedCaller::Group(name) => users.group_id(name),
    }
}

/// True when the peer is one of `callers`. Names are looked up now: a user may have been made since the file was read.
///
/// # Errors
/// When the user database fails for one of them, and the peer is none of the others.
pub fn is_among(
    peer: &PeerCredentials,
    callers: &[AllowedCaller],
    users: &impl UserDatabase,
) -> io::Result<bool> {
    let mut error = None;
    for caller in callers {
        let fits = match (id_of(caller, users), caller) {
            (Ok(None), _) => false,
            (Ok(Some(id)), AllowedCaller::User(_)) => id == peer.user,
            (Ok(Some(id)), AllowedCaller::Group(_)) => peer.groups.contains(&id),
            (Err(fault), _) => {
                error = Some(fault);
                false
            }
        };
        if fits {
            return Ok(true);
        }
    }
    error.map_or(Ok(false), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `alice` is 1000, `wheel` is 10; to look up `broken` fails.
    struct Made;

    impl UserDatabase for Made {
        fn user_id(&self, name: &str) -> io::Result<Option<u32>> {
            match name {
                "alice" => Ok(Some(1000)),
                "broken" => Err(io::ErrorKind::TimedOut.into()),
                _ => Ok(None),
            }
        }

        fn group_id(&self, name: &str) -> io::Result<Option<u32>> {
            Ok((name == "wheel").then_some(10))
        }
    }

    fn is_among(user: u32, groups: &[u32], callers: &[&str]) -> Option<bool> {
        let callers = callers.iter().map(|it| match it.strip_prefix('@') {
            Some(group) => AllowedCaller::Group(group.to_owned()),
            None => AllowedCaller::User((*it).to_owned()),
        });
        let groups = groups.to_vec();
        let peer = PeerCredentials { user, groups };
        super::is_among(&peer, &callers.collect::<Vec<_>>(), &Made).ok()
    }

    #[test]
    fn a_peer_is_a_user_or_a_member_of_a_group() {
        for (user, groups, callers, expected) in [
            (1000, &[1000][..], &["alice"][..], true),
            (1000, &[1000], &["nobody-here", "@wheel"], false),
            (1001, &[1001, 27, 10], &["nobody-here", "@wheel"], true),
            // A group with the number of a user, and the other way round.
            (10, &[1000], &["alice", "@wheel"], false),
            (0, &[0], &["alice"], false),
            (1000, &[1000], &[], false),
        ] {
            let found = is_among(user, groups, callers);
            assert_eq!(found, Some(expected), "{user} {callers:?}");
        }
    }

    #[test]
    fn a_name_that_cannot_be_looked_up_allows_nobody_and_keeps_nobody_else_out() {
        assert_eq!(is_among(1000, &[], &["broken", "alice"]), Some(true));
        assert_eq!(is_among(1001, &[], &["broken", "alice"]), None);
    }
}
