//! Translates events into signals of the Mandos interface, in the order in which Mandos sends them.
//!
//! Every signal but those of the standard interfaces is sent by both names of the interface. A changed
//! property makes three signals: `PropertyChanged` by both names, then `PropertiesChanged`. Those of our own interface
//! make one together.

#![deny(clippy::wildcard_enum_match_arm)]

use std::net::SocketAddr;
use std::time::Duration;

use nightlatch_bus::client::ClientView;
use nightlatch_bus::names::{
    CLIENT, CLIENT_OLD, ClientPath, INTROSPECTABLE, MANDOS, MANDOS_OLD, NIGHTLATCH_CLIENT,
    OBJECT_MANAGER, PROPERTIES, ROOT,
};
use nightlatch_bus::property::{Emits, Property, PropertyValue};
use nightlatch_core::checker::LastCheck;
use nightlatch_core::event::{ClientId, Event, Refusal};
use serde::Serialize;
use zbus::message::Message;
use zbus::{Type, Variant};

use super::client_cache::ClientCache;
use super::wire::Map;
use crate::driver::EventNotice;

/// Signals in the order in which they are sent.
#[derive(Debug, Default)]
pub(super) struct SignalBatch(pub(super) Vec<Message>);

impl SignalBatch {
    /// The signals for `notice`; `cache` is brought up to date.
    pub(super) fn of(cache: &mut ClientCache, notice: &EventNotice) -> zbus::Result<Self> {
        let mut signals = Self::default();
        match &notice.report.client {
            Some((id, _)) => signals.client(cache, *id, notice)?,
            None => signals.no_client(notice)?,
        }
        Ok(signals)
    }

    /// Adds the signals for an event that is about no client.
    fn no_client(&mut self, notice: &EventNotice) -> zbus::Result<()> {
        if let Event::Refused {
            reason: Refusal::UnknownKey,
            flood: false,
            ..
        } = notice.report.event
        {
            self.not_found(notice)?;
        }
        Ok(())
    }

    /// The signals that lead from `cache` to the state of all clients now.
    pub(super) fn catching_up(
        cache: &mut ClientCache,
        all: Vec<(ClientId, ClientView)>,
    ) -> zbus::Result<Self> {
        let mut signals = Self::default();
        let mut gone: Vec<ClientId> = cache.iter().map(|(id, _)| id).collect();
        gone.retain(|id| all.binary_search_by_key(id, |(id, _)| *id).is_err());
        for id in gone {
            signals.removed(cache, id)?;
        }
        for (id, view) in all {
            match cache.put(id, view) {
                None => signals.added(cache, id)?,
                Some(before) => signals.changes(cache, id, &before, &[])?,
            }
        }
        Ok(signals)
    }

    fn client(
        &mut self,
        cache: &mut ClientCache,
        id: ClientId,
        notice: &EventNotice,
    ) -> zbus::Result<()> {
        if let Event::Removed(..) = notice.report.event {
            return self.removed(cache, id);
        }
        // The client is gone since: its removal is an event of its own.
        let Some(view) = notice.view.clone() else {
            return Ok(());
        };
        let Some(before) = cache.put(id, view) else {
            return self.added(cache, id);
        };
        if matches!(notice.report.event, Event::Heard(_)) && cache.delays(id, &before) {
            return Ok(());
        }
        // Mandos sends the refusal before the properties that it changed.
        if let Event::Refused {
            reason,
            secret: None,
            ..
        } = notice.report.event
        {
            self.rejected(&before.path, reason)?;
        }
        self.changes(cache, id, &before, changed_first(&notice.report.event))?;
        let path = &before.path;
        match &notice.report.event {
            Event::CheckStarted(_) => {
                let command = notice.command.as_deref().unwrap_or_default();
                self.twice(path, [CLIENT, CLIENT_OLD], "CheckerStarted", &command)?;
            }
            // A check that was told to stop has ended already by its signals.
            Event::CheckFinished(_, result) if before.checker_running => {
                let command = notice.command.as_deref().unwrap_or_default();
                if let Some((status, wait_status)) = completed(*result) {
                    let body = (status, wait_status, command);
                    self.twice(path, [CLIENT, CLIENT_OLD], "CheckerCompleted", &body)?;
                }
            }
            // Mandos knows of no other secret: whoever approves because of this signal means a boot.
            Event::NeedsApproval {
                approved_by_default,
                secret: None,
                ..
            } => {
                let delay = approval_delay(cache, id, before.approval_delay);
                let body = (milliseconds(delay), *approved_by_default);
                self.twice(path, [CLIENT, CLIENT_OLD], "NeedApproval", &body)?;
            }
            Event::Delivered { secret: None, .. } => {
                self.twice(path, [CLIENT, CLIENT_OLD], "GotSecret", &())?;
            }
            Event::Changed(_, keys) if keys.contains(&"secret") => self.other_secret(path)?,
            // Signalled by the changed properties, or by the record (`Recorded`).
            Event::Added(_)
            | Event::Removed(..)
            | Event::Enabled(_)
            | Event::Disabled(..)
            | Event::Delivered { .. }
            | Event::NeedsApproval { .. }
            | Event::SecretPut { .. }
            | Event::SecretRemoved { .. }
            | Event::SecretRejected { .. }
            | Event::Alarmed(..)
            | Event::Decided { .. }
            | Event::Denied(_)
            | Event::DenialLifted(_)
            | Event::RehearsalsAllowed(..)
            | Event::Granted { .. }
            | Event::Refused { .. }
            | Event::Revoked { .. }
            | Event::Abandoned { .. }
            | Event::DeliveryFailed { .. }
            | Event::CheckStopping(_)
            | Event::CheckFinished(..)
            | Event::CheckedOk(_)
            | Event::Held { .. }
            | Event::Armed(_)
            | Event::Heard(_)
            | Event::SaidGoodbye { .. }
            | Event::Silent(_)
            | Event::Trusted(_)
            | Event::TombstoneDropped(_)
            | Event::Changed(..) => {}
        }
        Ok(())
    }

