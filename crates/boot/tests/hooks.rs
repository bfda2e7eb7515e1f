//! Network hooks of ours and of Mandos, with the programs that they call, on hosts of their own. Needs root; tests of
//! features that this kernel or machine lacks are skipped with a message. scripts/links-guest runs these tests on a
//! kernel that has WireGuard.
//!
//! There is no radio here: wpa_supplicant runs for real, on a cable (its driver `wired`).
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests stand outside test functions"
)]

#[path = "world/hosts.rs"]
mod hosts;
mod world;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hosts::{Host, possible, served};
use tempfile::TempDir;
use world::{Machine, log_of_success};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

#[test]
fn the_server_in_a_namespace() {
    hosts::serve_here();
}

fn peers() -> PathBuf {
    let named = std::env::var_os("NIGHTLATCH_PEERS").map(PathBuf::from);
    named.unwrap_or_else(|| Path::new(ROOT).join("target/peers"))
}

/// A folder of hooks with this one, for `shell`, and these files beside it.
fn folder(hook: &Path, shell: &str, files: &[(&str, String)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(hook).unwrap();
    let text = text.replacen("#!/bin/sh", &format!("#!{shell}"), 1);
    let copy = folder.path().join(hook.file_name().unwrap());
    std::fs::write(&copy, text).unwrap();
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755)).unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn ours(name: &str) -> PathBuf {
    Path::new(ROOT).join("dist/network-hooks").join(name)
}

/// The path on which the peers' programs are found.
fn path() -> String {
    let peers = peers();
    let own = std::env::var("PATH").unwrap_or_default();
    format!("{0}/sbin:{0}/usr/sbin:{0}/usr/bin:{own}", peers.display())
}

/// True when the hosts have a program; prints a message otherwise.
fn has(program: &str) -> bool {
    let found = peers().join(program).exists();
    if !found {
        nightlatch_test_support::skipped(format_args!(
            "{program} is not unpacked (scripts/prepare test)"
        ));
    }
    found
}

/// The shells that a hook must run with: this machine's, and that of an initramfs.
fn shells() -> Vec<&'static str> {
    let mut shells = vec!["/bin/sh"];
    if Path::new("/usr/bin/busybox").exists() {
        shells.push("/usr/bin/busybox ash");
    }
    shells
}

/// Runs a client with hooks, which must print the password; returns its log.
fn fetch(here: &Host, machine: &Machine, hooks: &TempDir, more: &[&str]) -> String {
    let mut command = here.client(machine, &["--debug"]);
    command
        .arg("--network-hook-dir")
        .arg(hooks.path())
        .args(more)
        .env("PATH", path())
        .env("NIGHTLATCH_HOOK_STATE", hooks.path().join("state"));
    log_of_success(&mut command)
}

fn links(host: &Host) -> String {
    host.ip(&["-br", "link"])
}

