//! Calls a server over the bus.
//!
//! A server answers a durable change when it is durable. If it goes away instead, the bus reports it; if it hangs, a call
//! ends after a minute.

use std::collections::HashMap;

use nightlatch_core::explanation::Explanation;
use nightlatch_core::secret::Secret;
use zbus::connection::Builder;
use zbus::fdo::DBusProxy;
use zbus::names::BusName;
use zbus::{Connection, DynamicType, Message, OwnedObjectPath, OwnedVariant, Variant};

use crate::client::ClientView;
use crate::error::{ANSWER_LIMIT, BusError};
use crate::managed::{body, read_clients};
use crate::names::{
    CLIENT, ClientPath, MANDOS, NIGHTLATCH, NIGHTLATCH_PATH, OBJECT_MANAGER, PROPERTIES, ROOT,
};
use crate::own::{self, PendingRequest, RecordPage, RecordQuery, ServerInfo};
use crate::property::{Property, PropertyValue};

/// The error that the stock server answers when it is to remove what is not there.
const KEY_ERROR: &str = "org.freedesktop.DBus.Python.KeyError";

/// A connection to the bus, through which a server is called. Cloning is cheap, and calls of clones may
/// run at the same time.
///
/// Made and used within [`crate::block_on`], or another tokio runtime.
#[derive(Clone, Debug)]
pub struct MandosProxy {
    connection: Connection,
}

impl MandosProxy {
    /// Connects to the system bus (`DBUS_SYSTEM_BUS_ADDRESS`, or the usual place). There need not be a
    /// server yet.
    pub async fn connect() -> Result<Self, BusError> {
        Self::build(Builder::system()).await
    }

    /// Connects to the bus at `address`, as `unix:path=/run/dbus/system_bus_socket`.
    pub async fn connect_to(address: &str) -> Result<Self, BusError> {
        Self::build(Builder::address(address)).await
    }

    async fn build(builder: Builder<'_>) -> Result<Self, BusError> {
        let builder = builder.method_timeout(ANSWER_LIMIT);
        let connection = builder.build().await.map_err(BusError::NoBus)?;
        Ok(Self { connection })
    }

    /// True when some process owns the server's bus name.
    pub async fn is_running(&self) -> Result<bool, BusError> {
        self.has_owner(MANDOS).await
    }

    /// Every client, in the order of the server: one call.
    pub async fn clients(&self) -> Result<Vec<ClientView>, BusError> {
        let answer = self.managed_objects().await?;
        read_clients(&answer)
    }

    /// Sets a property of a client.
    pub async fn set(
        &self,
        client: &ClientPath,
        property: Property,
        value: &PropertyValue,
    ) -> Result<(), BusError> {
        self.set_raw(client, property, value.to_variant()).await
    }

    /// Gives a client another encrypted secret.
    pub async fn set_secret(&self, client: &ClientPath, secret: &Secret) -> Result<(), BusError> {
        let bytes = Variant::from(secret.expose());
        self.set_raw(client, Property::Secret, bytes).await
    }

    async fn set_raw(
        &self,
        client: &ClientPath,
        property: Property,
        value: Variant<'_>,
    ) -> Result<(), BusError> {
        let arguments = (CLIENT, property.name(), value);
        self.call_client(client, PROPERTIES, "Set", &arguments)
            .await
    }

    /// Approves the one request that waits; or denies all that wait, and what comes within the client's
    /// approval duration. A stock server decides on all in both cases.
    pub async fn approve(&self, client: &ClientPath, approved: bool) -> Result<(), BusError> {
        self.call_client(client, CLIENT, "Approve", &approved).await
    }

    /// Takes it that the client was just proved to be up.
    pub async fn checked_ok(&self, client: &ClientPath) -> Result<(), BusError> {
        self.call_client(client, CLIENT, "CheckedOK", &()).await
    }

    /// Removes a client.
    pub async fn remove(&self, client: &ClientPath) -> Result<(), BusError> {
        let path = client.as_object_path();
        match self.call(MANDOS, ROOT, MANDOS, "RemoveClient", &path).await {
            Ok(_) => Ok(()),
            Err(BusError::Refused { name, .. }) if name == KEY_ERROR => {
                Err(BusError::NoSuchClient(client.to_string()))
            }
            Err(error) => Err(error),
        }
    }

    /// Adds a client from the text of a section; gives its path. With `dry_run` it is only checked.
    pub async fn add_client(&self, section: &str, dry_run: bool) -> Result<ClientPath, BusError> {
        let options = HashMap::from([("dry-run", Variant::Bool(dry_run))]);
        let answer = self.call_own("AddClient", &(section, options)).await?;
        let path: OwnedObjectPath = body(&answer)?;
        Ok(ClientPath::from(&*path))
    }

