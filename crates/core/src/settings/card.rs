//! The settings of the card's agent: `[card]` of `card.conf`, which names the card and decides who may have something signed.

use std::fmt;
use std::path::PathBuf;

use super::caller::{AllowedCaller, callers};
use super::hosts::{HostRule, hosts};
use super::one_section::{self, OneSection, Unknown, filled, words};
use super::{Parsed, Problem, SettingsError};
use crate::digits::{self, Hex};
use crate::hours::Hours;
use crate::ini::{IniEntry, is_space};

/// The one section that is read.
const SECTION: &str = "card";

/// The list of known hosts of the whole machine (ssh(1)).
const KNOWN_HOSTS: &str = "/etc/ssh/ssh_known_hosts";

/// Everything `[card]` can say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CardSettings {
    /// The card. `None`: the only one that is there.
    pub card: Option<CardName>,
    /// The SHA-256 fingerprint of its authentication key, as `ssh-keygen -l` prints it. `None`: any key.
    pub key: Option<String>,
    /// Users and groups that may list the key and have something signed, beside root and the agent's own user.
    pub allow: Vec<AllowedCaller>,
    /// The namespaces in which messages are signed (`ssh-keygen -Y sign -n NAMESPACE`).
    pub namespaces: Vec<String>,
    /// The hosts to which logins are signed. None: everywhere.
    pub hosts: Vec<HostRule>,
    /// The files that name the keys of these hosts.
    pub known_hosts: Vec<PathBuf>,
    /// When anything is signed.
    pub hours: Hours,
    /// What becomes of the PIN when the card is taken out.
    pub after_removal: AfterRemoval,
    /// The rule for a pcscd that every user of the machine can reach.
    pub open_pcscd: OpenPcscd,
}

impl Default for CardSettings {
    fn default() -> Self {
        Self {
            card: None,
            key: None,
            allow: Vec::new(),
            namespaces: Vec::new(),
            hosts: Vec::new(),
            known_hosts: vec![KNOWN_HOSTS.into()],
            hours: Hours::default(),
            after_removal: AfterRemoval::default(),
            open_pcscd: OpenPcscd::default(),
        }
    }
}

/// One card among all OpenPGP cards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CardName {
    /// Its whole application identifier.
    Aid([u8; 16]),
    /// Its manufacturer and its serial number, whatever version its software has.
    Serial {
        /// The manufacturer's number.
        manufacturer: [u8; 2],
        /// The serial number.
        serial: [u8; 4],
    },
}

impl CardName {
    /// Reads 32 hexadecimal digits, or `0006:12345678`.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            None => digits::hex(text.as_bytes()).map(Self::Aid),
            Some((manufacturer, serial)) => Some(Self::Serial {
                manufacturer: digits::hex(manufacturer.as_bytes())?,
                serial: digits::hex(serial.as_bytes())?,
            }),
        }
    }

    /// True for the card with this application identifier.
    pub fn is(&self, aid: &[u8; 16]) -> bool {
        match self {
            Self::Aid(name) => name == aid,
            Self::Serial {
                manufacturer,
                serial,
            } => aid[8..10] == *manufacturer && aid[10..14] == *serial,
        }
    }
}

impl fmt::Display for CardName {
    /// As [`CardName::parse`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aid(aid) => write!(f, "{}", Hex(aid)),
            Self::Serial {
                manufacturer,
                serial,
            } => write!(f, "{:X}:{:X}", Hex(manufacturer), Hex(serial)),
        }
    }
}

/// The SHA-256 fingerprint of an SSH key as `ssh-keygen -l` prints it: `SHA256:` and 43 letters of base64.
pub fn is_fingerprint(text: &str) -> bool {
    let is_base64 = |letter: char| letter.is_ascii_alphanumeric() || "+/".contains(letter);
    let digest = text.strip_prefix("SHA256:");
    digest.is_some_and(|digest| digest.len() == 43 && digest.chars().all(is_base64))
}

/// What becomes of the PIN when the card is taken out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AfterRemoval {
    /// It is forgotten: a person unlocks the card that is put in.
    #[default]
    Person,
    /// It is kept, and unlocks the same card when that is put in again.
    Unlock,
}

/// The rule for a pcscd that every user of the machine can reach. Whenever the agent does not hold the card, each of
/// them can take it, and use up the tries of its PIN.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OpenPcscd {
    /// The agent does not start, and does not take the card.
    #[default]
    Refuse,
    /// The agent works all the same.
    Accept,
}

/// Every key that means something.
pub const KEYS: [&str; 9] = [
    "card",
    "key",
    "allow",
    "namespaces",
    "hosts",
    "known_hosts",
    "hours",
    "after_removal",
    "open_pcscd",
];

