//! `nightlatch set`: changes settings of machines. Everything is read and checked before anything is sent.

use std::path::Path;

use clap::Args;
use nightlatch_bus::client::ClientView;
use nightlatch_bus::concurrent;
use nightlatch_bus::error::BusError;
use nightlatch_bus::names::ClientPath;
use nightlatch_bus::property::{Property, PropertyValue};
use nightlatch_bus::proxy::MandosProxy;
use nightlatch_console::ask;
use nightlatch_console::failure::{EX_NOINPUT, EX_USAGE, Failure, note, warn};
use nightlatch_core::secret::Secret;
use nightlatch_core::settings::client::{Setting, changeable_keys};
use nightlatch_core::suggest;

use super::outcome;
use super::outcome::ConfirmOptions;
use crate::select::SelectOptions;
use crate::select::Selection;
use crate::{bus, secret_file};

/// The options of `set`.
#[derive(Args, Debug)]
pub struct SetOptions {
    /// Names of clients (or patterns), then settings as KEY=VALUE
    #[arg(required = true, value_name = "NAME… KEY=VALUE")]
    pub(crate) words: Vec<String>,

    /// All clients
    #[arg(short, long)]
    pub(crate) all: bool,

    #[command(flatten)]
    pub(crate) sure: ConfirmOptions,
}

/// The key of the encrypted secret, whose value is always a file.
const SECRET: &str = "secret";

const IN_THE_FILE: &str = "change it in clients.conf, then run: nightlatch reload";

/// Keys of clients.conf that cannot be set at run time, and what to do instead.
const FIXED: [(&str, &str); 9] = [
    (
        "enabled",
        "use: nightlatch enable NAME, or nightlatch disable NAME",
    ),
    (
        "key_id",
        "another key is another machine: remove this client and add it again",
    ),
    (
        "fingerprint",
        "another key is another machine: remove this client and add it again",
    ),
    ("secfile", "give the file as secret=@FILE"),
    ("host_key_id", IN_THE_FILE),
    ("guard", IN_THE_FILE),
    ("unannounced", IN_THE_FILE),
    ("guard_wait", IN_THE_FILE),
    ("reboot_window", IN_THE_FILE),
];

/// The changes to every client.
#[derive(Debug, Default)]
struct SettingChanges {
    values: Vec<(Property, PropertyValue)>,
    secret: Option<Secret>,
}

/// Carries the verb out.
pub(crate) async fn run(options: &SetOptions, server: &MandosProxy) -> Result<u8, Failure> {
    let (names, assignments) = split(&options.words, options.all)?;
    let changes = SettingChanges::read(&assignments)?;
    let clients = server.clients().await.map_err(bus::failure)?;
    let which = SelectOptions {
        names,
        all: options.all,
    };
    let selection = Selection::of(&clients, &which)?;
    // Never with the value of a secret, which stands in a file.
    let what = format!(
        "set {} of {}",
        assignments.join(", "),
        selection.all_names()
    );
    if options.sure.dry_run {
        note(format_args!("dry run: {what}"));
        return Ok(0);
    }
    if !selection.by_name && selection.clients.len() > 1 {
        ask::confirm(&what, options.sure.yes)?;
    }
    selection
        .clients
        .iter()
        .for_each(|client| warn_about(client, &changes));
    let changes = std::sync::Arc::new(changes);
    let call = |client: &&ClientView| {
        let changes = std::sync::Arc::clone(&changes);
        send(server.clone(), client.path.clone(), changes)
    };
    let answers = concurrent::for_each(&selection.clients, call).await;
    outcome::print("changed", &selection.clients, answers, &options.sure)
}

/// Splits the words into names and the settings after them. A word with `=` is a setting, from the second word on or with
/// `--all`.
fn split(words: &[String], all: bool) -> Result<(Vec<String>, Vec<String>), Failure> {
    let first = if all { 0 } else { 1 };
    let settings = words.iter().skip(first).position(|word| word.contains('='));
    let Some(settings) = settings else {
        return Err(Failure::new(EX_USAGE, "expected settings as KEY=VALUE")
            .hint("for example: nightlatch set foo timeout=10m host=foo.example"));
    };
    let (names, assignments) = words.split_at(first + settings);
    if let Some(word) = assignments.iter().find(|word| !word.contains('=')) {
        return Err(
            Failure::new(EX_USAGE, format!("expected KEY=VALUE, found {word:?}"))
                .hint("names of clients come before the settings"),
        );
    }
    if all && !names.is_empty() {
        return Err(Failure::new(
            EX_USAGE,
            format!("--all is all clients, and {:?} is one of them", names[0]),
        ));
    }
    Ok((names.to_vec(), assignments.to_vec()))
}

