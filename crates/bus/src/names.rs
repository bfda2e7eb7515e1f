//! Names on the bus: services, objects, interfaces, errors, and how a client's name becomes a path.

use std::fmt::{self, Write};
use std::sync::Arc;

use zbus::ObjectPath;

/// The bus name of a Mandos server, and the name of its interface.
pub const MANDOS: &str = "se.recompile.Mandos";
/// The deprecated twin of [`MANDOS`].
pub const MANDOS_OLD: &str = "se.bsnet.fukt.Mandos";
/// The interface of a client's object.
pub const CLIENT: &str = "se.recompile.Mandos.Client";
/// The deprecated twin of [`CLIENT`].
pub const CLIENT_OLD: &str = "se.bsnet.fukt.Mandos.Client";
/// The object with the server's interface.
pub const ROOT: &str = "/";
/// The parent of the clients' objects; it has no interface itself.
pub const CLIENTS: &str = "/clients";

/// The bus name of a Nightlatch server, and the name of its interface (`docs/dbus.md`).
pub const NIGHTLATCH: &str = "org.nightlatch.Nightlatch1";
/// The interface of a client's object with what the Mandos interface does not have.
pub const NIGHTLATCH_CLIENT: &str = "org.nightlatch.Nightlatch1.Client";
/// The object with [`NIGHTLATCH`].
pub const NIGHTLATCH_PATH: &str = "/org/nightlatch/Nightlatch1";

/// The interface for introspection.
pub const INTROSPECTABLE: &str = "org.freedesktop.DBus.Introspectable";
/// The interface that lists objects.
pub const OBJECT_MANAGER: &str = "org.freedesktop.DBus.ObjectManager";
/// The interface for properties.
pub const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// Names of errors of [`NIGHTLATCH`].
pub mod errors {
    /// `AddClient`: the text is no valid section.
    pub const BAD_SECTION: &str = "org.nightlatch.Nightlatch1.Error.BadSection";
    /// `AddClient`: name or key belongs to another client.
    pub const TAKEN: &str = "org.nightlatch.Nightlatch1.Error.Taken";
    /// A call that names a client: there is none of this name.
    pub const NO_SUCH_CLIENT: &str = "org.nightlatch.Nightlatch1.Error.NoSuchClient";
    /// A check, or a declaration in its place, of a machine whose agent is its proof of life: nothing
    /// changed.
    pub const HAS_AGENT: &str = "org.nightlatch.Nightlatch1.Error.HasAgent";
    /// `PutSecret`: no sealed secret, or one that this server does not take for this client.
    pub const BAD_SECRET: &str = "org.nightlatch.Nightlatch1.Error.BadSecret";
    /// `PutSecret`: its serial is not greater than the last one of this name.
    pub const OLD_SECRET: &str = "org.nightlatch.Nightlatch1.Error.OldSecret";
    /// `PutSecret`, `RemoveSecret`: the client's section has it, and wins.
    pub const SECRET_IN_FILE: &str = "org.nightlatch.Nightlatch1.Error.SecretInFile";
    /// `PutSecret`: the client has as many as can be put.
    pub const TOO_MANY_SECRETS: &str = "org.nightlatch.Nightlatch1.Error.TooManySecrets";
    /// `PutSecret`, `RemoveSecret`: the client has no host key.
    pub const NO_HOST_KEY: &str = "org.nightlatch.Nightlatch1.Error.NoHostKey";
    /// `RemoveSecret`: there is none of this name.
    pub const NO_SUCH_SECRET: &str = "org.nightlatch.Nightlatch1.Error.NoSuchSecret";
    /// No request waits, or none of this number: nothing was decided.
    pub const NO_REQUEST: &str = "org.nightlatch.Nightlatch1.Error.NoRequest";
    /// Several requests of the client wait: one must be named. Nothing was decided.
    pub const SEVERAL_REQUESTS: &str = "org.nightlatch.Nightlatch1.Error.SeveralRequests";
    /// The order could not be written to disk; nothing changed.
    pub const NOT_DURABLE: &str = "org.nightlatch.Nightlatch1.Error.NotDurable";
    /// `Reload`: nothing changed; the message has the reason.
    pub const NOT_RELOADED: &str = "org.nightlatch.Nightlatch1.Error.NotReloaded";
}

/// The path of a client's object. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientPath(Arc<str>);

impl ClientPath {
    /// The path that the client `name` has unless another client has it already: `/clients/` and the
    /// name, with `.` and `-` as `_`, as Mandos does.
    ///
    /// Every other byte that a path cannot hold (D-Bus specification, "Valid Object Paths") becomes `_`
    /// and two hexadecimal digits; Mandos cannot serve such a name at all. Different names can have the
    /// same path (`a.b`, `a-b`): the server gives the later one another.
    pub fn of_name(name: &str) -> Self {
        let mut path = String::with_capacity(CLIENTS.len() + 1 + name.len());
        path.push_str(CLIENTS);
        path.push('/');
        for byte in name.bytes() {
            match byte {
                b'.' | b'-' | b'_' => path.push('_'),
                byte if byte.is_ascii_alphanumeric() => path.push(byte.into()),
                byte => {
                    // Writing to a string cannot fail.
                    let _ = write!(path, "_{byte:02x}");
                }
            }
        }
        Self(path.into())
    }

    /// The path that a text is; `None` when no object can have it.
    pub fn parse(path: &str) -> Option<Self> {
        let path = ObjectPath::try_from(path).ok()?;
        Some(Self::from(&path))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path as an argument of a call.
    pub fn as_object_path(&self) -> ObjectPath<'_> {
        // Both ways to make one give a valid path.
        ObjectPath::from_str_unchecked(&self.0)
    }
}

impl From<&ObjectPath<'_>> for ClientPath {
    fn from(path: &ObjectPath<'_>) -> Self {
        Self(path.as_str().into())
    }
}

impl fmt::Display for ClientPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for ClientPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_are_those_of_mandos() {
        let path = |name| ClientPath::of_name(name).to_string();
        assert_eq!(path("foo.example-1"), "/clients/foo_example_1");
        assert_eq!(path("a_b"), "/clients/a_b");
        assert_eq!(path("two words"), "/clients/two_20words");
        assert_eq!(path("bär"), "/clients/b_c3_a4r");
    }

    proptest! {
        #[test]
        fn any_name_has_a_valid_path(name in ".+") {
            let path = ClientPath::of_name(&name);
            prop_assert!(ObjectPath::try_from(path.as_str()).is_ok());
        }
    }
}
