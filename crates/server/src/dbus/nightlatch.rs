//! `org.nightlatch.Nightlatch1`: the calls that the Mandos interface does not have (`docs/dbus.md`).

use std::collections::HashMap;
use std::time::Duration;

use nightlatch_bus::client::ClientView;
use nightlatch_bus::names::{NIGHTLATCH, PROPERTIES, errors};
use nightlatch_core::event::RequestId;
use nightlatch_core::record::{ChainEnds, RecordKind, RecordSelection};
use nightlatch_core::registry::MAX_REHEARSAL_PERMISSION;
use nightlatch_core::settings::SettingsError;
use nightlatch_core::settings::client::{self, ClientConfig, ParsedClient, SecretSource};
use nightlatch_core::time::Wall;
use zbus::Variant;

use super::call::{LookupCall, MethodCall, Reaction};
use super::client_cache::ClientCache;
use super::introspection::INTROSPECTION;
use super::named_secrets;
use super::wire::{CallError, Map};
use crate::driver::{AdminCommand, ClientAction, WaitingRequest};
use crate::logging::{self, LogControl};
use crate::reload::ReloadHandle;
use crate::secrets::lock_secrets;
use crate::warnings::Warnings;

/// Stands for the file name in errors.
const SECTION: &str = "section";

/// The server itself, as its properties show it.
#[derive(Clone, Debug)]
pub(crate) struct ServerStatus {
    /// The key id of the server's own key.
    pub(crate) key_id: String,
    /// The listening addresses.
    pub(crate) addresses: Vec<String>,
    pub(crate) log: LogControl,
    pub(crate) warnings: Warnings,
    pub(crate) reloads: ReloadHandle,
}

/// The child of an object above ours.
pub(super) fn child_of(path: &str) -> Option<&'static str> {
    match path {
        "/org" => Some("nightlatch"),
        "/org/nightlatch" => Some("Nightlatch1"),
        _ => None,
    }
}

/// The reaction to a call of our object.
pub(super) fn react(call: &MethodCall<'_>, cache: &ClientCache) -> Result<Reaction, CallError> {
    match call.member {
        "Introspect" => return call.introspect(|| INTROSPECTION.to_owned()),
        "Get" | "Set" | "GetAll" if call.is(&[PROPERTIES]) => return property(call),
        _ if !call.is(&[NIGHTLATCH]) => return Err(call.unknown()),
        _ => {}
    }
    match call.member {
        "AddClient" => add(call),
        "Explain" => {
            let name: &str = call.arguments()?;
            let (id, view) = cache
                .by_name(name)
                .ok_or_else(|| CallError::no_client(name))?;
            Ok(Reaction::Lookup(LookupCall::Explain(
                id,
                Box::new(view.clone()),
            )))
        }
        "AllowRehearsals" => {
            let (name, seconds): (&str, u64) = call.arguments()?;
            let (id, _) = cache
                .by_name(name)
                .ok_or_else(|| CallError::no_client(name))?;
            let length = Duration::from_secs(seconds);
            if length > MAX_REHEARSAL_PERMISSION {
                let most = MAX_REHEARSAL_PERMISSION.as_secs();
                return Err(CallError::invalid(format!(
                    "AllowRehearsals: {seconds} seconds, expected at most {most}"
                )));
            }
            let action = ClientAction::AllowRehearsals(length);
            Ok(Reaction::Command(AdminCommand::Client(id, action)))
        }
        "Trust" => {
            let name: &str = call.arguments()?;
            let (id, _) = cache
                .by_name(name)
                .ok_or_else(|| CallError::no_client(name))?;
            Ok(Reaction::Command(AdminCommand::Client(
                id,
                ClientAction::Trust,
            )))
        }
        "ListRequests" => {
            let name: &str = call.arguments()?;
            let client = match name {
                "" => None,
                name => Some(
                    cache
                        .by_name(name)
                        .ok_or_else(|| CallError::no_client(name))?
                        .0,
                ),
            };
            Ok(Reaction::Lookup(LookupCall::Requests(client)))
        }
        "PutSecret" => named_secrets::put(call, cache),
        "RemoveSecret" => named_secrets::remove(call, cache),
        "ListSecrets" => named_secrets::list(call, cache),
        "Decide" => {
            let (number, approved): (u64, bool) = call.arguments()?;
            let request = RequestId(number);
            Ok(Reaction::Command(AdminCommand::Decide {
                request,
                approved,
            }))
        }
        "Reload" => {
            let options: HashMap<String, Variant<'_>> = call.arguments()?;
            // To drop all known clients, or most of them.
            let may_drop = flag("Reload", "accept-fewer-clients", &options)?;
            Ok(Reaction::Reload(may_drop))
        }
        "QueryRecords" => {
            let words: HashMap<String, Variant<'_>> = call.arguments()?;
            Ok(Reaction::Lookup(LookupCall::Records(query(&words)?)))
        }
        _ => Err(call.unknown()),
    }
}