    /// Adds the signals of the changed properties: those in `first`, then the rest in the order of the table.
    fn changes(
        &mut self,
        cache: &ClientCache,
        id: ClientId,
        before: &ClientView,
        first: &[Property],
    ) -> zbus::Result<()> {
        let Some(view) = cache.get(id) else {
            return Ok(());
        };
        let mut changes = view.changes_since(before);
        let place = |property: Property| {
            let place = first.iter().position(|it| *it == property);
            place.unwrap_or(first.len())
        };
        changes.sort_by_key(|(property, _)| place(*property));
        for (property, value) in changes {
            self.changed(&view.path, property, &value)?;
        }
        let own = view.own_changes_since(before).into_iter();
        let own = own.filter(|(property, _)| property.emits() == Emits::Value);
        let own = dictionary(own);
        if own.0.is_empty() {
            return Ok(());
        }
        let none: [&str; 0] = [];
        let body = (NIGHTLATCH_CLIENT, own, &none[..]);
        self.once(view.path.as_str(), PROPERTIES, "PropertiesChanged", &body)
    }

    fn changed(
        &mut self,
        path: &ClientPath,
        property: Property,
        value: &PropertyValue,
    ) -> zbus::Result<()> {
        let name = property.name();
        let body = (name, value.to_variant());
        self.twice(path, [CLIENT, CLIENT_OLD], "PropertyChanged", &body)?;
        let none: [&str; 0] = [];
        let body = (CLIENT, Map(vec![(name, value.to_variant())]), &none[..]);
        self.once(path.as_str(), PROPERTIES, "PropertiesChanged", &body)
    }

    /// A secret cannot be read; a signal says that it changed.
    fn other_secret(&mut self, path: &ClientPath) -> zbus::Result<()> {
        let none: Map<&str, Variant<'_>> = Map(Vec::new());
        let body = (CLIENT, none, &[Property::Secret.name()][..]);
        self.once(path.as_str(), PROPERTIES, "PropertiesChanged", &body)
    }

    fn added(&mut self, cache: &ClientCache, id: ClientId) -> zbus::Result<()> {
        let Some(view) = cache.get(id) else {
            return Ok(());
        };
        let path = view.path.as_object_path();
        let body = (&path, managed(view));
        self.once(ROOT, OBJECT_MANAGER, "InterfacesAdded", &body)?;
        self.of_root("ClientAdded", &path)
    }

    fn removed(&mut self, cache: &mut ClientCache, id: ClientId) -> zbus::Result<()> {
        let Some(view) = cache.remove(id) else {
            return Ok(());
        };
        let path = view.path.as_object_path();
        let interfaces = [
            CLIENT,
            CLIENT_OLD,
            PROPERTIES,
            INTROSPECTABLE,
            NIGHTLATCH_CLIENT,
        ];
        let body = (&path, &interfaces[..]);
        self.once(ROOT, OBJECT_MANAGER, "InterfacesRemoved", &body)?;
        self.of_root("ClientRemoved", &(&path, view.name.as_str()))
    }

    fn not_found(&mut self, notice: &EventNotice) -> zbus::Result<()> {
        let Some(request) = &notice.report.request else {
            return Ok(());
        };
        let body = (request.key.to_string(), host(request.address));
        self.of_root("ClientNotFound", &body)
    }

    fn rejected(&mut self, path: &ClientPath, reason: Refusal) -> zbus::Result<()> {
        let reason = match reason {
            Refusal::Disabled => "Disabled",
            Refusal::Denied => "Denied",
            Refusal::ApprovalTimedOut => "Approval timed out",
            Refusal::Removed => "Removed",
            // A rehearsal is not rejected, and a request with an unknown key is of no client.
            Refusal::RehearsalUnproved
            | Refusal::RehearsalNeedsApproval
            | Refusal::RehearsalByBootKey
            | Refusal::UnknownHostKey
            | Refusal::UnknownKey => {
                return Ok(());
            }
            // Words of ours: Mandos has no guard.
            Refusal::BootIsUp => "Boot is up",
            Refusal::MachineIsUp => "Machine is up",
            Refusal::OtherBootIsUp => "Other boot is up",
            Refusal::GuardChanged => "Guard changed",
            // Not refusals of the boot secret.
            Refusal::NamedByBootKey
            | Refusal::NoSuchSecret
            | Refusal::SecretExpired
            | Refusal::SecretChanged
            | Refusal::TooManyWait
            | Refusal::MachineIsSuspect => return Ok(()),
        };
        self.twice(path, [CLIENT, CLIENT_OLD], "Rejected", &reason)
    }

