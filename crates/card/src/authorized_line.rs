//! The options before a key in authorized_keys that leave it one use (sshd(8), "AUTHORIZED_KEYS FILE FORMAT"). Pure.
//!
//! sshd takes the value of an option from between double quotes, in which `\"` stands for one, and gives a command to the shell of
//! the user. So a path goes through two readers.

use std::fmt;
use std::net::IpAddr;

use clap::ValueEnum;

/// The program on the host that makes use of the login.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum BackupProgram {
    /// rsync that pulls: it reads the folder, and writes nothing
    Rsync,
    /// rsnapshot, which pulls by rsync
    Rsnapshot,
    /// borg that pushes into repositories below the folder, and removes nothing from them
    Borg,
}

/// The absolute folder that the command is confined to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ConfinedPath(String);

/// One pattern of `from=`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct FromPattern(String);

impl ConfinedPath {
    /// Takes an absolute path that reads the same in every shell between single quotes.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') {
            return Err(format!(
                "expected an absolute path such as /srv; found {text:?}"
            ));
        }
        // csh and fish read backslashes between single quotes otherwise than sh does; control characters end a line, or hide one.
        let is_refused = |letter: &char| "'\"\\".contains(*letter) || letter.is_control();
        if let Some(letter) = text.chars().find(is_refused) {
            return Err(format!(
                "a path in authorized_keys goes through sshd and the shell of the user: expected one without quotes, backslashes and \
                 control characters; found {letter:?} in {text:?}. Make a link to the folder, and name that"
            ));
        }
        if text.split('/').any(|part| part == "..") {
            return Err(format!("expected a path without ..; found {text:?}"));
        }
        Ok(Self(text.to_owned()))
    }

    /// One word for the shell.
    fn quoted(&self) -> String {
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-".contains(letter);
        match self.0.chars().all(is_plain) {
            true => self.0.clone(),
            false => format!("'{}'", self.0),
        }
    }
}

impl FromPattern {
    /// Takes a name, an address, a network, each with wildcards, and `!` before it (ssh_config(5), "PATTERNS"). A network that is wrong
    /// would let sshd refuse the key.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let is_fitting =
            |letter: char| letter.is_ascii_alphanumeric() || ".:*?/_-".contains(letter);
        let pattern = text.strip_prefix('!').unwrap_or(text);
        if pattern.is_empty() || !pattern.chars().all(is_fitting) {
            return Err(format!(
                "expected one name, address or network, such as backup.example.org, 192.0.2.7 or 2001:db8::/32; found {text:?}"
            ));
        }
        if let Some((address, length)) = pattern.split_once('/') {
            network(address, length).map_err(|why| format!("{why}; found {text:?}"))?;
        }
        Ok(Self(text.to_owned()))
    }

    fn is_negated(&self) -> bool {
        self.0.starts_with('!')
    }
}

fn network(address: &str, length: &str) -> Result<(), String> {
    let expected = || "expected a network such as 192.0.2.0/24".to_owned();
    let address: IpAddr = address.parse().map_err(|_| expected())?;
    let length: u32 = nightlatch_core::digits::decimal(length).ok_or_else(expected)?;
    let (bits, all) = match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    if length > all {
        return Err(format!("expected at most {all} bits of a network"));
    }
    let host = (1u128 << (all - length).min(127)) - 1;
    let host = if all - length == 128 { u128::MAX } else { host };
    match bits & host {
        0 => Ok(()),
        _ => Err("expected the first address of the network before the slash".to_owned()),
    }
}

/// Says whether anybody could log in: sshd admits nobody by negated patterns alone.
pub(crate) fn check_patterns(from: &[FromPattern]) -> Result<(), String> {
    match !from.is_empty() && from.iter().all(FromPattern::is_negated) {
        true => Err(
            "patterns with ! before them admit nobody: expected --from with one that does"
                .to_owned(),
        ),
        false => Ok(()),
    }
}

/// The options of a line, which stand before its key.
pub(crate) struct LineOptions<'o> {
    pub(crate) program: BackupProgram,
    pub(crate) path: &'o ConfinedPath,
    pub(crate) from: &'o [FromPattern],
}

impl LineOptions<'_> {
    fn command(&self) -> String {
        let path = self.path.quoted();
        match self.program {
            // The place in Debian 12 and later.
            BackupProgram::Rsync | BackupProgram::Rsnapshot => {
                format!("/usr/bin/rrsync -ro {path}")
            }
            BackupProgram::Borg => format!("borg serve --append-only --restrict-to-path {path}"),
        }
    }
}

impl fmt::Display for LineOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("restrict")?;
        if !self.from.is_empty() {
            let patterns: Vec<&str> = self.from.iter().map(|it| it.0.as_str()).collect();
            write!(f, ",from=\"{}\"", patterns.join(","))?;
        }
        // Neither the command nor a pattern has a double quote or a backslash.
        write!(f, ",command=\"{}\"", self.command())
    }
}

#[cfg(test)]
mod tests;
