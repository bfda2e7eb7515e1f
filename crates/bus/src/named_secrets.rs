//! Named secrets over the bus (docs/decisions/0173): what a server lists of them, and the calls that change them.

use std::collections::HashMap;

use nightlatch_core::secret_name::SecretName;
use nightlatch_core::time::Wall;
use zbus::{OwnedVariant, Variant};

use crate::error::BusError;
use crate::managed::body;
use crate::proxy::MandosProxy;

/// The place where a named secret stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SecretSource {
    /// In the client's section: it can be changed there only.
    File,
    /// Put at run time.
    Runtime,
}

impl SecretSource {
    /// The word on the bus.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Runtime => "runtime",
        }
    }
}

/// A named secret, as far as the server knows it. Nothing of it is verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SecretView {
    /// The client, empty when no client has the host key.
    pub client: String,
    /// The id of the host key that it is for.
    pub host_key_id: String,
    /// Its name.
    pub name: String,
    /// Rises with every value.
    pub serial: u64,
    /// The time of sealing.
    pub created: Wall,
    /// The time from which it is worth nothing.
    pub expires: Option<Wall>,
    /// True when each request waits for a person.
    pub approval: bool,
    /// Bytes of the sealed secret.
    pub size: u64,
    /// The place where it stands.
    pub source: SecretSource,
}

impl SecretView {
    /// Reads one dictionary of those that `ListSecrets` answers.
    pub(crate) fn read(answer: &HashMap<String, OwnedVariant>) -> Result<Self, BusError> {
        let value = |key: &str| answer.get(key).map(|value| &**value);
        let wrong = |key: &str| BusError::Malformed(format!("ListSecrets: {key}"));
        let text = |key: &str| match value(key) {
            Some(Variant::Str(text)) => Ok(text.to_string()),
            _ => Err(wrong(key)),
        };
        let number = |key: &str| match value(key) {
            Some(Variant::U64(number)) => Ok(*number),
            Some(Variant::U32(number)) => Ok((*number).into()),
            _ => Err(wrong(key)),
        };
        let time = |key: &str| match value(key) {
            Some(Variant::I64(millis)) => {
                let micros = millis.saturating_mul(1000);
                Ok(Some(Wall::from_unix_micros(micros)))
            }
            None => Ok(None),
            Some(_) => Err(wrong(key)),
        };
        Ok(Self {
            client: text("client")?,
            host_key_id: text("host-key-id")?,
            name: text("name")?,
            serial: number("serial")?,
            created: time("created")?.ok_or_else(|| wrong("created"))?,
            expires: time("expires")?,
            approval: matches!(value("approval"), Some(Variant::Bool(true))),
            size: number("size")?,
            source: match text("source")?.as_str() {
                "file" => SecretSource::File,
                "runtime" => SecretSource::Runtime,
                _ => return Err(wrong("source")),
            },
        })
    }
}

/// Options of [`MandosProxy::put_secret`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PutOptions {
    /// The server checks it, and keeps nothing.
    pub dry_run: bool,
    /// True: each request for it waits for a person. `None`: as for the value before it.
    pub approval: Option<bool>,
}

impl PutOptions {
    fn dictionary(self) -> HashMap<&'static str, Variant<'static>> {
        let mut dictionary = HashMap::from([("dry-run", Variant::Bool(self.dry_run))]);
        dictionary.extend(self.approval.map(|it| ("approval", Variant::Bool(it))));
        dictionary
    }
}

impl MandosProxy {
    /// Gives the server a sealed secret for the client `client`.
    pub async fn put_secret(
        &self,
        client: &str,
        sealed: &[u8],
        options: PutOptions,
    ) -> Result<(), BusError> {
        let arguments = (client, sealed, options.dictionary());
        self.call_own("PutSecret", &arguments).await?;
        Ok(())
    }

    /// Removes a named secret that was put at run time: the value with this serial, and no other that was put since.
    pub async fn remove_secret(
        &self,
        client: &str,
        name: &SecretName,
        serial: u64,
    ) -> Result<(), BusError> {
        let arguments = (client, name.as_str(), serial);
        self.call_own("RemoveSecret", &arguments).await?;
        Ok(())
    }

    /// The named secrets of the client `client`, or of all.
    pub async fn secrets(&self, client: Option<&str>) -> Result<Vec<SecretView>, BusError> {
        let client = client.unwrap_or_default();
        let answer = self.call_own("ListSecrets", &client).await?;
        let secrets: Vec<HashMap<String, OwnedVariant>> = body(&answer)?;
        secrets.iter().map(SecretView::read).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dictionary(entries: Vec<(&str, Variant<'static>)>) -> HashMap<String, OwnedVariant> {
        let entries = entries.into_iter();
        let owned = entries.map(|(key, value)| (key.to_owned(), value.try_to_owned().unwrap()));
        owned.collect()
    }

    fn entries() -> Vec<(&'static str, Variant<'static>)> {
        vec![
            ("client", "web1".into()),
            ("host-key-id", "07".into()),
            ("name", "postgres.password".into()),
            ("serial", Variant::U64(7)),
            ("created", Variant::I64(1_796_000_000_000)),
            ("approval", Variant::Bool(true)),
            ("size", Variant::U64(600)),
            ("source", "runtime".into()),
        ]
    }

    #[test]
    fn nothing_is_said_about_approval_that_nobody_has_asked_for() {
        let approval = |approval| {
            let options = PutOptions {
                approval,
                ..PutOptions::default()
            };
            options.dictionary().remove("approval")
        };
        assert_eq!(approval(None), None);
        for asked in [true, false] {
            assert_eq!(approval(Some(asked)), Some(Variant::Bool(asked)));
        }
    }

    #[test]
    fn a_listed_secret_is_read() {
        let view = SecretView::read(&dictionary(entries())).unwrap();
        assert_eq!((view.serial, view.size, view.approval), (7, 600, true));
        assert_eq!(view.created.unix_micros(), 1_796_000_000_000_000);
        assert_eq!((view.expires, view.source), (None, SecretSource::Runtime));
        for key in ["client", "serial", "created", "source"] {
            let mut entries = entries();
            entries.retain(|(it, _)| *it != key);
            assert!(SecretView::read(&dictionary(entries)).is_err(), "{key}");
        }
    }
}
