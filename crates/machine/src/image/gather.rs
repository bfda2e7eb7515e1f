//! From a machine's files to the plan of its image. Reads, and runs its network hooks; changes nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nightlatch_console::failure::{EX_CONFIG, EX_IOERR, EX_NOINPUT, EX_UNAVAILABLE, Failure, note};
use nightlatch_core::settings::machine::{self, MachineSettings};
use nightlatch_core::settings::{SettingsError, text};

use super::accounts::{self, NOBODY};
use super::network_hooks;
use super::plan::{Directory, FOLDER, Link, Owner, Plan, PlannedFile, Source};
use super::programs::{self, CLIENT};
use crate::network::ConfFile;
use crate::{keys, network};

/// The machine's settings.
const SETTINGS: &str = "etc/nightlatch/client.conf";

/// The program for the image, on the machine.
const PROGRAM: &str = "nightlatch-boot";

/// Where it may be, when it is not beside this one.
const PROGRAM_FOLDERS: [&str; 2] = ["usr/sbin", "usr/local/sbin"];

/// Where it is in the image.
const PROGRAM_PLACE: &str = "/usr/bin/nightlatch-boot";

/// Where plugins of Mandos's users expect to be.
const PLUGINS: &str = "/lib/mandos/plugins.d";

/// Where their helpers are.
const HELPERS: &str = "/lib/mandos/plugin-helpers";

/// The settings of the plugin runner, on the machine and in the image.
const RUNNER: &str = "plugin-runner.conf";

impl Plan {
    /// The plan for the machine whose files are below `root`. All or nothing: without keys there is none.
    pub(crate) fn of(root: &Path) -> Result<Self, Failure> {
        let mut plan = Self::default();
        let settings = settings(&mut plan, root)?;
        let file = ConfFile::read(root)?.filter(|_| settings.network);
        let settings = match &file {
            Some(file) => network::at_boot(&settings, &file.definition),
            None => settings,
        };
        let owner = accounts::owner(root);
        add_keys(&mut plan, root)?;
        let program = program(root)?;
        add_options(&mut plan, &program, &settings)?;
        add_runner_options(&mut plan, root, owner)?;
        plan.add_program(PROGRAM_PLACE.to_owned(), program);
        // Plugins are what sees the password.
        plan.add_directory("/lib/mandos", 0o755);
        plan.add_directory(PLUGINS, 0o755);
        let folders = ["etc/nightlatch/plugins.d", "etc/mandos/plugins.d"];
        programs::add(&mut plan, root, folders, PLUGINS)?;
        let client = format!("{PLUGINS}/{CLIENT}");
        if !plan.has(&client) {
            plan.links.push(Link {
                path: client,
                target: PROGRAM_PLACE.to_owned(),
            });
        }
        let folders = ["etc/nightlatch/plugin-helpers", "etc/mandos/plugin-helpers"];
        programs::add(&mut plan, root, folders, HELPERS)?;
        // Servers are found by link-local addresses. Built into most kernels.
        plan.add_module("ipv6");
        network_hooks::add(&mut plan, root, &settings.interfaces.join(","))?;
        if let Some(file) = file {
            add_network(&mut plan, file, root)?;
        }
        Ok(plan)
    }
}

/// The links, addresses and routes that were learned, as they are, with the modules that they need. In a chroot nothing is
/// known of the machine but this file.
fn add_network(plan: &mut Plan, file: ConfFile, root: &Path) -> Result<(), Failure> {
    for fault in &file.faults {
        plan.remark(format!("{}: {fault}", file.path.display()));
    }
    let snapshot = network::is_own(root).then(network::snapshot).transpose()?;
    for module in network::modules(&file.definition, snapshot.as_ref()) {
        plan.add_module(&module);
    }
    plan.files.push(PlannedFile {
        path: format!("{FOLDER}/network.conf"),
        source: Source::Copy(file.path),
        mode: 0o644,
        owner: Owner::ROOT,
    });
    Ok(())
}

/// The text of a file; none when it does not exist.
fn read(path: &Path) -> Result<Option<Vec<u8>>, Failure> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(cannot_read(path, error)),
    }
}

fn cannot_read(path: &Path, error: io::Error) -> Failure {
    Failure::new(EX_IOERR, format!("cannot read {}", path.display())).because(error)
}

/// The machine's settings; all faults of the file are told.
pub(crate) fn settings(plan: &mut Plan, root: &Path) -> Result<MachineSettings, Failure> {
    let path = root.join(SETTINGS);
    let Some(bytes) = read(&path)? else {
        return Ok(MachineSettings::default());
    };
    let file = path.display().to_string();
    let parsed = text(&file, &bytes)
        .map_err(|error| vec![error])
        .and_then(|text| machine::parse(&file, text));
    let parsed = parsed.map_err(|errors: Vec<SettingsError>| {
        errors.iter().for_each(note);
        Failure::new(EX_CONFIG, format!("{file} cannot be used"))
            .hint("mend what was said of it; man 5 client.conf explains it")
    })?;
    for warning in &parsed.warnings {
        plan.remark(warning.to_string());
    }
    Ok(parsed.value)
}

