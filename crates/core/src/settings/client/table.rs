//! The table of a client's settings: one row each. All that concerns every setting is made of it: the struct of the
//! values, reading, comparing, changing at run time, the form on D-Bus, in the store and in a handover.
//!
//! It must not know what a setting means: that is for the rule that reads its field.

use std::time::Duration;

use super::value::{SettingKind, SettingType, SettingValue, WrongKind};
use crate::checker::Checker;
use crate::guard::Unannounced;
use crate::key_id::{Fingerprint, KeyId};
use crate::openpgp_public_key::OpenPgpPublicKey;
use crate::settings::Problem;

/// Calls the macro `$then` with the table. A row is a line of documentation and
///
/// ```text
/// Name key: Type = default, property(Property Access);
/// ```
///
/// `Name` is its variant of `Setting`, `key` its key in `clients.conf`, in the
/// store and in a handover, and its field. `property` is there for what is on D-Bus: the name of the property,
/// and `ReadWrite` for what can change at run time. The order is that of columns and keys: new rows come last.
#[macro_export]
macro_rules! client_settings {
    ($then:ident) => {
        $then! {
            /// SHA-256 of the machine's TLS public key. `None` (an empty value) matches nobody.
            KeyId key_id: Option<KeyId> = None, property(KeyID Read);
            /// OpenPGP fingerprint, shown only.
            Fingerprint fingerprint: Option<Fingerprint> = None, property(Fingerprint Read);
            /// Stands for `%(host)s` in the checker.
            Host host: String = String::new(), property(Host ReadWrite);
            /// The check that proves the machine is up.
            Checker checker: Checker = Checker::default(), property(Checker ReadWrite);
            /// Time from the last proof of life until the client is disabled. A running deadline follows it.
            Timeout timeout: Duration = minutes(5), property(Timeout ReadWrite);
            /// The same after a delivery, to give the machine time to boot.
            ExtendedTimeout extended_timeout: Duration = minutes(15), property(ExtendedTimeout ReadWrite);
            /// Time from one check to the next.
            Interval interval: Duration = minutes(2), property(Interval ReadWrite);
            /// Time for which a request waits for approval; zero for none. Counts for those that wait, too.
            ApprovalDelay approval_delay: Duration = Duration::ZERO, property(ApprovalDelay ReadWrite);
            /// Time for which a denial counts; from the next one on.
            ApprovalDuration approval_duration: Duration = Duration::from_secs(1), property(ApprovalDuration ReadWrite);
            /// True when a request is granted that nobody decided on within `approval_delay`.
            ApprovedByDefault approved_by_default: bool = true, property(ApprovedByDefault ReadWrite);
            /// True when a client that is seen for the first time starts enabled.
            Enabled enabled: bool = true;
            /// SHA-256 of the TLS public key of the machine's agent. `None` (an empty value) for a machine without one.
            HostKeyId host_key_id: Option<KeyId> = None;
            /// False when a boot key is worth as much as without an agent; alarms are raised all the same.
            Guard guard: bool = true;
            /// The rule for a boot that was not announced, once the agent was asked.
            Unannounced unannounced: Unannounced = Unannounced::Release;
            /// The longest time for which a request is held while the agent is asked.
            GuardWait guard_wait: Duration = Duration::from_secs(3);
            /// The longest time for an announced reboot.
            RebootWindow reboot_window: Duration = minutes(10);
            /// The OpenPGP public key of the machine's agent, to which named secrets are sealed. Only tools read it.
            HostOpenPgp host_openpgp: Option<OpenPgpPublicKey> = None;
        }
    };
}

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

macro_rules! is_changeable {
    (ReadWrite) => {
        true
    };
    ($($other:ident)?) => {
        false
    };
}

macro_rules! declare {
    ($(
        #[doc = $doc:literal]
        $name:ident $key:ident: $type:ty = $default:expr
        $(, property($property:ident $access:ident))?;
    )*) => {
        /// The configuration of one client apart from its name and its secret.
        ///
        /// `enabled` here is the value in the file; the state of the client is elsewhere.
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub struct ClientSettings {
            $(#[doc = $doc] pub $key: $type,)*
        }

        impl Default for ClientSettings {
            fn default() -> Self {
                Self { $($key: $default,)* }
            }
        }

        /// A row of the table of a client's settings.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Setting {
            $(#[doc = $doc] $name,)*
        }

        impl Setting {
            /// The whole table, in the order of columns and keys.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its key in a client's section.
            pub const fn key(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($key),)*
                }
            }

            /// The kind of its values.
            pub const fn kind(self) -> SettingKind {
                match self {
                    $(Self::$name => <$type as SettingType>::KIND,)*
                }
            }

            /// True for what an administrator can change while the server runs.
            pub const fn is_changeable(self) -> bool {
                match self {
                    $(Self::$name => is_changeable!($($access)?),)*
                }
            }

            /// The value of this setting in `settings`.
            pub fn value(self, settings: &ClientSettings) -> SettingValue {
                match self {
                    $(Self::$name => settings.$key.clone().into(),)*
                }
            }

            /// Gives it another value, which must be of its kind.
            pub fn put(self, settings: &mut ClientSettings, value: SettingValue) -> Result<(), WrongKind> {
                match self {
                    $(Self::$name => settings.$key = value.try_into()?,)*
                }
                Ok(())
            }

            /// Gives it in `to` the value that it has in `from`.
            pub(crate) fn copy(self, from: &ClientSettings, to: &mut ClientSettings) {
                match self {
                    $(Self::$name => to.$key.clone_from(&from.$key),)*
                }
            }

            pub(crate) fn differs(self, one: &ClientSettings, other: &ClientSettings) -> bool {
                match self {
                    $(Self::$name => one.$key != other.$key,)*
                }
            }
        }
    };
}

client_settings!(declare);

impl Setting {
    /// The setting with this key.
    pub fn by_key(key: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|it| it.key() == key)
    }

    /// Reads a value as it is in a file after the interpolation.
    pub fn read(self, text: &str) -> Result<SettingValue, Problem> {
        let value = self.kind().read(text)?;
        match self.check(&value) {
            Ok(()) => Ok(value),
            Err(_) => Err(Problem::NoInterval(text.to_owned())),
        }
    }
}

impl ClientSettings {
    /// The keys in which `self` and `other` differ.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let all = Setting::ALL.iter();
        let differing = all.filter(|setting| setting.differs(self, other));
        differing.map(|setting| setting.key()).collect()
    }
}
