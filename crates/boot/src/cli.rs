//! The command line as argp of the C library reads it, which Mandos's programs use: long names cut
//! short, options and words mixed, and `--help`, `--usage` and `--version` in every program.
//!
//! Pure: reads no file and prints nothing.

use std::error::Error;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use nightlatch_core::connect::RefusedServer;

/// The result of reading a command line.
#[derive(Debug)]
pub enum CliAction<T> {
    /// Run the applet with these options.
    Run(T),
    /// Print the text of `--help`.
    Help,
    /// Print its first paragraph.
    Usage,
    /// Print the version.
    Version,
}

impl<T> CliAction<T> {
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> CliAction<U> {
        match self {
            Self::Run(options) => CliAction::Run(change(options)),
            Self::Help => CliAction::Help,
            Self::Usage => CliAction::Usage,
            Self::Version => CliAction::Version,
        }
    }
}

/// The names of an applet's options, except `help`, `usage` and `version`.
#[derive(Debug)]
pub struct OptionNames {
    /// Long names that Mandos's program has. A beginning that fits one of them stands for it, as it
    /// did before ours existed.
    pub mandos: &'static [&'static str],
    /// Long names that Mandos's program does not have.
    pub ours: &'static [&'static str],
    /// Letters, and the long names they stand for.
    pub short: &'static [(char, &'static str)],
}

const COMMON: [&str; 3] = ["help", "usage", "version"];

