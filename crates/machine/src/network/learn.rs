//! `nightlatch network --learn`: asks the kernel and the network, and writes the file.

use std::path::Path;
use std::time::Duration;

use nightlatch_console::failure::{EX_CANTCREAT, EX_UNAVAILABLE, Failure, note, warn};
use nightlatch_console::output;
use nightlatch_core::connect::Target;
use nightlatch_core::network::compare::{LinkDifference, differences};
use nightlatch_core::network::learn::{Learned, learn};
use nightlatch_core::network::snapshot::Snapshot;
use nightlatch_core::settings::machine::MachineSettings;

use super::file::{self, ConfFile};
use super::options::NetworkOptions;
use super::server_routes::ServerRoutes;
use super::{is_own, snapshot};
use crate::boot_command::BootCommand;
use crate::boot_files;

/// Time for the search for servers during an enrolment.
const WAIT: Duration = Duration::from_secs(5);

/// Carries `--learn` out.
pub(super) fn run(options: &NetworkOptions) -> Result<(), Failure> {
    let wait = Duration::from_secs(options.wait.into());
    let root = Path::new("/");
    let settings = boot_files::settings(root, &mut Vec::new())?;
    let now = LearnedNetwork::learn(root, &settings, &options.interface, wait)?;
    let text = now.text();
    let old = ConfFile::read(root)?;
    if options.dry_run {
        if let Some(old) = &old {
            now.print_differences(&now.differences(old), old);
        }
        return output::print(&text);
    }
    now.write(root, old, options.force)
}

/// Learns what the next image needs, where nothing was learned yet. Whatever fails is told, and is no failure of what
/// it is done for.
pub(crate) fn for_the_next_image() {
    let root = Path::new("/");
    let learned = || {
        if ConfFile::read(root)?.is_some() {
            return Ok(());
        }
        let settings = boot_files::settings(root, &mut Vec::new())?;
        if !settings.network {
            return Ok(());
        }
        LearnedNetwork::learn(root, &settings, &[], WAIT)?.write(root, None, false)
    };
    if let Err(failure) = learned() {
        warn(format_args!(
            "the network of the boot was not learned: {failure}"
        ));
        if let Some(hint) = failure.hint_text() {
            note(hint);
        }
    }
}

/// The network that was just learned, with its sources.
struct LearnedNetwork {
    snapshot: Snapshot,
    learned: Learned,
    how: Vec<String>,
}

impl LearnedNetwork {
    fn learn(
        root: &Path,
        settings: &MachineSettings,
        only: &[String],
        wait: Duration,
    ) -> Result<Self, Failure> {
        if !is_own(root) {
            return Err(Failure::new(
                EX_UNAVAILABLE,
                "this is a chroot, where the kernel shows the network of another system",
            )
            .hint(
                "run `nightlatch network --learn` on the machine itself, or write \
                 /etc/nightlatch/network.conf by hand (network.conf(5))",
            ));
        }
        let command =
            BootCommand::of(root, settings).unwrap_or_else(|_| BootCommand::of_settings(settings));
        let snapshot = snapshot()?;
        let mut routes = ServerRoutes::of_names(only, &snapshot)?;
        let interfaces = command.interfaces();
        let servers = command.servers();
        servers.refused.iter().for_each(warn);
        let targets: Vec<Target> = servers.targets().cloned().collect();
        match targets.is_empty() {
            false => {
                let found = ServerRoutes::of_targets(&targets, &interfaces, &snapshot, wait)?;
                routes = ServerRoutes::together(&[&[routes][..], &found[..]].concat());
            }
            true if only.is_empty() => {
                routes = ServerRoutes::of_search(&interfaces, &snapshot, wait)?
            }
            true => {}
        }
        let learned = learn(&snapshot, &routes.routes);
        for remark in &learned.remarks {
            match remark.what.is_obstacle() {
                true => warn(remark),
                false => note(remark),
            }
        }
        if learned.definition.links().is_empty() {
            return Err(nothing(&routes));
        }
        routes.troubles.iter().for_each(warn);
        Ok(Self {
            snapshot,
            learned,
            how: routes.how,
        })
    }

    fn text(&self) -> String {
        file::text(&self.learned.definition, &self.how)
    }

    fn differences(&self, old: &ConfFile) -> Vec<LinkDifference> {
        differences(&old.definition, &old.faults, &self.learned, &self.snapshot)
    }

    /// Says what differs.
    fn print_differences(&self, differences: &[LinkDifference], old: &ConfFile) {
        let path = old.path.display();
        for fault in &old.faults {
            note(format_args!("{path}: {fault}"));
        }
        for difference in differences {
            note(difference);
        }
    }

    fn write(&self, root: &Path, old: Option<ConfFile>, force: bool) -> Result<(), Failure> {
        if let Some(old) = old {
            let differences = self.differences(&old);
            let path = old.path.display();
            if differences.is_empty() && old.faults.is_empty() && !force {
                note(format_args!("{path} says what the running system has"));
                return Ok(());
            }
            self.print_differences(&differences, &old);
            if old.is_edited() && !force {
                return Err(Failure::new(
                    EX_CANTCREAT,
                    format!("{path} was edited and differs: it was not overwritten"),
                )
                .hint(
                    "edit it, or let `nightlatch network --learn --force` overwrite it; --dry-run prints \
                     what that would write",
                ));
            }
        }
        let path = file::write(root, &self.text())?;
        for how in &self.how {
            note(how.trim_end_matches('.'));
        }
        note(format_args!(
            "wrote {}: rebuild the images, then `nightlatch check`",
            path.display()
        ));
        Ok(())
    }
}

/// Nothing to write, and what to do.
fn nothing(routes: &ServerRoutes) -> Failure {
    let why = match &routes.troubles[..] {
        [] => "no way to a server leads to a network interface that a boot has".to_owned(),
        troubles => troubles.join("; "),
    };
    Failure::new(EX_UNAVAILABLE, why).hint(
        "nothing was written. Start the server, or name it by `connect` in client.conf, and run \
         `nightlatch network --learn` again; `nightlatch network --learn --interface NAME` takes an interface without \
         looking for a server",
    )
}