/// For root alone, in the image as here: the accounts that plugins run as there are shared with others on the running
/// system, and while the image is made its files lie where everybody can go. The client reads its keys as root before it
/// becomes another user.
fn add_keys(plan: &mut Plan, root: &Path) -> Result<(), Failure> {
    let keys = keys::Directory::place_under(root);
    if !keys.holds_any() {
        let what = format!("this machine has no keys in {}", keys.path().display());
        return Err(Failure::new(EX_NOINPUT, what)
            .hint("`nightlatch enroll DEVICE` makes them, and lets a server open the disk"));
    }
    if !keys.is_own_place(root) {
        plan.remark(format!(
            "/etc/nightlatch/keys has no keys: taking those of {}",
            keys.path().display()
        ));
    }
    // A machine with keys that do not belong together would ask for ever.
    keys.read_set()?;
    plan.directories.push(Directory {
        path: FOLDER.to_owned(),
        mode: 0o700,
        owner: Owner::ROOT,
    });
    for name in keys::FILES.into_iter().chain([keys::TRUSTED]) {
        let source = keys.path().join(name);
        if name == keys::TRUSTED && matches!(source.try_exists(), Ok(false)) {
            continue;
        }
        plan.files.push(PlannedFile {
            path: format!("{FOLDER}/{name}"),
            source: Source::Copy(source),
            mode: 0o400,
            owner: Owner::ROOT,
        });
    }
    Ok(())
}

/// The options of the client, which has tried them: at boot nobody could mend them.
fn add_options(plan: &mut Plan, program: &Path, settings: &MachineSettings) -> Result<(), Failure> {
    let arguments = settings.arguments();
    if arguments.is_empty() {
        return Ok(());
    }
    // Asked for help after them, it reads them and does nothing.
    let tried = Command::new(program)
        .arg("client")
        .args(&arguments)
        .arg("--help")
        .stdin(Stdio::null())
        .output();
    let tried = tried.map_err(|error| {
        Failure::new(EX_UNAVAILABLE, format!("cannot run {}", program.display())).because(error)
    })?;
    if !tried.status.success() {
        let said = String::from_utf8_lossy(&tried.stderr);
        let why = said.lines().next().unwrap_or_default().to_owned();
        return Err(Failure::new(
            EX_CONFIG,
            format!("the client does not take its options: {why}"),
        )
        .hint("mend `options` in client.conf; `nightlatch-boot client --help` explains them"));
    }
    plan.add_text("client.options", arguments.join("\n") + "\n");
    Ok(())
}

/// The options of the plugin runner, as the image has them.
pub(crate) fn runner_options(root: &Path) -> Result<String, Failure> {
    gather_runner_options(&mut Plan::default(), root, accounts::owner(root))
}

fn add_runner_options(plan: &mut Plan, root: &Path, owner: Owner) -> Result<(), Failure> {
    let runner = gather_runner_options(plan, root, owner)?;
    if !runner.is_empty() {
        plan.files.push(PlannedFile {
            path: format!("{FOLDER}/{RUNNER}"),
            source: Source::Text(runner),
            // It may tell plugins of others their secrets.
            mode: 0o600,
            owner: Owner::ROOT,
        });
    }
    Ok(())
}

fn gather_runner_options(plan: &mut Plan, root: &Path, owner: Owner) -> Result<String, Failure> {
    let mut runner = String::new();
    if owner != NOBODY {
        runner = format!("--userid={}\n--groupid={}\n", owner.user, owner.group);
    }
    let [ours, mandos] =
        ["etc/nightlatch", "etc/mandos"].map(|folder| root.join(folder).join(RUNNER));
    let (path, bytes) = match read(&ours)? {
        Some(bytes) => (ours, Some(bytes)),
        None => (mandos.clone(), read(&mandos)?),
    };
    if let Some(bytes) = bytes {
        let said = String::from_utf8(bytes)
            .map_err(|error| cannot_read(&path, io::Error::other(error)))?;
        if path == mandos && says_anything(&said) {
            let shown = path.display();
            plan.remark(format!(
                "/etc/nightlatch/{RUNNER} is missing: taking {shown}"
            ));
        }
        if says_anything(&said) {
            runner.push_str(&said);
        }
    }
    Ok(runner)
}

/// Whether there is anything but comments.
fn says_anything(text: &str) -> bool {
    let lines = text.lines().filter_map(|line| line.split('#').next());
    lines.into_iter().any(|line| !line.trim().is_empty())
}

/// The program for the image: the one that was installed with this one.
pub(crate) fn program(root: &Path) -> Result<PathBuf, Failure> {
    let own = std::env::current_exe()
        .ok()
        .filter(|_| root == Path::new("/"));
    let beside = own.as_deref().and_then(Path::parent).map(PathBuf::from);
    let folders = PROGRAM_FOLDERS.map(|folder| root.join(folder));
    let mut places = beside.into_iter().chain(folders);
    places
        .find_map(|folder| Some(folder.join(PROGRAM)).filter(|program| program.is_file()))
        .ok_or_else(|| {
            Failure::new(
                EX_UNAVAILABLE,
                format!("{PROGRAM} is not installed on this machine"),
            )
            .hint("install the package nightlatch-client")
        })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
