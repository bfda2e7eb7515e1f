//! The boot images of all kernels that are installed.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nightlatch_console::report::{Level, Report};
use nightlatch_core::error_chain::format_error;
use sha2::{Digest, Sha256};

use super::archive::{self, Members, ReadMode};
use super::compare::{self, Difference, Expected, differences};
use super::host_keys::{ExaminedImages, PrivateHostKeys};
use super::kernels::{self, Installed};
use super::network::AddressedServers;
use super::systems::System;
use crate::boot_files;
use crate::image::{FOLDER, ImagePlan};
use crate::keys::KeyDirectory;

/// Folders of unified kernel images (the Boot Loader Specification, "type #2").
const UNIFIED: [&str; 3] = ["boot/efi/EFI/Linux", "boot/EFI/Linux", "efi/EFI/Linux"];

/// A secret key, where any client has it in an image.
const SECRETS: [&str; 2] = [
    "/conf/conf.d/nightlatch/seckey.txt",
    "/conf/conf.d/mandos/seckey.txt",
];

/// The machine that images are compared with.
pub(super) struct Machine<'m> {
    pub(super) root: &'m Path,
    /// The plan of the next image.
    pub(super) plan: &'m ImagePlan,
    /// Modules of the drivers of the interfaces that a boot uses.
    pub(super) drivers: BTreeSet<String>,
    /// The servers for which the boot system has to give an interface an address.
    pub(super) addressed: AddressedServers,
    /// The volumes that a boot opens before the real system begins.
    pub(super) volumes: Vec<String>,
    /// The files of which no image may have a copy.
    pub(super) host_keys: PrivateHostKeys,
}

/// The findings in the images.
#[derive(Default)]
pub(super) struct ImageContents {
    /// The volumes that they open.
    pub(super) opened: BTreeSet<String>,
    /// The images that were examined for host keys.
    pub(super) examined: ExaminedImages,
}

/// Says of each image whether a boot with it would work.
pub(super) fn check(machine: &Machine<'_>, report: &mut Report) -> ImageContents {
    let boot = machine.root.join("boot");
    let Installed { kernels, others } = kernels::installed(&names(&boot));
    let mut contents = ImageContents::default();
    if kernels.is_empty() && unified(machine.root, report) == 0 {
        let hint = Some("is /boot mounted? expected kernels as /boot/vmlinuz-VERSION".to_owned());
        report.bad("image", "there is no kernel in /boot", hint);
    }
    if let Some(running) = running(machine.root)
        && !kernels.is_empty()
        && !kernels.iter().any(|(version, _)| *version == running)
    {
        let message =
            format!("the kernel that runs, {running}, is not in /boot: another one will boot");
        report.doubtful("image", message, Some("is /boot mounted?".to_owned()));
    }
    for (kernel, images) in kernels {
        if images.is_empty() {
            let message = format!("the kernel {kernel} has no image in /boot");
            report.bad("image", message, Some(rebuild(machine.root, &kernel, true)));
        }
        for image in images {
            let image = Image {
                path: boot.join(image),
                kernel: kernel.clone(),
                rebuild: rebuild(machine.root, &kernel, false),
            };
            report.busy(&format!("opening {}", image.path.display()));
            image.check(machine, report, &mut contents);
        }
    }
    for other in others {
        left_behind(machine, &boot.join(other), report, &mut contents);
    }
    keys(machine.root, report);
    contents
}

