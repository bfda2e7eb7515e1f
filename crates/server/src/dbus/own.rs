//! `org.nightlatch.Nightlatch1`: what the Mandos interface has no word for (`docs/dbus.md`).

use std::collections::HashMap;
use std::time::Duration;

use nightlatch_bus::client::ClientView;
use nightlatch_bus::names::{NIGHTLATCH, PROPERTIES, errors};
use nightlatch_core::event::RequestId;
use nightlatch_core::record::{Ends, Kind, Query};
use nightlatch_core::registry::LONGEST_REHEARSALS;
use nightlatch_core::settings::SettingsError;
use nightlatch_core::settings::client::{self, ClientConfig, ParsedClient, SecretSource};
use nightlatch_core::time::Wall;
use zbus::Variant;

use super::call::{Call, Outcome, Own, Reaction};
use super::shadow::Shadow;
use super::wire::{Fault, Map};
use crate::driver::{Act, Order, WaitingRequest};
use crate::logging::{self, LogControl};
use crate::reload::Reloads;
use crate::secrets::lock_secrets;
use crate::warnings::Warnings;

/// How a section is called in errors.
const SECTION: &str = "section";

/// What the server says of itself.
#[derive(Clone, Debug)]
pub(crate) struct About {
    /// The id of its own TLS key.
    pub(crate) key_id: String,
    /// Where it listens.
    pub(crate) addresses: Vec<String>,
    /// What it logs.
    pub(crate) log: LogControl,
    /// What an administrator should mend.
    pub(crate) warnings: Warnings,
    /// Where a reload is asked for.
    pub(crate) reloads: Reloads,
}

/// The objects above ours, which have nothing but it.
pub(super) fn child_of(path: &str) -> Option<&'static str> {
    match path {
        "/org" => Some("nightlatch"),
        "/org/nightlatch" => Some("Nightlatch1"),
        _ => None,
    }
}

/// What a call of our object comes to.
pub(super) fn react(call: &Call<'_>, shadow: &Shadow) -> Outcome {
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
            let (id, view) = shadow.named(name).ok_or_else(|| no_client(name))?;
            Ok(Reaction::Own(Own::Explain(id, Box::new(view.clone()))))
        }
        "AllowRehearsals" => {
            let (name, seconds): (&str, u64) = call.arguments()?;
            let (id, _) = shadow.named(name).ok_or_else(|| no_client(name))?;
            let length = Duration::from_secs(seconds);
            if length > LONGEST_REHEARSALS {
                let most = LONGEST_REHEARSALS.as_secs();
                return Err(Fault::invalid(format!(
                    "AllowRehearsals: {seconds} seconds, expected at most {most}"
                )));
            }
            let act = Act::AllowRehearsals(length);
            Ok(Reaction::Order(Order::Client(id, act)))
        }
        "ListRequests" => {
            let name: &str = call.arguments()?;
            let client = match name {
                "" => None,
                name => Some(shadow.named(name).ok_or_else(|| no_client(name))?.0),
            };
            Ok(Reaction::Own(Own::Requests(client)))
        }
        "Decide" => {
            let (number, approved): (u64, bool) = call.arguments()?;
            let request = RequestId(number);
            Ok(Reaction::Order(Order::Decide { request, approved }))
        }
        "Reload" => {
            let options: HashMap<String, Variant<'_>> = call.arguments()?;
            Ok(Reaction::Reload(may_drop(&options)?))
        }
        "QueryRecords" => {
            let words: HashMap<String, Variant<'_>> = call.arguments()?;
            Ok(Reaction::Own(Own::Records(query(&words)?)))
        }
        _ => Err(call.unknown()),
    }
}

pub(super) fn no_client(name: &str) -> Fault {
    Fault::new(
        errors::NO_SUCH_CLIENT,
        format!("there is no client [{name}]"),
    )
}

/// A request that waits, as it goes to the bus.
pub(super) fn request(waiting: &WaitingRequest) -> Map<&'static str, Variant<'static>> {
    let RequestId(number) = waiting.request;
    let millis = |wall: Wall| Variant::from(wall.unix_micros().div_euclid(1000));
    let mut dict = vec![
        ("number", Variant::from(number)),
        ("client", Variant::from(waiting.client.to_string())),
        ("key-id", Variant::from(waiting.key.to_string())),
        ("peer", Variant::from(waiting.peer.named())),
        ("since", millis(waiting.since)),
        ("until", millis(waiting.until)),
        (
            "approved-by-default",
            Variant::from(waiting.approved_by_default),
        ),
    ];
    let interface = waiting.peer.interface();
    dict.extend(interface.map(|name| ("interface", Variant::from(name))));
    let boot = waiting.peer.words.boot;
    dict.extend(boot.map(|boot| ("boot", Variant::from(boot.to_string()))));
    Map(dict)
}

/// A property of our interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Property {
    Version,
    KeyId,
    Addresses,
    Clients,
    RecordHead,
    RecordAnchor,
    LogLevel,
    Warnings,
}

impl Property {
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

