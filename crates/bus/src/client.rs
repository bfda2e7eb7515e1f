//! A client's state as its D-Bus properties show it. The fields of settings come from the table of settings in
//! `nightlatch-core`.

use std::time::Duration;

pub use nightlatch_core::checker::CheckStatus;
use nightlatch_core::checker::Checker;
use nightlatch_core::client_settings;
use nightlatch_core::explanation::{ClientFacts, PendingRequestFacts};
use nightlatch_core::key_id::{Fingerprint, KeyId};
use nightlatch_core::settings::client::ClientSettings;
use nightlatch_core::time::Wall;

use crate::moment::MomentError;
use crate::names::ClientPath;
use crate::property::{BadValue, Property, PropertyValue};

mod field;
mod guard;
use field::{Field, Shown};
pub use guard::GuardView;

/// A value for a setting that is on D-Bus. To name the property makes a repetition skip the other settings.
macro_rules! on_bus {
    ($property:ident, $value:expr) => {
        $value
    };
}

macro_rules! declare_view {
    ($(
        #[doc = $doc:literal]
        $name:ident $key:ident: $type:ty = $default:expr
        $(, property($property:ident $access:ident))?;
    )*) => {
        /// One client: everything that can be read of it.
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub struct ClientView {
            /// The path of its object.
            pub path: ClientPath,
            /// The name of its section in `clients.conf`.
            pub name: String,
            /// True when releases to it are possible.
            pub enabled: bool,
            /// Time at which it is disabled without a proof of life; `None` while it is disabled.
            pub expires: Option<Wall>,
            /// True while a check runs.
            pub checker_running: bool,
            /// The result of the last completed check.
            pub last_check: CheckStatus,
            /// Time of the last proof of life.
            pub last_checked_ok: Option<Wall>,
            /// Time at which the server first knew the client.
            pub created: Option<Wall>,
            /// Time at which it was last enabled.
            pub last_enabled: Option<Wall>,
            /// True while a request waits for approval.
            pub approval_pending: bool,
            /// Time of the last request that asked for approval.
            pub last_approval_request: Option<Wall>,
            /// True when it is disabled because the server's state was lost. Not on the bus: only the server itself fills
            /// it.
            pub needs_proof: bool,
            /// Its guard.
            pub guard: GuardView,
            $($(
                #[doc = concat!("`", stringify!($property), "`:")]
                #[doc = $doc]
                pub $key: <$type as Shown>::Field,
            )?)*
        }

        impl ClientView {
            /// A client with these settings, disabled and without a past.
            pub fn new(path: ClientPath, name: String, settings: &ClientSettings) -> Self {
                Self {
                    path,
                    name,
                    enabled: false,
                    expires: None,
                    checker_running: false,
                    last_check: CheckStatus::Never,
                    last_checked_ok: None,
                    created: None,
                    last_enabled: None,
                    approval_pending: false,
                    last_approval_request: None,
                    needs_proof: false,
                    guard: GuardView::default(),
                    $($($key: on_bus!($property, settings.$key.to_field()),)?)*
                }
            }

            /// The field of a property; `None` for the path, which cannot change, and for the secret, which cannot be read.
            fn field(&mut self, property: Property) -> Option<&mut dyn Field> {
                use Property as P;
                Some(match property {
                    P::Name => &mut self.name,
                    P::Enabled => &mut self.enabled,
                    P::Expires => &mut self.expires,
                    P::CheckerRunning => &mut self.checker_running,
                    P::LastCheckerStatus => &mut self.last_check,
                    P::LastCheckedOK => &mut self.last_checked_ok,
                    P::Created => &mut self.created,
                    P::LastEnabled => &mut self.last_enabled,
                    P::ApprovalPending => &mut self.approval_pending,
                    P::LastApprovalRequest => &mut self.last_approval_request,
                    $($(P::$property => &mut self.$key,)?)*
                    P::ObjectPath | P::Secret => return None,
                    P::HostKeyID
                    | P::GuardState
                    | P::Suspect
                    | P::LastHeartbeat
                    | P::LeavingUntil
                    | P::Unaccounted
                    | P::Pokeable
                    | P::HostOpenPGP
                    | P::WaitingSecrets => return self.guard.field(property),
                })
            }

            /// The value of a property; `None` for the secret, which cannot be read.
            pub fn value(&self, property: Property) -> Option<PropertyValue> {
                use Property as P;
                Some(match property {
                    P::Name => self.name.to_value(),
                    P::Enabled => self.enabled.to_value(),
                    P::Expires => self.expires.to_value(),
                    P::CheckerRunning => self.checker_running.to_value(),
                    P::LastCheckerStatus => self.last_check.to_value(),
                    P::LastCheckedOK => self.last_checked_ok.to_value(),
                    P::Created => self.created.to_value(),
                    P::LastEnabled => self.last_enabled.to_value(),
                    P::ApprovalPending => self.approval_pending.to_value(),
                    P::LastApprovalRequest => self.last_approval_request.to_value(),
                    $($(P::$property => self.$key.to_value(),)?)*
                    P::ObjectPath => PropertyValue::Path(self.path.clone()),
                    P::Secret => return None,
                    P::HostKeyID
                    | P::GuardState
                    | P::Suspect
                    | P::LastHeartbeat
                    | P::LeavingUntil
                    | P::Unaccounted
                    | P::Pokeable
                    | P::HostOpenPGP
                    | P::WaitingSecrets => return self.guard.value(property),
                })
            }
        }
    };
}

