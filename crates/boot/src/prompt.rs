//! The question to a person: from the command line, or from the environment that cryptsetup's scripts set (askpass,
//! crypttab(5)).

use std::env;
use std::ffi::OsString;

use crate::cli::{self, CliAction, CliArgument, OptionNames, UsageError};

/// Variables with the name of the device, the newer name first.
const SOURCE: [&str; 2] = ["CRYPTTAB_SOURCE", "cryptsource"];

/// Variables with the name of the opened device.
const TARGET: [&str; 2] = ["CRYPTTAB_NAME", "crypttarget"];

/// The parts of the question that the command line sets.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Wording {
    /// Stands before it, as the name of the host.
    pub(crate) prefix: Option<String>,
    /// Stands in its place.
    pub(crate) prompt: Option<String>,
}

/// The options of an applet that asks a person.
#[derive(Default)]
pub(crate) struct PromptOptions {
    pub(crate) wording: Wording,
    pub(crate) debug: bool,
}

/// Parses the options in `names`, of `prefix`, `prompt` and `debug`.
pub(crate) fn parse(
    names: &'static OptionNames,
    arguments: Vec<OsString>,
) -> Result<CliAction<PromptOptions>, UsageError> {
    let options = PromptOptions::default();
    cli::parse(names, options, arguments, |options, part, arguments| {
        let wording = &mut options.wording;
        match part {
            CliArgument::Option("prefix") => wording.prefix = Some(arguments.text("--prefix")?),
            CliArgument::Option("prompt") => wording.prompt = Some(arguments.text("--prompt")?),
            CliArgument::Option("debug") => options.debug = true,
            part => return Err(part.unexpected()),
        }
        Ok(())
    })
}

/// The question: of this environment, as far as `wording` does not say it.
pub(crate) fn question(wording: &Wording) -> String {
    compose(wording, variable(SOURCE), variable(TARGET))
}

fn variable(names: [&str; 2]) -> Option<String> {
    let values = names.into_iter().filter_map(env::var_os);
    let mut values = values.filter(|value| !value.is_empty());
    values
        .next()
        .map(|value| printable(&value.to_string_lossy()))
}

/// Without what would control a terminal.
fn printable(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).collect()
}

fn compose(wording: &Wording, source: Option<String>, target: Option<String>) -> String {
    let prefix = match &wording.prefix {
        Some(prefix) => format!("{prefix} "),
        None => String::new(),
    };
    let what = match (&wording.prompt, source, target) {
        (Some(prompt), ..) => format!("{prompt}: "),
        (None, Some(source), Some(target)) => {
            format!("Unlocking the disk {source} ({target})\nEnter passphrase: ")
        }
        (None, Some(source), None) => {
            format!("Unlocking the disk {source}\nEnter passphrase: ")
        }
        (None, None, Some(target)) => {
            format!("Unlocking the disk ({target})\nEnter passphrase: ")
        }
        (None, None, None) => "Enter passphrase to unlock the disk: ".to_owned(),
    };
    prefix + &what
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question_for(
        prompt: Option<&str>,
        prefix: Option<&str>,
        variables: [Option<&str>; 2],
    ) -> String {
        let wording = Wording {
            prefix: prefix.map(Into::into),
            prompt: prompt.map(Into::into),
        };
        let [source, target] = variables.map(|value| value.map(Into::into));
        compose(&wording, source, target)
    }

    // password-prompt(8mandos): "will be shown as part of the prompt"; the exact words as observed.
    #[test]
    fn the_question_names_what_is_known() {
        let none = [None, None];
        let both = [Some("/dev/sda2"), Some("root")];
        for (question, expected) in [
            (
                question_for(None, None, none),
                "Enter passphrase to unlock the disk: ",
            ),
            (
                question_for(None, None, both),
                "Unlocking the disk /dev/sda2 (root)\nEnter passphrase: ",
            ),
            (
                question_for(None, None, [Some("/dev/sda2"), None]),
                "Unlocking the disk /dev/sda2\nEnter passphrase: ",
            ),
            (
                question_for(None, None, [None, Some("root")]),
                "Unlocking the disk (root)\nEnter passphrase: ",
            ),
            (
                question_for(None, Some("host:"), none),
                "host: Enter passphrase to unlock the disk: ",
            ),
            (question_for(Some("X"), None, both), "X: "),
            (question_for(Some("X"), Some("host:"), both), "host: X: "),
        ] {
            assert_eq!(question, expected);
        }
    }

    #[test]
    fn nothing_of_the_environment_controls_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb\n"), "a[2Jb");
    }
}
