//! Stands in for our server on a real bus: `org.nightlatch.Nightlatch1` as `docs/dbus.md` has it, and of the
//! Mandos interface what the tools need to find one client. It decides nothing: answers are put in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use nightlatch_bus::client::ClientView;
use nightlatch_bus::names::{CLIENT, CLIENT_OLD, ClientPath, MANDOS, NIGHTLATCH, NIGHTLATCH_PATH};
use nightlatch_bus::property::{Property, PropertyType, PropertyValue};
use nightlatch_core::digits::{self, Hex};
use nightlatch_interop::dbus::Bus;
use sha2::{Digest, Sha256};
use tokio::runtime::Runtime;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, ObjectPath, OwnedObjectPath, OwnedVariant, Variant};

/// Records in one page.
const PAGE: usize = 2;

/// The server's place on a bus of its own, with the thread that serves it.
pub(crate) struct StandIn {
    pub(crate) bus: Bus,
    state: Arc<Mutex<StandInState>>,
    connection: Connection,
    runtime: Runtime,
}

#[derive(Default)]
struct StandInState {
    lines: Vec<String>,
    /// Records to signal after the next query.
    upcoming: Vec<String>,
    head: (u64, String),
    anchor: (u64, String),
    added: Vec<(String, bool)>,
}

impl StandIn {
    /// Starts it with one client, `foo`.
    pub(crate) fn start() -> Self {
        Self::with_clients(&["foo".to_owned()])
    }

    /// Starts it with these clients.
    pub(crate) fn with_clients(names: &[String]) -> Self {
        let bus = Bus::start();
        let clients = ClientTree(names.to_vec());
        let runtime = Runtime::new().unwrap();
        let state = Arc::new(Mutex::new(StandInState::default()));
        let address = bus.address();
        let own = Own(Arc::clone(&state));
        let connection = runtime.block_on(async move {
            zbus::connection::Builder::address(address.as_str())
                .serve_at(NIGHTLATCH_PATH, own)
                .serve_at("/", clients)
                .name(MANDOS)
                .name(NIGHTLATCH)
                .build()
                .await
                .unwrap()
        });
        Self {
            bus,
            state,
            connection,
            runtime,
        }
    }

    /// Puts records in, chained from `anchor` (its number and hash), as the whole record.
    pub(crate) fn record(&self, anchor: (u64, &str), records: &[&str]) {
        let lines = chain(anchor, records);
        let mut state = self.state.lock().unwrap();
        state.anchor = (anchor.0, anchor.1.to_owned());
        state.head = head(&lines).unwrap_or(state.anchor.clone());
        state.lines = lines;
    }

    /// Sets the records to signal after the next query.
    pub(crate) fn upcoming(&self, records: &[&str]) {
        let mut state = self.state.lock().unwrap();
        let (seq, hash) = state.head.clone();
        let lines = chain((seq, &hash), records);
        state.upcoming = lines;
    }

    /// Changes a line behind the server's back.
    pub(crate) fn tamper(&self, index: usize, change: impl Fn(&str) -> String) {
        let mut state = self.state.lock().unwrap();
        state.lines[index] = change(&state.lines[index]);
    }

    /// Takes a line out behind the server's back.
    pub(crate) fn lose(&self, index: usize) {
        self.state.lock().unwrap().lines.remove(index);
    }

    /// The sections given to `AddClient`, with their `dry-run`.
    pub(crate) fn added(&self) -> Vec<(String, bool)> {
        self.state.lock().unwrap().added.clone()
    }

    /// Ends the server, but not its bus.
    pub(crate) fn stop(self) -> Bus {
        self.runtime.block_on(self.connection.close()).unwrap();
        self.bus
    }
}

/// Lines as they are chained.
fn chain((mut seq, hash): (u64, &str), records: &[&str]) -> Vec<String> {
    let mut hash = match hash {
        "" => vec![0; 32],
        hash => digits::hex::<32>(hash.as_bytes()).unwrap().to_vec(),
    };
    let lines = records.iter().map(|record| {
        seq += 1;
        let text = [&hash[..], &seq.to_be_bytes(), record.as_bytes()].concat();
        hash = Sha256::digest(text).to_vec();
        let hex = Hex(&hash);
        format!("{{\"seq\":{seq},\"hash\":\"{hex}\",\"record\":{record}}}")
    });
    lines.collect()
}

fn head(lines: &[String]) -> Option<(u64, String)> {
    let line: serde_json::Value = serde_json::from_str(lines.last()?).unwrap();
    let hash = line["hash"].as_str().unwrap().to_owned();
    Some((line["seq"].as_u64().unwrap(), hash))
}

/// Errors of the interface.
#[derive(zbus::DBusError, Debug)]
#[zbus(prefix = "org.nightlatch.Nightlatch1.Error")]
enum Refusal {
    #[zbus(error)]
    Bus(zbus::Error),
    BadSection(String),
    Taken(String),
    NoSuchClient(String),
}

struct Own(Arc<Mutex<StandInState>>);

