//! A server announced on a host, with the bus and the Avahi that it needs for that.

use crate::avahi::Avahi;
use crate::dbus::Bus;
use crate::netns::Host;
use crate::programs::Whose;
use crate::server::{Home, Server};

/// A server, and who announces it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Ours, with its own responder: there is no bus.
    OursAlone,
    /// Ours, through Avahi.
    OursByAvahi,
    /// The stock server, through Avahi, without which it does not announce itself.
    StockByAvahi,
}

/// All of it, ended on drop.
#[derive(Debug)]
pub struct Site {
    /// The server, which is announced.
    pub server: Server,
    _avahi: Option<(Avahi, Bus)>,
}

impl Kind {
    /// Starts it on `host` with these sections as `clients.conf`, and waits until it is announced.
    pub fn serve(self, host: &Host, sections: &str) -> Site {
        let avahi = (self != Self::OursAlone).then(|| {
            let bus = Bus::start();
            (Avahi::start(host, &bus), bus)
        });
        let bus = match &avahi {
            Some((_, bus)) => bus.address(),
            None => "unix:path=/nonexistent".to_owned(),
        };
        let whose = match self {
            Self::StockByAvahi => Whose::Stock,
            Self::OursAlone | Self::OursByAvahi => Whose::Ours,
        };
        let home = Home::new(sections, Some(bus));
        Site {
            server: Server::announced(whose, home, host),
            _avahi: avahi,
        }
    }
}
