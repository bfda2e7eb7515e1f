//! The command line as argp of the C library reads it, which Mandos's programs use: long names cut
//! short, options and words mixed, and `--help`, `--usage` and `--version` for everyone.
//!
//! Pure: nothing is read and nothing is printed before [`run`].

use std::error::Error;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

use crate::exit::Exit;
use crate::log::{self, Log, chain};

/// What an applet tells of itself.
#[derive(Debug)]
pub struct About {
    /// Its name.
    pub name: &'static str,
    /// The text of `--help`. Its first paragraph is the text of `--usage`.
    pub help: &'static str,
}

/// What a command line asks for.
#[derive(Debug)]
pub enum Action<T> {
    /// To do what the applet is for, with these options.
    Run(T),
    /// To explain the options.
    Help,
    /// To explain them shortly.
    Usage,
    /// To say which version this is.
    Version,
}

/// The options of an applet, `help`, `usage` and `version` apart.
#[derive(Debug)]
pub struct Names {
    /// Long names that Mandos's program has: a beginning that fits one of them means that one, as it
    /// did before ours existed.
    pub mandos: &'static [&'static str],
    /// Long names that are ours.
    pub ours: &'static [&'static str],
    /// Letters, and the long names they stand for.
    pub short: &'static [(char, &'static str)],
}

const COMMON: [&str; 3] = ["help", "usage", "version"];

