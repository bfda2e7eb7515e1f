//! `doctor`: looks at the machine, the agent and the card, and says what to do. Gathers facts, applies rules, prints.

mod facts;
mod gather;
mod rules;

use nightlatch_console::failure::Failure;
use nightlatch_console::output;
use nightlatch_console::report::{Finding, Level, Report};
use serde::Serialize;

use crate::cli::DoctorOptions;

/// The exit status when something is wrong.
const WRONG: u8 = 1;

#[derive(Serialize)]
struct DoctorDocument<'f> {
    /// True when no finding has the level `failed`.
    is_sound: bool,
    findings: &'f [Finding],
}

/// Prints the findings; status 1 if one of them has failed.
pub(crate) fn doctor(options: &DoctorOptions) -> Result<u8, Failure> {
    let facts = gather::facts(options);
    let findings = rules::findings(&facts);
    let is_sound = findings.iter().all(|found| found.level != Level::Failed);
    if options.json {
        let findings = &findings;
        output::print(&output::json::text(&DoctorDocument { is_sound, findings })?)?;
    } else {
        let mut report = Report::new(false);
        for found in findings {
            report.add(found.level, &found.about, found.said, found.hint);
        }
        report.conclude(
            "Nothing was found that keeps jobs from the card's key.",
            "Something is wrong: each line above that begins with FAIL says what to do.",
        )?;
    }
    Ok(if is_sound { 0 } else { WRONG })
}
