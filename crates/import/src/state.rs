//! The content of `clients.pickle` in types of our own. Decides nothing.

use std::collections::{BTreeMap, HashMap};

use nightlatch_core::checker::LastCheck;
use nightlatch_core::time::Wall;

use super::pickle::{self, PickleError, PickleValue, PickleView};

/// A stock server's state.
pub(crate) struct StockState {
    /// The clients that exist, by name.
    pub(crate) clients: BTreeMap<String, StockClient>,
    /// The settings in `clients.conf` when the server last read it, by name. A client that is only in here was removed
    /// by an administrator.
    pub(crate) configured: BTreeMap<String, StockSettings>,
}

/// A client that exists.
pub(crate) struct StockClient {
    /// The settings in force.
    pub(crate) settings: StockSettings,
    /// Its secret, encrypted by the configured one.
    pub(crate) encrypted_secret: Vec<u8>,
    /// The deadline; missing when it is disabled, and possibly otherwise.
    pub(crate) expires: Option<Wall>,
    pub(crate) created: Wall,
    pub(crate) last_enabled: Option<Wall>,
    pub(crate) last_checked_ok: Option<Wall>,
    pub(crate) last_approval_request: Option<Wall>,
    pub(crate) last_check: LastCheck,
    /// True while an administrator's denial counted.
    pub(crate) denied: bool,
}

/// Settings, as they were written or set. Spans are microseconds.
pub(crate) struct StockSettings {
    pub(crate) key_id: String,
    pub(crate) fingerprint: String,
    pub(crate) host: String,
    pub(crate) checker: String,
    pub(crate) timeout: i128,
    pub(crate) extended_timeout: i128,
    pub(crate) interval: i128,
    pub(crate) approval_delay: i128,
    pub(crate) approval_duration: i128,
    pub(crate) approved_by_default: bool,
    pub(crate) enabled: bool,
}

/// A state that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum StateError {
    /// It is no pickle of plain data.
    #[error(transparent)]
    Pickle(#[from] PickleError),
    /// It is plain data, but not a server's state.
    #[error("expected two dictionaries of clients by name")]
    Shape,
    /// A client is not described as expected.
    #[error("client {client:?}: expected {expected} as {attribute:?}")]
    Attribute {
        client: String,
        attribute: &'static str,
        expected: &'static str,
    },
}

/// Reads the bytes of a `clients.pickle`.
pub(crate) fn read(bytes: &[u8]) -> Result<StockState, StateError> {
    let pickle = pickle::read(bytes)?;
    let PickleView::Tuple(mut parts) = pickle.root().view() else {
        return Err(StateError::Shape);
    };
    let (Some(clients), Some(configured), None) = (parts.next(), parts.next(), parts.next()) else {
        return Err(StateError::Shape);
    };
    Ok(StockState {
        clients: by_name(clients, client)?,
        configured: by_name(configured, settings)?,
    })
}