impl SettingChanges {
    fn read(assignments: &[String]) -> Result<Self, Failure> {
        let mut changes = Self::default();
        for assignment in assignments {
            let (key, text) = assignment.split_once('=').unwrap_or((assignment, ""));
            // As options are written.
            let key = key.trim().to_lowercase().replace('-', "_");
            if key == SECRET {
                changes.secret = Some(secret(text)?);
                continue;
            }
            let setting = Setting::by_key(&key).filter(|it| it.is_changeable());
            let setting = setting.ok_or_else(|| unknown(&key))?;
            let value = setting
                .read(text)
                .map_err(|error| Failure::new(EX_USAGE, format!("{key}={text}")).because(error))?;
            let property = Property::of(setting);
            let change = property.map(|property| (property, value.into()));
            changes.values.extend(change);
        }
        Ok(changes)
    }
}

fn secret(text: &str) -> Result<Secret, Failure> {
    let Some(file) = text.strip_prefix('@').filter(|file| !file.is_empty()) else {
        // Not even with the text that was given.
        return Err(Failure::new(EX_USAGE, "expected a file: secret=@FILE")
            .hint("command lines are seen by everybody on this host; @- is standard input"));
    };
    secret_file::read(Path::new(file))
        .map_err(|error| Failure::new(EX_NOINPUT, format!("cannot read {file}")).because(error))
}

fn unknown(key: &str) -> Failure {
    if let Some((key, hint)) = FIXED.iter().find(|(fixed, _)| *fixed == key) {
        return Failure::new(EX_USAGE, format!("{key} cannot be set")).hint(*hint);
    }
    let failure = Failure::new(EX_USAGE, format!("a client has no setting {key:?}"));
    let known = || changeable_keys().into_iter().chain([SECRET]);
    match suggest::nearest(key, known()) {
        Some(near) => failure.hint(format!("did you mean {near}?")),
        None => failure.hint(format!(
            "expected one of {}",
            known().collect::<Vec<_>>().join(", ")
        )),
    }
}

/// Warns of combinations of settings with a surprising effect.
fn warn_about(client: &ClientView, changes: &SettingChanges) {
    let mut after = client.clone();
    for (property, value) in &changes.values {
        // Values come from typed settings, which every client can have.
        let _ = after.apply(*property, value);
    }
    let name = &client.name;
    if after.timeout <= after.interval && client.timeout > client.interval {
        warn(format_args!(
            "{name}: the timeout is not longer than the interval, so it will be disabled between two checks"
        ));
    }
    let no_delay = |view: &ClientView| !view.approved_by_default && !view.needs_approval();
    if no_delay(&after) && !no_delay(client) {
        warn(format_args!(
            "{name}: approved_by_default=no has no effect without a delay: set approval_delay too"
        ));
    }
}

/// Sends the changes of one client in order, up to the first failure.
async fn send(
    server: MandosProxy,
    client: ClientPath,
    changes: std::sync::Arc<SettingChanges>,
) -> Result<(), BusError> {
    for (property, value) in &changes.values {
        server.set(&client, *property, value).await?;
    }
    match &changes.secret {
        Some(secret) => server.set_secret(&client, secret).await,
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(String::from).collect()
    }

    #[test]
    fn names_come_before_settings() {
        let (names, assignments) = split(&words("a b timeout=1m host=x"), false).unwrap();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(assignments, ["timeout=1m", "host=x"]);
        // The first word is a name, whatever it looks like.
        let (names, _) = split(&words("a=b timeout=1m"), false).unwrap();
        assert_eq!(names, ["a=b"]);
        assert!(split(&words("timeout=1m"), true).is_ok());
        for (line, all) in [
            ("a", false),
            ("timeout=1m", false),
            ("a timeout=1m b", false),
            ("a timeout=1m", true),
        ] {
            assert!(split(&words(line), all).is_err(), "{line}");
        }
    }

    #[test]
    fn settings_are_read_before_anything_is_sent() {
        let read = |line: &str| SettingChanges::read(&words(line));
        let changes = read("timeout=PT10M approved-by-default=no Host=a=b").unwrap();
        assert_eq!(
            changes.values,
            [
                (Property::Timeout, PropertyValue::Milliseconds(600_000)),
                (Property::ApprovedByDefault, PropertyValue::Boolean(false)),
                (Property::Host, PropertyValue::Text("a=b".into())),
            ]
        );
        for (line, error) in [
            ("timout=1m", "a client has no setting \"timout\""),
            ("enabled=yes", "enabled cannot be set"),
            (
                "timeout=10",
                "timeout=10: expected a duration such as PT5M, P1DT12H or \"1d 12h\", found \"10\": 10 needs a unit, as in 10s for seconds or 10m for minutes",
            ),
            ("secret=YWJj", "expected a file: secret=@FILE"),
        ] {
            assert_eq!(read(line).unwrap_err().to_string(), error);
        }
    }
}