/// A request that waits, as a dictionary.
pub(super) fn request(waiting: &WaitingRequest) -> Map<&'static str, Variant<'static>> {
    let RequestId(number) = waiting.request.id;
    let millis = |wall: Wall| Variant::from(wall.unix_micros().div_euclid(1000));
    let mut dict = vec![
        ("number", Variant::from(number)),
        ("client", Variant::from(waiting.client.to_string())),
        ("key-id", Variant::from(waiting.request.key.to_string())),
        ("peer", Variant::from(waiting.request.peer())),
        ("since", millis(waiting.since)),
        ("until", millis(waiting.until)),
        (
            "approved-by-default",
            Variant::from(waiting.approved_by_default),
        ),
    ];
    let interface = waiting.request.interface();
    dict.extend(interface.map(|name| ("interface", Variant::from(name))));
    let boot = waiting.request.claims.boot;
    dict.extend(boot.map(|boot| ("boot", Variant::from(boot.to_string()))));
    let secret = waiting.request.secret.as_ref();
    dict.extend(secret.map(|name| ("secret", Variant::from(name.to_string()))));
    Map(dict)
}

/// A property of our interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ServerProperty {
    Version,
    KeyId,
    Addresses,
    Clients,
    RecordHead,
    RecordAnchor,
    LogLevel,
    Warnings,
}

impl ServerProperty {
    const ALL: [(Self, &'static str); 8] = [
        (Self::Version, "Version"),
        (Self::KeyId, "KeyID"),
        (Self::Addresses, "Addresses"),
        (Self::Clients, "Clients"),
        (Self::RecordHead, "RecordHead"),
        (Self::RecordAnchor, "RecordAnchor"),
        (Self::LogLevel, "LogLevel"),
        (Self::Warnings, "Warnings"),
    ];

    fn by_name(name: &str) -> Result<(Self, &'static str), CallError> {
        let found = Self::ALL.iter().find(|(_, known)| *known == name);
        found.copied().ok_or_else(|| CallError::no_property(name))
    }

    fn value(
        self,
        info: &ServerStatus,
        counts: &ClientCounts,
        ends: &ChainEnds,
    ) -> Variant<'static> {
        let end = |end: nightlatch_core::record::ChainPosition| {
            let hash = match end.seq {
                0 => String::new(),
                _ => end.hash.to_string(),
            };
            Variant::from((end.seq, hash))
        };
        match self {
            Self::Version => Variant::from(env!("CARGO_PKG_VERSION")),
            Self::KeyId => Variant::from(info.key_id.clone()),
            Self::Addresses => Variant::from(info.addresses.clone()),
            Self::Clients => Variant::from(counts.clone()),
            Self::RecordHead => end(ends.head),
            Self::RecordAnchor => end(ends.anchor),
            Self::LogLevel => Variant::from(logging::level_name(info.log.level())),
            Self::Warnings => {
                let mut warnings = info.warnings.all();
                warnings.extend(lost_state(counts));
                Variant::from(warnings)
            }
        }
    }
}

