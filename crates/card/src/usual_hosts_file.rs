//! Keeps the usual hosts in a file of the unit's state directory, which is replaced as a whole.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nightlatch_core::time::Wall;
use nightlatch_sys::part_file::PartFile;

use crate::log;
use crate::usual_hosts::{MAX_BYTES, SeenHost, UsualHosts};

/// The name of the file.
const FILE: &str = "usual-hosts";

/// The hosts and their file.
#[derive(Debug)]
pub(crate) struct UsualHostsFile {
    path: PathBuf,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    hosts: UsualHosts,
    /// True when the last attempt to write has failed, and that was told.
    has_failed: bool,
}

impl UsualHostsFile {
    /// Reads the file in `folder`. Without one, or with a faulty one, a new time of learning begins, which is told here and, as
    /// the new file is written at once, not again.
    pub(crate) fn open(folder: &Path, now: Wall) -> Self {
        let path = folder.join(FILE);
        let (hosts, is_new) = match read(&path) {
            Ok(Some(hosts)) => (hosts, false),
            Ok(None) => {
                log::alarm(&format!(
                    "{} is faulty and is made anew: which hosts are usual is learned for 7 days from now on",
                    path.display()
                ));
                (UsualHosts::new(now), true)
            }
            Err(error) => {
                log::info(&format!(
                    "cannot read {} ({error}): which hosts are usual is learned for 7 days from now on",
                    path.display()
                ));
                (UsualHosts::new(now), true)
            }
        };
        let kept = Kept {
            hosts,
            has_failed: false,
        };
        let new = Self {
            path,
            kept: Mutex::new(kept),
        };
        if is_new {
            new.save(&mut new.kept());
        }
        new
    }

    /// A login to this host was signed. The new host is on the disk when this returns.
    pub(crate) fn see(&self, fingerprint: Option<&str>, now: Wall) -> SeenHost {
        let mut kept = self.kept();
        let seen = kept.hosts.see(fingerprint, now);
        if matches!(seen, SeenHost::Learned | SeenHost::New) || kept.has_failed {
            self.save(&mut kept);
        }
        seen
    }

    /// The number of hosts, and the end of the time of learning while it lasts.
    pub(crate) fn state(&self, now: Wall) -> (usize, Option<Wall>) {
        let kept = self.kept();
        (kept.hosts.len(), kept.hosts.learns_until(now))
    }

    fn save(&self, kept: &mut Kept) {
        let saved = write(&self.path, &kept.hosts.to_text());
        if let (Err(error), false) = (&saved, kept.has_failed) {
            log::alarm(&format!(
                "cannot write {} ({error}): usual hosts are lost when the agent ends",
                self.path.display()
            ));
        }
        kept.has_failed = saved.is_err();
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `None` when it is not such a file.
fn read(path: &Path) -> io::Result<Option<UsualHosts>> {
    let mut content = Vec::new();
    File::open(path)?
        .take(MAX_BYTES + 1)
        .read_to_end(&mut content)?;
    let text = String::from_utf8(content).ok();
    Ok(text.and_then(|text| UsualHosts::parse(&text)))
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut part = PartFile::create(path, "new", 0o600)?;
    part.write(text.as_bytes())?;
    part.replace()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const START: Wall = Wall::from_unix_micros(1_790_000_000_000_000);

    #[test]
    fn hosts_outlive_the_agent_and_a_faulty_file_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let key = format!("SHA256:{:043}", 1);
        let later = Wall::from_unix_micros(START.unix_micros() + 8 * 24 * 3_600_000_000);
        let usual = UsualHostsFile::open(folder.path(), START);
        assert_eq!(usual.see(Some(&key), START), SeenHost::Learned);
        let again = UsualHostsFile::open(folder.path(), later);
        assert_eq!(again.see(Some(&key), later), SeenHost::Usual);
        assert_eq!(again.see(None, later), SeenHost::New);
        assert_eq!(again.state(later), (2, None));
        fs::write(folder.path().join(FILE), "odd").unwrap();
        let anew = UsualHostsFile::open(folder.path(), later);
        assert_eq!(anew.state(later).0, 0);
        assert!(anew.state(later).1.is_some());
        // The faulty one is gone.
        assert!(read(&folder.path().join(FILE)).unwrap().is_some());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_is_missing_keeps_no_host_but_stops_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let usual = UsualHostsFile::open(&folder.path().join("none"), START);
        assert_eq!(usual.see(None, START), SeenHost::Learned);
        assert_eq!(usual.see(None, START), SeenHost::Usual);
        fs::create_dir(folder.path().join("none")).unwrap();
        assert_eq!(usual.see(None, START), SeenHost::Usual);
        let text = fs::read_to_string(folder.path().join("none").join(FILE)).unwrap();
        assert!(text.ends_with("unproved\n"), "{text}");
    }
}
