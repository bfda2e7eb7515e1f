//! A server announced on a host, with the bus and the Avahi that it needs for that.

use crate::avahi::Avahi;
use crate::dbus::Bus;
use crate::netns::NetnsHost;
use crate::programs::Project;
use crate::server::{Home, TestServer};

/// A server, and who announces it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SiteKind {
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
    pub server: TestServer,
    _avahi: Option<(Avahi, Bus)>,
}

impl SiteKind {
    /// Starts it on `host` with these sections as `clients.conf`, and waits until it is announced.
    pub fn serve(self, host: &NetnsHost, sections: &str) -> Site {
        let avahi = (self != Self::OursAlone).then(|| {
            let bus = Bus::start();
            (Avahi::start(host, &bus), bus)
        });
        let bus = match &avahi {
            Some((_, bus)) => bus.address(),
            None => "unix:path=/nonexistent".to_owned(),
        };
        let project = match self {
            Self::StockByAvahi => Project::Stock,
            Self::OursAlone | Self::OursByAvahi => Project::Ours,
        };
        let home = Home::new(sections, Some(bus));
        Site {
            server: TestServer::announced(project, home, host),
            _avahi: avahi,
        }
    }
}
