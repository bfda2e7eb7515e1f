//! The settings of a machine's agent: `[agent]` of `agent.conf`, which decides where it reports to, and who may ask it for
//! named secrets.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use super::caller::{AllowedCaller, callers};
use super::one_section::{self, OneSection, Unknown, filled, in_family, yes_or_no};
use super::{Parsed, Problem, SettingsError};
use crate::connect::Target;
use crate::digits;
use crate::ini::{IniEntry, is_space};
use crate::secret_name::SecretName;

/// The one section that is read.
const SECTION: &str = "agent";

/// Everything `[agent]` can say.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AgentSettings {
    /// The servers by their addresses and names.
    pub connect: Vec<Target>,
    /// True when servers are searched for on the local networks too. `None`: when `connect` names none.
    pub search: Option<bool>,
    /// The UDP port at which servers can ask for a heartbeat.
    pub poke_port: PokePort,
    /// Who may ask for each named secret. Root may ask for all of them.
    pub allow: BTreeMap<SecretName, Vec<AllowedCaller>>,
}

impl AgentSettings {
    /// True when servers are searched for on the local networks.
    pub fn searches(&self) -> bool {
        self.search.unwrap_or(self.connect.is_empty())
    }
}

/// The UDP port at which servers can ask for a heartbeat.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PokePort {
    /// One that the kernel chooses.
    #[default]
    Any,
    /// This one, for firewalls.
    Port(NonZeroU16),
    /// None: servers wait for the next heartbeat.
    Closed,
}

/// Every key that means something. The last stands for one of each named secret.
pub const KEYS: [&str; 4] = ["connect", "search", "poke_port", "allow.NAME"];

/// The beginning of the keys that name callers.
const ALLOW: &str = "allow";

/// Reads the agent's file; `file` is its name in errors. An empty value is the default.
///
/// # Errors
/// All that is wrong in the file, in the order of its lines.
pub fn parse(file: &str, text: &str) -> Result<Parsed<AgentSettings>, Vec<SettingsError>> {
    one_section::read(file, text, SECTION, &KEYS, Unknown::Warned, take)
}

fn take(
    settings: &mut AgentSettings,
    section: &mut OneSection,
    key: &str,
    entry: &IniEntry,
) -> Result<(), Problem> {
    let raw = entry.value().trim_matches(is_space);
    match key {
        "connect" => settings.connect = section.servers(entry, raw)?,
        "search" => {
            let searches = filled(raw).map(|raw| yes_or_no(raw, true));
            settings.search = searches.transpose()?;
        }
        "poke_port" => settings.poke_port = poke_port(raw)?,
        // `KEYS` has no other.
        _ => {
            if let Some(name) = in_family(key, ALLOW) {
                let name = SecretName::new(name).map_err(Problem::SecretName)?;
                if name.is_boot() {
                    return Err(Problem::AllowedBoot);
                }
                settings.allow.insert(name, callers(raw)?);
            }
        }
    }
    Ok(())
}

fn poke_port(raw: &str) -> Result<PokePort, Problem> {
    match raw {
        "" | "any" => Ok(PokePort::Any),
        "no" => Ok(PokePort::Closed),
        port => digits::decimal(port)
            .map(PokePort::Port)
            .ok_or_else(|| Problem::PokePort(port.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &str) -> Result<AgentSettings, String> {
        one_section::in_test(SECTION, lines, parse)
    }

    #[test]
    fn without_servers_they_are_searched_for() {
        assert_eq!(read("").unwrap(), AgentSettings::default());
        assert!(read("").unwrap().searches());
        let named = "connect = 192.0.2.7:4711, [fe80::1%eth0]:4711\n";
        let settings = read(named).unwrap();
        assert_eq!(settings.connect.len(), 2);
        assert!(!settings.searches());
        assert!(read(&format!("{named}search = yes\n")).unwrap().searches());
        assert!(!read("search = no\n").unwrap().searches());
    }

    #[test]
    fn a_port_is_a_number_or_a_word() {
        let port = |value: &str| read(&format!("poke_port = {value}\n")).map(|it| it.poke_port);
        assert_eq!(port(""), Ok(PokePort::Any));
        assert_eq!(port("any"), Ok(PokePort::Any));
        assert_eq!(port("no"), Ok(PokePort::Closed));
        assert_eq!(
            port("4712"),
            Ok(PokePort::Port(NonZeroU16::new(4712).unwrap()))
        );
        for wrong in ["0", "65536", "-1", "yes"] {
            assert_eq!(
                port(wrong),
                Err(format!(
                    "agent.conf:2: [agent] poke_port: expected a port from 1 to 65535, any or no; found {wrong:?}"
                ))
            );
        }
    }

    #[test]
    fn callers_are_users_and_groups_of_one_secret() {
        let settings = read(
            "allow.postgres.password = postgres, @dba backup\nallow.card-pin =\nallow.x = a@corp.example\n",
        );
        let allow = settings.unwrap().allow;
        let of = |name: &str| allow.get(&SecretName::new(name).unwrap()).cloned();
        let user = |name: &str| AllowedCaller::User(name.to_owned());
        let dba = AllowedCaller::Group("dba".to_owned());
        assert_eq!(
            of("postgres.password"),
            Some(vec![user("postgres"), dba, user("backup")])
        );
        assert_eq!(of("card-pin"), Some(vec![]));
        assert_eq!(of("x"), Some(vec![user("a@corp.example")]));
        assert_eq!(of("other"), None);
        for (line, error) in [
            ("allow.db = @", "expected names of users, and of groups"),
            ("allow.db = ,", "found \",\""),
            ("allow.db = 1000", "found \"1000\""),
            ("allow.db = a:b", "found \"a:b\""),
            ("allow.db = -a", "found \"-a\""),
            ("allow. = a", "agent.conf:2: [agent] allow.: "),
            ("allow..db = a", "agent.conf:2: [agent] allow..db: "),
            ("allow.boot = a", "only root gets the password of the disk"),
        ] {
            let found = read(line).unwrap_err();
            assert!(found.contains(error), "{line}: {found}");
        }
        let unknown = parse("f", "[agent]\nalow.db = a\nallow = a\n").unwrap();
        let told: Vec<String> = unknown.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("did you mean allow.NAME?"), "{told:?}");
        assert!(unknown.value.allow.is_empty());
    }

    #[test]
    fn all_errors_are_told_with_their_places() {
        let error = read("connect = server\nsearch = perhaps\n").unwrap_err();
        let lines: Vec<&str> = error.lines().collect();
        assert!(lines[0].starts_with("agent.conf:2: [agent] connect: \"server\" names no server"));
        assert!(lines[1].starts_with("agent.conf:3: [agent] search: expected 1, yes"));
        assert_eq!(lines.len(), 2, "{error}");
        let unknown = parse("f", "[agent]\nconect = 192.0.2.7:1\n[other]\n").unwrap();
        let told: Vec<String> = unknown.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 2);
        assert!(told[0].contains("did you mean connect?"), "{told:?}");
        assert!(told[1].contains("only [agent] is read"), "{told:?}");
    }
}