/// All properties, or the one named `which`.
pub(super) fn values(
    which: Option<&str>,
    info: &ServerStatus,
    counts: &ClientCounts,
    ends: &ChainEnds,
) -> Map<&'static str, Variant<'static>> {
    let wanted = ServerProperty::ALL
        .iter()
        .filter(|(_, name)| which.is_none_or(|which| which == *name));
    Map(wanted
        .map(|(property, name)| (*name, property.value(info, counts, ends)))
        .collect())
}

/// The key of the clients that wait because the state was lost.
const UNPROVED: &str = "unproved";

/// The warning while clients wait because the state was lost.
fn lost_state(counts: &ClientCounts) -> Option<String> {
    let waiting = counts.get(UNPROVED).filter(|waiting| **waiting > 0)?;
    Some(format!(
        "the server\'s state was lost, or is older than it has been: {waiting} clients get nothing until each \
         is enabled (nightlatch enable) or a check proves its private key"
    ))
}

/// Numbers of clients, by state.
pub(super) type ClientCounts = HashMap<String, u32>;

pub(super) fn counts(cache: &ClientCache) -> ClientCounts {
    let count = |wanted: fn(&ClientView) -> bool| {
        let count = cache.iter().filter(|(_, view)| wanted(view)).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    };
    HashMap::from([
        ("all".to_owned(), count(|_| true)),
        ("enabled".to_owned(), count(|view| view.enabled)),
        ("waiting".to_owned(), count(ClientView::request_waits)),
        (UNPROVED.to_owned(), count(|view| view.needs_proof)),
    ])
}

