//! Describes what the success of a checker proves, by its text on the bus.

use nightlatch_bus::client::ClientView;
use nightlatch_core::checker::Checker;
use nightlatch_core::name::shell_word;

/// Limit on the names that a note lists.
const LISTED: usize = 5;

/// The hint that leads to `builtin:ssh-hostkey`.
pub(crate) const INSTEAD: &str =
    "write checker = builtin:ssh-hostkey and ssh_fingerprint (clients.conf(5))";

/// The identity that a success of `checker` proves, for `show`.
pub(crate) fn of(checker: &str) -> &'static str {
    match Checker::new(checker) {
        Ok(checker) if checker.proves_private_key() => "the machine's SSH host key, by a signature",
        Ok(checker) if checker.trusts_ssh_keyscan() => {
            "nothing: ssh-keyscan shows a key before anything is signed with it"
        }
        Ok(checker) if checker.is_ping() => "nothing: any host at its address can answer a ping",
        _ => "not known; a ping is answered by anybody",
    }
}

/// True when the checker that runs for the client compares the output of ssh-keyscan(1): whoever knows the public host key
/// can send that. No checker runs for a machine with an agent.
pub(crate) fn is_forgeable(client: &ClientView) -> bool {
    let is_forgeable = |checker: Checker| checker.trusts_ssh_keyscan();
    !client.has_agent() && Checker::new(client.checker.as_str()).is_ok_and(is_forgeable)
}

/// One line about those of `clients` whose checker believes ssh-keyscan(1).
pub(crate) fn warning<'c>(clients: impl IntoIterator<Item = &'c ClientView>) -> Option<String> {
    let names: Vec<String> = clients
        .into_iter()
        .filter(|client| is_forgeable(client))
        .map(|client| shell_word(&client.name))
        .collect();
    let listed = names.iter().take(LISTED).cloned().collect::<Vec<_>>();
    let more = match names.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let have = if names.len() == 1 {
        "has a checker"
    } else {
        "have checkers"
    };
    (!names.is_empty()).then(|| {
        format!(
            "{}{more} {have} by ssh-keyscan, which whoever knows the public host key can answer; {INSTEAD}",
            listed.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::samples::client;

    #[test]
    fn those_who_believe_ssh_keyscan_are_named() {
        let with = |name: &str, checker: &str| {
            let mut client = client(name);
            client.checker = checker.to_owned();
            client
        };
        let good = with("good", "fping -q -- %(host)s");
        assert_eq!(warning([&good]), None);
        let bad = with("bad", "ssh-keyscan %(host)s | grep x");
        let text = warning([&good, &bad]).unwrap();
        assert!(
            text.starts_with("bad has a checker by ssh-keyscan"),
            "{text}"
        );
        let many: Vec<ClientView> = (0..7)
            .map(|n| with(&format!("m{n}"), &bad.checker))
            .collect();
        let text = warning(&many).unwrap();
        assert!(
            text.starts_with("m0, m1, m2, m3, m4 and 2 more have checkers"),
            "{text}"
        );
    }

    #[test]
    fn what_a_checker_proves_is_said() {
        assert!(of("ssh-keyscan x | grep y").starts_with("nothing"));
        assert!(of("fping x").starts_with("not known"));
        assert!(of("builtin:ping").starts_with("nothing: any host"));
        let key =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB";
        assert!(
            of(&format!("builtin:ssh-hostkey {key}")).starts_with("the machine's SSH host key")
        );
    }
}
