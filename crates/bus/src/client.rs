//! The typed picture of one client as the bus shows it, read from and written to its properties.

use std::time::Duration;

use nightlatch_core::checker::LastCheck;
use nightlatch_core::time::Wall;

use crate::moment::{self, MomentError};
use crate::names::ClientPath;
use crate::property::{BadValue, Property, Value};

/// `LastCheckerStatus` of a client without a completed check.
const NEVER: i16 = -2;
/// `LastCheckerStatus` after a check that was killed.
const CRASHED: i16 = -1;

/// How a client's last completed check ended, as far as the bus tells.
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

    /// As `LastCheckerStatus`.
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
    /// Its object.
    pub path: ClientPath,
    /// Its name.
    pub name: String,
    /// The SHA-256 of its TLS key, in hexadecimal as the server writes it; empty when it has none.
    pub key_id: String,
    /// Its OpenPGP fingerprint in hexadecimal; empty when it has none.
    pub fingerprint: String,
    /// What `%(host)s` in the checker stands for.
    pub host: String,
    /// The command that proves it is up.
    pub checker: String,
    /// Whether it may have its secret at all.
    pub enabled: bool,
    /// When it will be disabled unless it proves to be up.
    pub expires: Option<Wall>,
    /// How long after its last proof of life it is disabled.
    pub timeout: Duration,
    /// The same after a delivery.
    pub extended_timeout: Duration,
    /// How often the checker runs.
    pub interval: Duration,
    /// Whether a checker runs now.
    pub checker_running: bool,
    /// How the last completed check ended.
    pub last_check: CheckStatus,
    /// When it was last proved to be up.
    pub last_checked_ok: Option<Wall>,
    /// When it was first seen.
    pub created: Option<Wall>,
    /// When it was last enabled.
    pub last_enabled: Option<Wall>,
    /// Whether a request of it waits for a person's decision.
    pub approval_pending: bool,
    /// What happens when nobody decides.
    pub approved_by_default: bool,
    /// How long a request waits for a decision.
    pub approval_delay: Duration,
    /// How long an approval or a denial counts.
    pub approval_duration: Duration,
    /// When a request last asked for approval.
    pub last_approval_request: Option<Wall>,
    /// True when it is disabled because the server's state was lost. No property says so: the server knows it
    /// of its own clients.
    pub needs_proof: bool,
}

impl ClientView {
    /// Reads the client at `path` from all of its properties. Those that this table does not know are
    /// passed over: servers may have more.
    pub fn read(
        path: ClientPath,
        properties: impl IntoIterator<Item = (Property, Value)>,
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

    /// Puts a changed property in; says whether that made a difference.
    pub fn apply(&mut self, property: Property, value: &Value) -> Result<bool, ViewError> {
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
            // The object is where it is, and the secret is never told.
            P::ObjectPath | P::Secret => false,
        };
        Ok(changed)
    }

    /// The value of a property; `None` for the secret, which nobody can read.
    pub fn value(&self, property: Property) -> Option<Value> {
        use Property as P;
        let text = |text: &String| Value::Text(text.clone());
        let time = |wall| Value::Text(moment::print(wall));
        let value = match property {
            P::Name => text(&self.name),
            P::KeyID => text(&self.key_id),
            P::Fingerprint => text(&self.fingerprint),
            P::Host => text(&self.host),
            P::Checker => text(&self.checker),
            P::Enabled => Value::Boolean(self.enabled),
            P::Expires => time(self.expires),
            P::Timeout => milliseconds(self.timeout),
            P::ExtendedTimeout => milliseconds(self.extended_timeout),
            P::Interval => milliseconds(self.interval),
            P::CheckerRunning => Value::Boolean(self.checker_running),
            P::LastCheckerStatus => Value::Status(self.last_check.to_number()),
            P::LastCheckedOK => time(self.last_checked_ok),
            P::Created => time(self.created),
            P::LastEnabled => time(self.last_enabled),
            P::ApprovalPending => Value::Boolean(self.approval_pending),
            P::ApprovedByDefault => Value::Boolean(self.approved_by_default),
            P::ApprovalDelay => milliseconds(self.approval_delay),
            P::ApprovalDuration => milliseconds(self.approval_duration),
            P::LastApprovalRequest => time(self.last_approval_request),
            P::ObjectPath => Value::Path(self.path.clone()),
            P::Secret => return None,
        };
        Some(value)
    }

    /// All that can be read, in the order of the table.
    pub fn values(&self) -> impl Iterator<Item = (Property, Value)> + '_ {
        Property::all().filter_map(|property| Some((property, self.value(property)?)))
    }

    /// The changes that make `before` this.
    pub fn changes_since(&self, before: &Self) -> Vec<(Property, Value)> {
        let changed =
            |(property, value): &(Property, Value)| before.value(*property).as_ref() != Some(value);
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
pub fn milliseconds(length: Duration) -> Value {
    Value::Milliseconds(u64::try_from(length.as_millis()).unwrap_or(u64::MAX))
}

/// Why properties make no client.
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
    /// A number that says nothing about how a check ended.
    #[error("LastCheckerStatus: expected -2 to 255, found {0}")]
    Status(i16),
}

fn put<T: PartialEq>(place: &mut T, value: T) -> bool {
    let differs = *place != value;
    *place = value;
    differs
}

fn text(property: Property, value: &Value) -> Result<&str, ViewError> {
    match value {
        Value::Text(text) => Ok(text),
        _ => Err(wrong(property, value)),
    }
}

fn boolean(property: Property, value: &Value) -> Result<bool, ViewError> {
    match value {
        Value::Boolean(value) => Ok(*value),
        _ => Err(wrong(property, value)),
    }
}

fn length(property: Property, value: &Value) -> Result<Duration, ViewError> {
    match value {
        Value::Milliseconds(value) => Ok(Duration::from_millis(*value)),
        _ => Err(wrong(property, value)),
    }
}

fn time(property: Property, value: &Value) -> Result<Option<Wall>, ViewError> {
    moment::parse(text(property, value)?).map_err(|error| ViewError::Moment(property, error))
}

fn status(property: Property, value: &Value) -> Result<CheckStatus, ViewError> {
    match value {
        Value::Status(number) => {
            CheckStatus::from_number(*number).ok_or(ViewError::Status(*number))
        }
        _ => Err(wrong(property, value)),
    }
}

fn wrong(property: Property, value: &Value) -> ViewError {
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
            (Property::Expires, Value::Text("soon".into())),
            (Property::LastCheckerStatus, Value::Status(-3)),
            (Property::LastCheckerStatus, Value::Status(256)),
            (Property::Enabled, Value::Text("yes".into())),
        ] {
            assert!(view.apply(property, &value).is_err(), "{property:?}");
        }
    }
}
