//! The service `nightlatch-agent`, as systemd runs it on this machine. Its program is not linked here.

use std::path::Path;
use std::process::{Command, Stdio};

use nightlatch_console::failure::{EX_UNAVAILABLE, Failure};
use nightlatch_core::agent_files::UNIT;

/// Folders of systemd's units (systemd.unit(5)).
const UNIT_FOLDERS: [&str; 4] = [
    "etc/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
];

/// Exists where systemd runs (sd_booted(3)).
const RUNS: &str = "run/systemd/system";

/// Commands that start the agent now and at each boot. It reads its keys and its list when it starts.
pub(crate) const START: [[&str; 2]; 2] = [["enable", UNIT], ["restart", UNIT]];

/// Commands that stop it.
pub(crate) const STOP: [[&str; 2]; 2] = [["stop", UNIT], ["disable", UNIT]];

/// True when the agent is installed on the machine below `root`.
pub(crate) fn is_installed(root: &Path) -> bool {
    let mut folders = UNIT_FOLDERS.iter();
    folders.any(|folder| root.join(folder).join(UNIT).exists())
}

/// True when systemd runs on the machine below `root`, which can then be told to start the agent.
pub(crate) fn can_start(root: &Path) -> bool {
    root.join(RUNS).is_dir()
}

/// The commands as a person types them.
pub(crate) fn shown(commands: &[[&str; 2]]) -> String {
    let lines = commands
        .iter()
        .map(|[verb, unit]| format!("systemctl {verb} {unit}"));
    lines.collect::<Vec<_>>().join(" && ")
}

/// Runs systemctl(1) with each of these.
///
/// # Errors
/// With what systemctl said about the first that failed.
pub(crate) fn run(commands: &[[&str; 2]]) -> Result<(), Failure> {
    // Each is tried, whatever came of those before it.
    let results: Vec<_> = commands.iter().map(run_one).collect();
    results.into_iter().collect()
}

fn run_one([verb, unit]: &[&str; 2]) -> Result<(), Failure> {
    let what = format!("systemctl {verb} {unit}");
    let output = Command::new("systemctl")
        .args([verb, unit])
        .stdin(Stdio::null())
        .output();
    let output = output.map_err(|error| {
        Failure::new(EX_UNAVAILABLE, format!("cannot run {what}")).because(error)
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().next().unwrap_or("nothing").to_owned();
    Err(Failure::new(
        EX_UNAVAILABLE,
        format!("{what} failed ({}) and says: {said}", output.status),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_is_found_by_its_unit() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        assert!(!is_installed(root) && !can_start(root));
        let units = root.join("usr/lib/systemd/system");
        std::fs::create_dir_all(&units).unwrap();
        std::fs::write(units.join(UNIT), "").unwrap();
        assert!(is_installed(root) && !can_start(root));
        std::fs::create_dir_all(root.join(RUNS)).unwrap();
        assert!(can_start(root));
    }
}
