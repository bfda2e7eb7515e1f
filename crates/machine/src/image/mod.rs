//! `nightlatch image`: what goes into a boot image of this machine, shown or written.
//!
//! One place knows it, for every boot system: the `ImagePlan`. Contents of key files are never printed.

mod gather;
mod network_hooks;
mod options;
mod plan;
mod programs;
mod show;
mod stage;
mod units;

use std::path::Path;

use nightlatch_console::failure::{EX_NOPERM, Failure, warn};
use nightlatch_console::output;
use rustix::fs::Mode;
use rustix::process::umask;

pub use options::ImageOptions;
use options::ImageVerb;
pub(crate) use plan::{FOLDER, FileSource, ImagePlan, PlannedFile};
#[cfg(test)]
pub(crate) use plan::{PlannedLink, Program};

/// Carries the verb out.
pub fn run(options: &ImageOptions) -> Result<(), Failure> {
    if !rustix::process::geteuid().is_root() {
        return Err(
            Failure::new(EX_NOPERM, "only root can read what goes into an image")
                .hint("run this as root: sudo nightlatch image ..."),
        );
    }
    let systemd = match &options.verb {
        ImageVerb::Plan(options) => options.systemd,
        ImageVerb::Stage(options) => options.systemd,
    };
    let mut plan = ImagePlan::of(Path::new("/"))?;
    if systemd {
        plan.add_units();
    }
    for remark in &plan.remarks {
        warn(remark);
    }
    match &options.verb {
        ImageVerb::Plan(options) if options.json => output::print(&show::json(&plan)?),
        ImageVerb::Plan(_) => output::print(&show::people(&plan, output::coloured())),
        ImageVerb::Stage(options) => {
            // Modes are what the plan says, whatever this process has inherited.
            umask(Mode::empty());
            stage::write(&plan, &options.directory)?;
            output::print(&show::shell(&plan))
        }
    }
}
