//! Hosts on one machine: network namespaces joined by a virtual cable.
//!
//! Needs root. Names are unique to the process, and everything is removed on drop.

use std::io::Read;
use std::net::Ipv6Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nightlatch_test_support::Deadline;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::programs::ours;

/// Longest wait for a change of addresses before they are read again.
const LOOK_AGAIN: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// True when this process may make network namespaces.
pub fn available() -> bool {
    let probe = Command::new("unshare")
        .args(["--net", "true"])
        .stderr(Stdio::null())
        .status();
    let root = Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|id| id.stdout == b"0\n");
    root && probe.is_ok_and(|status| status.success())
}

/// A host: a network namespace with a name of its own.
#[derive(Debug)]
pub struct NetnsHost {
    name: String,
}

impl NetnsHost {
    /// A new host without any interface that is up but `lo`.
    pub fn new(role: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let host = Self {
            name: format!("nl-{role}-{}-{count}", std::process::id()),
        };
        ip(&["netns", "add", &host.name]);
        host.ip(&["link", "set", "lo", "up"]);
        host
    }

    /// The namespace's name, as `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs our program on this host where the script `lay` has laid `folder`, its `$0`, over the system's files: its
    /// status, and all that it said.
    pub fn run_laid(&self, lay: &str, folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = self.command("unshare");
        command
            .args(["--mount", "--propagation", "private", "sh", "-c", lay])
            .arg(folder)
            .arg(ours("nightlatch"))
            .args(arguments);
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        (output.status.code(), said)
    }

    /// `program`, to be run on this host.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// The command that runs `command` on this host, with its arguments and environment.
    pub fn inside(&self, command: &Command) -> Command {
        let mut inside = self.command(command.get_program());
        inside.args(command.get_args());
        let set = |(name, value): (_, Option<_>)| Some((name, value?));
        inside.envs(command.get_envs().filter_map(set));
        inside
    }

    /// Runs `ip` with these arguments on this host; what it printed.
    pub fn ip(&self, arguments: &[&str]) -> String {
        let mut all = vec!["-n", &self.name];
        all.extend(arguments);
        ip(&all)
    }

    /// Its interfaces with their flags and addresses, and its routes: what a program that leaves
    /// everything as it found it must not change.
    pub fn network(&self) -> String {
        self.ip(&["-br", "link"]) + &self.ip(&["-br", "addr"]) + &self.ip(&["-6", "route"])
    }

    /// Waits until `interface`, which is up and plugged in, has an IPv6 link-local address that is
    /// known to be unique.
    pub fn wait_for_link_local(&self, interface: &str) {
        let mut monitor = Command::new("ip")
            .args(["-n", &self.name, "-6", "monitor", "address"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut changes = monitor.stdout.take().unwrap();
        let deadline = Deadline::start();
        while self.usable_link_local(interface).is_none() {
            if deadline.passed() {
                let _ = monitor.kill();
                let _ = monitor.wait();
                panic!("{interface} never had an IPv6 link-local address");
            }
            // A change before the monitor listened is seen by looking again.
            let mut waited = [PollFd::new(&changes, PollFlags::IN)];
            if poll(&mut waited, Some(&LOOK_AGAIN)).unwrap() > 0 {
                assert_ne!(changes.read(&mut [0; 1024]).unwrap(), 0, "no monitor");
            }
        }
        let _ = monitor.kill();
        let _ = monitor.wait();
    }

    /// The IPv6 link-local address of `interface`, which must have one.
    pub fn link_local(&self, interface: &str) -> Ipv6Addr {
        let address = self.usable_link_local(interface);
        address.unwrap_or_else(|| panic!("{interface} has no IPv6 link-local address"))
    }

    /// The IPv6 link-local address of `interface` that is no longer tentative.
    fn usable_link_local(&self, interface: &str) -> Option<Ipv6Addr> {
        let arguments = [
            "-n",
            &self.name,
            "-6",
            "addr",
            "show",
            "dev",
            interface,
            "scope",
            "link",
            "-tentative",
        ];
        let shown = Command::new("ip").args(arguments).output().unwrap();
        let shown = String::from_utf8_lossy(&shown.stdout);
        let mut words = shown.split_whitespace();
        words.find(|word| *word == "inet6")?;
        words.next()?.split('/').next()?.parse().ok()
    }
}

impl Drop for NetnsHost {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["netns", "delete", &self.name])
            .status();
    }
}

