//! The options of libtest that the runner obeys.

use std::ffi::OsString;

/// The parsed command line.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct RunnerOptions {
    /// Passed on when tests are listed: filters, `--exact`, `--skip`.
    pub(crate) selection: Vec<String>,
    pub(crate) ignored: IgnoredTests,
    /// Show the output of tests that passed.
    pub(crate) show_output: bool,
    /// Tests at a time.
    pub(crate) threads: Option<usize>,
}

/// The treatment of ignored tests.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum IgnoredTests {
    #[default]
    None,
    Also,
    Only,
}

impl RunnerOptions {
    /// `None` when there is an option that only libtest knows.
    pub(crate) fn read(arguments: &[OsString]) -> Option<Self> {
        let mut options = Self::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let argument = argument.to_str()?;
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
                _ => (argument, None),
            };
            let mut value = || {
                value
                    .clone()
                    .or_else(|| rest.next()?.to_str().map(str::to_owned))
            };
            match name {
                "--exact" => options.selection.push(name.to_owned()),
                "--skip" => options.selection.extend([name.to_owned(), value()?]),
                "--include-ignored" => options.ignored = IgnoredTests::Also,
                "--ignored" => options.ignored = IgnoredTests::Only,
                "--nocapture" | "--no-capture" | "--show-output" => options.show_output = true,
                "--test-threads" => options.threads = Some(value()?.parse().ok()?),
                "--color" => drop(value()?),
                "-q" | "--quiet" => {}
                filter if !filter.starts_with('-') => options.selection.push(argument.to_owned()),
                _ => return None,
            }
        }
        Some(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Option<RunnerOptions> {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        RunnerOptions::read(&arguments)
    }

    #[test]
    fn what_selects_tests_is_passed_on() {
        let options = read(&[
            "a::b",
            "--exact",
            "--skip",
            "c",
            "--skip=d",
            "--test-threads",
            "3",
        ])
        .unwrap();
        assert_eq!(
            options.selection,
            ["a::b", "--exact", "--skip", "c", "--skip", "d"]
        );
        assert_eq!(options.threads, Some(3));
        assert_eq!(
            read(&["--include-ignored"]).unwrap().ignored,
            IgnoredTests::Also
        );
    }

    #[test]
    fn what_only_libtest_knows_is_left_to_it() {
        assert_eq!(read(&["--list"]), None);
        assert_eq!(read(&["--format", "json"]), None);
    }
}
