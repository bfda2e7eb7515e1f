//! The names of Mandos's tools: called by one of them, the program is that tool.

use std::ffi::{OsStr, OsString};
use std::path::Path;

/// The command line after the name of the program was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Invocation {
    /// `mandos-ctl`, with these arguments.
    Ctl(Vec<OsString>),
    /// A verb, or whatever else the command line says.
    Command(Vec<OsString>),
}

impl Invocation {
    /// Reads the name that the program was called by.
    pub(crate) fn by(arguments: impl IntoIterator<Item = OsString>) -> Self {
        let mut arguments = arguments.into_iter();
        let called = arguments.next().unwrap_or_default();
        let verb = match Path::new(&called).file_name().and_then(OsStr::to_str) {
            Some("mandos-ctl") => return Self::Ctl(arguments.collect()),
            Some("mandos-keygen") => Some("keygen"),
            Some("mandos-monitor") => Some("monitor"),
            _ => None,
        };
        let words = [called].into_iter().chain(verb.map(OsString::from));
        Self::Command(words.chain(arguments).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_name_says_which_tool_it_is() {
        for (line, meant) in [
            ("/usr/bin/nightlatch list", "/usr/bin/nightlatch list"),
            (
                "/usr/sbin/mandos-keygen --force",
                "/usr/sbin/mandos-keygen keygen --force",
            ),
            ("mandos-monitor", "mandos-monitor monitor"),
            ("not-mandos-keygen list", "not-mandos-keygen list"),
        ] {
            assert_eq!(
                Invocation::by(words(line)),
                Invocation::Command(words(meant)),
                "{line}"
            );
        }
        assert_eq!(
            Invocation::by(words("/usr/sbin/mandos-ctl --enable ctl")),
            Invocation::Ctl(words("--enable ctl"))
        );
    }
}
