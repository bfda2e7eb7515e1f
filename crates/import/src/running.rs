//! Finds a running stock server in the list of processes (proc(5)). Without D-Bus and under systemd it leaves no other
//! trace.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The process id of a running stock server.
pub(crate) fn mandos() -> Option<u32> {
    let processes = fs::read_dir("/proc").ok()?;
    processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .find(|pid| {
            let arguments = fs::read(format!("/proc/{pid}/cmdline"));
            arguments.is_ok_and(|it| is_mandos(&it))
        })
}

/// True for the arguments of the server, each ended by a zero byte. It is a script, so the interpreter comes first.
fn is_mandos(arguments: &[u8]) -> bool {
    let mut words = arguments.split(|byte| *byte == 0);
    let name = |word: Option<&[u8]>| {
        let name = Path::new(OsStr::from_bytes(word?)).file_name()?;
        Some(name.as_bytes().to_owned())
    };
    let interpreter = name(words.next());
    let script = words.find(|word| !word.starts_with(b"-"));
    interpreter.is_some_and(|it| it.starts_with(b"python"))
        && name(script) == Some(b"mandos".to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_told_from_its_tools() {
        let arguments = |line: &str| line.replace(' ', "\0").into_bytes();
        assert!(is_mandos(&arguments(
            "/usr/bin/python3 /usr/sbin/mandos --foreground"
        )));
        assert!(is_mandos(&arguments("python3 -bb /usr/sbin/mandos")));
        for other in [
            "/usr/bin/python3 /usr/sbin/mandos-ctl --debug",
            "nightlatch import-mandos --from /etc/mandos",
            "vi /usr/sbin/mandos",
            "",
        ] {
            assert!(!is_mandos(&arguments(other)), "{other}");
        }
    }
}