/// Two hosts and the cable between them: `srv0` on the one, `cli0` on the other. No IPv4 anywhere,
/// not even on `lo`.
#[derive(Debug)]
pub struct Lan {
    pub server: NetnsHost,
    pub client: NetnsHost,
}

impl Lan {
    /// With both ends up; `None`, and said so, where there are no namespaces.
    pub fn new(role: &str) -> Option<Self> {
        let lan = Self::unplugged(role)?;
        lan.plug_in();
        Some(lan)
    }

    /// As [`Self::new`], with the cable's ends down.
    pub fn unplugged(role: &str) -> Option<Self> {
        let lan = Self::without_cable(role)?;
        lan.lay_cable();
        Some(lan)
    }

    /// As [`Self::new`], before there are any interfaces.
    pub fn without_cable(role: &str) -> Option<Self> {
        if !available() {
            nightlatch_test_support::skipped("needs root and network namespaces");
            return None;
        }
        let host = || {
            let host = NetnsHost::new(role);
            host.ip(&["-4", "addr", "flush", "dev", "lo"]);
            host
        };
        Some(Self {
            server: host(),
            client: host(),
        })
    }

    /// Makes `srv0` and `cli0`, both down.
    pub fn lay_cable(&self) {
        cable((&self.server, "srv0"), (&self.client, "cli0"));
    }

    /// Sets both ends up.
    pub fn plug_in(&self) {
        self.server.ip(&["link", "set", "srv0", "up"]);
        self.client.ip(&["link", "set", "cli0", "up"]);
    }

    /// Fails when anybody has given himself IPv4.
    pub fn assert_no_ipv4(&self) {
        for host in [&self.server, &self.client] {
            assert_eq!(host.ip(&["-4", "addr"]), "", "IPv4 on {}", host.name());
        }
    }
}

/// Hosts on one switch, which passes multicast on to all of them.
#[derive(Debug)]
pub struct Switch {
    role: String,
    switch: NetnsHost,
    ports: AtomicU32,
}

impl Switch {
    /// The interface of each host on it.
    pub const INTERFACE: &str = "eth0";

    /// One without any host; `None`, and said so, where there are no namespaces.
    pub fn new(role: &str) -> Option<Self> {
        if !available() {
            nightlatch_test_support::skipped("needs root and network namespaces");
            return None;
        }
        let switch = NetnsHost::new(role);
        switch.ip(&[
            "link",
            "add",
            "br0",
            "type",
            "bridge",
            "mcast_snooping",
            "0",
        ]);
        switch.ip(&["link", "set", "br0", "up"]);
        Some(Self {
            role: role.to_owned(),
            switch,
            ports: AtomicU32::new(0),
        })
    }

    /// Adds a host to it, with its interface up and a link-local address.
    pub fn host(&self) -> NetnsHost {
        let host = NetnsHost::new(&self.role);
        let port = format!("port{}", self.ports.fetch_add(1, Ordering::Relaxed));
        cable((&host, Self::INTERFACE), (&self.switch, &port));
        self.switch
            .ip(&["link", "set", &port, "master", "br0", "up"]);
        host.ip(&["link", "set", Self::INTERFACE, "up"]);
        host.wait_for_link_local(Self::INTERFACE);
        host
    }
}

/// Joins two hosts by a cable: interface `one` on the first, `two` on the second. Both are down, have
/// no IPv4, and will take their link-local address at once, without looking for duplicates first.
pub fn cable((first, one): (&NetnsHost, &str), (second, two): (&NetnsHost, &str)) {
    ip(&[
        "link",
        "add",
        one,
        "netns",
        &first.name,
        "type",
        "veth",
        "peer",
        "name",
        two,
        "netns",
        &second.name,
    ]);
    for (host, interface) in [(first, one), (second, two)] {
        let setting = format!("net.ipv6.conf.{interface}.accept_dad=0");
        let status = host
            .command("sysctl")
            .args(["-q", "-w", &setting])
            .status()
            .unwrap();
        assert!(status.success(), "cannot set {setting}");
    }
}

fn ip(arguments: &[&str]) -> String {
    let output = Command::new("ip").args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "ip {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
