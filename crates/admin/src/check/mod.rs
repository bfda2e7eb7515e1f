//! `nightlatch check`: would this machine come back from a reboot? (docs/decisions/0120)
//!
//! Looks at all that a boot will need, and changes nothing. Each part says what it found; what follows
//! from that is decided here alone.

mod archive;
mod compare;
mod downtime;
mod fleet;
mod images;
mod inhibit;
mod rehearse;
mod report;
mod volumes;

use std::path::Path;
use std::time::Duration;

use nightlatch_bus::block_on;
use nightlatch_core::network::Kind;
use nightlatch_core::secret::Secret;
use nightlatch_core::settings::machine::MachineSettings;
use nightlatch_proto::rehearsal::Terms;

use crate::cli::check::Check;
use crate::failure::{EX_NOPERM, Failure};
use crate::image::Plan;
use crate::output::human;
use report::Report;

/// Carries the verb out; 1 when something would keep a machine from coming back.
pub(crate) fn run(options: &Check) -> Result<u8, Failure> {
    if options.all {
        return block_on(fleet::run(options));
    }
    if !rustix::process::geteuid().is_root() {
        return Err(
            Failure::new(EX_NOPERM, "only root can read images and keys")
                .hint("run this as root: sudo nightlatch check"),
        );
    }
    if options.inhibit {
        return inhibit::run(options);
    }
    let mut report = Report::new(options.json);
    check(options, &mut report)?;
    report.finish()?;
    Ok(u8::from(report.is_bad()))
}

/// All parts, in the order in which a boot needs them.
fn check(options: &Check, report: &mut Report) -> Result<(), Failure> {
    let root = Path::new("/");
    let plan = match Plan::of(root) {
        Ok(plan) => plan,
        Err(failure) => {
            report.bad("machine", failure.to_string(), failure.hint_text());
            return Ok(());
        }
    };
    for remark in &plan.remarks {
        report.doubtful("machine", remark.clone(), None);
    }
    // What is doubtful about them is among the plan's remarks.
    let settings = crate::image::settings(&mut Plan::default(), root)?;
    images::check(root, &plan, report);
    links(root, &settings, report)?;
    let rehearsed = rehearse::check(options, &settings, report)?;
    let Some((password, terms)) = rehearsed else {
        return Ok(());
    };
    volumes::check(root, &password, report);
    drop::<Secret>(password);
    time(&settings, &terms, report);
    Ok(())
}

/// Which links a boot would make.
fn links(root: &Path, settings: &MachineSettings, report: &mut Report) -> Result<(), Failure> {
    if !settings.network {
        report.good("network", "client.conf says that no links are made");
        return Ok(());
    }
    let network = crate::network::definition(root, &settings.interfaces)?;
    let made = network.definition.links().iter();
    let made = made.filter(|link| !matches!(link.kind, Kind::Device(_)));
    let names: Vec<&str> = made.map(|link| link.name.as_str()).collect();
    match names.is_empty() {
        true => report.good(
            "network",
            "interfaces are used as they are: no link is made",
        ),
        false => report.good("network", format!("a boot makes {}", names.join(", "))),
    }
    Ok(())
}

/// Whether the machine may be away for as long as a reboot takes.
fn time(settings: &MachineSettings, terms: &Terms, report: &mut Report) {
    let (downtime, from) = match settings.downtime {
        Some(given) => (given, "as client.conf says"),
        None => downtime::measured().map_or((downtime::USUAL, "usually"), |took| {
            (took, "as the last boots did")
        }),
    };
    let shown = |length: Duration| human::length(length);
    let said = format!(
        "a reboot takes {} {from}, and the server allows {} at least",
        shown(downtime),
        shown(terms.always())
    );
    if downtime <= terms.always() {
        return report.good("time", said);
    }
    let hint = Some(format!(
        "give this machine a longer timeout on the server: nightlatch set NAME timeout={}",
        human::setting(2 * (downtime + terms.interval))
    ));
    match downtime <= terms.left {
        true => report.doubtful("time", format!("{said}; now it would be in time"), hint),
        false => report.bad("time", said, hint),
    }
}
