//! The network of the next boot: by the options of its boot client, with the links, addresses and routes of
//! `network.conf` and nothing else (docs/decisions/0118).
//!
//! Compares all of it with the running kernel. Then only what both have is tried.

mod targets;

pub(super) use targets::AddressedServers;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nightlatch_console::failure::Failure;
use nightlatch_console::report::Report;
use nightlatch_core::connect::{Scope, Target, TargetHost};
use nightlatch_core::network::compare::{DifferenceKind, LinkDifference, differences};
use nightlatch_core::network::learn::{ReachMethod, ServerRoute, learn};
use nightlatch_core::network::snapshot::{KernelLink, Snapshot};
use nightlatch_core::network::{Definition, LinkKind};
use nightlatch_core::settings::machine::MachineSettings;

use crate::boot_command::BootCommand;
use crate::boot_files;
use crate::network::{ConfFile, ServerRoutes, at_boot, boot_links, drift, modules, snapshot};

/// The time in which a server with a link-local address must answer.
const WAIT: Duration = Duration::from_secs(2);

/// The hint for a file that differs from the running system.
const LEARN: &str = "nightlatch network --learn, then rebuild the images";

/// The network of the next boot, beside that of the running system.
pub(super) struct BootNetwork {
    /// The options of the next boot.
    pub(super) command: BootCommand,
    definition: Definition,
    file: Option<ConfFile>,
    snapshot: Snapshot,
    is_taken: bool,
    /// True when the boot system asks for addresses, and for what resolves names, without being told to by ip=.
    asks_for_addresses: bool,
}

/// An interface that a boot uses, and that can be tried now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct UsableInterface {
    /// The name in the running system.
    pub(super) running: String,
}

impl BootNetwork {
    /// Reads what there is. Says nothing yet.
    pub(super) fn of(root: &Path, settings: &MachineSettings) -> Result<Self, Failure> {
        let file = ConfFile::read(root)?;
        let is_taken = settings.network;
        let definition = match &file {
            Some(file) if is_taken => file.definition.clone(),
            _ => Definition::default(),
        };
        Ok(Self {
            command: BootCommand::of(root, &at_boot(settings, &definition))?,
            definition,
            file,
            snapshot: snapshot()?,
            is_taken,
            asks_for_addresses: boot_files::has_initramfs_tools(root),
        })
    }

    /// The kernel modules of the interfaces that a boot uses.
    pub(super) fn drivers(&self) -> BTreeSet<String> {
        let (usable, _) = self.usable();
        let named = usable
            .iter()
            .filter_map(|it| self.snapshot.named(&it.running));
        let routes: Vec<ServerRoute> = named.map(neighbour).collect();
        let used = learn(&self.snapshot, &routes).definition;
        modules(&used, Some(&self.snapshot)).into_iter().collect()
    }

    /// Says what a boot would find, and which servers can be tried: those that are connected to, or without any, those
    /// that a search finds. `None` when a boot would not get that far.
    pub(super) fn check(
        &self,
        program: &Path,
        report: &mut Report,
    ) -> Result<Option<Vec<Target>>, Failure> {
        let takes_options = self.options(program, report);
        if self.command.is_off {
            return Ok(None);
        }
        let before = report.failures();
        self.file(report);
        let targets: Vec<Target> = self.command.servers().targets().cloned().collect();
        let connects = !targets.is_empty();
        let routes =
            ServerRoutes::of_targets(&targets, &self.command.interfaces(), &self.snapshot, WAIT)?;
        let together = Some(ServerRoutes::together(&routes)).filter(|_| connects);
        self.differences(together.as_ref(), report);
        self.interfaces(report);
        let has_failed = report.failures() > before;
        let reached = self.targets(&targets, &routes, report);
        // What drifted may leave another interface that finds a server.
        let none_is_left = connects && (has_failed || reached.is_empty());
        if !takes_options || none_is_left {
            let message = "no server is asked: a boot would not get that far";
            report.doubtful("server", message, None);
            return Ok(None);
        }
        for target in targets.iter().filter(|it| !reached.contains(it)) {
            let message = format!("{target} is not asked: a boot would not reach it");
            report.doubtful("server", message, None);
        }
        Ok(Some(reached))
    }

