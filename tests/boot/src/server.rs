//! A server on a host of the network, ours or stock, with the bus and the Avahi that it needs.

use nightlatch_interop::avahi::Avahi;
use nightlatch_interop::dbus::Bus;
use nightlatch_interop::netns::Host;
use nightlatch_interop::programs::Whose;
use nightlatch_interop::server::{Home, Server};

/// A running server. Dropped in this order.
#[derive(Debug)]
pub struct Place {
    /// The server.
    pub server: Server,
    _avahi: Option<Avahi>,
    bus: Bus,
    /// Where it runs.
    pub host: Host,
}

/// The port of a server that is not announced: each host is alone with it.
pub const PORT: u16 = 4711;

impl Place {
    /// Starts it on `host` with these sections, and waits until it is announced. The stock one needs Avahi
    /// for that; ours does it itself.
    pub fn announced(whose: Whose, host: Host, sections: &str) -> Self {
        let bus = Bus::start();
        let avahi = (whose == Whose::Stock).then(|| Avahi::start(&host, &bus));
        let mut home = Home::new(sections, Some(bus.address()));
        home.on_bus();
        let server = Server::announced(whose, home, &host);
        Self {
            server,
            _avahi: avahi,
            bus,
            host,
        }
    }

    /// Starts it on `host` at [`PORT`], not announced.
    pub fn unannounced(whose: Whose, host: Host, sections: &str) -> Self {
        let bus = Bus::start();
        let home = Home::new(sections, Some(bus.address()));
        let server = Server::at_port(whose, home, &host, PORT);
        Self {
            server,
            _avahi: None,
            bus,
            host,
        }
    }

    /// The bus on which it is administered.
    pub fn bus(&self) -> &Bus {
        &self.bus
    }
}
