//! The section of clients.conf that makes a server know a client: made from keys and a password.
//!
//! Written so that Mandos's own server (Python's ConfigParser) reads the same as ours.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use nightlatch_console::failure::{EX_USAGE, Failure};
use nightlatch_core::checker::ssh_command;
use nightlatch_core::key_id::{Fingerprint, KeyId};
use nightlatch_core::name::ClientName;
use nightlatch_core::ssh::HostKey;

/// Width of the lines of base64, as OpenPGP's armour has (RFC 9580, 6.3).
const LINE: usize = 64;

/// The setting of a client that names its host key.
pub(crate) const HOST_KEY_ID: &str = "host_key_id";

/// The setting of a client with the OpenPGP public key of its agent.
pub(crate) const HOST_OPENPGP: &str = "host_openpgp";

/// The public halves of a machine's host keys, as the server and tools need them. Displayed as lines of a section, which a
/// server that knows no host keys, as Mandos's, ignores.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct HostIdentity {
    pub(crate) key_id: KeyId,
    /// The OpenPGP public key in base64.
    pub(crate) openpgp: String,
}

impl fmt::Display for HostIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HOST_KEY_ID} = {}", self.key_id)?;
        writeln!(f, "{HOST_OPENPGP} =")?;
        write_lines(f, &self.openpgp)
    }
}

/// Writes base64 in lines that go on with the value of a setting.
fn write_lines(f: &mut fmt::Formatter<'_>, base64: &str) -> fmt::Result {
    let mut rest = base64;
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE));
        writeln!(f, "    {line}")?;
        rest = after;
    }
    Ok(())
}

/// All that a section says. Displayed as the text of the section.
#[derive(Debug)]
pub(crate) struct ClientSection<'a> {
    pub(crate) name: &'a ClientName,
    pub(crate) host: &'a str,
    pub(crate) key_id: KeyId,
    pub(crate) host_keys: Option<HostIdentity>,
    pub(crate) fingerprint: Fingerprint,
    /// The encrypted password, an OpenPGP message.
    pub(crate) message: &'a [u8],
    pub(crate) checker: SectionChecker<'a>,
}

/// The checker that the section names.
#[derive(Debug)]
pub(crate) enum SectionChecker<'a> {
    /// As the server does by itself.
    Default,
    /// By this machine's SSH host key, which the server itself checks. Not for a server of Mandos.
    SshHostKey(&'a HostKey),
    /// By this machine's SSH host key and ssh(1), for any server.
    BySsh(&'a HostKey),
    /// By a command, as it is to be run: `%(host)s` and such still to be filled in.
    Command(&'a str),
}

impl fmt::Display for SectionChecker<'_> {
    /// The proof in words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => {
                "the server's default checker, a ping that whatever has the machine's address can answer"
            }
            Self::SshHostKey(_) => "the checker builtin:ssh-hostkey, by the machine's SSH host key",
            Self::BySsh(_) => "a checker by ssh, by the machine's SSH host key",
            Self::Command(_) => "the checker that --checker gives",
        })
    }
}

impl fmt::Display for ClientSection<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[{}]", self.name)?;
        writeln!(f, "host = {}", escape(self.host))?;
        writeln!(f, "key_id = {}", self.key_id)?;
        if let Some(host_keys) = &self.host_keys {
            write!(f, "{host_keys}")?;
        }
        writeln!(f, "fingerprint = {}", self.fingerprint)?;
        writeln!(f, "secret =")?;
        write_lines(f, &BASE64.encode(self.message))?;
        match &self.checker {
            SectionChecker::Default => Ok(()),
            SectionChecker::Command(command) => writeln!(f, "checker = {}", escape(command)),
            SectionChecker::SshHostKey(key) => {
                writeln!(f, "checker = builtin:ssh-hostkey\nssh_fingerprint = {key}")
            }
            SectionChecker::BySsh(key) => {
                let command = ssh_command(key.kind(), "%(ssh_fingerprint)s", "%%(host)s");
                writeln!(f, "checker = {command}\nssh_fingerprint = {key}")
            }
        }
    }
}