/// Reads the file; `file` is its name in errors. An empty value is the default. A key or section that is not known is an error: it may
/// be a misspelt restriction.
///
/// # Errors
/// All that is wrong in the file, in the order of its lines.
pub fn parse(file: &str, text: &str) -> Result<Parsed<CardSettings>, Vec<SettingsError>> {
    one_section::read(file, text, SECTION, &KEYS, Unknown::Refused, take)
}

fn take(
    settings: &mut CardSettings,
    _: &mut OneSection,
    key: &str,
    entry: &IniEntry,
) -> Result<(), Problem> {
    let raw = entry.value().trim_matches(is_space);
    match key {
        "card" => {
            let name = filled(raw)
                .map(|raw| CardName::parse(raw).ok_or_else(|| Problem::CardName(raw.to_owned())));
            settings.card = name.transpose()?;
        }
        "key" => settings.key = filled(raw).map(fingerprint).transpose()?,
        "allow" => settings.allow = callers(raw)?,
        "namespaces" => settings.namespaces = namespaces(raw)?,
        "hosts" => settings.hosts = hosts(raw)?,
        "known_hosts" => settings.known_hosts = known_hosts(raw)?,
        "hours" => settings.hours = Hours::parse(raw)?,
        "after_removal" => {
            settings.after_removal = match raw {
                "" | "person" => AfterRemoval::Person,
                "unlock" => AfterRemoval::Unlock,
                other => return Err(Problem::AfterRemoval(other.to_owned())),
            }
        }
        // `KEYS` has no other.
        _ => {
            settings.open_pcscd = match raw {
                "" | "refuse" => OpenPcscd::Refuse,
                "accept" => OpenPcscd::Accept,
                other => return Err(Problem::OpenPcscd(other.to_owned())),
            }
        }
    }
    Ok(())
}

/// The namespaces of a list. Any word can be one, but for those that begin a comment.
fn namespaces(raw: &str) -> Result<Vec<String>, Problem> {
    match words(raw).any(|word| word.starts_with(['#', ';'])) {
        true => Err(Problem::Namespaces(raw.to_owned())),
        false => Ok(words(raw).map(str::to_owned).collect()),
    }
}

/// The files of a list; the default when it is empty.
fn known_hosts(raw: &str) -> Result<Vec<PathBuf>, Problem> {
    let files: Result<Vec<PathBuf>, Problem> = words(raw)
        .map(|word| match word.starts_with('/') {
            true => Ok(PathBuf::from(word)),
            false => Err(Problem::KnownHosts(word.to_owned())),
        })
        .collect();
    match (files?, filled(raw)) {
        (files, Some(raw)) if files.is_empty() => Err(Problem::KnownHosts(raw.to_owned())),
        (_, None) => Ok(vec![KNOWN_HOSTS.into()]),
        (files, Some(_)) => Ok(files),
    }
}

