//! From a machine's files to the plan of its image. Reads, and runs its network hooks; changes nothing.

use std::path::Path;
use std::process::{Command, Stdio};

use nightlatch_console::failure::{EX_CONFIG, EX_NOINPUT, EX_UNAVAILABLE, Failure};
use nightlatch_core::settings::machine::MachineSettings;
use nightlatch_core::{agent_files, remembered_servers};

use super::network_hooks;
use super::plan::{FOLDER, FileSource, ImagePlan, PlannedDirectory, PlannedFile, PlannedLink};
use super::programs::{self, CLIENT};
use crate::accounts::Owner;
use crate::boot_files::{self, RUNNER_CONF};
use crate::network::ConfFile;
use crate::{keys, network};

/// Its path in the image.
const PROGRAM_PLACE: &str = "/usr/bin/nightlatch-boot";

/// Folder that plugins for Mandos expect.
const PLUGINS: &str = "/lib/mandos/plugins.d";

/// Folder of their helpers.
const HELPERS: &str = "/lib/mandos/plugin-helpers";

impl ImagePlan {
    /// The plan for the machine whose files are below `root`. All or nothing: without keys there is none.
    pub(crate) fn of(root: &Path) -> Result<Self, Failure> {
        let mut plan = Self::default();
        let settings = boot_files::settings(root, &mut plan.remarks)?;
        let file = ConfFile::read(root)?.filter(|_| settings.network);
        let settings = match &file {
            Some(file) => network::at_boot(&settings, &file.definition),
            None => settings,
        };
        add_keys(&mut plan, root)?;
        let program = boot_files::program(root)?;
        add_options(&mut plan, &program, &settings)?;
        if settings.connect.is_empty() {
            add_remembered(&mut plan, root);
        }
        add_runner_options(&mut plan, root)?;
        plan.add_program(PROGRAM_PLACE.to_owned(), program);
        // Plugins are what sees the password.
        plan.add_directory("/lib/mandos", 0o755);
        plan.add_directory(PLUGINS, 0o755);
        let folders = ["etc/nightlatch/plugins.d", "etc/mandos/plugins.d"];
        programs::add(&mut plan, root, folders, PLUGINS)?;
        let client = format!("{PLUGINS}/{CLIENT}");
        if !plan.has(&client) {
            plan.links.push(PlannedLink {
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
fn add_network(plan: &mut ImagePlan, file: ConfFile, root: &Path) -> Result<(), Failure> {
    for fault in &file.faults {
        plan.remark(format!("{}: {fault}", file.path.display()));
    }
    let snapshot = network::is_own(root).then(network::snapshot).transpose()?;
    for module in network::modules(&file.definition, snapshot.as_ref()) {
        plan.add_module(&module);
    }
    plan.files.push(PlannedFile {
        path: format!("{FOLDER}/network.conf"),
        source: FileSource::Copy(file.path),
        mode: 0o644,
        owner: Owner::ROOT,
    });
    Ok(())
}

/// For root alone, in the image as here: the accounts that plugins run as there are shared with others on the running
/// system, and while the image is made its files lie where everybody can go. The client reads its keys as root before it
/// becomes another user.
fn add_keys(plan: &mut ImagePlan, root: &Path) -> Result<(), Failure> {
    let keys = keys::KeyDirectory::place_under(root);
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
    plan.directories.push(PlannedDirectory {
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
            source: FileSource::Copy(source),
            mode: 0o400,
            owner: Owner::ROOT,
        });
    }
    Ok(())
}

/// Where the machine's agent has last reached its servers: a boot saves the search. Never a reason to make no image.
fn add_remembered(plan: &mut ImagePlan, root: &Path) {
    let path = root.join(agent_files::REMEMBERED_SERVERS.trim_start_matches('/'));
    match boot_files::remembered_servers(&path) {
        Ok(servers) if servers.is_empty() => {}
        Ok(servers) => {
            let text = remembered_servers::text_of(servers);
            plan.add_text(remembered_servers::FILE, text);
        }
        Err(error) => plan.remark(format!("left out {}: {error}", path.display())),
    }
}

/// The options of the client, which has tried them: at boot nobody could mend them.
fn add_options(
    plan: &mut ImagePlan,
    program: &Path,
    settings: &MachineSettings,
) -> Result<(), Failure> {
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
        let errors = String::from_utf8_lossy(&tried.stderr);
        let why = errors.lines().next().unwrap_or_default().to_owned();
        return Err(Failure::new(
            EX_CONFIG,
            format!("the client does not take its options: {why}"),
        )
        .hint("correct `options` in client.conf; `nightlatch-boot client --help` explains them"));
    }
    plan.add_text("client.options", arguments.join("\n") + "\n");
    Ok(())
}

fn add_runner_options(plan: &mut ImagePlan, root: &Path) -> Result<(), Failure> {
    let runner = boot_files::runner_options(root, &mut plan.remarks)?;
    if !runner.is_empty() {
        plan.files.push(PlannedFile {
            path: format!("{FOLDER}/{RUNNER_CONF}"),
            source: FileSource::Text(runner),
            // It may tell plugins of others their secrets.
            mode: 0o600,
            owner: Owner::ROOT,
        });
    }
    Ok(())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