    fn by_name(name: &str) -> Result<(Self, &'static str), Fault> {
        let found = Self::ALL.iter().find(|(_, known)| *known == name);
        found.copied().ok_or_else(|| Fault::no_property(name))
    }

    fn value(self, about: &About, counts: &Counts, ends: &Ends) -> Variant<'static> {
        let place = |place: nightlatch_core::record::Chain| {
            let hash = match place.seq {
                0 => String::new(),
                _ => place.hash.to_string(),
            };
            Variant::from((place.seq, hash))
        };
        match self {
            Self::Version => Variant::from(env!("CARGO_PKG_VERSION")),
            Self::KeyId => Variant::from(about.key_id.clone()),
            Self::Addresses => Variant::from(about.addresses.clone()),
            Self::Clients => Variant::from(counts.clone()),
            Self::RecordHead => place(ends.head),
            Self::RecordAnchor => place(ends.anchor),
            Self::LogLevel => Variant::from(logging::word(about.log.level())),
            Self::Warnings => {
                let mut warnings = about.warnings.all();
                warnings.extend(lost_state(counts));
                Variant::from(warnings)
            }
        }
    }
}

/// The properties that were asked for.
pub(super) fn values(
    which: Option<&str>,
    about: &About,
    counts: &Counts,
    ends: &Ends,
) -> Map<&'static str, Variant<'static>> {
    let wanted = Property::ALL
        .iter()
        .filter(|(_, name)| which.is_none_or(|which| which == *name));
    Map(wanted
        .map(|(property, name)| (*name, property.value(about, counts, ends)))
        .collect())
}

/// The word for clients that wait because the state was lost.
const UNPROVED: &str = "unproved";

/// What is to be said as long as clients wait because the state was lost.
fn lost_state(counts: &Counts) -> Option<String> {
    let waiting = counts.get(UNPROVED).filter(|waiting| **waiting > 0)?;
    Some(format!(
        "the server\'s state was lost, or is older than it has been: {waiting} clients get nothing until each \
         is enabled (nightlatch enable) or a check proves its private key"
    ))
}

/// How many clients there are, by word.
pub(super) type Counts = HashMap<String, u32>;

/// How many clients there are now.
pub(super) fn counts(shadow: &Shadow) -> Counts {
    let count = |wanted: fn(&ClientView) -> bool| {
        let count = shadow.iter().filter(|(_, view)| wanted(view)).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    };
    HashMap::from([
        ("all".to_owned(), count(|_| true)),
        ("enabled".to_owned(), count(|view| view.enabled)),
        ("waiting".to_owned(), count(|view| view.approval_pending)),
        (UNPROVED.to_owned(), count(|view| view.needs_proof)),
    ])
}

fn property(call: &Call<'_>) -> Outcome {
    let ours = |interface: &str| interface.is_empty() || interface == NIGHTLATCH;
    match call.member {
        "GetAll" => {
            let interface: &str = call.arguments()?;
            if !ours(interface) {
                return call.answer(&Map::<&str, Variant<'_>>(Vec::new()));
            }
            Ok(Reaction::Own(Own::Properties(None)))
        }
        "Get" => {
            let (interface, name): (&str, &str) = call.arguments()?;
            if !ours(interface) {
                return Err(Fault::no_property(name));
            }
            let (_, name) = Property::by_name(name)?;
            Ok(Reaction::Own(Own::Properties(Some(name))))
        }
        _ => {
            let (interface, name, value): (&str, &str, Variant<'_>) = call.arguments()?;
            if !ours(interface) || Property::by_name(name)?.0 != Property::LogLevel {
                return Err(Fault::invalid(format!("{name} cannot be set")));
            }
            let level = match &value {
                Variant::Str(word) => logging::level_of(word),
                _ => None,
            };
            let level = level.ok_or_else(|| {
                Fault::invalid("LogLevel: expected \"error\", \"warn\", \"info\" or \"debug\"")
            })?;
            Ok(Reaction::LogLevel(level))
        }
    }
}

fn add(call: &Call<'_>) -> Outcome {
    let (text, options): (&str, HashMap<String, Variant<'_>>) = call.arguments()?;
    let mut dry_run = false;
    for (key, value) in &options {
        match (key.as_str(), value) {
            ("dry-run", Variant::Bool(value)) => dry_run = *value,
            _ => return Err(Fault::invalid(format!("AddClient: unknown option {key}"))),
        }
    }
    let config = section(text).map_err(|faults| Fault::new(errors::BAD_SECTION, faults))?;
    let config = Box::new(config);
    Ok(Reaction::Order(if dry_run {
        Order::TryAdd(config)
    } else {
        Order::Add(config)
    }))
}

/// True when a reload may drop all clients that are known, or most of them.
fn may_drop(options: &HashMap<String, Variant<'_>>) -> Result<bool, Fault> {
    let mut may_drop = false;
    for (key, value) in options {
        match (key.as_str(), value) {
            ("accept-fewer-clients", Variant::Bool(value)) => may_drop = *value,
            _ => return Err(Fault::invalid(format!("Reload: unknown option {key}"))),
        }
    }
    Ok(may_drop)
}

/// The one client of a section's text, or every fault of it, a line each.
fn section(text: &str) -> Result<ClientConfig, String> {
    let lines = |errors: Vec<SettingsError>| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        lines.join("\n")
    };
    let parsed = client::parse(&[(SECTION.to_owned(), text.to_owned())]).map_err(lines)?;
    // Nobody would see a warning.
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
        ..
    } = client;
    match secret {
        SecretSource::Inline(secret) => {
            lock_secrets([&secret]);
            Ok(ClientConfig {
                name,
                settings,
                secret,
            })
        }
        SecretSource::File { origin, .. } => Err(format!(
            "{origin}: [{name}] secfile: a client that is added needs its secret in the section \
             itself: secret = (base64)"
        )),
    }
}

fn query(words: &HashMap<String, Variant<'_>>) -> Result<Query, Fault> {
    let mut query = Query::default();
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
                return Err(Fault::invalid(format!(
                    "QueryRecords: unknown key {key}, or its value has another type than expected"
                )));
            }
        }
    }
    Ok(query)
}

