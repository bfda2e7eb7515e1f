//! The guard of a client on the bus: the properties of `org.nightlatch.Nightlatch1.Client`.

use nightlatch_core::explanation::GuardFacts;
use nightlatch_core::guard::{GuardState, Suspicion};
use nightlatch_core::time::Wall;

use super::ClientView;
use super::field::Field;
use crate::property::{Property, PropertyValue};

/// The guard of a client; by default that of a server without this interface.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GuardView {
    /// The key id of the machine's agent; empty for a machine without one.
    pub host_key_id: String,
    /// The state of the guard; `None` where the server does not have this interface.
    pub state: Option<GuardState>,
    /// The reason for which a person decides on each request.
    pub suspect: Option<Suspicion>,
    /// Time of the last sign of life when everything was read. No signal follows: [`ClientView::last_heartbeat`] does.
    pub last_heartbeat: Option<Wall>,
    /// The end of the time for an announced reboot.
    pub leaving_until: Option<Wall>,
    /// Number of releases whose boots were not heard.
    pub unaccounted: u32,
    /// True when the agent answers pokes.
    pub pokeable: bool,
    /// The OpenPGP public key of the machine's agent in base64; empty where the section has none.
    pub host_openpgp: String,
    /// The named secrets that requests wait for, with spaces between them.
    pub waiting_secrets: String,
}

impl GuardView {
    /// The field of a property; `None` for one of the Mandos interface.
    pub(super) fn field(&mut self, property: Property) -> Option<&mut dyn Field> {
        use Property as P;
        Some(match property {
            P::HostKeyID => &mut self.host_key_id,
            P::GuardState => &mut self.state,
            P::Suspect => &mut self.suspect,
            P::LastHeartbeat => &mut self.last_heartbeat,
            P::LeavingUntil => &mut self.leaving_until,
            P::Unaccounted => &mut self.unaccounted,
            P::Pokeable => &mut self.pokeable,
            P::HostOpenPGP => &mut self.host_openpgp,
            P::WaitingSecrets => &mut self.waiting_secrets,
            _ => return None,
        })
    }

    /// The value of a property; `None` for one of the Mandos interface.
    pub(super) fn value(&self, property: Property) -> Option<PropertyValue> {
        use Property as P;
        Some(match property {
            P::HostKeyID => self.host_key_id.to_value(),
            P::GuardState => self.state.to_value(),
            P::Suspect => self.suspect.to_value(),
            P::LastHeartbeat => self.last_heartbeat.to_value(),
            P::LeavingUntil => self.leaving_until.to_value(),
            P::Unaccounted => self.unaccounted.to_value(),
            P::Pokeable => self.pokeable.to_value(),
            P::HostOpenPGP => self.host_openpgp.to_value(),
            P::WaitingSecrets => self.waiting_secrets.to_value(),
            _ => return None,
        })
    }
}

impl ClientView {
    /// Time of the last sign of life of its agent. Its change is signalled as that of `LastCheckedOK`.
    pub fn last_heartbeat(&self) -> Option<Wall> {
        match self.guard.state {
            None | Some(GuardState::Off | GuardState::Unarmed) => self.guard.last_heartbeat,
            Some(_) => self.last_checked_ok,
        }
    }

    /// True once its agent was heard: no check runs.
    pub fn has_agent(&self) -> bool {
        self.guard_facts().is_some_and(|guard| guard.is_armed())
    }

    /// True when its guard has each request wait for a person until the deadline, as far as the properties tell: that
    /// `unannounced` is `approve` shows only where nothing else has a request wait.
    pub fn needs_person(&self) -> bool {
        let guard = self.guard_facts();
        let suspect = guard.and_then(|guard| guard.suspicion_in_force());
        suspect.is_some() || self.has_agent() && self.approval_pending && !self.needs_approval()
    }

    /// The properties of our own interface, in the order of the table. None at a server without it.
    pub fn own_values(&self) -> impl Iterator<Item = (Property, PropertyValue)> + '_ {
        let has_guard = self.guard.state.is_some();
        let all = Property::own().filter(move |_| has_guard);
        all.filter_map(|property| Some((property, self.value(property)?)))
    }

    pub(super) fn guard_facts(&self) -> Option<GuardFacts> {
        Some(GuardFacts {
            state: self.guard.state?,
            has_host_key: !self.guard.host_key_id.is_empty(),
            suspect: self.guard.suspect,
            last_heartbeat: self.last_heartbeat(),
            leaving_until: self.guard.leaving_until,
            unaccounted: self.guard.unaccounted,
        })
    }
}
