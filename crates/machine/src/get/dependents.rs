//! The units that need a named secret. systemd fails them when the secret's unit fails at their start, and does not start
//! them again when it succeeds later: that is done here.
//!
//! Only a unit that waited for the secret when it failed is started later, and only if nothing has happened to it since: what an
//! administrator has stopped stays so.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::timed_command::output_within;

/// Time for one run of systemctl: the secret waits for it, and must not do so for ever.
const ANSWER: Duration = Duration::from_secs(60);

/// Tries to start the units that waited, where systemctl takes too long: nothing else starts them.
const STARTS: usize = 3;

/// The greatest number of units that are looked at.
const MAX_UNITS: usize = 1000;

/// Properties with the names of units that fail when a unit fails (systemd.unit(5), org.freedesktop.systemd1(5)).
const NEEDED_BY: [&str; 2] = ["RequiredBy", "BoundBy"];

/// Added to the pause between two runs of the unit: a note that is older is of a series of failures that somebody has
/// ended.
const SLACK: Duration = Duration::from_secs(60);

/// The content of the file with the units that waited for the secret when it failed.
#[derive(Default, Debug)]
struct Notes {
    /// `CLOCK_MONOTONIC` of the last note, in seconds.
    at: u64,
    units: BTreeMap<String, Waiting>,
}

/// The state of a unit when it waited for the secret.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Waiting {
    /// The time at which its state had last changed, as systemd gives it.
    changed: String,
    /// The state of its file: `enabled`, `disabled`, `masked`, ...
    file: String,
}

/// The states of a unit file that an administrator chooses to keep the unit down.
const KEPT_DOWN: [&str; 3] = ["disabled", "masked", "masked-runtime"];

/// Runs systemctl(1). Run by root, it speaks to systemd itself and needs no bus.
pub(super) trait Systemctl {
    /// The standard output of a run with these arguments.
    fn run(&self, arguments: &[&str]) -> io::Result<String>;
}

/// The program `systemctl` in `PATH`, with [`ANSWER`] as the limit of each run.
#[derive(Debug)]
pub(super) struct RealSystemctl;

impl Systemctl for RealSystemctl {
    fn run(&self, arguments: &[&str]) -> io::Result<String> {
        let mut command = Command::new("systemctl");
        command
            .args(arguments)
            .env("LC_ALL", "C")
            .env("SYSTEMD_COLORS", "0");
        let output = output_within(&mut command, ANSWER)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.lines().next().unwrap_or("nothing").to_owned();
            return Err(io::Error::other(format!(
                "systemctl failed and says: {said}"
            )));
        }
        String::from_utf8(output.stdout)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

/// Adds the units that wait for `unit` now to the notes.
pub(super) fn note(
    systemctl: &impl Systemctl,
    unit: &str,
    notes: &Path,
    now: Duration,
) -> io::Result<()> {
    let mut waiting = read(notes)?;
    waiting.at = now.as_secs();
    let known = dependents(systemctl, unit)?;
    for job in waiting_jobs(&systemctl.run(&["list-jobs", "--no-legend", "--plain", "--full"])?) {
        if let Some(properties) = known.get(job) {
            waiting.units.insert(job.to_owned(), state(properties));
        }
    }
    match waiting.units.is_empty() {
        true => Ok(()),
        false => fs::write(notes, to_text(&waiting)),
    }
}

/// Drops notes of an earlier series of failures, which somebody has ended by stopping the unit.
pub(super) fn drop_old_notes(
    systemctl: &impl Systemctl,
    unit: &str,
    notes: &Path,
    now: Duration,
) -> io::Result<()> {
    if !notes.try_exists()? {
        return Ok(());
    }
    let age = now.saturating_sub(Duration::from_secs(read(notes)?.at));
    let shown = show(systemctl, &["NRestarts", "RestartUSec"], &[unit])?;
    let first = shown.first();
    let value = |key: &str| first.and_then(|it| it.get(key)).map(String::as_str);
    let pause = value("RestartUSec").and_then(span).unwrap_or_default();
    let goes_on = value("NRestarts").is_some_and(|count| count != "0");
    if goes_on && age <= pause + SLACK {
        return Ok(());
    }
    fs::remove_file(notes)
}

/// Starts the noted units to which nothing has happened since. Returns their names.
pub(super) fn start(systemctl: &impl Systemctl, notes: &Path) -> io::Result<Vec<String>> {
    let waiting = read(notes)?.units;
    if waiting.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<&str> = waiting.keys().map(String::as_str).collect();
    let shown = show(
        systemctl,
        &[
            "Id",
            "ActiveState",
            "StateChangeTimestampMonotonic",
            "UnitFileState",
        ],
        &names,
    )?;
    let is_same = |properties: &&Properties| {
        let active = properties.get("ActiveState").map(String::as_str);
        let id = properties.get("Id");
        let now = state(properties);
        matches!(active, Some("inactive" | "failed"))
            && id
                .and_then(|id| waiting.get(id))
                .is_some_and(|noted| noted.changed == now.changed && !was_put_down(noted, &now))
    };
    let same = shown.iter().filter(is_same);
    let start: Vec<String> = same.filter_map(|it| it.get("Id").cloned()).collect();
    if !start.is_empty() {
        let mut arguments = vec!["start", "--no-block", "--"];
        arguments.extend(start.iter().map(String::as_str));
        run_again(systemctl, &arguments)?;
    }
    fs::remove_file(notes)?;
    Ok(start)
}

/// Runs systemctl until it has ended in time, [`STARTS`] times at most. To start a unit twice does nothing more.
fn run_again(systemctl: &impl Systemctl, arguments: &[&str]) -> io::Result<String> {
    let mut left = STARTS;
    loop {
        left -= 1;
        match systemctl.run(arguments) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut && left > 0 => {}
            ended => return ended,
        }
    }
}