/// An error on a command line or in a file of options.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// An option that does not exist, lacks its value or has one too many.
    #[error(transparent)]
    Syntax(#[from] lexopt::Error),
    /// No option begins like this.
    #[error("unknown option --{0}")]
    Unknown(String),
    /// Several options begin like this.
    #[error("--{0} could be any of --{first}", first = .1.join(", --"))]
    Ambiguous(String, Vec<&'static str>),
    /// The option's value is not UTF-8.
    #[error("{0} expects text in UTF-8")]
    NotText(&'static str),
    /// A word that belongs to no option, where the applet takes none.
    #[error("expected options only, found {0:?}")]
    Word(OsString),
    /// A value of the wrong form: the option, the expected form, and the value.
    #[error("{0} expects {1}, found {2:?}")]
    Value(&'static str, &'static str, OsString),
    /// A value that another module refuses.
    #[error("bad {0}")]
    Refused(&'static str, #[source] Box<dyn Error + Send + Sync>),
    /// The number means "unchanged" in setresuid(2), which would leave root.
    #[error("{0} expects the number of a user or a group")]
    NotAnId(&'static str),
    /// The value of `--interface` is no name of an interface.
    #[error("expected the name of a network interface after --interface, found {0:?}")]
    Interface(String),
    /// A file of options must not ask for help or the version.
    #[error("--{0} has no place in a configuration file")]
    NotInFile(&'static str),
}

impl From<RefusedServer> for UsageError {
    fn from(error: RefusedServer) -> Self {
        Self::Refused("--connect", error.into())
    }
}

/// Reads the arguments that follow an applet's name into `options`: `set` takes each part but `--help`, `--usage` and
/// `--version`, which end the reading.
pub fn parse<T>(
    names: &'static OptionNames,
    mut options: T,
    arguments: impl IntoIterator<Item = OsString>,
    mut set: impl FnMut(&mut T, CliArgument, &mut ArgumentReader) -> Result<(), UsageError>,
) -> Result<CliAction<T>, UsageError> {
    let mut arguments = ArgumentReader::new(names, arguments);
    while let Some(part) = arguments.next_argument()? {
        match part {
            CliArgument::Option("help") => return Ok(CliAction::Help),
            CliArgument::Option("usage") => return Ok(CliAction::Usage),
            CliArgument::Option("version") => return Ok(CliAction::Version),
            part => set(&mut options, part, &mut arguments)?,
        }
    }
    Ok(CliAction::Run(options))
}

/// Reads the arguments of an applet that has no option but `--debug`.
pub fn parse_debug(arguments: Vec<OsString>) -> Result<CliAction<bool>, UsageError> {
    const NAMES: OptionNames = OptionNames {
        mandos: &[],
        ours: &["debug"],
        short: &[],
    };
    parse(&NAMES, false, arguments, |debug, part, _| match part {
        CliArgument::Option("debug") => {
            *debug = true;
            Ok(())
        }
        part => Err(part.unexpected()),
    })
}

/// A part of a command line.
#[derive(Debug)]
pub enum CliArgument {
    /// An option, by its long name.
    Option(&'static str),
    /// A word that is no option.
    Word(OsString),
}

impl CliArgument {
    /// The error of an applet that does not know this part.
    pub fn unexpected(self) -> UsageError {
        match self {
            Self::Option(name) => UsageError::Unknown(name.to_owned()),
            Self::Word(word) => UsageError::Word(word),
        }
    }
}

/// The arguments that are not read yet.
#[derive(Debug)]
pub struct ArgumentReader {
    parser: lexopt::Parser,
    names: &'static OptionNames,
}

impl ArgumentReader {
    fn new(names: &'static OptionNames, arguments: impl IntoIterator<Item = OsString>) -> Self {
        let arguments: Vec<OsString> = arguments.into_iter().collect();
        let mut parser = lexopt::Parser::from_args(arguments);
        parser.set_short_equals(false);
        Self { parser, names }
    }

    fn next_argument(&mut self) -> Result<Option<CliArgument>, UsageError> {
        let name = match self.parser.next()? {
            None => return Ok(None),
            Some(lexopt::Arg::Value(word)) => return Ok(Some(CliArgument::Word(word))),
            Some(lexopt::Arg::Long(name)) => complete(self.names, name)?,
            Some(argument @ lexopt::Arg::Short(letter)) => match of_letter(self.names, letter) {
                Some(name) => name,
                None => return Err(argument.unexpected().into()),
            },
        };
        Ok(Some(CliArgument::Option(name)))
    }

    /// The value of the option that came last.
    pub fn value(&mut self) -> Result<OsString, UsageError> {
        Ok(self.parser.value()?)
    }

    /// As [`value`](Self::value), for a value in UTF-8. `option` is for the error.
    pub fn text(&mut self, option: &'static str) -> Result<String, UsageError> {
        let value = self.value()?;
        value.into_string().map_err(|_| UsageError::NotText(option))
    }

    /// All that follows, unread.
    pub fn rest(&mut self) -> Result<Vec<OsString>, UsageError> {
        Ok(self.parser.raw_args()?.collect())
    }
}

fn complete(names: &'static OptionNames, name: &str) -> Result<&'static str, UsageError> {
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
            _ => return Err(UsageError::Ambiguous(name.to_owned(), fitting)),
        }
    }
    Err(UsageError::Unknown(name.to_owned()))
}

fn of_letter(names: &OptionNames, letter: char) -> Option<&'static str> {
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
pub fn split_words(config: &[u8]) -> Vec<OsString> {
    let lines = config.split(|byte| *byte == b'\n');
    let lines = lines.filter_map(|line| line.split(|byte| *byte == b'#').next());
    let words = lines.flat_map(|line| line.split(u8::is_ascii_whitespace));
    let words = words.filter(|word| !word.is_empty());
    words
        .map(|word| OsString::from_vec(word.to_vec()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: OptionNames = OptionNames {
        mandos: &["prefix", "prompt"],
        ours: &["prolong", "own"],
        short: &[('p', "prefix")],
    };

    fn first(argument: &str) -> Result<Option<CliArgument>, UsageError> {
        ArgumentReader::new(&NAMES, [argument.into()]).next_argument()
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
                matches!(part, Some(CliArgument::Option(name)) if name == meant),
                "{given}"
            );
        }
        assert!(matches!(first("--pr"), Err(UsageError::Ambiguous(..))));
        assert!(matches!(first("--x"), Err(UsageError::Unknown(_))));
        assert!(first("-x").is_err());
        assert!(matches!(first("word"), Ok(Some(CliArgument::Word(_)))));
    }
}
