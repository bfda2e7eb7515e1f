//! Network hooks: themselves, what lies beside them, and what each says that it needs
//! (mandos-client(8mandos), NETWORK HOOKS).

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nightlatch_console::failure::Failure;

use super::plan::{FileSource, ImagePlan, PlannedFile, printable_path};
use super::programs::{CandidateFile, first_filled};
use crate::accounts::Owner;

/// Folders of hooks on the machine, ours first.
const FOLDERS: [&str; 2] = [
    "etc/nightlatch/network-hooks.d",
    "etc/mandos/network-hooks.d",
];

/// Their folder in the image.
const PLACE: &str = "/lib/mandos/network-hooks.d";

/// The most that a hook may say that it needs: more is a hook that does something else.
const MAX_SAID: usize = 1 << 20;

/// Adds every hook. `devices` is what hooks learn of the interfaces.
pub(super) fn add(plan: &mut ImagePlan, root: &Path, devices: &str) -> Result<(), Failure> {
    let found = first_filled(plan, root, FOLDERS)?;
    let found = found.into_iter().filter(|one| is_hook_name(&one.name));
    let found: Vec<CandidateFile> = found.collect();
    if !found.is_empty() {
        plan.add_directory(PLACE, 0o755);
    }
    for one in found {
        let place = format!("{PLACE}/{}", one.name);
        if one.is_executable()
            && let Some(why) = one.distrust()
        {
            plan.remark(why);
        } else if one.is_executable() {
            for (mode, take) in [
                ("files", file as fn(&mut ImagePlan, &str, &str)),
                ("modules", module),
            ] {
                let output = ask(plan, &one.path, mode, devices);
                for line in output
                    .lines()
                    .map(str::trim)
                    .filter(|line| !line.is_empty())
                {
                    take(plan, line, &one.name);
                }
            }
            plan.add_program(place, one.path);
        } else {
            // As it is on the machine: it may hold the password of a wireless network.
            plan.files.push(PlannedFile {
                path: place,
                source: FileSource::Copy(one.path),
                mode: one.about.mode() & 0o755,
                owner: Owner::ROOT,
            });
        }
    }
    Ok(())
}

fn is_hook_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    !name.is_empty() && name.bytes().all(allowed)
}

/// Runs the hook and returns its output. A failure is a remark: without the hook the machine may still come back.
fn ask(plan: &mut ImagePlan, hook: &Path, mode: &str, devices: &str) -> String {
    let shown = hook.display().to_string();
    let output = Command::new(hook)
        .arg(mode)
        .env("MANDOSNETHOOKDIR", hook.parent().unwrap_or(Path::new("/")))
        .env("MODE", mode)
        .env("DEVICE", devices)
        .env("VERBOSITY", "0")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) => {
            plan.remark(format!("cannot run {shown} {mode}: {error}"));
            return String::new();
        }
    };
    if !output.status.success() {
        plan.remark(format!("{shown} {mode} failed: {}", output.status));
    }
    if output.stdout.len() > MAX_SAID {
        plan.remark(format!(
            "{shown} {mode} says too much: expected a short list"
        ));
        return String::new();
    }
    String::from_utf8(output.stdout).unwrap_or_else(|_| {
        plan.remark(format!(
            "{shown} {mode} says what is no text: expected a list of names"
        ));
        String::new()
    })
}

/// `SOURCE`, or `SOURCE PLACE`.
fn file(plan: &mut ImagePlan, line: &str, hook: &str) {
    let (source, place) = match line.split_once(char::is_whitespace) {
        Some((source, place)) => (source, place.trim()),
        None => (line, line),
    };
    let whole = |path: &str| path.starts_with('/') && !path.split('/').any(|part| part == "..");
    let source = PathBuf::from(source);
    if !whole(line) || !whole(place) || printable_path(&source).is_none() {
        plan.remark(format!(
            "the network hook {hook} needs {line:?}: expected a path from /"
        ));
    } else if !source.is_file() {
        plan.remark(format!(
            "the network hook {hook} needs {}, which is not there",
            source.display()
        ));
    } else {
        plan.add_program(place.to_owned(), source);
    }
}

fn module(plan: &mut ImagePlan, line: &str, hook: &str) {
    let named = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    match line.bytes().all(named) && !line.starts_with('-') {
        true => plan.add_module(line),
        false => plan.remark(format!(
            "the network hook {hook} needs {line:?}: expected the name of a kernel module"
        )),
    }
}
