//! The units that need a named secret. systemd fails them when the secret's unit fails at their start, and does not start
//! them again when it succeeds later: that is done here.
//!
//! Only a unit that waited for the secret when it failed is started later, and only if nothing has happened to it since: what an
//! administrator has stopped stays so.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nightlatch_core::time::Wall;

/// The greatest number of units that are looked at.
const MAX_UNITS: usize = 1000;

/// Properties with the names of units that fail when a unit fails (systemd.unit(5), org.freedesktop.systemd1(5)).
const NEEDED_BY: [&str; 2] = ["RequiredBy", "BoundBy"];

/// Added to the pause between two runs of the unit: a note that is older is of a series of failures that somebody has
/// ended.
const SLACK: Duration = Duration::from_secs(60);

/// A unit that waited, and the time at which its state had last changed then, as systemd gives it.
type Waiting = BTreeMap<String, String>;

/// systemctl(1), run by root: it speaks to systemd itself.
pub(super) trait Systemctl {
    /// Its output with these arguments.
    fn run(&self, arguments: &[&str]) -> io::Result<String>;
}

/// The program.
#[derive(Debug)]
pub(super) struct RealSystemctl;

impl Systemctl for RealSystemctl {
    fn run(&self, arguments: &[&str]) -> io::Result<String> {
        let output = Command::new("systemctl")
            .args(arguments)
            .env("LC_ALL", "C")
            .env("SYSTEMD_COLORS", "0")
            .stdin(Stdio::null())
            .output()?;
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
pub(super) fn note(systemctl: &impl Systemctl, unit: &str, notes: &Path) -> io::Result<()> {
    let mut waiting = read(notes)?;
    let known = dependents(systemctl, unit)?;
    for job in waiting_jobs(&systemctl.run(&["list-jobs", "--no-legend", "--plain", "--full"])?) {
        if let Some(properties) = known.get(job) {
            waiting.insert(job.to_owned(), changed(properties));
        }
    }
    match waiting.is_empty() {
        true => Ok(()),
        false => fs::write(notes, to_text(&waiting)),
    }
}

/// Drops notes of an earlier series of failures, which somebody has ended by stopping the unit.
pub(super) fn drop_old_notes(
    systemctl: &impl Systemctl,
    unit: &str,
    notes: &Path,
    now: Wall,
) -> io::Result<()> {
    let age = match fs::metadata(notes) {
        Ok(about) => now.since(Wall::from_unix_micros(
            about.mtime().saturating_mul(1_000_000),
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
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
    let waiting = read(notes)?;
    if waiting.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<&str> = waiting.keys().map(String::as_str).collect();
    let shown = show(
        systemctl,
        &["Id", "ActiveState", "StateChangeTimestampMonotonic"],
        &names,
    )?;
    let is_same = |properties: &&Properties| {
        let state = properties.get("ActiveState").map(String::as_str);
        let id = properties.get("Id");
        let noted = id.and_then(|id| waiting.get(id));
        matches!(state, Some("inactive" | "failed")) && noted == Some(&changed(properties))
    };
    let same = shown.iter().filter(is_same);
    let start: Vec<String> = same.filter_map(|it| it.get("Id").cloned()).collect();
    if !start.is_empty() {
        let mut arguments = vec!["start", "--no-block", "--"];
        arguments.extend(start.iter().map(String::as_str));
        systemctl.run(&arguments)?;
    }
    fs::remove_file(notes)?;
    Ok(start)
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

fn changed(properties: &Properties) -> String {
    let changed = properties.get("StateChangeTimestampMonotonic");
    changed.cloned().unwrap_or_default()
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

fn read(notes: &Path) -> io::Result<Waiting> {
    let text = match fs::read_to_string(notes) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Waiting::new()),
        Err(error) => return Err(error),
    };
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    Ok(lines
        .map(|(unit, changed)| (unit.to_owned(), changed.to_owned()))
        .collect())
}

fn to_text(waiting: &Waiting) -> String {
    let lines = waiting
        .iter()
        .map(|(unit, changed)| format!("{unit} {changed}\n"));
    lines.collect()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    const SECRET: &str = "nightlatch-secret@db.service";

    /// A systemd with three units that need the secret: `app` directly, `front` through it, `other` beside it.
    struct Made {
        /// What list-jobs shows.
        jobs: &'static str,
        /// The state of `app`, and when it last changed.
        app: RefCell<(&'static str, &'static str)>,
        restarts: &'static str,
        started: RefCell<Vec<String>>,
    }

    impl Made {
        fn new(jobs: &'static str) -> Self {
            Self {
                jobs,
                app: RefCell::new(("inactive", "0")),
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
                     BoundBy=\nNRestarts={}\nRestartUSec=1min\n",
                    self.restarts
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
        note(&systemd, SECRET, &notes).unwrap();
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
            note(&systemd, SECRET, &notes).unwrap();
            *systemd.app.borrow_mut() = app;
            assert_eq!(
                start(&systemd, &notes).unwrap(),
                ["front.service"],
                "{app:?}"
            );
        }
    }

    #[test]
    fn what_did_not_wait_is_not_started() {
        let folder = tempfile::tempdir().unwrap();
        let notes = folder.path().join(".db.units");
        let systemd = Made::new("12 nightlatch-secret@db.service start running\n");
        note(&systemd, SECRET, &notes).unwrap();
        assert!(!notes.exists());
        assert_eq!(start(&systemd, &notes).unwrap(), [""; 0]);
    }

    #[test]
    fn notes_last_as_long_as_the_unit_is_restarted_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let notes = folder.path().join(".db.units");
        let mut systemd = Made::new(JOBS);
        let now = nightlatch_sys::clock::now().wall;
        drop_old_notes(&systemd, SECRET, &notes, now).unwrap();
        note(&systemd, SECRET, &notes).unwrap();
        systemd.restarts = "3";
        drop_old_notes(&systemd, SECRET, &notes, now).unwrap();
        assert!(notes.exists());
        let later = now.after(Duration::from_secs(150));
        drop_old_notes(&systemd, SECRET, &notes, later).unwrap();
        assert!(!notes.exists());
        note(&systemd, SECRET, &notes).unwrap();
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
