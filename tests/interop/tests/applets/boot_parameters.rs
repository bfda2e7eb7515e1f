//! Sources of an applet's settings beside its own command line: the settings in the image, and the kernel's command
//! line.

use std::path::Path;
use std::process::Command;

use nightlatch_interop::process::RunningProgram;

use crate::fixture::{applet, is_root};

/// A root like that of an initramfs, with the system's programs. The real kernel's command line is out of
/// sight.
const HOST_SETUP: &str = "
mount -t tmpfs none /mnt
cd /mnt
for folder in usr bin sbin lib lib64 etc dev proc; do
    [ -e /$folder ] || continue
    mkdir $folder; mount --rbind /$folder $folder
done
mkdir -m 1777 tmp; mkdir -p conf/conf.d program run
mount --bind \"${1%/*}\" program
program=/program/${1##*/}
write() { mkdir -p \"${1%/*}\"; cat > \"$1\"; }
boot() { printf '%s\\n' \"$*\" > cmdline; umount proc/cmdline 2>/dev/null || :; mount --bind cmdline proc/cmdline; }
inside() { chroot . \"$@\"; }
";

/// The lines that `story` prints.
fn tell(story: &str) -> Vec<String> {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "private", "sh", "-euc"])
        .arg(format!("{HOST_SETUP}{story}"))
        .arg("sh")
        .arg(applet("parameters").get_program());
    let output = RunningProgram::start("story", &mut command).finish();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    said.lines().map(str::to_owned).collect()
}

#[test]
fn scripts_learn_what_the_kernels_command_line_asks_of_them() {
    if !is_root() {
        return;
    }
    let story = "
        ask() { boot \"$@\"; echo \"$1: $(inside $program parameters | tr '\\n' ' ')\"; }
        ask quiet; ask mandos=off; ask nightlatch=connect:192.0.2.1:47; ask mandos=connect:fe80::1:47
        echo '--connect=192.0.2.1:47 # where the server is' | write conf/conf.d/nightlatch/client.options
        ask ro
        echo '--connect=192.0.2.1:47 --connect=[fe80::1]:47' | write conf/conf.d/nightlatch/client.options
        ask rw; ask ip=off
        write conf/conf.d/nightlatch/client.options < /dev/null
        echo '--options-for=mandos-client:--connect=192.0.2.1:47' | write conf/conf.d/nightlatch/plugin-runner.conf
        ask splash
        printf '[eth0]\\naddresses = 192.0.2.7/24\\n' | write conf/conf.d/nightlatch/network.conf
        ask quiet
        echo '--options-for=mandos-client:--connect=192.0.2.1:47,--interface=eth1' | write conf/conf.d/nightlatch/plugin-runner.conf
        ask ro
    ";
    let told = [
        "quiet: ",
        "mandos=off: off ",
        "nightlatch=connect:192.0.2.1:47: network ",
        "mandos=connect:fe80::1:47: ",
        "ro: network ",
        "rw: network ",
        "ip=off: ",
        // Servers and interfaces of the plugin runner count as well.
        "splash: network ",
        "quiet: ",
        "ro: network eth1 ",
    ];
    assert_eq!(tell(story), told);
}

#[test]
fn the_runner_reads_our_settings_before_those_of_mandos_and_obeys_the_kernel() {
    if !is_root() {
        return;
    }
    let story = "
        mkdir plugins; printf '#!/bin/sh\\necho client \"$@\"\\n' | write plugins/mandos-client
        chmod 755 plugins plugins/mandos-client
        run() { boot \"$1\"; inside $program plugin-runner --plugin-dir /plugins --no-fallback --kernel-command-line || echo $?; }
        echo '--options-for=mandos-client:--stock' | write conf/conf.d/mandos/plugin-runner.conf
        run ''
        echo '--options-for=mandos-client:--ours' | write conf/conf.d/nightlatch/plugin-runner.conf
        run ''
        run 'mandos=connect:fe80::1:47 ip=:::::eth7:'
        run 'nightlatch=off'
        inside $program plugin-runner --plugin-dir /plugins --no-fallback
    ";
    let told = [
        "client --stock",
        "client --ours",
        "client --ours --connect=none --connect=[fe80::1]:47 --interface=eth7",
        "69",
        "client --ours",
    ];
    assert_eq!(tell(story), told);
}

#[test]
fn a_client_with_faulty_options_in_its_image_says_so_and_asks_nobody() {
    if !is_root() {
        return;
    }
    let story = "
        boot ''
        echo '--retyr=5' | write conf/conf.d/nightlatch/client.options
        inside $program client 2>&1 || echo $?
        inside $program client --help > /dev/null; echo $?
        boot mandos=off
        inside $program client --kernel-command-line 2>&1 || echo $?
    ";
    let said = tell(story);
    assert!(
        said[0].contains(
            "bad options in /conf/conf.d/nightlatch/client.options: unknown option --retyr"
        )
    );
    assert_eq!(said[2..4], ["78", "0"]);
    assert!(said[4].contains("switched off"), "{said:?}");
    assert_eq!(said[5], "69");
}

/// A command that configures addresses may never end: the password comes all the same, and no process is left.
#[test]
fn what_is_done_beside_the_search_delays_nothing_and_ends_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let feed = |arguments: &[&str]| {
        let mut feed = applet("cryptroot");
        feed.arg("--fifo")
            .arg(folder.path().join("fifo"))
            .args(arguments);
        feed
    };
    let beside = "sleep 1000 & echo beside $! >&2; wait";
    let nothing_to_end = feed(&["--end"]).status().unwrap();
    assert!(nothing_to_end.success());
    let go = folder.path().join("go");
    let search = format!(
        "until [ -e {} ]; do sleep 0.1; done; echo secret",
        go.display()
    );
    let options = ["--debug", "--beside", beside, "sh", "-c", &search];
    let running = RunningProgram::start("feed", &mut feed(&options));
    let sleeper = running.wait_for("what is done beside", |line| {
        line.strip_prefix("beside ").map(str::to_owned)
    });
    let sleeper = Path::new("/proc").join(sleeper.trim()).join("exe");
    assert!(sleeper.exists());
    std::fs::write(&go, "").unwrap();
    running.wait_for("that there is a password", |line| {
        line.contains("there is a password").then_some(())
    });
    let second = feed(&["true"]).output().unwrap();
    assert_eq!(second.status.code(), Some(69), "{second:?}");
    assert!(feed(&["--end"]).status().unwrap().success());
    assert!(!sleeper.exists());
    running.finish();
}