/// What makes no sense on any command line.
#[derive(Debug, thiserror::Error)]
pub enum SyntaxError {
    /// An option that does not exist, lacks its value or has one too many.
    #[error(transparent)]
    Syntax(#[from] lexopt::Error),
    /// The beginning of no option.
    #[error("unknown option --{0}")]
    Unknown(String),
    /// The beginning of several options.
    #[error("--{0} could be any of --{first}", first = .1.join(", --"))]
    Ambiguous(String, Vec<&'static str>),
    /// A value that is not text.
    #[error("{0} expects text in UTF-8")]
    NotText(&'static str),
    /// A word that belongs to no option.
    #[error("expected options only, found {0:?}")]
    Word(OsString),
}

/// A part of a command line.
#[derive(Debug)]
pub enum Part {
    /// An option, by its long name.
    Option(&'static str),
    /// A word that is none.
    Word(OsString),
}

/// A command line that is being read.
#[derive(Debug)]
pub struct Arguments {
    parser: lexopt::Parser,
    names: &'static Names,
}

impl Arguments {
    /// The arguments that follow an applet's name.
    pub fn new(
        names: &'static Names,
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Self {
        let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
        let mut parser = lexopt::Parser::from_args(arguments);
        parser.set_short_equals(false);
        Self { parser, names }
    }

    /// The next part, if there is one.
    pub fn next_part(&mut self) -> Result<Option<Part>, SyntaxError> {
        let name = match self.parser.next()? {
            None => return Ok(None),
            Some(lexopt::Arg::Value(word)) => return Ok(Some(Part::Word(word))),
            Some(lexopt::Arg::Long(name)) => complete(self.names, name)?,
            Some(argument @ lexopt::Arg::Short(letter)) => match of_letter(self.names, letter) {
                Some(name) => name,
                None => return Err(argument.unexpected().into()),
            },
        };
        Ok(Some(Part::Option(name)))
    }

    /// The value of the option that came last.
    pub fn value(&mut self) -> Result<OsString, SyntaxError> {
        Ok(self.parser.value()?)
    }

    /// The same, as text; `option` is named when it is none.
    pub fn text(&mut self, option: &'static str) -> Result<String, SyntaxError> {
        let value = self.value()?;
        value
            .into_string()
            .map_err(|_| SyntaxError::NotText(option))
    }

    /// All that follows, unread.
    pub fn rest(&mut self) -> Result<Vec<OsString>, SyntaxError> {
        Ok(self.parser.raw_args()?.collect())
    }
}

fn complete(names: &'static Names, name: &str) -> Result<&'static str, SyntaxError> {
    let mandos = names.mandos.iter().chain(&COMMON).copied();
    let ours = names.ours.iter().copied();
    if let Some(exact) = mandos
        .clone()
        .chain(ours.clone())
        .find(|full| *full == name)
    {
        return Ok(exact);
    }
    let fits = |full: &&'static str| full.starts_with(name);
    for fitting in [mandos.filter(fits).collect(), ours.filter(fits).collect()] {
        let fitting: Vec<&'static str> = fitting;
        match fitting[..] {
            [] => {}
            [only] => return Ok(only),
            _ => return Err(SyntaxError::Ambiguous(name.to_owned(), fitting)),
        }
    }
    Err(SyntaxError::Unknown(name.to_owned()))
}

fn of_letter(names: &Names, letter: char) -> Option<&'static str> {
    match letter {
        '?' => Some("help"),
        'V' => Some("version"),
        _ => names
            .short
            .iter()
            .find_map(|(short, long)| (*short == letter).then_some(*long)),
    }
}

/// The options in a file: words with white space between them; from `#` on a line is a comment. Nothing is quoted.
pub fn words(config: &[u8]) -> Vec<OsString> {
    let lines = config.split(|byte| *byte == b'\n');
    let lines = lines.filter_map(|line| line.split(|byte| *byte == b'#').next());
    let words = lines.flat_map(|line| line.split(u8::is_ascii_whitespace));
    let words = words.filter(|word| !word.is_empty());
    words
        .map(|word| OsString::from_vec(word.to_vec()))
        .collect()
}

/// Reads the command line of an applet that has no options but `--debug`.
pub fn only_debug(arguments: Vec<OsString>) -> Result<Action<bool>, SyntaxError> {
    const NAMES: Names = Names {
        mandos: &[],
        ours: &["debug"],
        short: &[],
    };
    let mut arguments = Arguments::new(&NAMES, arguments);
    let mut debug = false;
    while let Some(part) = arguments.next_part()? {
        match part {
            Part::Option("debug") => debug = true,
            Part::Option("help") => return Ok(Action::Help),
            Part::Option("usage") => return Ok(Action::Usage),
            Part::Option(_) => return Ok(Action::Version),
            Part::Word(word) => return Err(SyntaxError::Word(word)),
        }
    }
    Ok(Action::Run(debug))
}

/// Does what the command line asks for: tells, refuses, or runs the applet.
pub fn run<T>(
    about: &About,
    action: Result<Action<T>, impl Error + 'static>,
    applet: impl FnOnce(T) -> ExitCode,
) -> ExitCode {
    match action {
        Ok(Action::Run(options)) => applet(options),
        Ok(Action::Help) => log::print(about.help),
        Ok(Action::Usage) => {
            let usage = about.help.split("\n\n").next().unwrap_or_default();
            log::print(&format!("{usage}\n"))
        }
        Ok(Action::Version) => log::print(&format!(
            "nightlatch-boot {} {}\n",
            about.name,
            env!("CARGO_PKG_VERSION")
        )),
        Err(error) => {
            refuse(about.name, &error);
            Exit::Usage.into()
        }
    }
}

/// Says what makes no sense, and where the options are explained.
pub fn refuse(applet: &'static str, error: &(dyn Error + 'static)) {
    let log = Log::new(applet, false);
    log.say(&chain(error));
    log.hint(&format!(
        "`nightlatch-boot {applet} --help` explains the options"
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: Names = Names {
        mandos: &["prefix", "prompt"],
        ours: &["prolong", "own"],
        short: &[('p', "prefix")],
    };

    fn first(argument: &str) -> Result<Option<Part>, SyntaxError> {
        Arguments::new(&NAMES, [argument]).next_part()
    }

    #[test]
    fn beginnings_mean_the_older_option() {
        for (given, meant) in [
            ("--pref", "prefix"),
            ("-p", "prefix"),
            ("--o", "own"),
            ("--prol", "prolong"),
            ("--he", "help"),
            ("-?", "help"),
            ("-V", "version"),
        ] {
            let part = first(given).unwrap();
            assert!(
                matches!(part, Some(Part::Option(name)) if name == meant),
                "{given}"
            );
        }
        assert!(matches!(first("--pr"), Err(SyntaxError::Ambiguous(..))));
        assert!(matches!(first("--x"), Err(SyntaxError::Unknown(_))));
        assert!(first("-x").is_err());
        assert!(matches!(first("word"), Ok(Some(Part::Word(_)))));
    }
}