fn keys(root: &Path, report: &mut Report) {
    // That they belong together was seen when the plan was made.
    if let Ok(keys) = KeyDirectory::place_under(root).read_set() {
        report.good("keys", format!("key id {}", keys.tls.key_id()));
    }
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    // Links for the boot loader lead to what is there by another name.
    let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    files
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// The version of the kernel that runs.
fn running(root: &Path) -> Option<String> {
    let version = fs::read_to_string(root.join("proc/sys/kernel/osrelease")).ok()?;
    let version = version.trim().to_owned();
    // One that was loaded from elsewhere, as in a container, has no modules here either.
    root.join("lib/modules")
        .join(&version)
        .exists()
        .then_some(version)
}

/// Says that unified kernel images are not looked into; how many there are.
fn unified(root: &Path, report: &mut Report) -> usize {
    let mut count = 0;
    for folder in UNIFIED {
        let names = names(&root.join(folder));
        for name in names.iter().filter(|name| name.ends_with(".efi")) {
            count += 1;
            let message =
                format!("/{folder}/{name} is a unified kernel image, which is not looked into");
            report.doubtful("image", message, None);
        }
    }
    count
}

/// The command that makes the images of this kernel anew.
fn rebuild(root: &Path, kernel: &str, is_new: bool) -> String {
    // update-initramfs(8) updates only what is there.
    let how = if is_new { "-c" } else { "-u" };
    match () {
        () if boot_files::has_initramfs_tools(root) => {
            format!("update-initramfs {how} -k {kernel}")
        }
        () if root.join("usr/bin/mkinitcpio").exists() => "mkinitcpio -P".to_owned(),
        () => format!("dracut --force --kver {kernel}"),
    }
}

/// An image of no kernel that is there is read by nobody but thieves.
fn left_behind(
    machine: &Machine<'_>,
    path: &Path,
    report: &mut Report,
    contents: &mut ImageContents,
) {
    let name = path.display();
    let is_readable = is_readable(path);
    if !is_readable && machine.host_keys.is_empty() {
        return;
    }
    let Ok(members) = archive::open(path, |_, size| machine.host_keys.wanted(size)) else {
        return;
    };
    contents.examined.add(path, &members, &machine.host_keys);
    if is_readable && SECRETS.iter().any(|key| members.contains_key(*key)) {
        let hint = Some(format!(
            "rm {name}, where nothing needs it; else chmod go= {name}"
        ));
        let message =
            format!("{name} is no kernel's image, holds keys, and can be read by everybody");
        report.bad("image", message, hint);
    }
}

fn is_readable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o044 != 0)
}

/// An image of a kernel that is there.
struct Image {
    path: PathBuf,
    kernel: String,
    rebuild: String,
}

impl Image {
    fn check(&self, machine: &Machine<'_>, report: &mut Report, contents: &mut ImageContents) {
        let before = report.failures();
        if is_readable(&self.path) {
            let name = self.path.display();
            let hint = Some(format!("chmod go= {name}, and see what makes it so"));
            let message = format!("{name} can be read by everybody, and holds keys");
            report.bad("image", message, hint);
        }
        let mut all = machine.plan.clone();
        for system in [System::Systemd, System::InitramfsTools] {
            system.add_to(&mut all, machine.root);
        }
        let wanted = |path: &str, size| match compare::wanted(&all, path) {
            ReadMode::Presence => machine.host_keys.wanted(size),
            mode => mode,
        };
        let members = match archive::open(&self.path, wanted) {
            Ok(members) => members,
            Err(error) => return self.report(Level::Failed, &format_error(&error), report),
        };
        let host_keys = &machine.host_keys;
        contents.examined.add(&self.path, &members, host_keys);
        contents.opened.extend(compare::opened(&members));
        self.compare(machine, &members, before, report);
    }

    /// Compares its members with what they should be. `before` is the number of failures before it was opened.
    fn compare(
        &self,
        machine: &Machine<'_>,
        members: &Members,
        before: usize,
        report: &mut Report,
    ) {
        let mut plan = machine.plan.clone();
        if let Some(system) = System::of(members) {
            system.add_to(&mut plan, machine.root);
            if machine.addressed != AddressedServers::None && !system.configures_addresses(members)
            {
                let (level, which) = match machine.addressed {
                    AddressedServers::All => (Level::Failed, "no server"),
                    _ => (Level::Warning, "not every server"),
                };
                let message = format!(
                    "{} has nothing that configures addresses, and {which} can be reached without",
                    self.path.display()
                );
                let hint = format!(
                    "with dracut: echo 'add_dracutmodules+=\" network \"' >/etc/dracut.conf.d/network.conf, then {}",
                    self.rebuild
                );
                report.add(level, "image", message, Some(hint));
            }
        }
        let expected = Expected {
            plan: &plan,
            modules: self.modules(machine),
            volumes: &machine.volumes,
        };
        match differences(&expected, members, archive::digest, digest_of_text) {
            Ok(found) => self.report_differences(&plan, &found, report),
            Err(error) => {
                let message = format!("cannot be compared: {error}");
                self.report(Level::Failed, &message, report);
            }
        }
        if report.failures() == before {
            let message = format!(
                "{} holds this machine's keys and the client that is installed",
                self.path.display()
            );
            report.good("image", message);
        }
    }

