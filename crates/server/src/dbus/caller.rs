//! Who called: the user behind a connection of the bus, for the record.

use std::collections::HashMap;

use nightlatch_sys::privileges;
use zbus::Connection;
use zbus::fdo::DBusProxy;
use zbus::names::{BusName, UniqueName};

use crate::audit::Who;

/// So many callers are remembered. A connection's name is never given to another.
const REMEMBERED: usize = 256;

/// Asks the bus, on a connection of its own: the answer cannot be held up by calls that wait.
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

    /// The user behind `sender`, in words.
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
            // It is gone already; its order stands.
            Err(_) => Who::User(format!("bus connection {sender}").into()),
        };
        if self.known.len() >= REMEMBERED {
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