fn fingerprint(raw: &str) -> Result<String, Problem> {
    match is_fingerprint(raw) {
        true => Ok(raw.to_owned()),
        false => Err(Problem::KeyFingerprint(raw.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &str) -> Result<CardSettings, String> {
        one_section::in_test(SECTION, lines, parse)
    }

    const AID: &str = "D2760001240103040006123456780000";

    #[test]
    fn a_card_is_named_by_its_identifier_or_its_serial_number() {
        assert_eq!(read("").unwrap(), CardSettings::default());
        let name = |text: &str| read(&format!("card = {text}\n")).map(|it| it.card.unwrap());
        let Ok(CardName::Aid(aid)) = name(AID) else {
            panic!("no AID");
        };
        let serial = name("0006:12345678").unwrap();
        assert!(serial.is(&aid) && name(&AID.to_lowercase()).unwrap().is(&aid));
        let other = [&aid[..13], &[0x79, 0, 0]].concat().try_into().unwrap();
        assert!(!serial.is(&other) && !CardName::Aid(aid).is(&other));
        for named in [CardName::Aid(aid), serial] {
            assert_eq!(CardName::parse(&named.to_string()), Some(named));
        }
        let manufacturer = name("0005:12345678").unwrap();
        assert!(!manufacturer.is(&aid));
        for wrong in [
            "1234",
            "0006:123456789",
            "06:12345678",
            "xyz",
            "0006:1234567g",
        ] {
            let error = name(wrong).unwrap_err();
            assert!(
                error.starts_with("card.conf:2: [card] card: expected"),
                "{error}"
            );
        }
    }

    #[test]
    fn names_are_lists() {
        let settings = read("allow = backup, @operators\nnamespaces = file git\n").unwrap();
        let user = AllowedCaller::User("backup".to_owned());
        let group = AllowedCaller::Group("operators".to_owned());
        assert_eq!(settings.allow, [user, group]);
        assert_eq!(settings.namespaces, ["file", "git"]);
        assert!(read("allow = 1000").unwrap_err().contains("found \"1000\""));
    }

    #[test]
    fn a_comment_at_the_end_of_a_list_adds_nothing_to_it() {
        for line in [
            "namespaces = file # not git",
            "namespaces = file ;git",
            "namespaces = # file",
            "hosts = web1 # not web2",
            "known_hosts = /a # /b",
            "known_hosts = /a ;/b",
            "allow = backup # operators",
            "allow = # backup",
        ] {
            let error = read(line).unwrap_err();
            let advice = ": a comment must have a line of its own";
            assert!(error.ends_with(advice), "{line}: {error}");
        }
    }

    #[test]
    fn a_misspelt_restriction_is_an_error() {
        for (text, expected) in [
            (
                "[Card]\nhosts = web1\n",
                "card.conf:1: [Card]: only [card] is read in this file; write the settings of this section there",
            ),
            (
                "[card]\ncrad = 0006:12345678\n",
                "card.conf:2: [card] crad: there is no such setting; did you mean card?",
            ),
            (
                "[card]\nkye =\n",
                "card.conf:2: [card] kye: there is no such setting; did you mean key?",
            ),
            (
                "[card]\npurpose = login\n",
                "card.conf:2: [card] purpose: there is no such setting",
            ),
        ] {
            let errors = parse("card.conf", text).unwrap_err();
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert_eq!(errors, [expected]);
        }
    }

    #[test]
    fn a_key_is_named_as_ssh_keygen_prints_it() {
        let good = "SHA256:uNiVztksCsDhcc0u9e8BrrJXVGDvbVGLiVNDnhQ9dEE";
        assert_eq!(
            read(&format!("key = {good}")).unwrap().key.as_deref(),
            Some(good)
        );
        for wrong in [
            "MD5:00:11",
            "SHA256:abc",
            "uNiVztksCsDhcc0u9e8BrrJXVGDvbVGLiVNDnhQ9dEE",
        ] {
            assert!(read(&format!("key = {wrong}")).is_err());
        }
    }

    #[test]
    fn hosts_files_and_hours_are_lists_and_none_is_lost_in_silence() {
        let settings = read(
            "hosts = backup@web1, [2001:db8::1]:2222\nknown_hosts = /a/b /c\nhours = Mon-Fri 22:00-06:00\n",
        );
        let settings = settings.unwrap();
        let hosts: Vec<String> = settings.hosts.iter().map(ToString::to_string).collect();
        assert_eq!(hosts, ["backup@web1", "[2001:db8::1]:2222"]);
        assert_eq!(settings.known_hosts, ["/a/b", "/c"].map(PathBuf::from));
        assert!(!settings.hours.is_always());
        let empty = read("hosts =\nknown_hosts =\nhours =\n").unwrap();
        assert_eq!(empty, CardSettings::default());
        for (wrong, expected) in [
            ("hosts = *.example", "expected hosts as [USER@]HOST[:PORT]"),
            ("hosts = ,", "found \",\""),
            ("known_hosts = known_hosts", "expected absolute paths"),
            ("known_hosts = ,", "found \",\""),
            ("hours = night", "expected times as 22:00-06:00"),
            ("hours = 22:00-06:00 # at night", "22:00-06:00 # at night"),
        ] {
            let error = read(wrong).unwrap_err();
            assert!(error.contains(expected), "{wrong}: {error}");
        }
    }

    #[test]
    fn after_a_removal_a_person_unlocks_unless_the_file_says_otherwise() {
        let after =
            |word: &str| read(&format!("after_removal = {word}")).map(|it| it.after_removal);
        assert_eq!(after(""), Ok(AfterRemoval::Person));
        assert_eq!(after("person"), Ok(AfterRemoval::Person));
        assert_eq!(after("unlock"), Ok(AfterRemoval::Unlock));
        assert!(
            after("keep")
                .unwrap_err()
                .contains("expected person or unlock")
        );
    }

    #[test]
    fn a_pcscd_that_all_can_reach_is_refused_unless_the_file_accepts_it() {
        let open = |word: &str| read(&format!("open_pcscd = {word}")).map(|it| it.open_pcscd);
        assert_eq!(open(""), Ok(OpenPcscd::Refuse));
        assert_eq!(open("refuse"), Ok(OpenPcscd::Refuse));
        assert_eq!(open("accept"), Ok(OpenPcscd::Accept));
        let error = open("yes").unwrap_err();
        assert!(
            error.contains("expected refuse or accept; found \"yes\""),
            "{error}"
        );
    }
}
