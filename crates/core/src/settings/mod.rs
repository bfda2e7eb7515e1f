//! Typed settings of the server, of its clients and of a machine, from text to type in one step.
//!
//! Every error names file, line, section and key, and says what would have been accepted. All
//! errors of a file are reported at once. Files are read by the programs, never here.

use std::fmt;
use std::sync::Arc;

use crate::checker::CheckerError;
use crate::connect::{RefusedServer, TargetError};
use crate::duration::{InvalidDuration, comment_advice};
use crate::guard::UnknownRule;
use crate::hours::InvalidHours;
use crate::ini::IniErrorKind;
use crate::interpolate::InterpolationError;
use crate::key_id::{KeyId, KeyIdError};
use crate::name::NameError;
use crate::openpgp_public_key::OpenPgpPublicKeyError;
use crate::sealed_secret::SealedSecretError;
use crate::secret_name::{SecretName, SecretNameError};
use crate::settings::client::UnknownPolicy;

pub mod agent;
pub mod caller;
pub mod card;
pub mod client;
pub mod hosts;
pub mod machine;
mod one_section;
pub mod path;
pub mod server;
mod value;

/// The content of a file, with warnings.
#[derive(PartialEq, Eq, Debug)]
pub struct Parsed<T> {
    /// The parsed content of the file.
    pub value: T,
    /// In the order of files and lines.
    pub warnings: Vec<SettingsWarning>,
}

/// A line of a file.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Location {
    /// The file's name as the caller gave it.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: usize,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// The place of a setting: `FILE:LINE: [SECTION] KEY`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SettingLocation {
    /// File and line.
    pub location: Location,
    /// The section, where there is one.
    pub section: Option<String>,
    /// The key in lower case, when it is about one.
    pub key: Option<String>,
}

impl SettingLocation {
    fn new(file: &Arc<str>, line: usize, section: Option<&str>, key: Option<&str>) -> Self {
        Self {
            location: Location {
                file: file.clone(),
                line,
            },
            section: section.map(str::to_owned),
            key: key.map(str::to_owned),
        }
    }
}

impl fmt::Display for SettingLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.location)?;
        if let Some(section) = &self.section {
            write!(f, " [{}]", section.escape_debug())?;
        }
        if let Some(key) = &self.key {
            write!(f, " {}", key.escape_debug())?;
        }
        if self.section.is_some() || self.key.is_some() {
            write!(f, ":")?;
        }
        Ok(())
    }
}

/// Something that cannot be read: nothing of the file is used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{place} {problem}")]
pub struct SettingsError {
    /// File, line, section and key of the fault.
    pub place: SettingLocation,
    /// The problem, and what would have been accepted.
    pub problem: Problem,
}

/// Something that is read but does probably not do what was meant.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{place} {reason}")]
pub struct SettingsWarning {
    /// File, line, section and key of the doubtful value.
    pub place: SettingLocation,
    /// The probable mistake in this place.
    pub reason: WarningReason,
}