fn property(call: &MethodCall<'_>) -> Result<Reaction, CallError> {
    let is_ours = |interface: &str| interface.is_empty() || interface == NIGHTLATCH;
    match call.member {
        "GetAll" => {
            let interface: &str = call.arguments()?;
            if !is_ours(interface) {
                return call.answer(&Map::<&str, Variant<'_>>(Vec::new()));
            }
            Ok(Reaction::Lookup(LookupCall::Properties(None)))
        }
        "Get" => {
            let (interface, name): (&str, &str) = call.arguments()?;
            if !is_ours(interface) {
                return Err(CallError::no_property(name));
            }
            let (_, name) = ServerProperty::by_name(name)?;
            Ok(Reaction::Lookup(LookupCall::Properties(Some(name))))
        }
        _ => {
            let (interface, name, value): (&str, &str, Variant<'_>) = call.arguments()?;
            if !is_ours(interface) || ServerProperty::by_name(name)?.0 != ServerProperty::LogLevel {
                return Err(CallError::invalid(format!("{name} cannot be set")));
            }
            let level = match &value {
                Variant::Str(word) => logging::level_by_name(word),
                _ => None,
            };
            let level = level.ok_or_else(|| {
                CallError::invalid("LogLevel: expected \"error\", \"warn\", \"info\" or \"debug\"")
            })?;
            Ok(Reaction::LogLevel(level))
        }
    }
}

fn add(call: &MethodCall<'_>) -> Result<Reaction, CallError> {
    let (text, options): (&str, HashMap<String, Variant<'_>>) = call.arguments()?;
    let dry_run = flag("AddClient", "dry-run", &options)?;
    let config = section(text).map_err(|faults| CallError::new(errors::BAD_SECTION, faults))?;
    let config = Box::new(config);
    Ok(Reaction::Command(if dry_run {
        AdminCommand::TryAdd(config)
    } else {
        AdminCommand::Add(config)
    }))
}

/// The value of the only option that `method` knows; false without it.
fn flag(
    method: &str,
    known: &str,
    options: &HashMap<String, Variant<'_>>,
) -> Result<bool, CallError> {
    let mut flag = false;
    for (key, value) in options {
        flag = match value {
            Variant::Bool(value) if key == known => *value,
            _ => {
                return Err(CallError::invalid(format!(
                    "{method}: unknown option {key}"
                )));
            }
        };
    }
    Ok(flag)
}

/// Parses the one section in `text`. The error has a line for each fault.
fn section(text: &str) -> Result<ClientConfig, String> {
    let lines = |errors: Vec<SettingsError>| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        lines.join("\n")
    };
    let parsed = client::parse(&[(SECTION.to_owned(), text.to_owned())]).map_err(lines)?;
    // A warning would go unseen.
    if !parsed.warnings.is_empty() {
        let lines: Vec<String> = parsed.warnings.iter().map(ToString::to_string).collect();
        return Err(lines.join("\n"));
    }
    let mut clients = parsed.value.into_iter();
    let (Some(client), None) = (clients.next(), clients.next()) else {
        return Err("expected one section: [NAME] and its settings".to_owned());
    };
    let ParsedClient {
        name,
        settings,
        secret,
        named,
        origin,
    } = client;
    if !named.is_empty() {
        return Err(format!(
            "{origin}: [{name}] secret.NAME and policy.NAME are for clients in a file: leave them out, and put each \
             named secret once the client is added (nightlatch secret put, PutSecret on D-Bus)"
        ));
    }
    match secret {
        SecretSource::Inline(secret) => {
            lock_secrets([&secret]);
            Ok(ClientConfig {
                name,
                settings,
                secret,
                named,
            })
        }
        SecretSource::File { origin, .. } => Err(format!(
            "{origin}: [{name}] secfile: a client that is added needs its secret in the section \
             itself: secret = (base64)"
        )),
    }
}

fn query(words: &HashMap<String, Variant<'_>>) -> Result<RecordSelection, CallError> {
    let mut query = RecordSelection::default();
    for (key, value) in words {
        match (key.as_str(), value) {
            ("after", Variant::U64(after)) => query.after = *after,
            ("client", Variant::Str(client)) => query.client = Some(client.to_string()),
            ("since", Variant::I64(millis)) => {
                let micros = millis.saturating_mul(1000);
                query.since = Some(Wall::from_unix_micros(micros));
            }
            ("kinds", Variant::Array(kinds)) => query.kinds = kinds_of(kinds)?,
            ("alarms", Variant::Bool(alarms)) => query.alarms = *alarms,
            ("limit", Variant::U32(limit)) => query.limit = *limit,
            ("last", Variant::Bool(last)) => query.newest = *last,
            _ => {
                return Err(CallError::invalid(format!(
                    "QueryRecords: unknown key {key}, or its value has another type than expected"
                )));
            }
        }
    }
    Ok(query)
}

fn kinds_of(kinds: &zbus::Array<'_>) -> Result<Vec<RecordKind>, CallError> {
    let kind = |kind: &Variant<'_>| match kind {
        Variant::Str(word) => word
            .as_str()
            .parse::<RecordKind>()
            .map_err(|error| error.to_string()),
        _ => Err("expected strings".to_owned()),
    };
    let kinds: Result<Vec<RecordKind>, String> = kinds.inner().iter().map(kind).collect();
    kinds.map_err(|fault| CallError::invalid(format!("QueryRecords: kinds: {fault}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_refused_with_line_and_key() {
        let faults = section("[a]\nkey_id = 0\nsecret = AAAA\n").unwrap_err();
        assert!(faults.contains("section:2: [a] key_id"), "{faults}");
        let faults = section("").unwrap_err();
        assert!(faults.contains("expected one section"), "{faults}");
        let key_id = "a1".repeat(32);
        let faults = section(&format!("[a]\nkey_id = {key_id}\nsecfile = /x\n")).unwrap_err();
        assert!(faults.contains("section:3: [a] secfile"), "{faults}");
        let whole = format!("[a]\nkey_id = {key_id}\nsecret = AAAA\ntimeout = 10m\n");
        let config = section(&whole).unwrap();
        assert_eq!(config.settings.timeout.as_secs(), 600);
    }

    #[test]
    fn a_query_with_an_unknown_key_is_refused() {
        let of =
            |key: &str, value: Variant<'static>| query(&HashMap::from([(key.to_owned(), value)]));
        assert_eq!(of("after", Variant::U64(7)).unwrap().after, 7);
        assert!(of("after", Variant::I32(7)).is_err());
        assert!(of("afterwards", Variant::U64(7)).is_err());
        let fault = of("kinds", Variant::from(vec!["relaesed"])).unwrap_err();
        assert!(fault.text.contains("known are released,"), "{fault:?}");
    }
}