    /// The modules that it needs, less those that are built into its kernel. Where that is not known, none.
    fn modules(&self, machine: &Machine<'_>) -> BTreeSet<String> {
        let folder = machine.root.join("lib/modules").join(&self.kernel);
        let Ok(builtin) = fs::read_to_string(folder.join("modules.builtin")) else {
            return BTreeSet::new();
        };
        let builtin: BTreeSet<String> = builtin.lines().filter_map(compare::module_name).collect();
        let plain = |name: &String| name.replace('-', "_");
        let needed = machine.plan.modules.iter().chain(&machine.drivers);
        needed
            .map(plain)
            .filter(|name| !builtin.contains(name))
            .collect()
    }

    fn report(&self, level: Level, message: &str, report: &mut Report) {
        let message = format!("{} {message}", self.path.display());
        report.add(level, "image", message, Some(self.rebuild.clone()));
    }

    fn report_differences(&self, plan: &ImagePlan, found: &[Difference], report: &mut Report) {
        let is_own = |path: &str| path.starts_with(FOLDER);
        let own = plan.files.iter().filter(|file| is_own(&file.path));
        let mut missing = own.map(|file| Difference::Missing(file.path.clone()));
        if missing.all(|file| found.contains(&file)) {
            return self.report(Level::Failed, "has nothing of Nightlatch", report);
        }
        for difference in found {
            let (level, message, hint) = self.in_words(plan, difference);
            let message = format!("{} {message}", self.path.display());
            report.add(level, "image", message, hint);
        }
    }

    fn in_words(
        &self,
        plan: &ImagePlan,
        difference: &Difference,
    ) -> (Level, String, Option<String>) {
        let rebuild = Some(self.rebuild.clone());
        match difference {
            Difference::Missing(path) => (Level::Failed, format!("lacks {path}"), rebuild),
            Difference::Other(path) => {
                let message = format!("has another {path} than this machine");
                (Level::Failed, message, rebuild)
            }
            Difference::OtherProgram(path) if self.is_newer_than(plan, path) => {
                let message = format!("has its own {path}: stripped, perhaps");
                (Level::Warning, message, None)
            }
            Difference::OtherProgram(path) => {
                let message = format!("has an older {path} than is installed");
                (Level::Warning, message, rebuild)
            }
            Difference::Permissions(path) => {
                let message = format!("has {path} with another owner or mode than it should have");
                (Level::Failed, message, rebuild)
            }
            Difference::NotStarted(path) => {
                let message = format!("has nothing that starts the client: it lacks {path}");
                (Level::Failed, message, rebuild)
            }
            Difference::UnknownSystem => {
                let message =
                    "is made by nothing that is known here: see that it starts the client";
                (Level::Warning, message.to_owned(), None)
            }
            Difference::Module(name) => {
                let message = format!("lacks the kernel module {name}, which the network needs");
                (Level::Failed, message, rebuild)
            }
            Difference::Volume(name) => {
                let message = format!("does not open the volume {name}");
                let hint = format!("is it in /etc/crypttab? then {}", self.rebuild);
                (Level::Failed, message, Some(hint))
            }
            Difference::Stranger(path) => {
                let message =
                    format!("has {path}, a key or setting that is none of this machine's");
                (Level::Failed, message, rebuild)
            }
            Difference::Superfluous(path) => {
                let message = format!("has {path}, which is no part of it any more");
                (Level::Warning, message, rebuild)
            }
            Difference::Forbidden(path) => {
                let hint = "no hook of ours puts it there; find out what does".to_owned();
                (
                    Level::Failed,
                    format!("has {path}, a server's file"),
                    Some(hint),
                )
            }
        }
    }

    fn is_newer_than(&self, plan: &ImagePlan, path: &str) -> bool {
        let program = plan.programs.iter().find(|program| program.path == path);
        let changed = |path: &PathBuf| fs::metadata(path).and_then(|file| file.modified());
        let source = program.map(|program| changed(&program.source));
        match (changed(&self.path), source) {
            (Ok(image), Some(Ok(program))) => image > program,
            _ => false,
        }
    }
}

fn digest_of_text(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}
