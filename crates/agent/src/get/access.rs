//! Who may ask for which named secret: root for all of them, others as `allow.NAME` in agent.conf says.

use std::collections::BTreeMap;
use std::io;

use nightlatch_core::secret_name::SecretName;
use nightlatch_core::settings::caller::AllowedCaller;
use nightlatch_sys::peers::PeerCredentials;
use nightlatch_sys::users::{UserDatabase, id_of, is_among};

/// The rules of agent.conf.
#[derive(Debug)]
pub(super) struct AccessRules(BTreeMap<SecretName, Vec<AllowedCaller>>);

impl AccessRules {
    pub(super) const fn new(rules: BTreeMap<SecretName, Vec<AllowedCaller>>) -> Self {
        Self(rules)
    }

    /// False when this caller may not ask for `name`.
    ///
    /// # Errors
    /// When the user database fails, unless another rule allows it.
    pub(super) fn allow(
        &self,
        name: &SecretName,
        peer: &PeerCredentials,
        users: &impl UserDatabase,
    ) -> io::Result<bool> {
        match (peer.user, self.0.get(name)) {
            (0, _) => Ok(true),
            (_, Some(callers)) => is_among(peer, callers, users),
            (_, None) => Ok(false),
        }
    }

    /// The users and groups that this machine does not have, each with the secret of its rule.
    pub(super) fn unknown(&self, users: &impl UserDatabase) -> Vec<(&SecretName, &AllowedCaller)> {
        let rules = self.0.iter();
        let rules = rules.flat_map(|(name, callers)| callers.iter().map(move |it| (name, it)));
        rules
            .filter(|(_, caller)| matches!(id_of(caller, users), Ok(None)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use nightlatch_core::settings::agent;

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

    fn rules(lines: &str) -> AccessRules {
        let text = format!("[agent]\n{lines}\n");
        AccessRules::new(agent::parse("agent.conf", &text).unwrap().value.allow)
    }

    fn peer(user: u32, groups: &[u32]) -> PeerCredentials {
        let groups = groups.to_vec();
        PeerCredentials { user, groups }
    }

    fn name(text: &str) -> SecretName {
        SecretName::new(text).unwrap()
    }

    #[test]
    fn root_may_ask_for_all_and_others_for_what_is_written() {
        let rules = rules("allow.db = alice\nallow.pin = nobody-here, @wheel\nallow.none =");
        let may = |peer: &PeerCredentials| {
            let names = ["db", "pin", "none", "other"].into_iter();
            let may = names.filter(|it| rules.allow(&name(it), peer, &Made).unwrap());
            may.collect::<Vec<_>>()
        };
        assert_eq!(may(&peer(0, &[0])), ["db", "pin", "none", "other"]);
        assert_eq!(may(&peer(1000, &[1000])), ["db"]);
        assert_eq!(may(&peer(1001, &[1001, 27, 10])), ["pin"]);
        assert_eq!(may(&peer(1000, &[10])), ["db", "pin"]);
        // The user of the agent itself is nobody here.
        assert_eq!(may(&peer(990, &[990])), [""; 0]);
    }

    #[test]
    fn a_name_that_this_machine_does_not_have_allows_nobody_and_is_told() {
        let rules = rules("allow.db = alice, bob, @wheel, @dba, broken");
        let unknown: Vec<String> = rules
            .unknown(&Made)
            .into_iter()
            .map(|(name, caller)| format!("{name} {caller}"))
            .collect();
        assert_eq!(unknown, ["db user bob", "db group dba"]);
    }

    #[test]
    fn a_failing_user_database_keeps_only_those_of_its_rule_out() {
        let rules = rules("allow.db = alice\nallow.pin = broken");
        assert!(!rules.allow(&name("db"), &peer(1001, &[]), &Made).unwrap());
        assert!(rules.allow(&name("pin"), &peer(1001, &[]), &Made).is_err());
        // Root needs no lookup.
        assert!(rules.allow(&name("pin"), &peer(0, &[]), &Made).unwrap());
    }
}