/// A value that interpolation gives back as it was.
fn escape(value: &str) -> String {
    value.replace('%', "%%")
}

/// A client's name that can stand between brackets and come back the same.
pub(crate) fn check_name(text: &str) -> Result<ClientName, Failure> {
    let bad = |what: String| {
        Failure::new(EX_USAGE, what).hint("give a plain name with --name, as a host name is")
    };
    let name = ClientName::new(text)
        .map_err(|error| bad(format!("cannot name a client {text:?}: {error}")))?;
    if text.contains([']', '[']) || text.trim() != text {
        return Err(bad(format!(
            "cannot name a client {text:?}: expected no brackets and no space at either end"
        )));
    }
    Ok(name)
}

/// A host or checker that comes back the same from a line of the file.
pub(crate) fn check_value(option: &str, text: &str) -> Result<(), Failure> {
    if text.chars().any(char::is_control) || text.trim() != text || text.is_empty() {
        return Err(Failure::new(
            EX_USAGE,
            format!("{option} {text:?}: expected one line without space at either end"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(checker: SectionChecker<'_>) -> String {
        ClientSection {
            name: &ClientName::new("foo").unwrap(),
            host: "50.example",
            key_id: KeyId::from_bytes([0xab; 32]).unwrap(),
            host_keys: None,
            fingerprint: Fingerprint::from_bytes([0xcd; 20]),
            message: &[0; 50],
            checker,
        }
        .to_string()
    }

    #[test]
    fn a_section_has_the_lines_of_mandos_keygen() {
        let key_id = "ab".repeat(32);
        let fingerprint = "CD".repeat(20);
        let line = "A".repeat(64);
        assert_eq!(
            section(SectionChecker::Default),
            format!(
                "[foo]\nhost = 50.example\nkey_id = {key_id}\nfingerprint = {fingerprint}\n\
                 secret =\n    {line}\n    AAA=\n"
            )
        );
    }

    #[test]
    fn host_keys_are_lines_that_read_back_the_same() {
        let host = HostIdentity {
            key_id: KeyId::from_bytes([0xab; 32]).unwrap(),
            openpgp: "A".repeat(65),
        };
        let id = "ab".repeat(32);
        let line = "A".repeat(64);
        let text = host.to_string();
        assert_eq!(
            text,
            format!("host_key_id = {id}\nhost_openpgp =\n    {line}\n    A\n")
        );
        let ini = nightlatch_core::ini::Ini::parse(&format!("[foo]\n{text}")).unwrap();
        let value = ini.section("foo").unwrap().value(HOST_OPENPGP).unwrap();
        let value: String = value.split_ascii_whitespace().collect();
        assert_eq!(value, host.openpgp);
    }

    #[test]
    fn checkers_by_the_host_key_are_read_as_proofs() {
        let key: HostKey =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"
                .parse()
                .unwrap();
        for (checker, builtin) in [
            (SectionChecker::SshHostKey(&key), true),
            (SectionChecker::BySsh(&key), false),
        ] {
            let text = section(checker);
            let files = [("clients.conf".to_owned(), text)];
            let parsed = nightlatch_core::settings::client::parse(&files).unwrap();
            let checker = &parsed.value[0].settings.checker;
            assert!(checker.proves_private_key(), "{}", checker.as_str());
            assert_eq!(checker.is_builtin(), builtin);
        }
    }

    #[test]
    fn a_command_keeps_its_percent_signs_for_run_time() {
        let text = section(SectionChecker::Command("fping -q -- %(host)s"));
        assert!(text.ends_with("\nchecker = fping -q -- %%(host)s\n"));
    }

    #[test]
    fn a_name_that_would_come_back_different_is_refused() {
        assert!(check_name("foo.example-1").is_ok());
        for name in ["", "DEFAULT", "a\nb", "a]b", " a", "a "] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
    }
}
