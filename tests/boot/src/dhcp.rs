//! The DHCP and name server of a network: dnsmasq, for one guest.

use std::process::{Child, Stdio};

use nightlatch_interop::netns::NetnsHost;
use tempfile::TempDir;

use crate::lan::Tap;

/// The address of the host that it runs on.
pub const SERVER: &str = "192.0.2.1";
/// The guest's address, reserved for its card.
pub const GUEST: &str = "192.0.2.10";
/// The name that it knows [`SERVER`] by.
pub const NAME: &str = "server.example";

/// Gives [`SERVER`] to a host.
pub fn address(host: &NetnsHost) {
    let address = format!("{SERVER}/24");
    host.ip(&["addr", "add", &address, "dev", "srv0"]);
}

/// A running dnsmasq, ended on drop.
#[derive(Debug)]
pub struct Dhcp {
    child: Child,
    _folder: TempDir,
}

impl Dhcp {
    /// Starts it on `host`, which has [`SERVER`], for the guest at `tap`.
    pub fn start(host: &NetnsHost, tap: &Tap) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let leases = folder.path().join("leases");
        let mut command = host.command("dnsmasq");
        command.args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--user=root",
        ]);
        command.args(["--no-resolv", "--no-hosts", "--no-ping", "--pid-file="]);
        command.args(["--interface=srv0", "--bind-interfaces"]);
        command.arg(format!("--dhcp-leasefile={}", leases.display()));
        command.arg("--dhcp-range=192.0.2.100,192.0.2.150,255.255.255.0,1h");
        command.arg(format!("--dhcp-host={},{GUEST}", tap.mac()));
        command.arg(format!("--address=/{NAME}/{SERVER}"));
        command.stdin(Stdio::null());
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start dnsmasq: {error}"));
        Self {
            child,
            _folder: folder,
        }
    }
}

impl Drop for Dhcp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
