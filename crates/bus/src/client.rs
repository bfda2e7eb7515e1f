//! A client's state as its D-Bus properties show it.

use std::time::Duration;

use nightlatch_core::checker::LastCheck;
use nightlatch_core::time::Wall;

use crate::moment::{self, MomentError};
use crate::names::ClientPath;
use crate::property::{BadValue, Property, PropertyValue};

/// `LastCheckerStatus` of a client without a completed check.
const NEVER: i16 = -2;
/// `LastCheckerStatus` after a check that was killed.
const CRASHED: i16 = -1;

/// The result of a client's last completed check, as `LastCheckerStatus` shows it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CheckStatus {
    /// None has completed yet.
    Never,
    /// The command was killed by a signal.
    Crashed,
    /// The command ended with this exit status; 0 is a proof of life.
    Exited(u8),
}

impl CheckStatus {
    /// From `LastCheckerStatus`; `None` for a number that means nothing.
    pub fn from_number(number: i16) -> Option<Self> {
        match number {
            NEVER => Some(Self::Never),
            CRASHED => Some(Self::Crashed),
            number => u8::try_from(number).ok().map(Self::Exited),
        }
    }

    /// The number for `LastCheckerStatus`.
    pub fn to_number(self) -> i16 {
        match self {
            Self::Never => NEVER,
            Self::Crashed => CRASHED,
            Self::Exited(status) => status.into(),
        }
    }
}

impl From<LastCheck> for CheckStatus {
    fn from(check: LastCheck) -> Self {
        match check {
            LastCheck::None => Self::Never,
            LastCheck::Exited(status) => Self::Exited(status),
            LastCheck::Signaled(_) => Self::Crashed,
        }
    }
}

/// One client: everything that can be read of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientView {
    /// The path of its object.
    pub path: ClientPath,
    /// The name of its section in `clients.conf`.
    pub name: String,
    /// The SHA-256 of its TLS key, in hexadecimal as the server writes it; empty when it has none.
    pub key_id: String,
    /// Its OpenPGP fingerprint in hexadecimal; empty when it has none.
    pub fingerprint: String,
    /// The value of `%(host)s` in the checker.
    pub host: String,
    /// The command that proves it is up.
    pub checker: String,
    /// True when releases to it are possible.
    pub enabled: bool,
    /// The deadline.
    pub expires: Option<Wall>,
    /// Time from a proof of life to the deadline.
    pub timeout: Duration,
    /// The same after a delivery.
    pub extended_timeout: Duration,
    /// Time between two checks.
    pub interval: Duration,
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
    /// The decision on a request after `approval_delay` without a person's.
    pub approved_by_default: bool,
    /// Time for which a request waits for a decision.
    pub approval_delay: Duration,
    /// Time for which an approval or a denial is valid.
    pub approval_duration: Duration,
    /// Time of the last request that asked for approval.
    pub last_approval_request: Option<Wall>,
    /// True when it is disabled because the server's state was lost. Not on the bus: only the server itself fills it.
    pub needs_proof: bool,
}

