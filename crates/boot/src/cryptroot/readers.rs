//! The processes that read a FIFO, and the volume of each: askpass has its name in the environment (crypttab(5) of
//! Debian, CRYPTTAB_NAME).

use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nightlatch_sys::peers::only_user_of;

use crate::files::is_trusted;

/// Variables with the name of the volume, the newer name first.
const NAMES: [&[u8]; 2] = [b"CRYPTTAB_NAME=", b"crypttarget="];

/// `O_ACCMODE` (open(2)): its bits are zero where a file is open for reading only.
const ACCESS: u32 = 0o3;

/// A process that reads a FIFO.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct FifoReader {
    /// Its process id.
    pub(super) pid: u32,
    /// Start time in ticks since boot: together with the process id it is unique.
    started: u64,
    /// The volume that it wants to open; empty when it does not say.
    pub(super) volume: String,
}

/// Those that have `fifo` open for reading and run as root or as this program's user.
pub(super) fn of(fifo: &Metadata) -> Vec<FifoReader> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let entries = entries.filter_map(Result::ok);
    let found = entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let folder = entry.path();
        only_user_of(pid).is_some_and(is_trusted).then_some(())?;
        (pid != std::process::id() && reads(&folder, fifo)).then_some(())?;
        Some(FifoReader {
            pid,
            started: started(&fs::read_to_string(folder.join("stat")).ok()?)?,
            volume: volume(&fs::read(folder.join("environ")).ok()?),
        })
    });
    found.collect()
}

fn reads(process: &Path, fifo: &Metadata) -> bool {
    let Ok(entries) = fs::read_dir(process.join("fd")) else {
        return false;
    };
    entries.filter_map(Result::ok).any(|entry| {
        let open = fs::metadata(entry.path());
        let same = open.is_ok_and(|open| (open.dev(), open.ino()) == (fifo.dev(), fifo.ino()));
        same && fs::read_to_string(process.join("fdinfo").join(entry.file_name()))
            .is_ok_and(|told| for_reading(&told))
    })
}

/// proc(5), `/proc/pid/fdinfo`: `flags:` and an octal number.
fn for_reading(told: &str) -> bool {
    let flags = told.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| flags & ACCESS == 0)
}

/// proc(5), `/proc/pid/stat`: the 22nd field, counted from behind the name in parentheses.
fn started(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

fn volume(environment: &[u8]) -> String {
    let settings = || environment.split(|byte| *byte == 0);
    let named = |name: &[u8]| settings().find_map(|setting| setting.strip_prefix(name));
    let found = NAMES.into_iter().find_map(named).unwrap_or_default();
    std::ffi::OsStr::from_bytes(found)
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_volume_is_that_of_the_environment() {
        for (environment, expected) in [
            (&b"A=1\0CRYPTTAB_NAME=root\0crypttarget=old\0"[..], "root"),
            (b"crypttarget=old\0", "old"),
            (b"XCRYPTTAB_NAME=no\0", ""),
            (b"", ""),
        ] {
            assert_eq!(volume(environment), expected);
        }
    }

    #[test]
    fn what_proc_tells_is_understood() {
        assert!(for_reading("pos:\t0\nflags:\t0104000\nmnt_id:\t1\n"));
        assert!(!for_reading("flags:\t0100001\n") && !for_reading("flags:\t02\n"));
        assert!(!for_reading("") && !for_reading("flags: x"));
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        assert!(started(&stat).unwrap() > 0);
        assert_eq!(started("1 (a) b) S 1"), None);
    }
}
