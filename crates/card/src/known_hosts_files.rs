//! Reads the lists of known hosts. They are read for each login, so that a key that was added, replaced or revoked counts at
//! once; one thread at a time, since each reading takes memory.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use nightlatch_core::error_chain::format_error;
use nightlatch_core::settings::hosts::HostRule;
use nightlatch_ssh::known_hosts::KnownHosts;
use nightlatch_sys::trusted;

/// The most bytes of a file: some 20,000 hosts.
const MAX_FILE: u64 = 8 * 1024 * 1024;

/// Lines that are told, of those that are not understood.
const TOLD: usize = 5;

/// The files, and who may have written them beside root.
#[derive(Debug)]
pub(crate) struct KnownHostsFiles {
    paths: Vec<PathBuf>,
    user: u32,
    reading: Mutex<()>,
}

impl KnownHostsFiles {
    pub(crate) const fn new(paths: Vec<PathBuf>, user: u32) -> Self {
        Self {
            paths,
            user,
            reading: Mutex::new(()),
        }
    }

    /// All lines of all files. A file that is missing, or that others can write to, is an error of all: it may be the one that
    /// revokes a key.
    pub(crate) fn read(&self) -> Result<KnownHosts, String> {
        self.read_with(|_| {})
    }

    /// Faults of the files, and hosts of `rules` that they have no key of, for the log at the start.
    pub(crate) fn faults(&self, rules: &[HostRule]) -> Vec<String> {
        let mut faults = Vec::new();
        let read = self.read_with(|fault| faults.push(fault));
        let known = match read {
            Ok(known) => known,
            Err(error) => return vec![format!("no login is signed: {error}")],
        };
        let more = faults.len().saturating_sub(TOLD);
        faults.truncate(TOLD);
        if more > 0 {
            faults.push(format!("{more} more lines are not understood"));
        }
        let names = rules.iter().map(HostRule::known_as);
        let unknown = names.filter(|name| !known.has_name(name));
        faults.extend(unknown.map(|name| {
            format!("`known_hosts` have no key of {name}: until they have one, no login goes there")
        }));
        faults
    }

    fn read_with(&self, mut tell: impl FnMut(String)) -> Result<KnownHosts, String> {
        let _one = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = KnownHosts::default();
        for path in &self.paths {
            let shown = path.display();
            let content = trusted::read_file(path, self.user, MAX_FILE)
                .map_err(|error| format_error(&error))?;
            for fault in known.add(&String::from_utf8_lossy(&content)) {
                if fault.revokes {
                    return Err(format!(
                        "{shown}, {fault}: no revoked key may be overlooked"
                    ));
                }
                tell(format!("{shown}, {fault}; the line is passed over"));
            }
        }
        Ok(known)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn all_files_count_and_a_fault_in_one_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["one", "two"].map(|name| folder.path().join(name));
        let write = |text: &str| {
            for path in &paths {
                fs::write(path, text).unwrap();
                fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
            }
        };
        let own = rustix::process::geteuid().as_raw();
        let files = KnownHostsFiles::new(paths.to_vec(), own);
        let missing = files.read().unwrap_err();
        assert!(missing.contains("cannot look at"), "{missing}");
        write("# none\n");
        assert!(files.read().is_ok());
        assert_eq!(files.faults(&[]), Vec::<String>::new());
        let rules = ["web1:2222".parse().unwrap()];
        let faults = files.faults(&rules);
        assert_eq!(faults.len(), 1);
        assert!(faults[0].contains("no key of [web1]:2222"), "{faults:?}");
        write("web1\n");
        let faults = files.faults(&[]);
        let line = "line 1: expected names, the type of a key and its base64, found \"web1\"; the line is passed over";
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults.iter().all(|it| it.ends_with(line)), "{faults:?}");
        write(&"web1\n".repeat(9));
        assert!(files.read().is_ok());
        assert_eq!(files.faults(&[]).len(), TOLD + 1);
        write("web1\n@revoked x\n");
        let revoked = files.read().unwrap_err();
        assert!(revoked.contains("no revoked key may be overlooked"));
        let faults = files.faults(&rules);
        assert!(faults[0].starts_with("no login is signed: "), "{faults:?}");
        write("");
        fs::set_permissions(&paths[1], Permissions::from_mode(0o666)).unwrap();
        let open = files.read().unwrap_err();
        assert!(open.contains("others can write to"), "{open}");
    }
}
