//! Commands inside a root file system that is being prepared, in a mount namespace of their own.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

/// Mounts what a Debian system expects, binds pairs of a path outside and one inside, and runs the script.
const ENTER: &str = r#"set -e
    root=$1 script=$2
    shift 2
    mount --rbind /dev "$root/dev"
    mount -t proc proc "$root/proc"
    mount -t sysfs -o ro sys "$root/sys"
    for folder in run tmp; do mount -t tmpfs tmpfs "$root/$folder"; done
    while [ $# -gt 0 ]; do
        mkdir -p "$root/$2"
        mount --bind "$1" "$root/$2"
        shift 2
    done
    cp -L /etc/resolv.conf "$root/etc/resolv.conf"
    exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
        ${http_proxy:+http_proxy="$http_proxy"} chroot "$root" sh -euc "$script""#;

/// Runs `script` by `sh` inside `root`. `binds` are folders outside and where they are seen inside. What it
/// says goes to the end of `log`.
///
/// # Panics
/// When it fails.
pub fn run(root: &Path, binds: &[(&Path, &str)], script: &str, log: &File) {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", ENTER, "sh"]);
    command.arg(root).arg(script);
    for (outside, inside) in binds {
        command.arg(outside).arg(inside);
    }
    run_logged(&mut command, log);
}

/// Runs a program to its end. What it says goes to the end of `log`.
///
/// # Panics
/// When it fails.
pub fn run_logged(command: &mut Command, log: &File) {
    let status = command
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log.try_clone().unwrap())
        .status()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let program = command.get_program().to_string_lossy().into_owned();
    assert!(status.success(), "{program} failed: {status}");
}