client_settings!(declare_view);

impl ClientView {
    /// Reads the client at `path` from all of its properties. Unknown ones are ignored: servers may have more.
    pub fn read(
        path: ClientPath,
        properties: impl IntoIterator<Item = (Property, PropertyValue)>,
    ) -> Result<Self, ViewError> {
        let mut view = Self::new(path, String::new(), &ClientSettings::default());
        let mut seen = [false; Property::COUNT];
        for (property, value) in properties {
            view.apply(property, &value)?;
            seen[property as usize] = true;
        }
        // The path is known without it.
        seen[Property::ObjectPath as usize] = true;
        match Property::readable().find(|property| !seen[*property as usize]) {
            Some(missing) => Err(ViewError::Missing(missing)),
            None => Ok(view),
        }
    }

    /// Stores a changed property. True when the value differs.
    pub fn apply(&mut self, property: Property, value: &PropertyValue) -> Result<bool, ViewError> {
        match self.field(property) {
            Some(field) => field.put(property, value),
            None => Ok(false),
        }
    }

    /// All of the Mandos interface that can be read, in the order of the table.
    pub fn values(&self) -> impl Iterator<Item = (Property, PropertyValue)> + '_ {
        Property::all().filter_map(|property| Some((property, self.value(property)?)))
    }

    /// True when a request waits for a person's decision. A delay of zero needs none, whatever `ApprovedByDefault` says.
    pub const fn needs_approval(&self) -> bool {
        !self.approval_delay.is_zero()
    }

    /// The time at which its pending request is decided without a person: that for the boot secret where one waits, as
    /// Mandos shows it. The time of requests for named secrets alone is in the list of requests only.
    pub fn decided_at(&self) -> Option<Wall> {
        match (self.request_waits(), self.needs_person()) {
            (false, _) => None,
            (true, true) => self.expires,
            (true, false) => {
                let asked = self.last_approval_request.filter(|_| self.approval_pending);
                asked.map(|asked| asked.after(self.approval_delay))
            }
        }
    }

    /// True when its pending request for the boot secret is granted without a decision of a person; false where only named
    /// secrets wait, which never are.
    pub fn granted_by_default(&self) -> bool {
        let is_boot = self.approval_pending || !self.waits_for_named();
        self.approved_by_default && !self.needs_person() && is_boot
    }

    /// True while any request waits: for the boot secret, which Mandos shows, or for a named one.
    pub const fn request_waits(&self) -> bool {
        self.approval_pending || self.waits_for_named()
    }

    /// True while a request for a named secret waits.
    pub const fn waits_for_named(&self) -> bool {
        !self.guard.waiting_secrets.is_empty()
    }

    /// Its state, as far as its properties alone tell.
    pub fn facts(&self) -> ClientFacts<'_> {
        let pending = self.request_waits().then(|| PendingRequestFacts {
            description: None,
            until: self.decided_at(),
            approved_by_default: self.granted_by_default(),
            is_named: !self.approval_pending,
        });
        ClientFacts {
            name: &self.name,
            enabled: self.enabled,
            deadline: self.expires,
            timeout: self.timeout,
            extended_timeout: self.extended_timeout,
            interval: self.interval,
            last_check: self.last_check,
            last_checked_ok: self.last_checked_ok,
            created: self.created,
            last_enabled: self.last_enabled,
            approval_delay: self.approval_delay,
            approved_by_default: self.approved_by_default,
            needs_proof: self.needs_proof,
            guard: self.guard_facts(),
            forecast: None,
            records: None,
            pending: pending.into_iter().collect(),
        }
    }

    /// The changes of the Mandos interface that make `before` this.
    pub fn changes_since(&self, before: &Self) -> Vec<(Property, PropertyValue)> {
        let values = self.values();
        values.filter(|it| before.differs(it)).collect()
    }

    /// The changes of our own interface that make `before` this.
    pub fn own_changes_since(&self, before: &Self) -> Vec<(Property, PropertyValue)> {
        let values = self.own_values();
        values.filter(|it| before.differs(it)).collect()
    }

    fn differs(&self, (property, value): &(Property, PropertyValue)) -> bool {
        self.value(*property).as_ref() != Some(value)
    }
}