type Properties = BTreeMap<String, String>;

/// The units that need `unit`, directly or through others, with their properties.
fn dependents(systemctl: &impl Systemctl, unit: &str) -> io::Result<BTreeMap<String, Properties>> {
    let mut known: BTreeMap<String, Properties> = BTreeMap::new();
    let mut seen = BTreeSet::from([unit.to_owned()]);
    let mut next = vec![unit.to_owned()];
    while !next.is_empty() && seen.len() < MAX_UNITS {
        let names: Vec<&str> = next.iter().map(String::as_str).collect();
        let keys = [
            "Id",
            "StateChangeTimestampMonotonic",
            "UnitFileState",
            NEEDED_BY[0],
            NEEDED_BY[1],
        ];
        let shown = show(systemctl, &keys, &names)?;
        next = Vec::new();
        for properties in shown {
            for name in NEEDED_BY.iter().filter_map(|key| properties.get(*key)) {
                for name in name.split_whitespace() {
                    if seen.insert(name.to_owned()) {
                        next.push(name.to_owned());
                    }
                }
            }
            if let Some(id) = properties.get("Id").filter(|id| *id != unit) {
                known.insert(id.clone(), properties.clone());
            }
        }
    }
    Ok(known)
}

/// The properties of each unit, as `systemctl show` prints them: blocks with an empty line between.
fn show(systemctl: &impl Systemctl, keys: &[&str], units: &[&str]) -> io::Result<Vec<Properties>> {
    let keys = format!("--property={}", keys.join(","));
    let mut arguments = vec!["show", &keys, "--"];
    arguments.extend(units);
    let text = systemctl.run(&arguments)?;
    let blocks = text.split("\n\n").map(|block| {
        let lines = block.lines().filter_map(|line| line.split_once('='));
        lines
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect::<Properties>()
    });
    Ok(blocks.filter(|block| !block.is_empty()).collect())
}

fn state(properties: &Properties) -> Waiting {
    let value = |key: &str| properties.get(key).cloned().unwrap_or_default();
    Waiting {
        changed: value("StateChangeTimestampMonotonic"),
        file: value("UnitFileState"),
    }
}

/// True when an administrator has disabled or masked the unit since it was noted.
fn was_put_down(noted: &Waiting, now: &Waiting) -> bool {
    KEPT_DOWN.contains(&now.file.as_str()) && now.file != noted.file
}

/// True when an administrator has stopped the secret's unit, by what systemd tells `ExecStopPost=` (systemd.exec(5)):
/// `SERVICE_RESULT`, `EXIT_CODE`, `EXIT_STATUS`. Without them somebody runs the command by hand. systemd ends a start that
/// takes too long by SIGTERM too, with the result `timeout`, and restarts the unit.
pub(super) fn is_stopped_by_hand(end: [&str; 3]) -> bool {
    matches!(end, ["" | "success", ..] | ["signal", "killed", "TERM"])
}