/// A reason why a setting is unusable. None shows a secret.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Problem {
    /// The form of the file.
    #[error(transparent)]
    Form(#[from] IniErrorKind),
    /// The file is no UTF-8.
    #[error("expected UTF-8 text, found the byte 0x{0:02x}")]
    NotText(u8),
    /// A `%(name)s` that leads nowhere.
    #[error(transparent)]
    Interpolation(#[from] InterpolationError),
    /// No length of time.
    #[error(transparent)]
    Duration(#[from] InvalidDuration),
    /// An interval that would let checks follow each other without a pause.
    #[error("expected at least PT1S between two checks, found {0:?}")]
    NoInterval(String),
    /// Neither yes nor no.
    #[error("expected 1, yes, true, on, 0, no, false or off, found {0:?}{advice}", advice = comment_advice(.0))]
    Boolean(String),
    /// No number within bounds.
    #[error(
        "expected a number from {min} to {max}, found {found:?}{}",
        comment_advice(found)
    )]
    Number {
        /// The text that was found.
        found: String,
        /// The least accepted.
        min: u64,
        /// The most accepted.
        max: u64,
    },
    /// No IP address.
    #[error(
        "expected an IPv6 address such as fe80::1%eth0 or ::ffff:192.0.2.3, or an IPv4 address with use_ipv6 = no; found {0:?}"
    )]
    Address(String),
    /// No level of the log.
    #[error("expected critical, error, warning, info or debug, found {0:?}{advice}", advice = comment_advice(.0))]
    LogLevel(String),
    /// A service name that DNS-SD cannot carry (RFC 6763, 4.1.1).
    #[error("expected a name of 1 to 63 bytes without control characters, found {0:?}")]
    ServiceName(String),
    /// An empty path, or one with a NUL character.
    #[error("expected a path")]
    NoPath,
    /// A section that cannot name a client.
    #[error(transparent)]
    Name(#[from] NameError),
    /// No key id.
    #[error(transparent)]
    KeyId(#[from] KeyIdError),
    /// No checker command.
    #[error(transparent)]
    Checker(#[from] CheckerError),
    /// A host name that no command line can hold.
    #[error("expected a host name without NUL characters")]
    Nul,
    /// A host that `builtin:ssh-hostkey` cannot reach.
    #[error("builtin:ssh-hostkey needs HOST, HOST:PORT or [ADDRESS]:PORT: {0}")]
    SshHost(TargetError),
    /// A host that `builtin:ping` cannot ping.
    #[error("builtin:ping needs a name or an address: {0}")]
    PingHost(TargetError),
    /// A character that base64 does not have.
    #[error(
        "expected base64 (A-Z a-z 0-9 + / and = at the end), found something else at character {column} of the value's line"
    )]
    Base64 {
        /// The character of the line, from 1, indentation not counted.
        column: usize,
    },
    /// Base64 that ends in the middle of a byte.
    #[error("expected base64 to its end; a part is missing, or = stands where it may not")]
    Base64Cut,
    /// No server to connect to.
    #[error(transparent)]
    Connect(Box<RefusedServer>),
    /// A list of servers without any.
    #[error("expected servers as ADDRESS:PORT with commas between them, found {0:?}")]
    NoServer(String),
    /// A text that cannot be the name of a network interface.
    #[error("expected the name of a network interface, found {0:?}")]
    Interface(String),
    /// A port for pokes that is none.
    #[error("expected a port from 1 to 65535, any or no; found {0:?}{advice}", advice = comment_advice(.0))]
    PokePort(String),
    /// No user and no group.
    #[error(
        "expected names of users, and of groups with @ before them, with commas between; found {0:?}{advice}",
        advice = comment_advice(.0)
    )]
    Caller(String),
    /// A card that is named in neither way.
    #[error(
        "expected 32 hexadecimal digits (the AID), or manufacturer and serial number such as 0006:12345678; found {0:?}{advice}",
        advice = comment_advice(.0)
    )]
    CardName(String),
    /// No fingerprint of a key.
    #[error("expected SHA256: and 43 letters, as `ssh-keygen -l` prints it; found {0:?}{advice}", advice = comment_advice(.0))]
    KeyFingerprint(String),
    /// A word that begins as a comment does, among namespaces.
    #[error("expected namespaces with commas between, found {0:?}{advice}", advice = comment_advice(.0))]
    Namespaces(String),
    /// A key that is not known, in a file that restricts what is allowed.
    #[error("there is no such setting{}", did_you_mean(*.suggestion))]
    UnknownKey {
        /// The known key that was probably meant.
        suggestion: Option<&'static str>,
    },
    /// A section that nothing reads, in a file that restricts what is allowed.
    #[error("only [{read}] is read in this file; write the settings of this section there")]
    OtherSection {
        /// The section that is read.
        read: &'static str,
    },
    /// No host for logins.
    #[error(
        "expected hosts as [USER@]HOST[:PORT] with commas between, such as backup@web1.example:2222 or [2001:db8::1], without wildcards; found {0:?}{advice}",
        advice = comment_advice(.0)
    )]
    Host(String),
    /// A file that is not found in whatever folder a program runs.
    #[error("expected absolute paths of files with commas between, found {0:?}{advice}", advice = comment_advice(.0))]
    KnownHosts(String),
    /// No windows of the week.
    #[error("{0}{advice}", advice = comment_advice(&.0.0))]
    Hours(#[from] InvalidHours),
    /// Neither of the two ways.
    #[error("expected person or unlock; found {0:?}{advice}", advice = comment_advice(.0))]
    AfterRemoval(String),
    /// Neither of the two ways.
    #[error("expected refuse or accept; found {0:?}{advice}", advice = comment_advice(.0))]
    OpenPcscd(String),
    /// No name of a secret.
    #[error(transparent)]
    SecretName(SecretNameError),
    /// The password of the disk is no named secret.
    #[error(
        "expected the name of a named secret after allow.; only root gets the password of the disk"
    )]
    AllowedBoot,
    /// A word where an option should begin.
    #[error("expected an option of the client such as --retry=5, found {0:?}")]
    NoOption(String),
    /// A word that would be taken for a comment later.
    #[error("expected words without '#', which would begin a comment, found {0:?}")]
    Comment(String),
    /// No secret at all.
    #[error("expected \"secret\" (in base64) or \"secfile\" (a file name)")]
    NoSecret,
    /// A secret of no bytes.
    #[error("expected a secret, found an empty one")]
    EmptySecret,
    /// No rule for boots that were not announced.
    #[error("{0}{advice}", advice = comment_advice(&.0.0))]
    Unannounced(UnknownRule),
    /// A host key that identifies something else too.
    #[error(
        "the host key is also {of}; a machine's boot key and host key must be two keys, and no machine may have another one's"
    )]
    HostKeyTaken {
        /// The other use, with the name of its client and its place.
        of: String,
    },
    /// No OpenPGP public key.
    #[error(transparent)]
    OpenPgpKey(#[from] OpenPgpPublicKeyError),
    /// A named secret or a policy for the password of the disk.
    #[error(
        "boot is the password of the disk: write it as secret = (base64), and its approval as approval_delay"
    )]
    NamedBoot,
    /// No sealed secret.
    #[error("{0}; nightlatch secret seal makes one")]
    SealedSecret(SealedSecretError),
    /// A named secret in a section without a host key.
    #[error("a named secret is for a host key, and this section has no host_key_id")]
    NoHostKeyId,
    /// A named secret of another machine.
    #[error(
        "the secret is sealed for the host key {found}, and this section has host_key_id = {host}; seal it again for this machine (nightlatch secret seal)"
    )]
    SecretOfOtherHost {
        /// The host key in the header.
        found: Box<KeyId>,
        /// The host key of the section.
        host: Box<KeyId>,
    },
    /// A named secret under another name.
    #[error(
        "the secret is sealed under the name {0}; write it as secret.{0}, or seal it again under this name"
    )]
    SecretOfOtherName(SecretName),
    /// A word that is no policy.
    #[error(transparent)]
    Policy(UnknownPolicy),
    /// The same client in two files.
    #[error("this client is already in {first}; a client may stand only once")]
    DuplicateClient {
        /// The first place.
        first: Location,
    },
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |key| format!("; did you mean {key}?"))
}