/// Properties that are not those of a client.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ViewError {
    /// A property that every server has.
    #[error("the property {} is missing", .0.name())]
    Missing(Property),
    /// A value that its property cannot have.
    #[error(transparent)]
    Value(#[from] BadValue),
    /// A text that is no time.
    #[error("{}", .0.name())]
    Moment(Property, #[source] MomentError),
    /// A number outside the range of `LastCheckerStatus`.
    #[error("LastCheckerStatus: expected -2 to 255, found {0}")]
    Status(i16),
    /// A word that the property cannot have.
    #[error("{}: unknown word {word:?}", .property.name())]
    Word {
        /// The property.
        property: Property,
        /// The word.
        word: String,
    },
}

#[cfg(test)]
mod tests {
    use nightlatch_core::guard::{GuardState, Suspicion};
    use nightlatch_core::settings::client::{Setting, SettingKind};
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn guard()(
            state in prop::sample::select(vec![GuardState::Off, GuardState::Up, GuardState::Opened]),
            suspect in prop::option::of(Just(Suspicion::Impostor)),
            times: [Option<i64>; 2],
            host_key_id in "[0-9a-f]{0,4}",
            host_openpgp in "[0-9a-f]{0,4}",
            waiting_secrets in "[a-z ]{0,4}",
            unaccounted: u32,
            pokeable: bool,
        ) -> GuardView {
            GuardView {
                host_key_id,
                state: Some(state),
                suspect,
                last_heartbeat: times[0].map(Wall::from_unix_micros),
                leaving_until: times[1].map(Wall::from_unix_micros),
                unaccounted,
                pokeable,
                host_openpgp,
                waiting_secrets,
            }
        }
    }

    prop_compose! {
        fn view()(
            texts in prop::array::uniform5(".{0,9}"),
            flags: [bool; 4],
            times: [Option<i64>; 5],
            lengths: [u64; 5],
            number in -2_i16..256,
            guard in guard(),
        ) -> ClientView {
            let time = |index: usize| times[index].map(Wall::from_unix_micros);
            let mut settings = ClientSettings::default();
            let changeable = Setting::ALL.iter().filter(|it| it.is_changeable());
            let of_length = changeable.filter(|it| it.kind() == SettingKind::Length);
            for (setting, millis) in of_length.zip(lengths) {
                setting.put(&mut settings, Duration::from_millis(millis).into()).unwrap();
            }
            let [name, key_id, fingerprint, host, checker] = texts;
            ClientView {
                key_id, fingerprint, host, checker,
                enabled: flags[0],
                checker_running: flags[1],
                approval_pending: flags[2],
                approved_by_default: flags[3],
                expires: time(0),
                last_checked_ok: time(1),
                created: time(2),
                last_enabled: time(3),
                last_approval_request: time(4),
                last_check: CheckStatus::from_number(number).unwrap(),
                guard,
                ..ClientView::new(ClientPath::of_name("a"), name, &settings)
            }
        }
    }

    proptest! {
        #[test]
        fn every_client_survives_its_properties(view in view()) {
            let values = view.values().chain(view.own_values());
            let read = ClientView::read(view.path.clone(), values);
            prop_assert_eq!(read, Ok(view));
        }

        #[test]
        fn changes_make_one_client_the_other(before in view(), after in view()) {
            let mut made = before.clone();
            let changes = after.changes_since(&before);
            for (property, value) in changes.into_iter().chain(after.own_changes_since(&before)) {
                prop_assert_eq!(made.apply(property, &value), Ok(true));
            }
            prop_assert_eq!(made, after);
        }
    }

    #[test]
    fn a_client_without_one_of_its_properties_is_refused() {
        let view = ClientView::new(
            ClientPath::of_name("a"),
            String::new(),
            &ClientSettings::default(),
        );
        let values = view
            .values()
            .filter(|(property, _)| *property != Property::Host);
        let error = ClientView::read(view.path.clone(), values).unwrap_err();
        assert_eq!(error, ViewError::Missing(Property::Host));
    }

    #[test]
    fn a_client_of_a_server_without_our_interface_has_no_guard() {
        let path = ClientPath::of_name("a");
        let view = ClientView::new(path.clone(), String::new(), &ClientSettings::default());
        assert_eq!(view.own_values().count(), 0);
        let read = ClientView::read(path, view.values()).unwrap();
        assert_eq!(read.guard, GuardView::default());
        assert!(!read.has_agent());
        assert_eq!(read.facts().guard, None);
    }

    #[test]
    fn a_named_request_that_waits_hides_nothing_of_a_boot() {
        let path = ClientPath::of_name("a");
        let settings = ClientSettings {
            approval_delay: Duration::from_secs(60),
            approved_by_default: true,
            ..ClientSettings::default()
        };
        let mut view = ClientView::new(path, String::new(), &settings);
        view.guard.waiting_secrets = "pin".to_owned();
        view.last_approval_request = Some(Wall::from_unix_micros(0));
        // It is never granted by default, and its time is not among the properties.
        assert_eq!(
            (view.granted_by_default(), view.decided_at()),
            (false, None)
        );
        view.approval_pending = true;
        let minute = Wall::from_unix_micros(60_000_000);
        assert!(view.granted_by_default());
        assert_eq!(view.decided_at(), Some(minute));
        // The guard has a boot wait until the deadline.
        view.guard.state = Some(GuardState::Up);
        view.approval_delay = Duration::ZERO;
        view.expires = Some(Wall::from_unix_micros(5));
        assert!(view.needs_person());
        assert_eq!(view.decided_at(), view.expires);
    }

    /// No signal has the time of a heartbeat but that of the last proof of life.
    #[test]
    fn the_last_heartbeat_follows_the_last_proof_of_life() {
        let path = ClientPath::of_name("a");
        let mut view = ClientView::new(path, String::new(), &ClientSettings::default());
        view.guard.state = Some(GuardState::Unarmed);
        view.last_checked_ok = Some(Wall::from_unix_micros(1));
        assert_eq!(view.last_heartbeat(), None);
        let up = PropertyValue::Text("up".into());
        assert_eq!(view.apply(Property::GuardState, &up), Ok(true));
        assert_eq!(view.last_heartbeat(), view.last_checked_ok);
        assert!(view.has_agent());
    }

    #[test]
    fn a_value_that_means_nothing_is_refused() {
        let mut view = ClientView::new(
            ClientPath::of_name("a"),
            String::new(),
            &ClientSettings::default(),
        );
        for (property, value) in [
            (Property::Expires, PropertyValue::Text("soon".into())),
            (Property::LastCheckerStatus, PropertyValue::Status(-3)),
            (Property::LastCheckerStatus, PropertyValue::Status(256)),
            (Property::Enabled, PropertyValue::Text("yes".into())),
            (Property::GuardState, PropertyValue::Text("asleep".into())),
            (Property::Suspect, PropertyValue::Text("thief".into())),
        ] {
            assert!(view.apply(property, &value).is_err(), "{property:?}");
        }
    }
}