/// The units with a job that starts them and waits, in the list of systemctl(1): number, unit, type, state.
fn waiting_jobs(list: &str) -> impl Iterator<Item = &str> {
    list.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (_, unit, job, state) = (words.next()?, words.next()?, words.next()?, words.next()?);
        (job == "start" && state == "waiting").then_some(unit)
    })
}

/// A length of time as systemd prints it: `1min 30s`, `500ms`. `infinity` has none.
fn span(text: &str) -> Option<Duration> {
    let word = |word: &str| {
        let end = word.find(|letter: char| !letter.is_ascii_digit())?;
        let count: u64 = word[..end].parse().ok()?;
        let micros = match &word[end..] {
            "us" => 1,
            "ms" => 1000,
            "s" => 1_000_000,
            "min" => 60_000_000,
            "h" => 3_600_000_000,
            "d" => 86_400_000_000,
            _ => return None,
        };
        count.checked_mul(micros).map(Duration::from_micros)
    };
    text.split_whitespace()
        .map(word)
        .try_fold(Duration::ZERO, |sum, part| sum.checked_add(part?))
}

/// A line with the time, then one for each unit. What has another form is left out.
fn read(notes: &Path) -> io::Result<Notes> {
    let text = match fs::read_to_string(notes) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Notes::default()),
        Err(error) => return Err(error),
    };
    let mut lines = text.lines();
    let at = lines.next().and_then(|line| line.parse().ok());
    let units = lines.filter_map(|line| {
        let mut words = line.split(' ').map(str::to_owned);
        let (unit, changed, file) = (words.next()?, words.next()?, words.next()?);
        Some((unit, Waiting { changed, file }))
    });
    Ok(Notes {
        at: at.unwrap_or_default(),
        units: units.collect(),
    })
}

