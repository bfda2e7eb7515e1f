//! A client's checker: a shell command, or a check that the server does itself (`builtin:NAME`).
//!
//! Pure: it describes checks and never runs them.

use crate::connect::{TargetError, TargetHost};
use crate::ini::is_space;
use crate::ssh::{HostKey, HostKeyError};
use crate::suggest;

mod ssh_command;
mod template;
pub use ssh_command::ssh_command;
pub use template::{CheckerTemplate, CheckerVariables};

/// Prefix of the built-in checkers.
const BUILTIN: &str = "builtin:";

/// Name of the built-in checker for an SSH host key.
const SSH_HOST_KEY: &str = "ssh-hostkey";

/// Name of the built-in checker by ICMP echo.
const PING: &str = "ping";

/// Characters of a name that an error quotes.
const MAX_QUOTED: usize = 40;

/// A checker as configured, after the start-time interpolation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checker {
    text: String,
    kind: CheckerKind,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum CheckerKind {
    Command(CheckerTemplate),
    SshHostKey(HostKey),
    Ping,
}

/// One check with the current values filled in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Probe {
    /// A command line for `/bin/sh -c`; exit status 0 is a proof of life.
    Command {
        /// The command line.
        line: String,
        /// True when it calls ping(8) or a similar program, which may need a capability.
        pings: bool,
    },
    /// A key exchange with the SSH server at `host` that ends with the verification of its signature by `key`.
    SshHostKey {
        /// Formats: `HOST`, `HOST:PORT` or `[ADDRESS]:PORT`.
        host: String,
        /// The pinned host key.
        key: HostKey,
    },
    /// An ICMP or ICMPv6 echo: any host that has the address can answer it.
    Ping {
        /// A name or an address, as [`ping_target`] parses it.
        host: String,
    },
}

impl Probe {
    /// One line of text, for the command on D-Bus.
    pub fn line(&self) -> String {
        match self {
            Self::Command { line, .. } => line.clone(),
            Self::SshHostKey { host, .. } => format!("{BUILTIN}{SSH_HOST_KEY} {host}"),
            Self::Ping { host } => format!("{BUILTIN}{PING} {host}"),
        }
    }
}

impl Checker {
    /// Parses a command, `builtin:ssh-hostkey TYPE BASE64` or `builtin:ping`.
    pub fn new(text: impl Into<String>) -> Result<Self, CheckerError> {
        let text = text.into();
        let Some(builtin) = text.trim_matches(is_space).strip_prefix(BUILTIN) else {
            let template = CheckerTemplate::new(text.clone())?;
            let kind = CheckerKind::Command(template);
            return Ok(Self { text, kind });
        };
        let (name, argument) = builtin.split_once(is_space).unwrap_or((builtin, ""));
        let has_argument = !argument.trim_matches(is_space).is_empty();
        match name {
            SSH_HOST_KEY if has_argument => Ok(Self::ssh_host_key(argument.parse()?)),
            SSH_HOST_KEY => Err(CheckerError::NoHostKey),
            PING if has_argument => Err(CheckerError::PingArgument),
            PING => Ok(Self::ping()),
            _ => Err(CheckerError::UnknownBuiltin {
                name: name.chars().take(MAX_QUOTED).collect(),
                suggestion: suggest::nearest(name, [SSH_HOST_KEY, PING]),
            }),
        }
    }

    /// A checker `builtin:ssh-hostkey` with the pinned key.
    pub fn ssh_host_key(key: HostKey) -> Self {
        Self {
            text: format!("{BUILTIN}{SSH_HOST_KEY} {key}"),
            kind: CheckerKind::SshHostKey(key),
        }
    }

    /// The checker `builtin:ping`.
    pub fn ping() -> Self {
        Self {
            text: format!("{BUILTIN}{PING}"),
            kind: CheckerKind::Ping,
        }
    }

    /// Text that [`Self::new`] parses.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The check with the current values.
    pub fn probe(&self, variables: &CheckerVariables<'_>) -> Probe {
        match &self.kind {
            CheckerKind::Command(template) => Probe::Command {
                line: template.expand(variables),
                pings: template.pings(),
            },
            CheckerKind::SshHostKey(key) => Probe::SshHostKey {
                host: variables.host.to_owned(),
                key: key.clone(),
            },
            CheckerKind::Ping => Probe::Ping {
                host: variables.host.to_owned(),
            },
        }
    }

    /// True when a success proves that the machine has a private key, and so cannot come from another host at its
    /// address: `builtin:ssh-hostkey`, and the command by ssh(1) that `nightlatch keygen` writes. Other commands are
    /// not trusted to prove it.
    pub fn proves_private_key(&self) -> bool {
        match &self.kind {
            CheckerKind::SshHostKey(_) => true,
            CheckerKind::Ping => false,
            CheckerKind::Command(template) => ssh_command::is_ssh_command(template.as_str()),
        }
    }

