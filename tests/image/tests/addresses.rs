//! How initramfs-tools' images ask for addresses: the real script in the real image, with a real DHCP server, on a host of
//! its own. Guests boot with it in the boot tests; here are the networks where one request does not do.
#![allow(clippy::unwrap_used, reason = "in a test it is the assertion itself")]

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nightlatch_image_tests::workshop::{Made, make};
use nightlatch_interop::netns::{NetnsHost, cable};
use nightlatch_test_support::Deadline;

/// Two hosts, an image's files, and two cables between the hosts: eth0 and eth1 here, v0 and v1 there.
struct Network {
    here: NetnsHost,
    there: NetnsHost,
    made: Made,
    running: Vec<Child>,
}

impl Network {
    fn new(suite: &str) -> Self {
        // Without modules: nothing here needs one.
        let made = make(
            suite,
            "echo MODULES=list > /etc/initramfs-tools/conf.d/none
            mkinitramfs -o /out/image $kernel
            unmkinitramfs /out/image /out/image.d
            [ ! -d /out/image.d/main ] || mv /out/image.d/main/* /out/image.d",
        );
        let (here, there) = (NetnsHost::new("here"), NetnsHost::new("there"));
        for (number, network) in [(0, "192.0.2.1/24"), (1, "198.51.100.1/24")] {
            let (outer, inner) = (format!("v{number}"), format!("eth{number}"));
            cable((&there, &outer), (&here, &inner));
            there.ip(&["addr", "add", network, "dev", &outer]);
            there.ip(&["link", "set", &outer, "up"]);
        }
        Self {
            here,
            there,
            made,
            running: Vec::new(),
        }
    }

    fn place(&self, name: &str) -> PathBuf {
        self.made.file("image.d").join(name)
    }

    fn start(&mut self, mut command: Command) {
        let child = command.stdin(Stdio::null()).spawn();
        self.running.push(child.unwrap());
    }

    /// Starts the script in the image, for `interfaces`. With it ends what it was started by.
    fn ask(&mut self, interfaces: &str) {
        let mut command = self.here.command("unshare");
        command.args([
            "--mount",
            "--propagation",
            "private",
            "--pid",
            "--fork",
            "--kill-child",
        ]);
        command.args(["sh", "-euc", "mkdir -p $1/dev $1/proc $1/sys $1/run; mount --rbind /dev $1/dev; mount -t proc none $1/proc; mount -t sysfs none $1/sys; mount -t tmpfs none $1/run
            [ -z \"$2\" ] || : >$1/run/net-$2.conf
            exec env -i quiet=n starttime=0 PATH=/usr/sbin:/usr/bin:/sbin:/bin NIGHTLATCH_ADDRESSES=\"$3\" NIGHTLATCH_LEASE=5 \
            chroot $1 /bin/sh -c '/scripts/nightlatch-addresses; exit'", "image"]);
        command.arg(self.made.file("image.d"));
        // The other one has a lease, of somebody else's making.
        command.arg(if interfaces.is_empty() { "" } else { "eth1" });
        command.arg(interfaces);
        self.start(command);
    }

    /// Starts a DHCP server at one end.
    fn serve(&mut self, at: &str, options: &[&str]) {
        let mut command = self.there.command("dnsmasq");
        command.args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--user=root",
            "--port=0",
        ]);
        command.args([
            "--pid-file=",
            "--dhcp-leasefile=/dev/null",
            "--no-ping",
            "--bind-interfaces",
        ]);
        command.arg(format!("--interface={at}")).args(options);
        self.start(command);
    }

    /// Ends what was started as the one with this number.
    fn end(&mut self, number: usize) {
        let mut child = self.running.remove(number);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Waits until an interface has an address that begins so.
    fn wait_for(&self, interface: &str, address: &str) {
        let deadline = Deadline::start();
        let found = || self.here.ip(&["-4", "addr", "show", "dev", interface]);
        while !found().contains(&format!("inet {address}")) {
            assert!(
                !deadline.passed(),
                "no {address}: {}",
                self.here.ip(&["addr"])
            );
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        while !self.running.is_empty() {
            self.end(0);
        }
    }
}

/// The client was told to use eth0, and eth1 has a lease already.
fn lease_elsewhere(suite: &str) {
    if !nightlatch_test_support::is_root() {
        return;
    }
    let mut network = Network::new(suite);
    network.ask("eth0");
    network.serve("v0", &["--dhcp-range=192.0.2.50,192.0.2.60,1h"]);
    network.wait_for("eth0", "192.0.2.");
}

/// A neighbour answered first, and leads nowhere.
fn useless_lease(suite: &str) {
    if !nightlatch_test_support::is_root() {
        return;
    }
    let mut network = Network::new(suite);
    network.serve(
        "v1",
        &[
            "--dhcp-range=198.51.100.50,198.51.100.60,1h",
            "--dhcp-option=3",
            "--dhcp-option=6",
        ],
    );
    network.ask("");
    network.wait_for("eth1", "198.51.100.");
    network.end(0);
    network.serve(
        "v0",
        &[
            "--dhcp-range=192.0.2.50,192.0.2.60,1h",
            "--dhcp-option=6,192.0.2.1",
        ],
    );
    network.wait_for("eth0", "192.0.2.");
    let deadline = Deadline::start();
    while !fs::read_to_string(network.place("etc/resolv.conf"))
        .is_ok_and(|text| text.contains("nameserver 192.0.2.1"))
    {
        assert!(!deadline.passed(), "no name server");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

#[test]
fn a_lease_on_another_interface_is_not_enough_in_debian_12() {
    lease_elsewhere("bookworm");
}

#[test]
fn a_lease_on_another_interface_is_not_enough_in_debian_13() {
    lease_elsewhere("trixie");
}

#[test]
fn a_lease_that_leads_nowhere_is_not_the_last_in_debian_12() {
    useless_lease("bookworm");
}

#[test]
fn a_lease_that_leads_nowhere_is_not_the_last_in_debian_13() {
    useless_lease("trixie");
}
