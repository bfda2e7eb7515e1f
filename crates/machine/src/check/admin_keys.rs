//! The pinned admin keys of this machine: usable by the agent, and changed by root alone.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nightlatch_console::failure::Failure;
use nightlatch_console::output::human;
use nightlatch_console::report::Report;
use nightlatch_core::time::Wall;
use nightlatch_openpgp::{AdminKeys, PublicKey};
use serde::Serialize;

use crate::admin_keys::{PinnedAdminKeys, describe};
use crate::host_keys::HostKeys;

/// The subject of these findings.
const ABOUT: &str = "admin keys";

/// The field of the JSON document with what was found.
const FIELD: &str = "admin_keys";

/// Write permission of everybody but the owner.
const OTHERS: u32 = 0o022;

/// The findings as JSON. What was not found out is `null`.
#[derive(Default, Serialize, Debug)]
struct AdminKeyFindings {
    file: PathBuf,
    /// Fingerprints; none when the file is missing.
    keys: Option<Vec<String>>,
    /// Nobody but root can change the file.
    protected: Option<bool>,
}

/// Checks the pinned admin keys of the machine whose files are below `root`. A machine without host keys has no use for
/// them, and nothing is said.
pub(super) fn check(root: &Path, now: Wall, report: &mut Report) -> Result<(), Failure> {
    let pinned = PinnedAdminKeys::of(root);
    if !HostKeys::of(root).exist() && !pinned.path().exists() {
        return Ok(());
    }
    let mut findings = AdminKeyFindings {
        file: pinned.path().to_owned(),
        ..AdminKeyFindings::default()
    };
    match pinned.read() {
        Ok(None) => report.good(
            ABOUT,
            format!(
                "there are none in {}: this machine takes no named secrets",
                pinned.path().display()
            ),
        ),
        Ok(Some(keys)) => {
            findings.keys = Some(
                keys.iter()
                    .map(|key| key.fingerprint().to_string())
                    .collect(),
            );
            judge(&keys, now, report);
        }
        Err(failure) => report.bad(ABOUT, failure.to_string(), failure.hint_text()),
    }
    findings.protected = protection(&pinned, report);
    report.attach(FIELD, &findings)
}

/// Says whom the machine believes.
fn judge(keys: &AdminKeys, now: Wall, report: &mut Report) {
    let good: Vec<String> = keys
        .iter()
        .filter(|key| problem(key, now).is_none())
        .map(describe)
        .collect();
    if !good.is_empty() {
        let message = format!("named secrets are believed from {}", good.join(", "));
        report.good(ABOUT, message);
    }
    for key in keys.iter() {
        if let Some(problem) = problem(key, now) {
            let message = format!("{} {problem}: its secrets are refused", describe(key));
            let hint = "make new ones: nightlatch admin-key new, and nightlatch enroll --host-key --admin-key FILE";
            report.doubtful(ABOUT, message, Some(hint.to_owned()));
        }
    }
}

fn problem(key: &PublicKey, now: Wall) -> Option<String> {
    if key.is_revoked() {
        return Some("is revoked".to_owned());
    }
    let expires = key.expires().filter(|expires| *expires <= now)?;
    Some(format!("has expired, at {}", human::time(expires)))
}

/// True when nobody but root can change the file; `None` without one.
fn protection(pinned: &PinnedAdminKeys, report: &mut Report) -> Option<bool> {
    let about = fs::metadata(pinned.path()).ok()?;
    let shown = pinned.path().display();
    let mode = about.mode() & 0o7777;
    if about.uid() == 0 && mode & OTHERS == 0 {
        return Some(true);
    }
    let message = format!(
        "{shown} belongs to user {} and has the mode {mode:04o}: expected that only root can change it",
        about.uid()
    );
    let hint = format!("look whose keys are in it, then: chown root: {shown} && chmod 644 {shown}");
    report.bad(ABOUT, message, Some(hint));
    Some(false)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use nightlatch_openpgp::{AdminKeyOptions, generate_admin_key};

    use super::*;

    const NOW: Wall = Wall::from_unix_micros(1_796_000_000_000_000);

    #[test]
    fn a_list_that_others_can_change_is_bad() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let pinned = PinnedAdminKeys::of(root.path());
        let options = AdminKeyOptions {
            name: "alice",
            created: NOW,
            passphrase: None,
        };
        let pair = generate_admin_key(&options).unwrap();
        let key = PublicKey::from_armored(pair.public_armored.as_bytes()).unwrap();
        pinned.pin(&[key]).unwrap();
        let is_bad = || {
            let mut report = Report::new(true);
            check(root.path(), NOW, &mut report).unwrap();
            report.is_bad()
        };
        assert!(!is_bad());
        let mode = |mode| fs::set_permissions(pinned.path(), PermissionsExt::from_mode(mode));
        mode(0o664).unwrap();
        assert!(is_bad());
        mode(0o644).unwrap();
        fs::write(pinned.path(), "damaged").unwrap();
        assert!(is_bad());
    }
}
