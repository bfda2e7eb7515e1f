//! `nightlatch check`: would this machine come back from a reboot? (docs/decisions/0120)
//!
//! Looks at all that a boot will need, and changes nothing. Each part says what it found; what follows
//! from that is decided here alone.

mod admin_keys;
pub mod archive;
mod compare;
mod downtime;
mod host_keys;
mod images;
mod inhibit;
mod kernels;
mod network;
mod options;
mod rehearse;
mod swap;
mod systems;
mod volumes;

use std::path::Path;
use std::time::Duration;

use nightlatch_console::failure::{EX_NOPERM, Failure};
use nightlatch_console::output::human;
use nightlatch_console::report::Report;
use nightlatch_core::settings::machine::MachineSettings;
use nightlatch_proto::release::Terms;
use nightlatch_sys::clock;

use crate::boot_files;
use crate::image::ImagePlan;
use host_keys::PrivateHostKeys;
use network::BootNetwork;
pub use options::MachineCheckOptions;

/// Carries the verb out; 1 when something would keep a machine from coming back.
pub fn run(options: &MachineCheckOptions) -> Result<u8, Failure> {
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
fn check(options: &MachineCheckOptions, report: &mut Report) -> Result<(), Failure> {
    let root = Path::new("/");
    let bad = |report: &mut Report, failure: &Failure| {
        report.bad("machine", failure.to_string(), failure.hint_text());
    };
    let plan = match ImagePlan::of(root) {
        Ok(plan) => plan,
        Err(failure) => {
            bad(report, &failure);
            return Ok(());
        }
    };
    for remark in &plan.remarks {
        report.doubtful("machine", remark.clone(), None);
    }
    // What is doubtful about them is among the plan's remarks.
    let settings = boot_files::settings(root, &mut Vec::new())?;
    let volumes = match volumes::volumes(root) {
        Ok(volumes) => volumes,
        Err(error) => {
            report.bad(
                "volume",
                format!("cannot read /etc/crypttab: {error}"),
                None,
            );
            Vec::new()
        }
    };
    let early = volumes.iter().filter(|volume| volume.is_early());
    let network = match BootNetwork::of(root, &settings) {
        Ok(network) => network,
        Err(failure) => {
            bad(report, &failure);
            return Ok(());
        }
    };
    let machine = images::Machine {
        root,
        plan: &plan,
        drivers: network.drivers(),
        addressed: network.addressed_servers(),
        volumes: early.map(|volume| volume.name.clone()).collect(),
        host_keys: PrivateHostKeys::read(root),
    };
    let contents = images::check(&machine, report);
    host_keys::check(root, &contents.examined, report)?;
    admin_keys::check(root, clock::now().wall, report)?;
    swap::check(root, report);
    let boot = volumes::BootVolumes {
        opened: contents.opened,
        forgets: boot_files::has_initramfs_tools(root),
    };
    let program = boot_files::program(root)?;
    let fetched = match network.check(&program, report)? {
        Some(targets) => rehearse::check(options, &program, &network, &targets, report)?,
        None => None,
    };
    if fetched.is_some() {
        report.has_fetched();
        report.busy("trying the volumes");
    }
    let password = fetched.as_ref().map(|fetched| &fetched.password);
    volumes::check(root, &volumes, &boot, password, report);
    match fetched.map(|fetched| fetched.terms) {
        Some(Some(terms)) => time(&settings, &terms, report),
        Some(None) => {
            let message = "a server of Mandos does not tell how long this machine may be away";
            let hint =
                "compare its timeout with how long a reboot takes: mandos-ctl NAME".to_owned();
            report.doubtful("time", message, Some(hint));
        }
        None => {}
    }
    Ok(())
}

/// Compares the time that a reboot takes with the time that the server allows.
fn time(settings: &MachineSettings, terms: &Terms, report: &mut Report) {
    let (downtime, from) = match settings.downtime {
        Some(given) => (given, "as client.conf says"),
        None => downtime::measured().map_or((downtime::USUAL, "usually"), |took| {
            (took, "as the last boots did")
        }),
    };
    let shown = |length: Duration| human::length(length);
    let message = format!(
        "a reboot takes {} {from}, and the server allows {} at least",
        shown(downtime),
        shown(terms.safe_absence())
    );
    if downtime <= terms.safe_absence() {
        return report.good("time", message);
    }
    let hint = Some(format!(
        "give this machine a longer timeout on the server: nightlatch set NAME timeout={}",
        human::setting(2 * (downtime + terms.interval))
    ));
    match downtime <= terms.left {
        true => report.doubtful("time", format!("{message}; now it would be in time"), hint),
        false => report.bad("time", message, hint),
    }
}
