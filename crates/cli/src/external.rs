//! Subjects that are programs of their own: `nightlatch card ...` runs `nightlatch-card`, which stands beside this program.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process;

use clap::Command;
use nightlatch_console::failure::{EX_OSERR, EX_UNAVAILABLE, Failure};

/// A verb that another program carries out.
struct ExternalVerb {
    name: &'static str,
    about: &'static str,
    /// What installs it.
    package: &'static str,
}

const VERBS: [ExternalVerb; 1] = [ExternalVerb {
    name: "card",
    about: "Use the SSH key on an OpenPGP card, on a machine without people",
    package: "nightlatch-card",
}];

/// Runs the program of the first word of `arguments`, the name of this program first. `None` when that word is no such verb.
pub(crate) fn run(arguments: &[OsString]) -> Option<Failure> {
    let help = [OsString::from("--help")];
    let (word, rest) = match arguments.get(1)? {
        word if word == "help" => (arguments.get(2)?, &help[..]),
        word => (word, arguments.get(2..).unwrap_or_default()),
    };
    let verb = VERBS.iter().find(|verb| word == verb.name)?;
    let program = match program(verb) {
        Some(program) if program.is_file() => program,
        _ => {
            let what = format!("nightlatch-{} is not installed", verb.name);
            let hint = format!("install the package {}", verb.package);
            return Some(Failure::new(EX_UNAVAILABLE, what).hint(hint));
        }
    };
    let error = process::Command::new(&program).args(rest).exec();
    let what = format!("cannot run {}", program.display());
    Some(Failure::new(EX_OSERR, what).because(error))
}

/// The definition with the installed ones among the verbs, for help.
pub(crate) fn add_installed(command: Command) -> Command {
    let installed = VERBS
        .iter()
        .filter(|verb| program(verb).is_some_and(|path| path.is_file()));
    installed.fold(command, |command, verb| {
        command.subcommand(Command::new(verb.name).about(verb.about))
    })
}

/// In the folder of this program: the search path of the caller decides nothing.
fn program(verb: &ExternalVerb) -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    Some(beside(&own, verb))
}

fn beside(own: &Path, verb: &ExternalVerb) -> PathBuf {
    let mut name = OsString::from("nightlatch-");
    name.push(OsStr::new(verb.name));
    own.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_stands_beside_this_one() {
        let path = beside(Path::new("/usr/bin/nightlatch"), &VERBS[0]);
        assert_eq!(path, Path::new("/usr/bin/nightlatch-card"));
    }

    #[test]
    fn only_the_first_word_names_one_and_a_missing_one_names_its_package() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert!(run(&words("nightlatch list card")).is_none());
        assert!(run(&words("nightlatch")).is_none());
        assert!(run(&words("nightlatch help list")).is_none());
        // Tests stand in a folder without it.
        assert!(run(&words("nightlatch help card")).is_some());
        let failure = run(&words("nightlatch card status")).unwrap();
        assert_eq!(failure.exit(), EX_UNAVAILABLE);
        assert_eq!(
            failure.hint_text().unwrap(),
            "install the package nightlatch-card"
        );
        let help = add_installed(Command::new("nightlatch"));
        assert!(help.find_subcommand("card").is_none());
    }
}