    fn of_root<B: Serialize + Type>(&mut self, member: &str, body: &B) -> zbus::Result<()> {
        self.once(ROOT, MANDOS, member, body)?;
        self.once(ROOT, MANDOS_OLD, member, body)
    }

    fn twice<B: Serialize + Type>(
        &mut self,
        path: &ClientPath,
        interfaces: [&str; 2],
        member: &str,
        body: &B,
    ) -> zbus::Result<()> {
        for interface in interfaces {
            self.once(path.as_str(), interface, member, body)?;
        }
        Ok(())
    }

    fn once<B: Serialize + Type>(
        &mut self,
        path: &str,
        interface: &str,
        member: &str,
        body: &B,
    ) -> zbus::Result<()> {
        self.0
            .push(Message::signal(path, interface, member).build(body)?);
        Ok(())
    }
}

/// A client as the object manager shows it.
pub(super) fn managed(view: &ClientView) -> Map<&'static str, Map<&'static str, Variant<'static>>> {
    Map(vec![
        (CLIENT, properties(view)),
        (CLIENT_OLD, properties(view)),
        (PROPERTIES, Map(Vec::new())),
        (INTROSPECTABLE, Map(Vec::new())),
        (NIGHTLATCH_CLIENT, dictionary(view.own_values())),
    ])
}

/// All readable properties of a client in the Mandos interface.
pub(super) fn properties(view: &ClientView) -> Map<&'static str, Variant<'static>> {
    dictionary(view.values())
}

pub(super) fn dictionary(
    values: impl Iterator<Item = (Property, PropertyValue)>,
) -> Map<&'static str, Variant<'static>> {
    let entries = values.map(|(property, value)| (property.name(), value.into_variant()));
    Map(entries.collect())
}

/// The properties that an event changes, in the order of Mandos.
fn changed_first(event: &Event) -> &'static [Property] {
    use Property as P;
    match event {
        Event::CheckFinished(..) => &[
            P::CheckerRunning,
            P::LastCheckerStatus,
            P::LastCheckedOK,
            P::Expires,
        ],
        Event::CheckedOk(_) | Event::Heard(_) => {
            &[P::LastCheckedOK, P::LastCheckerStatus, P::Expires]
        }
        Event::Disabled(..) => &[P::Expires, P::CheckerRunning, P::Enabled],
        Event::Enabled(_) => &[P::Enabled, P::LastEnabled, P::Expires],
        Event::Changed(..) => &[P::Timeout, P::ExtendedTimeout, P::Interval, P::Expires],
        Event::Added(_)
        | Event::Removed(..)
        | Event::Alarmed(..)
        | Event::NeedsApproval { .. }
        | Event::Decided { .. }
        | Event::Denied(_)
        | Event::DenialLifted(_)
        | Event::RehearsalsAllowed(..)
        | Event::Granted { .. }
        | Event::Refused { .. }
        | Event::Revoked { .. }
        | Event::Abandoned { .. }
        | Event::Delivered { .. }
        | Event::DeliveryFailed { .. }
        | Event::Held { .. }
        | Event::Armed(_)
        | Event::SaidGoodbye { .. }
        | Event::Silent(_)
        | Event::Trusted(_)
        | Event::CheckStarted(_)
        | Event::TombstoneDropped(_)
        | Event::SecretPut { .. }
        | Event::SecretRemoved { .. }
        | Event::SecretRejected { .. }
        | Event::CheckStopping(_) => &[],
    }
}

/// Exit code and wait status (wait(2)) of a check; a signal counts as the code -1.
fn completed(result: LastCheck) -> Option<(i16, i64)> {
    match result {
        LastCheck::None => None,
        LastCheck::Exited(status) => Some((status.into(), i64::from(status) << 8)),
        LastCheck::Signaled(signal) => Some((-1, (-1_i64 << 8) | i64::from(signal))),
    }
}

/// The time for which the newest request waits; `usual` unless its guard has it wait for a person.
fn approval_delay(cache: &ClientCache, id: ClientId, usual: Duration) -> Duration {
    let view = cache.get(id).filter(|view| view.needs_person());
    let times = view.and_then(|view| view.decided_at().zip(view.last_approval_request));
    times.map_or(usual, |(decided, asked)| decided.since(asked))
}

fn milliseconds(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

/// The address alone, with the interface of a link-local one.
fn host(address: SocketAddr) -> String {
    match address {
        SocketAddr::V6(address) if address.scope_id() != 0 => {
            format!("{}%{}", address.ip(), address.scope_id())
        }
        SocketAddr::V6(_) | SocketAddr::V4(_) => address.ip().to_string(),
    }
}
