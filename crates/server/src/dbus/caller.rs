//! The user behind a connection of the bus, for the audit log.

use std::collections::HashMap;

use nightlatch_sys::privileges;
use zbus::Connection;
use zbus::fdo::DBusProxy;
use zbus::names::{BusName, UniqueName};

use crate::audit::Who;

/// Callers kept in memory. The bus never gives a connection's name to another connection.
const CACHED: usize = 256;

/// Asks the bus, on a connection of its own, so that calls that wait cannot delay the answer.
#[derive(Debug)]
pub(super) struct Callers {
    bus: DBusProxy<'static>,
    known: HashMap<String, Who>,
}

impl Callers {
    pub(super) async fn new() -> zbus::Result<Self> {
        let connection = Connection::system().await?;
        Ok(Self {
            bus: DBusProxy::new(&connection).await?,
            known: HashMap::new(),
        })
    }

    /// The user of `sender`.
    pub(super) async fn who(&mut self, sender: Option<&UniqueName<'_>>) -> Who {
        let Some(sender) = sender else {
            return Who::User("unknown".into());
        };
        if let Some(who) = self.known.get(sender.as_str()) {
            return who.clone();
        }
        let name = BusName::from(sender.to_owned());
        let who = match self.bus.get_connection_unix_user(name).await {
            Ok(uid) => Who::User(named(uid).into()),
            // The connection is gone already; its command stands.
            Err(_) => Who::User(format!("bus connection {sender}").into()),
        };
        if self.known.len() >= CACHED {
            self.known.clear();
        }
        self.known.insert(sender.as_str().to_owned(), who.clone());
        who
    }
}

fn named(uid: u32) -> String {
    match privileges::user_name(uid) {
        Ok(Some(name)) => format!("uid {uid} ({name})"),
        _ => format!("uid {uid}"),
    }
}