    /// True when the server runs it without a command.
    pub fn is_builtin(&self) -> bool {
        !matches!(self.kind, CheckerKind::Command(_))
    }

    /// True for `builtin:ping`.
    pub fn is_ping(&self) -> bool {
        matches!(self.kind, CheckerKind::Ping)
    }

    /// True when it relies on ssh-keyscan(1), which prints a host key before the other side has signed anything with
    /// it.
    pub fn trusts_ssh_keyscan(&self) -> bool {
        match &self.kind {
            CheckerKind::SshHostKey(_) | CheckerKind::Ping => false,
            CheckerKind::Command(template) => template.as_str().contains("ssh-keyscan"),
        }
    }
}

impl Default for Checker {
    /// `fping -q -- %(host)s`, as in Mandos.
    fn default() -> Self {
        let template = CheckerTemplate::default();
        Self {
            text: template.as_str().to_owned(),
            kind: CheckerKind::Command(template),
        }
    }
}

/// Result of a client's last completed check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LastCheck {
    /// None has completed yet.
    None,
    /// The command ended with this exit status.
    Exited(u8),
    /// The command was killed by this signal.
    Signaled(i32),
}

/// The result of a client's last completed check, as `LastCheckerStatus` on D-Bus shows it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CheckStatus {
    /// None has completed yet.
    Never,
    /// The command was killed by a signal.
    Crashed,
    /// The command ended with this exit status; 0 is a proof of life.
    Exited(u8),
}

impl CheckStatus {
    const NEVER: i16 = -2;
    const CRASHED: i16 = -1;

    /// From `LastCheckerStatus`; `None` for a number that means nothing.
    pub fn from_number(number: i16) -> Option<Self> {
        match number {
            Self::NEVER => Some(Self::Never),
            Self::CRASHED => Some(Self::Crashed),
            number => u8::try_from(number).ok().map(Self::Exited),
        }
    }

    /// The number for `LastCheckerStatus`.
    pub fn to_number(self) -> i16 {
        match self {
            Self::Never => Self::NEVER,
            Self::Crashed => Self::CRASHED,
            Self::Exited(status) => status.into(),
        }
    }
}

impl From<LastCheck> for CheckStatus {
    fn from(check: LastCheck) -> Self {
        match check {
            LastCheck::None => Self::Never,
            LastCheck::Exited(status) => Self::Exited(status),
            LastCheck::Signaled(_) => Self::Crashed,
        }
    }
}

/// A text is not a checker.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CheckerError {
    /// A reference to an unknown attribute.
    #[error("%({name})s is nothing a checker can refer to; expected {}", template::expected(.suggestion))]
    Unknown {
        /// The name as written.
        name: String,
        /// The attribute with the most similar name.
        suggestion: Option<&'static str>,
    },
    /// `%` followed by anything but `%` or `(attribute)s`.
    #[error(
        "a % in the checker must be part of %(attribute)s or of %%; in the file, where references are resolved first, that is %%(attribute)s and %%%%"
    )]
    Malformed,
    /// A NUL character, which no command line can hold.
    #[error("expected a command line without NUL characters")]
    Nul,
    /// A name after `builtin:` that does not exist.
    #[error("there is no built-in checker {name:?}; expected {}", expected_builtin(.suggestion))]
    UnknownBuiltin {
        /// The name as written.
        name: String,
        /// The checker with the most similar name.
        suggestion: Option<&'static str>,
    },
    /// `builtin:ssh-hostkey` without a key.
    #[error(
        "builtin:ssh-hostkey needs the machine's SSH host key; set ssh_fingerprint to the line of its /etc/ssh/ssh_host_ed25519_key.pub (ssh-ed25519 AAAA...)"
    )]
    NoHostKey,
    /// `builtin:ping` with anything behind it.
    #[error("builtin:ping takes nothing behind its name; set host to the address to ping")]
    PingArgument,
    /// `builtin:ssh-hostkey` with something else than a key.
    #[error(transparent)]
    HostKey(#[from] HostKeyError),
}

fn expected_builtin(suggestion: &Option<&'static str>) -> String {
    match suggestion {
        Some(name) => format!("{BUILTIN}{name}, perhaps"),
        None => format!("{BUILTIN}{SSH_HOST_KEY} or {BUILTIN}{PING}"),
    }
}

/// The host that `builtin:ping` pings: a name, or an address, of link-local ones with the interface (`fe80::1%eth0`).
pub fn ping_target(host: &str) -> Result<TargetHost, TargetError> {
    match host.parse()? {
        TargetHost::LinkLocal(address, None) => Err(TargetError::NeedsScope(address)),
        target => Ok(target),
    }
}

#[cfg(test)]
mod tests;
