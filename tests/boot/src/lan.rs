//! The network of one scenario: a bridge in a network namespace, hosts with a cable to it, and taps for guests.
//! Without IPv4 addresses, unless a scenario adds them.

use std::sync::atomic::{AtomicU32, Ordering};

use nightlatch_interop::netns::{NetnsHost, cable};

/// A switch, removed on drop with all that is plugged in.
#[derive(Debug)]
pub struct GuestNetwork {
    switch: NetnsHost,
    ports: AtomicU32,
}

/// A tap interface for a guest's network card.
#[derive(Debug)]
pub struct Tap {
    /// The namespace it is in, as `ip netns` knows it.
    pub netns: String,
    pub name: String,
    /// The port of the bridge, and the last byte of the card's address.
    pub port: u32,
}

const BRIDGE: &str = "br0";

impl Tap {
    /// The address of the card that is plugged in here.
    pub fn mac(&self) -> String {
        format!("52:54:00:12:34:{:02x}", self.port)
    }
}

impl Default for GuestNetwork {
    fn default() -> Self {
        Self::new()
    }
}

impl GuestNetwork {
    /// A switch with nothing plugged in.
    pub fn new() -> Self {
        let switch = NetnsHost::new("switch");
        // It forwards all multicast: there is no querier here.
        switch.ip(&[
            "link",
            "add",
            BRIDGE,
            "type",
            "bridge",
            "mcast_snooping",
            "0",
        ]);
        switch.ip(&["link", "set", BRIDGE, "up"]);
        Self {
            switch,
            ports: AtomicU32::new(0),
        }
    }

    /// A host on this network by its interface `srv0`, which has its link-local address.
    pub fn host(&self, role: &str) -> NetnsHost {
        let host = NetnsHost::new(role);
        host.ip(&["-4", "addr", "flush", "dev", "lo"]);
        let port = format!("port{}", self.next_port());
        cable((&host, "srv0"), (&self.switch, &port));
        host.ip(&["link", "set", "srv0", "up"]);
        self.switch
            .ip(&["link", "set", &port, "master", BRIDGE, "up"]);
        host.wait_for_link_local("srv0");
        host
    }

    /// A place for a guest's card.
    pub fn tap(&self) -> Tap {
        let tap = self.separate_tap();
        self.switch
            .ip(&["link", "set", &tap.name, "master", BRIDGE]);
        tap
    }

    /// A tap that is not connected to the bridge.
    pub fn separate_tap(&self) -> Tap {
        let port = self.next_port();
        let name = format!("tap{port}");
        self.switch.ip(&["tuntap", "add", &name, "mode", "tap"]);
        self.switch.ip(&["link", "set", &name, "up"]);
        Tap {
            netns: self.switch.name().to_owned(),
            name,
            port,
        }
    }

    fn next_port(&self) -> u32 {
        self.ports.fetch_add(1, Ordering::Relaxed)
    }
}

/// Fails when a guest's network differs, but for the cards' own addresses, which differ from tap to tap.
pub fn assert_same_network(network: &str, expected: &str) {
    let [network, expected] = [network, expected].map(|text| {
        let words = text.split_whitespace();
        let words = words.map(|word| {
            if word.starts_with("52:54:00:") {
                "CARD"
            } else {
                word
            }
        });
        words.collect::<Vec<_>>().join(" ")
    });
    assert_eq!(
        network, expected,
        "the network is not as in a boot without us"
    );
}