/// The answer of a hook when an image is made.
fn asked(hooks: &TempDir, hook: &str, mode: &str) -> String {
    let output = Command::new(hooks.path().join(hook))
        .arg(mode)
        .env("MANDOSNETHOOKDIR", hooks.path())
        .env("MODE", mode)
        .env("DEVICE", "")
        .env("PATH", path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

const WIRED: &str = "ap_scan=0\nnetwork={\n\tkey_mgmt=NONE\n}\n";

#[test]
fn wpa_supplicant_runs_as_long_as_the_password_is_fetched() {
    if !possible() || !has("sbin/wpa_supplicant") {
        return;
    }
    for shell in shells() {
        let (here, there) = (Host::new(), Host::new());
        here.cable_to(&there);
        let machine = Machine::new();
        let _server = there.serve(&machine);
        let options = "INTERFACES=wire\nDRIVER=wired\n".to_owned();
        let files = [
            ("wireless.conf", WIRED.to_owned()),
            ("wireless.options", options),
        ];
        let hooks = folder(&ours("wireless"), shell, &files);
        // A second hook, after it: it sees what the first has started.
        let seen = "#!/bin/sh\ncat \"$NIGHTLATCH_HOOK_STATE\"/*.pid > \"$MANDOSNETHOOKDIR/seen-$MODE\"\n\
                    xargs kill -0 < \"$MANDOSNETHOOKDIR/seen-$MODE\" && : > \"$MANDOSNETHOOKDIR/alive-$MODE\"\ntrue\n";
        let second = hooks.path().join("witness");
        std::fs::write(&second, seen).unwrap();
        std::fs::set_permissions(&second, std::fs::Permissions::from_mode(0o755)).unwrap();
        let before = links(&here);
        let said = fetch(&here, &machine, &hooks, &[]);
        assert!(!said.contains("failed"), "{said}");
        assert!(
            hooks.path().join("alive-start").exists(),
            "{shell}: wpa_supplicant did not run"
        );
        let pid = std::fs::read_to_string(hooks.path().join("seen-start")).unwrap();
        let pid = pid.trim();
        assert!(
            !Path::new("/proc").join(pid).exists(),
            "{shell}: wpa_supplicant still runs"
        );
        assert!(!hooks.path().join("alive-stop").exists());
        assert!(!hooks.path().join("state").exists());
        assert_eq!(links(&here), before, "{shell}");
    }
}

#[test]
fn a_wireless_hook_without_its_configuration_says_so_and_the_search_goes_on() {
    let Some((here, machine, _server)) = served("wire") else {
        return;
    };
    let hooks = folder(&ours("wireless"), "/bin/sh", &[]);
    let said = fetch(&here, &machine, &hooks, &[]);
    assert!(
        said.contains("wireless: expected a configuration of wpa_supplicant in "),
        "{said}"
    );
}

#[test]
fn the_image_gets_what_the_hooks_need() {
    if !has("sbin/wpa_supplicant") || !has("usr/bin/wg") {
        return;
    }
    let conf = ("wireless.conf", WIRED.to_owned());
    let hooks = folder(&ours("wireless"), "/bin/sh", &[conf]);
    let files = asked(&hooks, "wireless", "files");
    let conf = hooks.path().join("wireless.conf");
    let place = "/lib/mandos/network-hooks.d/wireless.conf";
    assert!(
        files.contains(&format!("{} {place}\n", conf.display())),
        "{files}"
    );
    assert!(
        files.lines().any(|line| line.ends_with("/wpa_supplicant")),
        "{files}"
    );
    assert!(asked(&hooks, "wireless", "modules").contains("ccm\n"));

    let hooks = folder(&ours("wireguard"), "/bin/sh", &[]);
    let files = asked(&hooks, "wireguard", "files");
    assert!(files.lines().any(|line| line.ends_with("/wg")), "{files}");
    assert_eq!(asked(&hooks, "wireguard", "modules"), "wireguard\n");
}

/// Runs `wg` with an input; its output.
fn wg(arguments: &[&str], input: &str) -> String {
    use std::io::Write;
    let mut child = Command::new(peers().join("usr/bin/wg"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_server_behind_a_wireguard_tunnel_is_reached() {
    if !possible() || !has("usr/bin/wg") {
        return;
    }
    let (here, there) = (Host::new(), Host::new());
    let mut add = there.command("ip");
    add.args(["link", "add", "wg0", "type", "wireguard"])
        .stderr(Stdio::null());
    if !add.status().unwrap().success() {
        assert!(std::env::var_os("NIGHTLATCH_ALL_LINKS").is_none());
        nightlatch_test_support::runs_elsewhere(
            "this kernel has no WireGuard; scripts/links-guest boots one that has",
        );
        return;
    }
    here.cable_to(&there);
    let keys = || {
        let private = wg(&["genkey"], "");
        let public = wg(&["pubkey"], &private);
        (private, public)
    };
    let ((our_key, our_public), (their_key, their_public)) = (keys(), keys());
    there.ip(&["addr", "add", "192.0.2.1/24", "dev", "wire"]);
    there.ip(&["addr", "add", "10.9.0.1/24", "dev", "wg0"]);
    let conf = tempfile::tempdir().unwrap();
    let conf = conf.path().join("conf");
    let text = format!(
        "[Interface]\nPrivateKey={their_key}\nListenPort=51820\n[Peer]\nPublicKey={our_public}\nAllowedIPs=10.9.0.2/32\n"
    );
    std::fs::write(&conf, text).unwrap();
    let program = peers().join("usr/bin/wg");
    let set = there
        .command(program.to_str().unwrap())
        .args(["setconf", "wg0"])
        .arg(&conf)
        .status();
    assert!(set.unwrap().success());
    there.ip(&["link", "set", "wg0", "up"]);
    let machine = Machine::new();
    let (_server, port) = there.serve(&machine);
    let target = format!("10.9.0.1:{port}");
    let text = format!(
        "[Interface]\nPrivateKey = {our_key}\nAddress = 10.9.0.2/24\nMTU = 1400\n[Peer]\nPublicKey = {their_public}\n\
             Endpoint = 192.0.2.1:51820\nAllowedIPs = 10.9.0.1/32\n"
    );
    let options = "UNDERLAY=\"wire 192.0.2.2/24\"\n".to_owned();
    let files = [("wireguard.conf", text), ("wireguard.options", options)];
    let hooks = folder(&ours("wireguard"), "/bin/sh", &files);
    let before = links(&here);
    let more = ["--interface", "none", "--connect", &target];
    let said = fetch(&here, &machine, &hooks, &more);
    assert!(!said.contains("failed"), "{said}");
    // Beside the tunnel it would be reached by a route that the client makes.
    assert!(!said.contains("added a route"), "{said}");
    assert_eq!(links(&here), before);
}

/// "This is an example of a Mandos client network hook" (its first line): it makes a bridge.
#[test]
fn the_stock_bridge_hook_works_unchanged() {
    let stock = peers().join("usr/share/doc/mandos-client/examples/network-hooks.d/bridge");
    if !possible() || !has("usr/share/doc/mandos-client/examples/network-hooks.d/bridge") {
        return;
    }
    // By this path it calls it.
    if !Path::new("/sbin/brctl").exists() {
        nightlatch_test_support::skipped("bridge-utils is not installed (scripts/prepare test)");
        return;
    }
    let (here, there) = (Host::new(), Host::new());
    here.cable_to(&there);
    let shown = here.ip(&["-o", "link", "show", "wire"]);
    let mac = shown.split("link/ether ").nth(1).unwrap();
    let mac = mac.split_whitespace().next().unwrap();
    let machine = Machine::new();
    let _server = there.serve(&machine);
    let conf = format!("BRIDGE=br0\nPORT_ADDRESSES=\"{mac}\"\n");
    let hooks = folder(&stock, "/bin/sh", &[("bridge.conf", conf)]);
    let before = links(&here);
    let said = fetch(&here, &machine, &hooks, &["--interface", "br0"]);
    assert!(said.contains("searching for servers on br0"), "{said}");
    assert_eq!(links(&here), before, "{said}");
}