impl ClientView {
    /// Reads the client at `path` from all of its properties. Unknown ones are ignored: servers may have more.
    pub fn read(
        path: ClientPath,
        properties: impl IntoIterator<Item = (Property, PropertyValue)>,
    ) -> Result<Self, ViewError> {
        let mut view = Self::nothing(path);
        let mut seen = [false; Property::Timeout as usize + 1];
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
        use Property as P;
        let changed = match property {
            P::Name => put(&mut self.name, text(property, value)?.to_owned()),
            P::KeyID => put(&mut self.key_id, text(property, value)?.to_owned()),
            P::Fingerprint => put(&mut self.fingerprint, text(property, value)?.to_owned()),
            P::Host => put(&mut self.host, text(property, value)?.to_owned()),
            P::Checker => put(&mut self.checker, text(property, value)?.to_owned()),
            P::Enabled => put(&mut self.enabled, boolean(property, value)?),
            P::Expires => put(&mut self.expires, time(property, value)?),
            P::Timeout => put(&mut self.timeout, length(property, value)?),
            P::ExtendedTimeout => put(&mut self.extended_timeout, length(property, value)?),
            P::Interval => put(&mut self.interval, length(property, value)?),
            P::CheckerRunning => put(&mut self.checker_running, boolean(property, value)?),
            P::LastCheckerStatus => put(&mut self.last_check, status(property, value)?),
            P::LastCheckedOK => put(&mut self.last_checked_ok, time(property, value)?),
            P::Created => put(&mut self.created, time(property, value)?),
            P::LastEnabled => put(&mut self.last_enabled, time(property, value)?),
            P::ApprovalPending => put(&mut self.approval_pending, boolean(property, value)?),
            P::ApprovedByDefault => put(&mut self.approved_by_default, boolean(property, value)?),
            P::ApprovalDelay => put(&mut self.approval_delay, length(property, value)?),
            P::ApprovalDuration => put(&mut self.approval_duration, length(property, value)?),
            P::LastApprovalRequest => put(&mut self.last_approval_request, time(property, value)?),
            // The path cannot change, and the secret cannot be read.
            P::ObjectPath | P::Secret => false,
        };
        Ok(changed)
    }

    /// The value of a property; `None` for the secret, which cannot be read.
    pub fn value(&self, property: Property) -> Option<PropertyValue> {
        use Property as P;
        let text = |text: &String| PropertyValue::Text(text.clone());
        let time = |wall| PropertyValue::Text(moment::print(wall));
        let value = match property {
            P::Name => text(&self.name),
            P::KeyID => text(&self.key_id),
            P::Fingerprint => text(&self.fingerprint),
            P::Host => text(&self.host),
            P::Checker => text(&self.checker),
            P::Enabled => PropertyValue::Boolean(self.enabled),
            P::Expires => time(self.expires),
            P::Timeout => milliseconds(self.timeout),
            P::ExtendedTimeout => milliseconds(self.extended_timeout),
            P::Interval => milliseconds(self.interval),
            P::CheckerRunning => PropertyValue::Boolean(self.checker_running),
            P::LastCheckerStatus => PropertyValue::Status(self.last_check.to_number()),
            P::LastCheckedOK => time(self.last_checked_ok),
            P::Created => time(self.created),
            P::LastEnabled => time(self.last_enabled),
            P::ApprovalPending => PropertyValue::Boolean(self.approval_pending),
            P::ApprovedByDefault => PropertyValue::Boolean(self.approved_by_default),
            P::ApprovalDelay => milliseconds(self.approval_delay),
            P::ApprovalDuration => milliseconds(self.approval_duration),
            P::LastApprovalRequest => time(self.last_approval_request),
            P::ObjectPath => PropertyValue::Path(self.path.clone()),
            P::Secret => return None,
        };
        Some(value)
    }

    /// All that can be read, in the order of the table.
    pub fn values(&self) -> impl Iterator<Item = (Property, PropertyValue)> + '_ {
        Property::all().filter_map(|property| Some((property, self.value(property)?)))
    }

    /// The changes that make `before` this.
    pub fn changes_since(&self, before: &Self) -> Vec<(Property, PropertyValue)> {
        let changed = |(property, value): &(Property, PropertyValue)| {
            before.value(*property).as_ref() != Some(value)
        };
        self.values().filter(changed).collect()
    }

    /// A client of which nothing is known yet.
    fn nothing(path: ClientPath) -> Self {
        Self {
            path,
            name: String::new(),
            key_id: String::new(),
            fingerprint: String::new(),
            host: String::new(),
            checker: String::new(),
            enabled: false,
            expires: None,
            timeout: Duration::ZERO,
            extended_timeout: Duration::ZERO,
            interval: Duration::ZERO,
            checker_running: false,
            last_check: CheckStatus::Never,
            last_checked_ok: None,
            created: None,
            last_enabled: None,
            approval_pending: false,
            approved_by_default: false,
            approval_delay: Duration::ZERO,
            approval_duration: Duration::ZERO,
            last_approval_request: None,
            needs_proof: false,
        }
    }
}