fn to_text(notes: &Notes) -> String {
    let units = notes.units.iter();
    let lines = units.map(|(unit, Waiting { changed, file })| format!("{unit} {changed} {file}\n"));
    format!("{}\n{}", notes.at, lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    const NOW: Duration = Duration::from_secs(5000);

    const SECRET: &str = "nightlatch-secret@db.service";

    /// A systemd with three units that need the secret: `app` directly, `front` through it, `other` beside it.
    struct Made {
        /// What list-jobs shows.
        jobs: &'static str,
        /// The state of `app`, and when it last changed.
        app: RefCell<(&'static str, &'static str)>,
        /// The state of the file of `app`.
        file: RefCell<&'static str>,
        restarts: &'static str,
        started: RefCell<Vec<String>>,
    }

    impl Made {
        fn new(jobs: &'static str) -> Self {
            Self {
                jobs,
                app: RefCell::new(("inactive", "0")),
                file: RefCell::new("enabled"),
                restarts: "0",
                started: RefCell::new(Vec::new()),
            }
        }
    }

    impl Systemctl for Made {
        fn run(&self, arguments: &[&str]) -> io::Result<String> {
            let block = |unit: &str| {
                let (state, changed) = match unit {
                    "app.service" => *self.app.borrow(),
                    "front.service" => ("inactive", "7"),
                    _ => ("active", "9"),
                };
                let needed_by = match unit {
                    SECRET => "app.service other.service",
                    "app.service" => "front.service",
                    // A circle must end too.
                    "front.service" => "app.service",
                    _ => "",
                };
                format!(
                    "Id={unit}\nActiveState={state}\nStateChangeTimestampMonotonic={changed}\nRequiredBy={needed_by}\n\
                     BoundBy=\nNRestarts={}\nRestartUSec=1min\nUnitFileState={}\n",
                    self.restarts,
                    match unit {
                        "app.service" => *self.file.borrow(),
                        _ => "disabled",
                    }
                )
            };
            match arguments[0] {
                "list-jobs" => Ok(self.jobs.to_owned()),
                "show" => {
                    let blocks: Vec<String> = arguments[3..].iter().map(|it| block(it)).collect();
                    Ok(blocks.join("\n"))
                }
                "start" => {
                    assert_eq!(arguments[1..3], ["--no-block", "--"]);
                    let units = arguments[3..].iter().map(ToString::to_string);
                    self.started.borrow_mut().extend(units);
                    Ok(String::new())
                }
                other => panic!("{other}"),
            }
        }
    }

    const JOBS: &str = "12 nightlatch-secret@db.service start running\n13 app.service start waiting\n\
                        14 front.service start waiting\n15 multi-user.target start waiting\n\
                        16 other.service stop waiting\n";

    #[test]
    fn what_waited_for_the_secret_is_started_when_it_comes() {
        let folder = tempfile::tempdir().unwrap();
        let notes = folder.path().join(".db.units");
        let systemd = Made::new(JOBS);
        note(&systemd, SECRET, &notes, NOW).unwrap();
        assert_eq!(
            start(&systemd, &notes).unwrap(),
            ["app.service", "front.service"]
        );
        assert_eq!(*systemd.started.borrow(), ["app.service", "front.service"]);
        // Once.
        assert!(!notes.exists());
        assert_eq!(start(&systemd, &notes).unwrap(), [""; 0]);
    }

    #[test]
    fn what_was_started_or_stopped_since_stays_as_it_is() {
        for app in [("active", "5"), ("inactive", "5"), ("activating", "0")] {
            let folder = tempfile::tempdir().unwrap();
            let notes = folder.path().join(".db.units");
            let systemd = Made::new(JOBS);
            note(&systemd, SECRET, &notes, NOW).unwrap();
            *systemd.app.borrow_mut() = app;
            assert_eq!(
                start(&systemd, &notes).unwrap(),
                ["front.service"],
                "{app:?}"
            );
        }
    }

    #[test]
    fn what_was_disabled_or_masked_since_stays_down_and_what_was_so_before_does_not() {
        for file in ["disabled", "masked", "masked-runtime"] {
            let folder = tempfile::tempdir().unwrap();
            let notes = folder.path().join(".db.units");
            let systemd = Made::new(JOBS);
            note(&systemd, SECRET, &notes, NOW).unwrap();
            *systemd.file.borrow_mut() = file;
            // The file of `front` was disabled all the time.
            assert_eq!(start(&systemd, &notes).unwrap(), ["front.service"]);
        }
    }

    #[test]
    fn an_administrator_who_stops_the_secret_ends_the_series() {
        for (end, by_hand) in [
            (["", "", ""], true),
            (["success", "exited", "0"], true),
            // Stopped while it waited.
            (["signal", "killed", "TERM"], true),
            (["exit-code", "exited", "75"], false),
            (["signal", "killed", "KILL"], false),
            // A drop-in can give the start a limit (TimeoutStartSec=).
            (["timeout", "killed", "TERM"], false),
            (["timeout", "killed", "KILL"], false),
            (["watchdog", "killed", "ABRT"], false),
            (["oom-kill", "killed", "KILL"], false),
        ] {
            assert_eq!(is_stopped_by_hand(end), by_hand, "{end:?}");
        }
    }

    #[test]
    fn what_did_not_wait_is_not_started() {
        let folder = tempfile::tempdir().unwrap();
        let notes = folder.path().join(".db.units");
        let systemd = Made::new("12 nightlatch-secret@db.service start running\n");
        note(&systemd, SECRET, &notes, NOW).unwrap();
        assert!(!notes.exists());
        assert_eq!(start(&systemd, &notes).unwrap(), [""; 0]);
    }

    #[test]
    fn notes_last_as_long_as_the_unit_is_restarted_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let notes = folder.path().join(".db.units");
        let mut systemd = Made::new(JOBS);
        let now = NOW;
        drop_old_notes(&systemd, SECRET, &notes, now).unwrap();
        note(&systemd, SECRET, &notes, NOW).unwrap();
        systemd.restarts = "3";
        drop_old_notes(&systemd, SECRET, &notes, now).unwrap();
        assert!(notes.exists());
        let later = now + Duration::from_secs(150);
        drop_old_notes(&systemd, SECRET, &notes, later).unwrap();
        assert!(!notes.exists());
        note(&systemd, SECRET, &notes, NOW).unwrap();
        systemd.restarts = "0";
        drop_old_notes(&systemd, SECRET, &notes, now).unwrap();
        assert!(!notes.exists());
    }

    #[test]
    fn lengths_of_time_are_read_as_systemd_prints_them() {
        assert_eq!(span("1min 30s"), Some(Duration::from_secs(90)));
        assert_eq!(span("100ms"), Some(Duration::from_millis(100)));
        assert_eq!(span("infinity"), None);
        assert_eq!(span("1y"), None);
    }
}