fn kinds_of(kinds: &zbus::Array<'_>) -> Result<Vec<Kind>, Fault> {
    let kind = |kind: &Variant<'_>| match kind {
        Variant::Str(word) => word
            .as_str()
            .parse::<Kind>()
            .map_err(|error| error.to_string()),
        _ => Err("expected strings".to_owned()),
    };
    let kinds: Result<Vec<Kind>, String> = kinds.inner().iter().map(kind).collect();
    kinds.map_err(|fault| Fault::invalid(format!("QueryRecords: kinds: {fault}")))
}

const INTROSPECTION: &str = r#"<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"
"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">
<node>
  <interface name="org.freedesktop.DBus.Introspectable">
    <method name="Introspect"><arg direction="out" type="s" name="xml_data"/></method>
  </interface>
  <interface name="org.freedesktop.DBus.Properties">
    <method name="Get">
      <arg direction="in" type="s" name="interface_name"/>
      <arg direction="in" type="s" name="property_name"/>
      <arg direction="out" type="v" name="value"/>
    </method>
    <method name="Set">
      <arg direction="in" type="s" name="interface_name"/>
      <arg direction="in" type="s" name="property_name"/>
      <arg direction="in" type="v" name="value"/>
    </method>
    <method name="GetAll">
      <arg direction="in" type="s" name="interface_name"/>
      <arg direction="out" type="a{sv}" name="props"/>
    </method>
  </interface>
  <interface name="org.nightlatch.Nightlatch1">
    <method name="AddClient">
      <arg direction="in" type="s" name="section"/>
      <arg direction="in" type="a{sv}" name="options"/>
      <arg direction="out" type="o" name="object_path"/>
    </method>
    <method name="Explain">
      <arg direction="in" type="s" name="name"/>
      <arg direction="out" type="a{sv}" name="explanation"/>
    </method>
    <method name="AllowRehearsals">
      <arg direction="in" type="s" name="client"/>
      <arg direction="in" type="t" name="seconds"/>
    </method>
    <method name="ListRequests">
      <arg direction="in" type="s" name="client"/>
      <arg direction="out" type="aa{sv}" name="requests"/>
    </method>
    <method name="Decide">
      <arg direction="in" type="t" name="number"/>
      <arg direction="in" type="b" name="approve"/>
    </method>
    <method name="Reload">
      <arg direction="in" type="a{sv}" name="options"/>
    </method>
    <method name="QueryRecords">
      <arg direction="in" type="a{sv}" name="query"/>
      <arg direction="out" type="as" name="lines"/>
      <arg direction="out" type="t" name="next"/>
    </method>
    <signal name="Recorded"><arg type="s" name="line"/></signal>
    <property name="Version" type="s" access="read"/>
    <property name="KeyID" type="s" access="read"/>
    <property name="Addresses" type="as" access="read"/>
    <property name="Clients" type="a{su}" access="read">
      <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="false"/>
    </property>
    <property name="RecordHead" type="(ts)" access="read">
      <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="false"/>
    </property>
    <property name="RecordAnchor" type="(ts)" access="read">
      <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="false"/>
    </property>
    <property name="LogLevel" type="s" access="readwrite">
      <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="false"/>
    </property>
    <property name="Warnings" type="as" access="read">
      <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="false"/>
    </property>
  </interface>
</node>
"#;

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
    fn a_query_with_a_word_that_is_not_known_is_refused() {
        let of =
            |key: &str, value: Variant<'static>| query(&HashMap::from([(key.to_owned(), value)]));
        assert_eq!(of("after", Variant::U64(7)).unwrap().after, 7);
        assert!(of("after", Variant::I32(7)).is_err());
        assert!(of("afterwards", Variant::U64(7)).is_err());
        let fault = of("kinds", Variant::from(vec!["relaesed"])).unwrap_err();
        assert!(fault.text.contains("known are released,"), "{fault:?}");
    }
}