/// A length of time as the bus has it; the longest it can hold when it does not fit.
pub fn milliseconds(length: Duration) -> PropertyValue {
    PropertyValue::Milliseconds(u64::try_from(length.as_millis()).unwrap_or(u64::MAX))
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
}

fn put<T: PartialEq>(place: &mut T, value: T) -> bool {
    let differs = *place != value;
    *place = value;
    differs
}

fn text(property: Property, value: &PropertyValue) -> Result<&str, ViewError> {
    match value {
        PropertyValue::Text(text) => Ok(text),
        _ => Err(wrong(property, value)),
    }
}

fn boolean(property: Property, value: &PropertyValue) -> Result<bool, ViewError> {
    match value {
        PropertyValue::Boolean(value) => Ok(*value),
        _ => Err(wrong(property, value)),
    }
}

fn length(property: Property, value: &PropertyValue) -> Result<Duration, ViewError> {
    match value {
        PropertyValue::Milliseconds(value) => Ok(Duration::from_millis(*value)),
        _ => Err(wrong(property, value)),
    }
}

fn time(property: Property, value: &PropertyValue) -> Result<Option<Wall>, ViewError> {
    moment::parse(text(property, value)?).map_err(|error| ViewError::Moment(property, error))
}

fn status(property: Property, value: &PropertyValue) -> Result<CheckStatus, ViewError> {
    match value {
        PropertyValue::Status(number) => {
            CheckStatus::from_number(*number).ok_or(ViewError::Status(*number))
        }
        _ => Err(wrong(property, value)),
    }
}

fn wrong(property: Property, value: &PropertyValue) -> ViewError {
    ViewError::Value(BadValue::of_type(property, &value.to_variant()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        fn view()(
            texts in prop::array::uniform5(".{0,9}"),
            flags: [bool; 4],
            times: [Option<i64>; 5],
            lengths: [u64; 5],
            number in -2_i16..256,
        ) -> ClientView {
            let time = |index: usize| times[index].map(Wall::from_unix_micros);
            let length = |index: usize| Duration::from_millis(lengths[index]);
            let [name, key_id, fingerprint, host, checker] = texts;
            ClientView {
                name, key_id, fingerprint, host, checker,
                enabled: flags[0],
                checker_running: flags[1],
                approval_pending: flags[2],
                approved_by_default: flags[3],
                expires: time(0),
                last_checked_ok: time(1),
                created: time(2),
                last_enabled: time(3),
                last_approval_request: time(4),
                needs_proof: false,
                timeout: length(0),
                extended_timeout: length(1),
                interval: length(2),
                approval_delay: length(3),
                approval_duration: length(4),
                last_check: CheckStatus::from_number(number).unwrap(),
                path: ClientPath::of_name("a"),
            }
        }
    }

    proptest! {
        #[test]
        fn every_client_survives_its_properties(view in view()) {
            let read = ClientView::read(view.path.clone(), view.values());
            prop_assert_eq!(read, Ok(view));
        }

        #[test]
        fn changes_make_one_client_the_other(before in view(), after in view()) {
            let mut made = before.clone();
            for (property, value) in after.changes_since(&before) {
                prop_assert_eq!(made.apply(property, &value), Ok(true));
            }
            prop_assert_eq!(made, after);
        }
    }

    #[test]
    fn a_client_without_one_of_its_properties_is_refused() {
        let view = ClientView::nothing(ClientPath::of_name("a"));
        let values = view
            .values()
            .filter(|(property, _)| *property != Property::Host);
        let error = ClientView::read(view.path.clone(), values).unwrap_err();
        assert_eq!(error, ViewError::Missing(Property::Host));
    }

    #[test]
    fn a_value_that_means_nothing_is_refused() {
        let mut view = ClientView::nothing(ClientPath::of_name("a"));
        for (property, value) in [
            (Property::Expires, PropertyValue::Text("soon".into())),
            (Property::LastCheckerStatus, PropertyValue::Status(-3)),
            (Property::LastCheckerStatus, PropertyValue::Status(256)),
            (Property::Enabled, PropertyValue::Text("yes".into())),
        ] {
            assert!(view.apply(property, &value).is_err(), "{property:?}");
        }
    }
}