    /// True when the client would be started, and takes its options.
    fn options(&self, program: &Path, report: &mut Report) -> bool {
        let line = &self.command.kernel_line;
        for complaint in &self.command.complaints {
            let hint = format!(
                "correct plugin-runner.conf or the kernel's command line in {line}; `nightlatch-boot plugin-runner --help` \
                 explains the options"
            );
            report.bad("options", complaint.clone(), Some(hint));
        }
        if self.command.is_off {
            let message = "the client would not be started";
            let hint = format!(
                "take --disable=mandos-client out of plugin-runner.conf, or nightlatch=off out of {line}"
            );
            report.bad("options", message, Some(hint));
            return false;
        }
        let servers = self.command.servers();
        for refused in &servers.refused {
            let hint = format!(
                "correct or remove it: `connect` in client.conf, --connect in plugin-runner.conf or the kernel's command line \
                 in {line}"
            );
            report.bad("options", refused.to_string(), Some(hint));
        }
        for word in &servers.repeated {
            report.doubtful("options", format!("--connect {word} is given twice"), None);
        }
        if servers.are_all_refused() {
            return false;
        }
        // Asked for help after them, it reads them and does nothing.
        let tried = Command::new(program)
            .arg("client")
            .args(&self.command.arguments)
            .arg("--help")
            .stdin(Stdio::null())
            .output();
        let why = match tried {
            Ok(tried) if tried.status.success() => {
                if !self.command.arguments.is_empty() {
                    let message = self.command.arguments.join(" ");
                    report.good(
                        "options",
                        format!("a boot starts the client with {message}"),
                    );
                }
                return self.command.complaints.is_empty();
            }
            Ok(tried) => {
                let message = String::from_utf8_lossy(&tried.stderr);
                message.lines().next().unwrap_or_default().to_owned()
            }
            Err(error) => error.to_string(),
        };
        let message = format!("the client does not take its options: {why}");
        let hint = format!(
            "correct `options` in client.conf, plugin-runner.conf or the kernel's command line in {line}"
        );
        report.bad("options", message, Some(hint));
        false
    }

    fn file(&self, report: &mut Report) {
        let Some(file) = &self.file else {
            let message = "nothing was learned: a boot uses interfaces as they are";
            return report.doubtful("network", message, Some(LEARN.to_owned()));
        };
        if !self.is_taken {
            return report.good("network", "client.conf says that no links are made");
        }
        for fault in &file.faults {
            let message = format!("{}: {fault}", file.path.display());
            let hint = "correct that line and rebuild the images: man 5 network.conf".to_owned();
            report.bad("network", message, Some(hint));
        }
        let links = self.definition.links().iter();
        let made = links.filter(|link| !matches!(link.kind, LinkKind::Device(_)));
        let names: Vec<&str> = made.map(|link| link.name.as_str()).collect();
        report.good(
            "network",
            match names.is_empty() {
                true => "interfaces are used as they are: no link is made".to_owned(),
                false => format!("a boot makes {}", names.join(", ")),
            },
        );
    }

    /// Reports the differences between the file and the running kernel.
    fn differences(&self, routes: Option<&ServerRoutes>, report: &mut Report) {
        let Some(file) = self.file.as_ref().filter(|_| self.is_taken) else {
            return;
        };
        let found = drift::drift(&self.definition, &file.faults, &self.snapshot, routes).1;
        let differing: Vec<&str> = found.iter().map(|it| it.link.as_str()).collect();
        // Where nothing is connected to, one link that is as it should be is enough.
        let tops = self.definition.tops();
        let whole = tops.filter(|top| {
            let alone = self.definition.clone().needed_for(&[top.name.as_str()]);
            let mut parts = alone.links().iter();
            !parts.any(|part| differing.contains(&part.name.as_str()))
        });
        let enough = routes.is_none() && whole.count() > 0;
        for difference in &found {
            let message = format!("network.conf has drifted: {difference}");
            let hint = Some(LEARN.to_owned());
            match difference.is_decisive() && !enough {
                true => report.bad("network", message, hint),
                false => report.doubtful("network", message, hint),
            }
        }
        if found.is_empty() {
            report.good("network", "network.conf is what the running kernel has");
        }
    }

    /// True when the interfaces that are asked for by name are there at boot.
    fn interfaces(&self, report: &mut Report) {
        let names = self.command.interfaces();
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        // Those after it are not taken up.
        if let Some(end) = names.iter().position(|name| *name == "none") {
            names.truncate(end);
        }
        let missing: Vec<&str> = names
            .iter()
            .copied()
            .filter(|name| !self.has_at_boot(name))
            .collect();
        let all = missing.len() == names.len();
        for name in missing {
            let message = match self.snapshot.named(name) {
                Some(_) if self.is_faulty(name) => {
                    format!(
                        "the section of {name} in network.conf has a fault: a boot does not make it"
                    )
                }
                Some(_) => format!("{name} is not in network.conf: a boot does not make it"),
                None => format!("there is no interface {name}: a boot waits for it"),
            };
            let known: Vec<String> = boot_links(&self.definition, &self.snapshot);
            let hint = format!(
                "expected one of {}; or: nightlatch network --learn --interface {name}",
                known.join(", ")
            );
            match all {
                true => report.bad("network", message, Some(hint)),
                false => report.doubtful("network", message, Some(hint)),
            }
        }
    }