/// A reason why a setting probably does not do what was meant.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WarningReason {
    /// A key that is not known but looks like one.
    #[error("nothing uses this key; did you mean {suggestion}?")]
    UnknownKey {
        /// The known key.
        suggestion: &'static str,
    },
    /// A key that is not known.
    #[error("there is no such setting; it is ignored")]
    UnknownSetting,
    /// A section that nothing reads.
    #[error("only [{read}] is read in this file; this section is ignored")]
    IgnoredSection {
        /// The section that is read.
        read: &'static str,
    },
    /// A server that is in the list already.
    #[error("{0:?} names a server that stands in this list already; it is connected to once")]
    RepeatedServer(String),
    /// A client that no machine can be.
    #[error("without a key_id no machine is recognised as this client")]
    NoKeyId,
    /// The key id that faulty clients computed for every machine.
    #[error(
        "this is the key id of no key at all, made by a faulty client; no machine is recognised by it until it has new keys"
    )]
    KeyIdOfNothing,
    /// A key id that belongs to an earlier client, which is the one it finds.
    #[error(
        "the client [{first_name}] in {first} has the same key_id and comes first, so this client never gets its secret"
    )]
    SameKeyId {
        /// The earlier client's name.
        first_name: String,
        /// The first line of its section.
        first: Location,
    },
    /// A malformed fingerprint. It is shown only, so the client is accepted without it.
    #[error("not an OpenPGP fingerprint, left out: {0}")]
    Fingerprint(KeyIdError),
    /// `approved_by_default = no` without any time to approve in.
    #[error("has no effect without a delay: set approval_delay to the time in which to approve")]
    NoApprovalDelay,
    /// A checker that anybody passes who knows the machine's public host key.
    #[error(
        "ssh-keyscan shows a host key before the other side has proved that it holds the private key, so whoever knows the public key can keep this client enabled; write checker = builtin:ssh-hostkey{}",
        if *.pinned { " and keep ssh_fingerprint" } else { " and ssh_fingerprint = the line of the machine's /etc/ssh/ssh_host_ed25519_key.pub" }
    )]
    SshKeyscan {
        /// True when `ssh_fingerprint` holds a key already.
        pinned: bool,
    },
    /// A client that is disabled before its first check can have counted.
    #[error(
        "the timeout is not longer than the interval, so the client will be disabled between two checks"
    )]
    TimeoutWithinInterval,
}

/// The text of a file read as bytes; the error names the line of the first byte that is no UTF-8.
pub fn text<'b>(file: &str, bytes: &'b [u8]) -> Result<&'b str, SettingsError> {
    std::str::from_utf8(bytes).map_err(|error| {
        let (before, after) = bytes.split_at(error.valid_up_to());
        // The text before the bad byte is valid by the contract of `valid_up_to`.
        let before = std::str::from_utf8(before).unwrap_or_default();
        let line = before.replace("\r\n", "\n").matches(['\n', '\r']).count() + 1;
        SettingsError {
            place: SettingLocation::new(&file.into(), line, None, None),
            problem: Problem::NotText(after.first().copied().unwrap_or_default()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_found() {
        assert_eq!(text("f", "[a]\nx = ö\n".as_bytes()), Ok("[a]\nx = ö\n"));
        let error = text("clients.conf", b"[a]\r\nx = 1\ry = \xff\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "clients.conf:3: expected UTF-8 text, found the byte 0xff"
        );
    }
}
