//! The signals of a server, as one ordered stream of typed events.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::mpsc;
use zbus::export::futures_core::Stream;
use zbus::fdo::DBusProxy;
use zbus::message::{Header, Sequence, Type};
use zbus::names::{BusName, OwnedUniqueName, UniqueName};
use zbus::{MatchRule, Message, MessageStream, OwnedObjectPath};

use crate::client::{CheckStatus, ClientView};
use crate::error::BusError;
use crate::managed::{ClientProperties, Properties, read_clients};
use crate::names::{
    CLIENT, ClientPath, MANDOS, NIGHTLATCH, NIGHTLATCH_CLIENT, OBJECT_MANAGER, PROPERTIES,
};
use crate::property::{Property, PropertyValue};
use crate::proxy::MandosProxy;

/// The bus itself.
const BUS: &str = "org.freedesktop.DBus";

/// A signal of the server, or of the bus about the server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ServerSignal {
    /// A client is new.
    Added(Box<ClientView>),
    /// A client is gone.
    Removed(ClientPath),
    /// Properties of a client changed.
    Changed {
        /// Client whose properties changed.
        client: ClientPath,
        /// Their new values.
        values: Vec<(Property, PropertyValue)>,
        /// Properties that changed to a value that the signal does not carry (the secret).
        invalidated: Vec<Property>,
    },
    /// A request of a client was refused.
    Rejected {
        /// Client that was refused.
        client: ClientPath,
        /// The reason, in the server's words.
        reason: String,
    },
    /// A request of a client waits for a decision.
    NeedApproval {
        /// Client that needs approval.
        client: ClientPath,
        /// Time for which it waits.
        delay: Duration,
        /// The decision when no person decides in that time.
        approved_by_default: bool,
    },
    /// A client got its secret.
    GotSecret(ClientPath),
    /// A checker of a client was started.
    CheckerStarted {
        /// Client that is checked.
        client: ClientPath,
        /// Command line of the checker, with its variables replaced.
        command: String,
    },
    /// A checker of a client ended.
    CheckerCompleted {
        /// Client that was checked.
        client: ClientPath,
        /// Result, as `LastCheckerStatus` has it.
        status: CheckStatus,
        /// The signal that killed it, if one did.
        signal: Option<u8>,
        /// Command line of the checker, with its variables replaced.
        command: String,
    },
    /// A request came with a key that no client has.
    ClientNotFound {
        /// The key's id in hexadecimal.
        key_id: String,
        /// The address from which it came.
        address: String,
    },
    /// A record was written: a line of JSON (`docs/dbus.md`).
    Recorded(String),
    /// A server took the bus name: read everything again.
    ServerCame,
    /// The server let go of its name, or ended.
    ServerGone,
}

/// The signals of a server in the order in which they were sent. It stays valid when one server ends and another
/// starts.
///
/// Signals are read from the bus at once and queued here, so that answers to calls never wait behind them.
#[derive(Debug)]
pub struct SignalStream {
    server: MandosProxy,
    messages: mpsc::UnboundedReceiver<Message>,
    /// The owner of the Mandos name: signals of other senders are ignored.
    mandos: Option<OwnedUniqueName>,
    /// The owner of the Nightlatch name.
    nightlatch: Option<OwnedUniqueName>,
    /// Signals before this were overtaken by a snapshot.
    since: Sequence,
}

impl MandosProxy {
    /// Subscribes to the signals.
    pub async fn signals(&self) -> Result<SignalStream, BusError> {
        SignalStream::subscribe(self.clone()).await
    }
}

impl SignalStream {
    async fn subscribe(server: MandosProxy) -> Result<Self, BusError> {
        let bus = DBusProxy::new(server.connection())
            .await
            .map_err(BusError::of_call)?;
        let mut stream = MessageStream::from(server.connection());
        for rule in rules().map_err(BusError::of_call)? {
            bus.add_match_rule(rule)
                .await
                .map_err(|error| BusError::of_call(error.into()))?;
        }
        // Unbounded: a bound would hold back the answers to calls behind the signals, and the server limits the number
        // of signals.
        let (sender, messages) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(Ok(message)) =
                poll_fn(|context| Pin::new(&mut stream).poll_next(context)).await
            {
                if message.message_type() == Type::Signal && sender.send(message).is_err() {
                    return;
                }
            }
        });
        let mandos = owner(&bus, MANDOS).await?;
        let nightlatch = owner(&bus, NIGHTLATCH).await?;
        Ok(Self {
            server,
            messages,
            mandos,
            nightlatch,
            since: Sequence::default(),
        })
    }

    /// True when a server has its bus name, as of the last signal that was taken.
    pub fn server_is_running(&self) -> bool {
        self.mandos.is_some()
    }

    /// Every client now. Earlier signals are contained in it and will not be returned any more, except those about
    /// servers that start or end.
    pub async fn snapshot(&mut self) -> Result<Vec<ClientView>, BusError> {
        let answer = self.server.managed_objects().await?;
        self.since = answer.recv_position();
        read_clients(&answer)
    }

    /// The next signal; `None` when the connection to the bus is lost.
    ///
    /// What is not in the form of the interface is passed over. Safe to cancel.
    pub async fn next(&mut self) -> Option<ServerSignal> {
        loop {
            let message = self.messages.recv().await?;
            if let Some(signal) = self.read(&message) {
                return Some(signal);
            }
        }
    }

    fn read(&mut self, message: &Message) -> Option<ServerSignal> {
        let header = message.header();
        let sender = header.sender()?;
        if sender.as_str() == BUS {
            return self.owner_changed(message, &header);
        }
        let is = |name: &Option<OwnedUniqueName>| name.as_ref().is_some_and(|name| name == sender);
        if message.recv_position() < self.since {
            return None;
        }
        if is(&self.mandos)
            && let Some(signal) = mandos_signal(message, &header)
        {
            return Some(signal);
        }
        let own = header.interface()?.as_str() == NIGHTLATCH && header.member()? == "Recorded";
        (own && is(&self.nightlatch)).then(|| read_body(message).map(ServerSignal::Recorded))?
    }

    fn owner_changed(&mut self, message: &Message, header: &Header<'_>) -> Option<ServerSignal> {
        if header.member()? != "NameOwnerChanged" {
            return None;
        }
        let (name, _, new): (String, String, String) = read_body(message)?;
        let new = UniqueName::try_from(new).ok().map(OwnedUniqueName::from);
        match name.as_str() {
            NIGHTLATCH => {
                self.nightlatch = new;
                None
            }
            MANDOS if new == self.mandos => None,
            MANDOS => {
                self.mandos = new;
                Some(match self.mandos {
                    Some(_) => ServerSignal::ServerCame,
                    None => ServerSignal::ServerGone,
                })
            }
            _ => None,
        }
    }
}

