//! The names of Mandos's tools: called by one of them, the program is that tool.

use std::ffi::{OsStr, OsString};
use std::path::Path;

/// The command line after the name of the program was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ProgramArguments {
    /// `mandos-ctl`, with these arguments.
    Ctl(Vec<OsString>),
    /// A verb, or whatever else the command line says.
    Command(Vec<OsString>),
}

impl ProgramArguments {
    /// Reads the name that the program was called by.
    pub(crate) fn by_name(arguments: impl IntoIterator<Item = OsString>) -> Self {
        let mut arguments = arguments.into_iter();
        let name = arguments.next().unwrap_or_default();
        let verb = match Path::new(&name).file_name().and_then(OsStr::to_str) {
            Some("mandos-ctl") => return Self::Ctl(arguments.collect()),
            Some("mandos-keygen") => Some("keygen"),
            Some("mandos-monitor") => Some("monitor"),
            _ => None,
        };
        let words = [name].into_iter().chain(verb.map(OsString::from));
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
                ProgramArguments::by_name(words(line)),
                ProgramArguments::Command(words(meant)),
                "{line}"
            );
        }
        assert_eq!(
            ProgramArguments::by_name(words("/usr/sbin/mandos-ctl --enable ctl")),
            ProgramArguments::Ctl(words("--enable ctl"))
        );
    }
}