#[zbus::interface(name = "org.nightlatch.Nightlatch1")]
impl Own {
    fn add_client(
        &self,
        section: String,
        options: HashMap<String, OwnedVariant>,
    ) -> Result<OwnedObjectPath, Refusal> {
        if section.contains("bad") {
            let text = "section:2: [bad] timeout: expected a duration".to_owned();
            return Err(Refusal::BadSection(text));
        }
        if section.starts_with("[foo]") {
            return Err(Refusal::Taken(
                "the name foo belongs to another client".to_owned(),
            ));
        }
        let dry_run = options
            .get("dry-run")
            .map(|value| bool::try_from(value).unwrap());
        let name = section.split([']', '[']).nth(1).unwrap().to_owned();
        let added = (section, dry_run.unwrap_or(false));
        self.0.lock().unwrap().added.push(added);
        let path = ClientPath::of_name(&name);
        Ok(ObjectPath::try_from(path.as_str())
            .unwrap()
            .into_owned()
            .into())
    }

    fn explain(&self, name: String) -> Result<HashMap<String, OwnedVariant>, Refusal> {
        if name != "foo" {
            return Err(Refusal::NoSuchClient(name));
        }
        let own = |value: Variant<'static>| OwnedVariant::try_from(value).unwrap();
        Ok(HashMap::from([
            ("verdict".to_owned(), own("refused".into())),
            ("reason".to_owned(), own("expired".into())),
            ("since".to_owned(), own(1_795_303_195_400_i64.into())),
            (
                "text".to_owned(),
                own("It did not answer its checks.".into()),
            ),
        ]))
    }

    async fn query_records(
        &self,
        query: HashMap<String, OwnedVariant>,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> (Vec<String>, u64) {
        let (page, upcoming) = self.page(&query);
        for line in upcoming {
            Self::recorded(&emitter, line).await.unwrap();
        }
        page
    }

    #[zbus(signal)]
    async fn recorded(emitter: &SignalEmitter<'_>, line: String) -> zbus::Result<()>;

    #[zbus(property)]
    fn version(&self) -> String {
        "0".to_owned()
    }

    #[zbus(property)]
    fn record_head(&self) -> (u64, String) {
        self.0.lock().unwrap().head.clone()
    }

    #[zbus(property)]
    fn record_anchor(&self) -> (u64, String) {
        self.0.lock().unwrap().anchor.clone()
    }
}

impl Own {
    /// The answer to a query, and the records to signal after it.
    fn page(&self, query: &HashMap<String, OwnedVariant>) -> ((Vec<String>, u64), Vec<String>) {
        let after = query
            .get("after")
            .map_or(0, |after| u64::try_from(after).unwrap());
        let client = query
            .get("client")
            .map(|client| <&str>::try_from(client).unwrap());
        let last = query
            .get("last")
            .is_some_and(|last| bool::try_from(last).unwrap());
        let limit = query
            .get("limit")
            .map(|limit| u32::try_from(limit).unwrap() as usize);
        let mut state = self.0.lock().unwrap();
        let seq = |line: &str| head(&[line.to_owned()]).unwrap().0;
        let wanted = state.lines.iter().filter(|line| {
            let read: serde_json::Value = serde_json::from_str(line).unwrap();
            seq(line) > after && client.is_none_or(|client| read["record"]["client"] == client)
        });
        let mut wanted: Vec<String> = wanted.cloned().collect();
        let size = limit.unwrap_or(PAGE);
        let mut next = 0;
        if last {
            wanted.drain(..wanted.len().saturating_sub(size));
        } else if wanted.len() > size {
            wanted.truncate(size);
            next = seq(wanted.last().unwrap());
        }
        let upcoming = std::mem::take(&mut state.upcoming);
        state.lines.extend(upcoming.iter().cloned());
        ((wanted, next), upcoming)
    }
}

/// Clients with these names.
struct ClientTree(Vec<String>);

type Interfaces = HashMap<String, HashMap<String, OwnedVariant>>;

#[zbus::interface(name = "org.freedesktop.DBus.ObjectManager")]
impl ClientTree {
    /// Every client with both interfaces, as a server answers.
    fn get_managed_objects(&self) -> HashMap<OwnedObjectPath, Interfaces> {
        let objects = self.0.iter().map(|name| {
            let path = ClientPath::of_name(name);
            let values = Property::readable().map(|property| (property, value(property, name)));
            let client = ClientView::read(path.clone(), values).unwrap();
            let properties = || {
                let properties = client.values().map(|(property, value)| {
                    let value = OwnedVariant::try_from(value.to_variant()).unwrap();
                    (property.name().to_owned(), value)
                });
                properties.collect()
            };
            let interfaces = [CLIENT, CLIENT_OLD].map(|name| (name.to_owned(), properties()));
            let path = ObjectPath::try_from(path.as_str()).unwrap().into_owned();
            (path.into(), HashMap::from(interfaces))
        });
        objects.collect()
    }
}

fn value(property: Property, name: &str) -> PropertyValue {
    match property.kind() {
        PropertyType::Boolean => PropertyValue::Boolean(false),
        PropertyType::Milliseconds => PropertyValue::Milliseconds(1000),
        PropertyType::Text if property == Property::Name => PropertyValue::Text(name.to_owned()),
        PropertyType::Text => PropertyValue::Text("ab".repeat(32)),
        PropertyType::Moment => PropertyValue::Text("2026-11-21T23:19:55.400000".to_owned()),
        PropertyType::Bytes => PropertyValue::Text(String::new()),
        PropertyType::Status => PropertyValue::Status(0),
        PropertyType::Count => PropertyValue::Count(0),
        PropertyType::Path => PropertyValue::Path(ClientPath::of_name(name)),
    }
}