    /// Makes the server read its configuration again. Without `may_drop`, the server refuses a configuration that
    /// misses all known clients or most of them.
    pub async fn reload(&self, may_drop: bool) -> Result<(), BusError> {
        let options = HashMap::from([("accept-fewer-clients", Variant::Bool(may_drop))]);
        self.call_own("Reload", &options).await?;
        Ok(())
    }

    /// The answer that a request of the client `name` would get now, with the reason.
    pub async fn explain(&self, name: &str) -> Result<Explanation, BusError> {
        let answer = self.call_own("Explain", &name).await?;
        own::read_explanation(&body(&answer)?)
    }

    /// The requests that wait for a decision, of the client `name` or of all.
    pub async fn requests(&self, name: Option<&str>) -> Result<Vec<PendingRequest>, BusError> {
        let answer = self
            .call_own("ListRequests", &name.unwrap_or_default())
            .await?;
        let requests: Vec<HashMap<String, OwnedVariant>> = body(&answer)?;
        requests.iter().map(PendingRequest::read).collect()
    }

    /// Allows the client `name` to rehearse without an alarm for so many seconds; zero ends that.
    pub async fn allow_rehearsals(&self, name: &str, seconds: u64) -> Result<(), BusError> {
        self.call_own("AllowRehearsals", &(name, seconds)).await?;
        Ok(())
    }

    /// Trusts the client `name` again, which was suspect.
    pub async fn trust(&self, name: &str) -> Result<(), BusError> {
        self.call_own("Trust", &name).await?;
        Ok(())
    }

    /// Decides on one request that waits.
    pub async fn decide(&self, number: u64, approved: bool) -> Result<(), BusError> {
        self.call_own("Decide", &(number, approved)).await?;
        Ok(())
    }

    /// A page of the audit log.
    pub async fn query_records(&self, query: &RecordQuery) -> Result<RecordPage, BusError> {
        let answer = self.call_own("QueryRecords", &query.write()).await?;
        let (lines, next): (Vec<String>, u64) = body(&answer)?;
        Ok(RecordPage {
            lines,
            next: (next > 0).then_some(next),
        })
    }

    /// The server's own properties.
    pub async fn about(&self) -> Result<ServerInfo, BusError> {
        let answer = self.call_own_properties("GetAll", &NIGHTLATCH).await?;
        ServerInfo::read(body(&answer)?)
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(crate) async fn managed_objects(&self) -> Result<Message, BusError> {
        self.call(MANDOS, ROOT, OBJECT_MANAGER, "GetManagedObjects", &())
            .await
    }

    async fn call_client(
        &self,
        client: &ClientPath,
        interface: &str,
        method: &str,
        arguments: &(impl serde::Serialize + DynamicType),
    ) -> Result<(), BusError> {
        let path = client.as_str();
        self.call(MANDOS, path, interface, method, arguments)
            .await?;
        Ok(())
    }

    pub(crate) async fn call_own(
        &self,
        method: &str,
        arguments: &(impl serde::Serialize + DynamicType),
    ) -> Result<Message, BusError> {
        let answer = self
            .call(NIGHTLATCH, NIGHTLATCH_PATH, NIGHTLATCH, method, arguments)
            .await;
        self.or_not_supported(answer).await
    }

    async fn call_own_properties(
        &self,
        method: &str,
        arguments: &(impl serde::Serialize + DynamicType),
    ) -> Result<Message, BusError> {
        let answer = self
            .call(NIGHTLATCH, NIGHTLATCH_PATH, PROPERTIES, method, arguments)
            .await;
        self.or_not_supported(answer).await
    }

    /// Turns [`BusError::NoServer`] into [`BusError::NotSupported`] when the bus has a Mandos server: a stock one.
    async fn or_not_supported(
        &self,
        answer: Result<Message, BusError>,
    ) -> Result<Message, BusError> {
        match answer {
            Err(BusError::NoServer) if self.is_running().await? => Err(BusError::NotSupported),
            answer => answer,
        }
    }

    async fn has_owner(&self, name: &'static str) -> Result<bool, BusError> {
        let bus = DBusProxy::new(&self.connection)
            .await
            .map_err(BusError::of_call)?;
        let name = BusName::try_from(name).map_err(BusError::of_call)?;
        bus.name_has_owner(name)
            .await
            .map_err(|error| BusError::of_call(error.into()))
    }

    async fn call(
        &self,
        name: &str,
        path: &str,
        interface: &str,
        method: &str,
        arguments: &(impl serde::Serialize + DynamicType),
    ) -> Result<Message, BusError> {
        self.connection
            .call_method(Some(name), path, Some(interface), method, arguments)
            .await
            .map_err(BusError::of_call)
    }
}