/// The match rules for the bus.
fn rules() -> zbus::Result<Vec<MatchRule<'static>>> {
    let from = |sender: &'static str, interface: &'static str| {
        MatchRule::builder()
            .msg_type(Type::Signal)
            .sender(sender)
            .interface(interface)
    };
    let mut rules = Vec::new();
    for interface in [MANDOS, CLIENT, OBJECT_MANAGER, PROPERTIES] {
        rules.push(from(MANDOS, interface).build()?);
    }
    rules.push(from(NIGHTLATCH, NIGHTLATCH).build()?);
    for name in [MANDOS, NIGHTLATCH] {
        let changed = from(BUS, BUS).member("NameOwnerChanged").add_arg(name);
        rules.push(changed.build()?);
    }
    Ok(rules)
}

async fn owner(
    bus: &DBusProxy<'_>,
    name: &'static str,
) -> Result<Option<OwnedUniqueName>, BusError> {
    let name = BusName::try_from(name).map_err(BusError::of_call)?;
    match bus.get_name_owner(name).await {
        Ok(owner) => Ok(Some(owner)),
        Err(zbus::fdo::Error::NameHasNoOwner(_)) => Ok(None),
        Err(error) => Err(BusError::of_call(error.into())),
    }
}

fn mandos_signal(message: &Message, header: &Header<'_>) -> Option<ServerSignal> {
    let client = ClientPath::from(header.path()?);
    let signal = match (header.interface()?.as_str(), header.member()?.as_str()) {
        (OBJECT_MANAGER, "InterfacesAdded") => return added(message),
        (OBJECT_MANAGER, "InterfacesRemoved") => return removed(message),
        (PROPERTIES, "PropertiesChanged") => return changed(message, client),
        (MANDOS, "ClientNotFound") => {
            let (key_id, address) = read_body(message)?;
            ServerSignal::ClientNotFound { key_id, address }
        }
        (CLIENT, "Rejected") => ServerSignal::Rejected {
            client,
            reason: read_body(message)?,
        },
        (CLIENT, "NeedApproval") => {
            let (delay, approved_by_default) = read_body(message)?;
            ServerSignal::NeedApproval {
                client,
                delay: Duration::from_millis(delay),
                approved_by_default,
            }
        }
        (CLIENT, "GotSecret") => ServerSignal::GotSecret(client),
        (CLIENT, "CheckerStarted") => ServerSignal::CheckerStarted {
            client,
            command: read_body(message)?,
        },
        (CLIENT, "CheckerCompleted") => return checker_completed(message, client),
        _ => return None,
    };
    Some(signal)
}

fn added(message: &Message) -> Option<ServerSignal> {
    let (path, ClientProperties(properties)): (OwnedObjectPath, ClientProperties) =
        read_body(message)?;
    let client = ClientView::read(ClientPath::from(&*path), properties?).ok()?;
    Some(ServerSignal::Added(Box::new(client)))
}

fn removed(message: &Message) -> Option<ServerSignal> {
    let (path, interfaces): (OwnedObjectPath, Vec<String>) = read_body(message)?;
    let client = interfaces.iter().any(|interface| interface == CLIENT);
    client.then(|| ServerSignal::Removed(ClientPath::from(&*path)))
}

fn changed(message: &Message, client: ClientPath) -> Option<ServerSignal> {
    let (interface, Properties(values), invalidated): (String, Properties, Vec<String>) =
        read_body(message)?;
    let is_ours = interface == CLIENT || interface == NIGHTLATCH_CLIENT;
    is_ours.then(|| ServerSignal::Changed {
        client,
        values,
        invalidated: invalidated
            .iter()
            .filter_map(|name| Property::by_name(name))
            .collect(),
    })
}

/// `CheckerCompleted`: exit code, then the wait status, of which the low seven bits are the signal.
fn checker_completed(message: &Message, client: ClientPath) -> Option<ServerSignal> {
    let (code, wait, command): (i16, i64, String) = read_body(message)?;
    let status = CheckStatus::from_number(code)?;
    let signal = u8::try_from(wait & 0x7f).ok().filter(|signal| *signal > 0);
    Some(ServerSignal::CheckerCompleted {
        client,
        status,
        signal: signal.filter(|_| status == CheckStatus::Crashed),
        command,
    })
}

fn read_body<T>(message: &Message) -> Option<T>
where
    T: serde::de::DeserializeOwned + zbus::Type,
{
    message.body().deserialize().ok()
}
