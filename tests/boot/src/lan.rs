//! The network of one scenario: a switch in a network namespace, hosts that hang on it by cables, and taps
//! for guests. No IPv4 but what a scenario adds.

use std::sync::atomic::{AtomicU32, Ordering};

use nightlatch_interop::netns::{NetnsHost, cable};

/// A switch, removed on drop with all that is plugged in.
#[derive(Debug)]
pub struct Lan {
    switch: NetnsHost,
    ports: AtomicU32,
}

/// Where a guest's network card is plugged in.
#[derive(Debug)]
pub struct Tap {
    /// The namespace it is in, as `ip netns` knows it.
    pub netns: String,
    /// The interface.
    pub name: String,
    /// Which port of the switch: also makes the card's address.
    pub port: u32,
}

const BRIDGE: &str = "br0";

impl Tap {
    /// The address of the card that is plugged in here.
    pub fn mac(&self) -> String {
        format!("52:54:00:12:34:{:02x}", self.port)
    }
}

impl Default for Lan {
    fn default() -> Self {
        Self::new()
    }
}

impl Lan {
    /// A switch with nothing plugged in.
    pub fn new() -> Self {
        let switch = NetnsHost::new("switch");
        // It forwards every multicast: nobody here asks who listens.
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
        let tap = self.lonely_tap();
        self.switch
            .ip(&["link", "set", &tap.name, "master", BRIDGE]);
        tap
    }

    /// A place for a guest's card where nobody else is.
    pub fn lonely_tap(&self) -> Tap {
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