    /// True when network.conf has a section for it that a boot leaves out.
    fn is_faulty(&self, name: &str) -> bool {
        let file = self.file.iter().filter(|_| self.is_taken);
        let mut links = file.flat_map(|file| &file.faults).flat_map(|it| &it.link);
        links.any(|link| link.as_str() == name)
    }

    fn has_at_boot(&self, name: &str) -> bool {
        boot_links(&self.definition, &self.snapshot)
            .iter()
            .any(|known| known == name)
    }

    /// A server that is connected to, with the name that its interface has now.
    pub(super) fn now(&self, target: &Target) -> Target {
        let mut target = target.clone();
        if let TargetHost::LinkLocal(_, Some(Scope::Name(name))) = &mut target.host
            && let Some(link) = self.definition.link(name)
            && let Some(seen) = drift::in_use(&self.definition, link, &self.snapshot)
        {
            seen.name().clone_into(name);
        }
        target
    }

    /// The interfaces that can be tried, and what keeps others from it.
    pub(super) fn usable(&self) -> (Vec<UsableInterface>, Vec<String>) {
        let names = self.command.interfaces();
        let mut usable = Vec::new();
        let mut remarks = Vec::new();
        if names.iter().all(|name| name == "none") {
            for link in &self.snapshot.links {
                match self.judge(link) {
                    Some(Ok(())) => usable.push(UsableInterface {
                        running: link.name().to_owned(),
                    }),
                    Some(Err(remark)) => remarks.push(remark),
                    None => {}
                }
            }
            return (usable, remarks);
        }
        for name in names.iter().filter(|name| *name != "none") {
            let link = self.definition.used_for(name);
            let running = match link {
                Some(link) => drift::in_use(&self.definition, link, &self.snapshot),
                None => self.snapshot.named(name),
            };
            match running {
                Some(link) if !self.has_at_boot(name) => {
                    remarks.push(format!(
                        "{} is not tried: a boot does not have it",
                        link.name()
                    ));
                }
                Some(link) if link.present.up && link.running => usable.push(UsableInterface {
                    running: link.name().to_owned(),
                }),
                // It was made ready for the next boot, perhaps. To take it up is no check's business.
                Some(link) => remarks.push(format!(
                    "{} is down: a boot would take it up, it is not tried",
                    link.name()
                )),
                None => {}
            }
        }
        (usable, remarks)
    }

    /// True when a boot has a link of the running system; nothing where it leads to no hardware anyway.
    fn judge(&self, link: &KernelLink) -> Option<Result<(), String>> {
        let way = [neighbour(link)];
        if !crate::network::is_searched(link, &self.snapshot) {
            return None;
        }
        let learned = learn(&self.snapshot, &way);
        if learned.definition.links().is_empty() {
            return None;
        }
        let tops: Vec<&str> = learned
            .definition
            .tops()
            .map(|it| it.name.as_str())
            .collect();
        let wanted = self.definition.clone().needed_for(&tops);
        let lacks = |it: &LinkDifference| match &it.what {
            DifferenceKind::OnlyNow { device, .. } => !device,
            // An address is no part of a search.
            DifferenceKind::Setting { key, .. } if key == "addresses" || key == "routes" => false,
            DifferenceKind::OnlyInFile | DifferenceKind::Setting { .. } => it.is_decisive(),
        };
        let lacking = differences(&wanted, &[], &learned, &self.snapshot);
        if lacking.iter().any(lacks) {
            let name = link.name();
            return Some(Err(format!(
                "{name} is not tried: a boot does not make it as it is; {LEARN}"
            )));
        }
        if tops.iter().any(|name| self.definition.is_member(name)) {
            return Some(Err(format!(
                "{} is not tried: a boot makes it a member of another link",
                link.name()
            )));
        }
        Some(Ok(()))
    }
}

fn neighbour(link: &KernelLink) -> ServerRoute {
    ServerRoute {
        link: link.present.index,
        reach: ReachMethod::Neighbour,
    }
}
