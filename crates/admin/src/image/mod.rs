//! `nightlatch image`: what goes into this machine's initramfs, said or done (docs/decisions/0100).
//!
//! The one place that knows. The hooks of initramfs-tools, dracut and mkinitcpio ask it, and the check
//! before a reboot compares with it.

mod hooks;
mod host;
mod plan;
mod show;
mod stage;

use crate::cli::image::{Image, ImageVerb};
use crate::failure::{Failure, warn};

pub(crate) use host::Host;
pub(crate) use plan::Plan;

/// Carries the verb out.
pub(crate) fn run(options: &Image) -> Result<(), Failure> {
    match &options.verb {
        ImageVerb::Plan(options) => {
            let plan = plan_of(&Host::new(&options.root, options.program.as_deref()))?;
            show::print(&plan, options.json)
        }
        ImageVerb::Stage(options) => {
            let host = Host::new(&options.what.root, options.what.program.as_deref());
            let plan = plan_of(&host)?;
            stage::below(&options.directory, &plan)?;
            show::print_rest(&plan)
        }
    }
}

fn plan_of(host: &Host) -> Result<Plan, Failure> {
    let plan = Plan::of(host)?;
    plan.doubts.iter().for_each(warn);
    Ok(plan)
}
