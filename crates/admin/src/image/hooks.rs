//! Network hooks: programs that say themselves which files and kernel modules they need in the image
//! (mandos-client(8mandos), NETWORK HOOKS).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::host::{self, Host};
use super::plan::{Content, HOOKS, Plan, is_elf, programs};
use crate::failure::{EX_CONFIG, EX_NOINPUT, EX_OSERR, Failure};

/// Adds every hook, and what it asks for.
pub(super) fn add(host: &Host, plan: &mut Plan) -> Result<(), Failure> {
    let folder = host.place(host::HOOKS);
    for hook in programs(&folder)? {
        let name = hook.file_name().and_then(|name| name.to_str());
        let is_name = |name: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
            name.chars().all(allowed)
        };
        if !name.is_some_and(is_name) {
            let hook = hook.display();
            plan.doubts.push(format!(
                "{hook} is left out: expected a name of letters, digits, and . _ - for a network hook"
            ));
            continue;
        }
        plan.add_executable(&hook, HOOKS);
        for line in asked(&hook, &folder, "files")? {
            let (source, place) = file(&line, &hook)?;
            let path = place.strip_prefix("/").unwrap_or(&place).to_owned();
            let source = host.find(&source);
            let mode = mode_of(&source)?;
            let content = match is_elf(&source) {
                true => Content::Program(source),
                false => Content::File(source),
            };
            plan.add(path, mode, content);
        }
        plan.modules.extend(asked(&hook, &folder, "modules")?);
    }
    Ok(())
}

/// What a file's owner and others may do with it, but for writing: it may be a password for a network.
fn mode_of(file: &Path) -> Result<u32, Failure> {
    let metadata = fs::metadata(file).map_err(|error| {
        Failure::new(EX_NOINPUT, format!("cannot read {}", file.display())).because(error)
    })?;
    Ok(metadata.permissions().mode() & 0o755)
}

/// The lines that a hook answers `mode` with.
fn asked(hook: &Path, folder: &Path, mode: &str) -> Result<Vec<String>, Failure> {
    let what = || format!("the network hook {} {mode}", hook.display());
    let output = Command::new(hook)
        .arg(mode)
        .env("MODE", mode)
        .env("MANDOSNETHOOKDIR", folder)
        .env("DEVICE", "")
        .env("VERBOSITY", "0")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| Failure::new(EX_OSERR, format!("cannot run {}", what())).because(error))?;
    if !output.status.success() {
        return Err(Failure::new(
            EX_CONFIG,
            format!("{} failed: {}", what(), output.status),
        ));
    }
    let text = String::from_utf8(output.stdout)
        .map_err(|error| Failure::new(EX_CONFIG, what()).because(error))?;
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}

/// `SOURCE [PLACE]`, both absolute.
fn file(line: &str, hook: &Path) -> Result<(PathBuf, PathBuf), Failure> {
    let mut words = line.split_whitespace();
    let source = words.next().unwrap_or_default();
    let place = words.next().unwrap_or(source);
    let clean = |path: &str| {
        let path = Path::new(path);
        let up = path.components().any(|part| part.as_os_str() == "..");
        path.is_absolute() && !up
    };
    match words.next() {
        None if clean(source) && clean(place) => Ok((source.into(), place.into())),
        _ => {
            let hook = hook.display();
            let what = format!(
                "the network hook {hook} asks for {line:?}: expected SOURCE or SOURCE PLACE, absolute paths"
            );
            Err(Failure::new(EX_CONFIG, what))
        }
    }
}