fn by_name<T>(
    clients: PickleValue<'_>,
    read: impl Fn(&Attributes<'_>) -> Result<T, StateError>,
) -> Result<BTreeMap<String, T>, StateError> {
    let PickleView::Dict(entries) = clients.view() else {
        return Err(StateError::Shape);
    };
    let mut by_name = BTreeMap::new();
    for (name, attributes) in entries {
        let (PickleView::Text(name), PickleView::Dict(entries)) = (name.view(), attributes.view())
        else {
            return Err(StateError::Shape);
        };
        let attributes = entries.filter_map(|(key, value)| match key.view() {
            PickleView::Text(key) => Some((key, value)),
            _ => None,
        });
        let attributes = Attributes {
            client: name,
            attributes: attributes.collect(),
        };
        by_name.insert(name.to_owned(), read(&attributes)?);
    }
    Ok(by_name)
}

fn client(attributes: &Attributes<'_>) -> Result<StockClient, StateError> {
    let settings = settings(attributes)?;
    Ok(StockClient {
        encrypted_secret: attributes.bytes("encrypted_secret")?.to_vec(),
        expires: attributes.moment("expires")?.filter(|_| settings.enabled),
        created: attributes
            .moment("created")?
            .ok_or_else(|| attributes.expected("created", "a time"))?,
        last_enabled: attributes.moment("last_enabled")?,
        last_checked_ok: attributes.moment("last_checked_ok")?,
        last_approval_request: attributes.moment("last_approval_request")?,
        last_check: last_check(attributes)?,
        // Missing or None: nobody decided.
        denied: matches!(attributes.view("approved"), Some(PickleView::Bool(false))),
        settings,
    })
}

/// Both a client that exists and what was configured have these.
fn settings(attributes: &Attributes<'_>) -> Result<StockSettings, StateError> {
    Ok(StockSettings {
        key_id: attributes.text("key_id")?.to_owned(),
        fingerprint: attributes.text("fingerprint")?.to_owned(),
        host: attributes.text("host")?.to_owned(),
        checker: attributes.text("checker_command")?.to_owned(),
        timeout: attributes.span("timeout")?,
        extended_timeout: attributes.span("extended_timeout")?,
        interval: attributes.span("interval")?,
        approval_delay: attributes.span("approval_delay")?,
        approval_duration: attributes.span("approval_duration")?,
        approved_by_default: attributes.boolean("approved_by_default")?,
        enabled: attributes.boolean("enabled")?,
    })
}

/// In Mandos's numbers: -2 before the first check, -1 for a checker killed by a signal, else its exit status.
fn last_check(attributes: &Attributes<'_>) -> Result<LastCheck, StateError> {
    let wrong = || attributes.expected("last_checker_status", "a number from -2 to 255");
    match attributes.view("last_checker_status") {
        Some(PickleView::Int(-2)) => Ok(LastCheck::None),
        Some(PickleView::Int(-1)) => Ok(LastCheck::Signaled(signal(attributes))),
        Some(PickleView::Int(status)) => match u8::try_from(status) {
            Ok(status) => Ok(LastCheck::Exited(status)),
            Err(_) => Err(wrong()),
        },
        _ => Err(wrong()),
    }
}

/// The number of the signal; 0 where the file has none.
fn signal(attributes: &Attributes<'_>) -> i32 {
    match attributes.view("last_checker_signal") {
        Some(PickleView::Int(signal)) => i32::try_from(signal).unwrap_or(0),
        _ => 0,
    }
}

/// The attributes of one client.
struct Attributes<'a> {
    client: &'a str,
    attributes: HashMap<&'a str, PickleValue<'a>>,
}

impl<'a> Attributes<'a> {
    fn view(&self, attribute: &str) -> Option<PickleView<'a>> {
        self.attributes.get(attribute).map(|value| value.view())
    }

    fn text(&self, attribute: &'static str) -> Result<&'a str, StateError> {
        match self.view(attribute) {
            Some(PickleView::Text(text)) => Ok(text),
            _ => Err(self.expected(attribute, "text")),
        }
    }

    fn bytes(&self, attribute: &'static str) -> Result<&'a [u8], StateError> {
        match self.view(attribute) {
            Some(PickleView::Bytes(bytes)) => Ok(bytes),
            _ => Err(self.expected(attribute, "bytes")),
        }
    }

    fn boolean(&self, attribute: &'static str) -> Result<bool, StateError> {
        match self.view(attribute) {
            Some(PickleView::Bool(value)) => Ok(value),
            _ => Err(self.expected(attribute, "a truth value")),
        }
    }

    fn span(&self, attribute: &'static str) -> Result<i128, StateError> {
        match self.view(attribute) {
            Some(PickleView::TimeDelta(micros)) => Ok(micros),
            _ => Err(self.expected(attribute, "a span of time")),
        }
    }

    fn moment(&self, attribute: &'static str) -> Result<Option<Wall>, StateError> {
        match self.view(attribute) {
            Some(PickleView::DateTime(date)) => Ok(Some(date.wall())),
            Some(PickleView::None) => Ok(None),
            _ => Err(self.expected(attribute, "a time or None")),
        }
    }

    fn expected(&self, attribute: &'static str, expected: &'static str) -> StateError {
        StateError::Attribute {
            client: self.client.to_owned(),
            attribute,
            expected,
        }
    }
}
