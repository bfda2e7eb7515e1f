//! usplash(8mandos) and splashy(8mandos). No distribution has these daemons any more: shells under their
//! names stand in for them, and do what the manuals say of them.

use std::process::Command;

use nightlatch_interop::process::RunningProgram;

use crate::fixture::{applet, is_root};

/// A host with a place for both daemons. Each start of one is a line of /run/starts.
const HOST_SETUP: &str = "
mount -t tmpfs none /run
mkdir -p /run/upper/sbin /run/work
for name in usplash splashy; do cp /bin/sh /run/upper/sbin/$name; done
mount -t overlay none -o lowerdir=/usr,upperdir=/run/upper,workdir=/run/work /usr
mount -t tmpfs none /dev
mknod -m 666 /dev/null c 1 3
mkdir /dev/.initramfs
cd /run; touch starts
until_started() { until [ $(wc -l < starts) = $1 ]; do sleep 0.01; done; }
";

/// Prints each question; answers unless it has to be silent.
const USPLASH: &str = "
mkfifo -m ${mode-600} /dev/.initramfs/usplash_fifo /dev/.initramfs/usplash_outfifo
cat > usplash.sh <<'END'
exec 3<>/dev/.initramfs/usplash_fifo 4<>/dev/.initramfs/usplash_outfifo
echo \"$*\" >> starts
head -z -n 2 <&3 | tr '\\0' '\\n' > asked
[ \"$1\" = silent ] || printf 'typed word\\n' >&4
exec /usr/sbin/usplash -c 'while :; do sleep 0.02; done'
END
";

/// Runs until it is started again to boot; the asker answers or does not.
const SPLASHY: &str = "
echo 'echo boot >> starts; while :; do sleep 0.02; done' > boot
cat > upper/sbin/splashy_update <<'END'
#!/bin/sh
echo \"$1\" > /run/asked
[ -e /run/silent ] && exec sleep 1000
echo 'typed word'
END
chmod 755 upper/sbin/splashy_update
/sbin/splashy -c 'echo first >> starts; while :; do sleep 0.02; done' & until_started 1
";

fn play(name: &str, story: &str) -> String {
    let program = applet(name);
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["sh", "-euc", &format!("{HOST_SETUP}{story}"), "sh"])
        .arg(program.get_program())
        .args(program.get_args())
        .env("CRYPTTAB_NAME", "root")
        .env_remove("CRYPTTAB_SOURCE");
    let output = RunningProgram::start(name, &mut command).finish();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Prints the output, then that a signal ended it, and the daemons that were started.
const CUT_OFF: &str = "
\"$@\" & applet=$!; until [ -s asked ]; do sleep 0.01; done
kill $applet; wait $applet || echo status $?
until_started 2; cat starts
";

#[test]
fn usplash_is_asked_by_its_fifos() {
    if !is_root() {
        return;
    }
    let usplash =
        |how: &str| format!("{USPLASH}/sbin/usplash usplash.sh {how} & until_started 1\n");
    let told = play(
        "usplash",
        &format!("{}\"$@\"; echo; cat asked", usplash("-c -x 800")),
    );
    let question = "TIMEOUT 0\nINPUTQUIET Unlocking the disk (root)\nEnter passphrase: \n";
    assert_eq!(told, format!("typed word\n{question}"));
    let told = play("usplash", &format!("{}{CUT_OFF}", usplash("silent")));
    assert_eq!(told, "status 143\nsilent\nsilent\n");
    assert_eq!(play("usplash", "\"$@\" || echo $?"), "69\n");
    // FIFOs that others can use, and a daemon that another user has started, are not believed.
    let shared = format!("mode=666\n{}\"$@\" || echo $?", usplash("-c"));
    assert_eq!(play("usplash", &shared), "69\n");
    let anybody = "chmod 777 /run; setpriv --reuid 65534 --regid 65534 --clear-groups /sbin/usplash -c 'while :; do sleep 0.02; done' &
        until [ \"$(readlink /proc/$!/exe)\" = /usr/sbin/usplash ]; do sleep 0.01; done
        mkfifo -m 600 /dev/.initramfs/usplash_fifo /dev/.initramfs/usplash_outfifo
        \"$@\" 2>&1 || echo $?";
    let told = play("usplash", anybody);
    assert!(
        told.contains("Usplash does not run") && told.ends_with("69\n"),
        "{told}"
    );
}

#[test]
fn splashy_is_asked_by_its_program() {
    if !is_root() {
        return;
    }
    let told = play("splashy", &format!("{SPLASHY}\"$@\"; echo; cat asked"));
    let question = "getpass Unlocking the disk (root)\nEnter passphrase: \n";
    assert_eq!(told, format!("typed word\n{question}"));
    let told = play("splashy", &format!("{SPLASHY}> silent\n{CUT_OFF}"));
    assert_eq!(told, "status 143\nfirst\nboot\n");
    assert_eq!(play("splashy", "\"$@\" || echo $?"), "69\n");
}
