//! Beside the packages of Mandos, and in their place.

use nightlatch_packages::system::TestSystem;

fn status(system: &TestSystem, package: &str) -> String {
    let output = system.try_run(&["dpkg-query", "-W", "-f", "${db:Status-Status}", package]);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
#[ignore = "make deb-test builds the packages first"]
fn the_client_stands_beside_that_of_mandos_and_uses_its_keys() {
    let Some(system) = TestSystem::booted("bookworm") else {
        return;
    };
    // As mandos-client has them: making an RSA key of 4096 bits takes a minute, and is not what is tested.
    system.sh("install -d -m 0700 /etc/keys/mandos
         for name in pubkey.txt seckey.txt tls-pubkey.pem tls-privkey.pem; do
             install -m 0600 /dev/null /etc/keys/mandos/$name; echo key > /etc/keys/mandos/$name
         done");
    system.install(&["mandos-client"]);
    let said = system.install(&["nightlatch-client", "nightlatch"]);
    assert!(
        said.contains("the keys of mandos-client in /etc/keys/mandos are used"),
        "{said}"
    );
    let made = system.run(&["find", "/etc/nightlatch/keys", "-type", "f"]);
    assert_eq!(made, "");
    assert_eq!(status(&system, "mandos-client"), "installed");

    let said = system.install(&["nightlatch-mandos"]);
    assert_eq!(status(&system, "mandos-client"), "config-files", "{said}");
    let plugin = "/usr/lib/x86_64-linux-gnu/mandos/plugins.d/mandos-client";
    let help = system.run(&[plugin, "--help"]);
    assert!(help.contains("--network-hook-dir"), "{help}");
    let key = system.run(&["cat", "/etc/keys/mandos/seckey.txt"]);
    assert_eq!(key, "key\n");
}

#[test]
#[ignore = "make deb-test builds the packages first"]
fn the_server_stands_beside_that_of_mandos_and_takes_its_names() {
    let Some(system) = TestSystem::booted("bookworm") else {
        return;
    };
    system.install(&["mandos"]);
    let said = system.install(&["nightlatch-server", "nightlatch"]);
    assert!(said.contains("nightlatch import-mandos"), "{said}");
    for unit in ["mandos", "nightlatchd"] {
        system.run(&["systemctl", "is-active", unit]);
    }

    // Taken over, as the guide says: the sample that the package installed is not in the way.
    std::fs::write(
        system.file("/etc/mandos/clients.conf"),
        "[web1]\nkey_id = f33fcbed11ed5e03073f6a55b86ffe92af0e24c045fb6e3b40547b3dc0c030ed\n\
         fingerprint = 7788F2A28BB4A8C7C5D2F7D8B4A3F9F5A5E6B1C2\nhost = web1\n\
         secret = RW5jcnlwdGVkIHRvIHRo\n",
    )
    .unwrap();
    system.run(&["systemctl", "stop", "mandos", "nightlatchd"]);
    // Now and then it ends without writing its state.
    system.until("Mandos has written its state", |system| {
        system.run(&["systemctl", "start", "mandos"]);
        system.until("it knows its client", |system| {
            let list = system.try_run(&["mandos-ctl"]);
            String::from_utf8_lossy(&list.stdout).contains("web1")
        });
        system.run(&["systemctl", "stop", "mandos"]);
        system.file("/var/lib/mandos/clients.pickle").exists()
    });
    system.run(&["nightlatch", "import-mandos", "--yes"]);
    system.run(&["systemctl", "disable", "mandos"]);
    system.run(&["systemctl", "start", "nightlatchd"]);
    let clients = "/etc/nightlatch/clients.conf";
    let mode = system.run(&["stat", "-c", "%U:%G:%a", clients]);
    assert_eq!(mode, "root:_nightlatch:640\n");

    system.install(&["nightlatch-mandos"]);
    assert_eq!(status(&system, "mandos"), "config-files");
    let dump = system.run(&["mandos-ctl", "--dump-json"]);
    assert!(dump.contains("\"web1\""), "{dump}");
    let version = system.run(&["mandos", "--version"]);
    assert!(version.starts_with("nightlatchd "), "{version}");
    // The stock configuration, where the stock server has it.
    let found = system.run(&["mandos", "--check-config"]);
    assert!(found.contains("/etc/mandos/mandos.conf: read"), "{found}");
    for tool in ["mandos-keygen", "mandos-monitor"] {
        let help = system.run(&[tool, "--help"]);
        let verb = tool.trim_start_matches("mandos-");
        assert!(help.contains(&format!(" {verb}")), "{help}");
    }
    // Its init script would start ours and wait for it.
    let start = system.run(&["find", "/etc/rc2.d", "-name", "S*mandos"]);
    assert_eq!(start, "");

    // Back again. One of the two has the name on the bus, without which the stock one does not start.
    system.apt(&["remove", "nightlatch-mandos"]);
    system.run(&["systemctl", "stop", "nightlatchd"]);
    system.install(&["mandos"]);
    assert_eq!(status(&system, "mandos"), "installed");
    let start = system.run(&["find", "/etc/rc2.d", "-name", "S*mandos"]);
    assert_ne!(start, "");
}
