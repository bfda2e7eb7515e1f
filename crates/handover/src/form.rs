//! The document as JSON has it, and the way to the core's types and back.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use nightlatch_core::boot_nonce::BootNonce;
use nightlatch_core::checker::Checker;
use nightlatch_core::checker::LastCheck;
use nightlatch_core::client::saved::{
    ClientPresence, PresentClient, Saved, SavedClient, SavedDeadline, SavedSecret, SavedState,
};
use nightlatch_core::client_settings;
use nightlatch_core::digits::{self, Hex};
use nightlatch_core::guard::saved::SavedGuard;
use nightlatch_core::guard::{Unannounced, UnknownRule};
use nightlatch_core::key_id::{Fingerprint, KeyId, KeyIdError};
use nightlatch_core::name::ClientName;
use nightlatch_core::openpgp_public_key::OpenPgpPublicKey;
use nightlatch_core::sealed_secret::SealedSecret;
use nightlatch_core::secret::{Secret, SecretDigest};
use nightlatch_core::secret_name::SecretName;
use nightlatch_core::settings::client::ClientSettings;
use nightlatch_core::time::{BootId, Monotonic, Wall};
use serde::{Deserialize, Serialize};

use crate::{FORMAT, HandoverError, VERSION};

/// The first keys of a document of any version.
#[derive(Deserialize)]
pub(crate) struct Header {
    pub(crate) format: String,
    pub(crate) version: u32,
}

/// The whole document. Text is borrowed where it can be: secrets are then decoded without a copy.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document<'a> {
    format: Cow<'a, str>,
    version: u32,
    #[serde(borrow)]
    clients: Vec<Client<'a>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<NamedSecret<'a>>,
}

/// A named secret that was put at run time.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedSecret<'a> {
    host_key_id: Cow<'a, str>,
    name: Cow<'a, str>,
    serial: u64,
    /// Missing once it was removed.
    sealed: Option<Cow<'a, str>>,
    approval: bool,
    put: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Client<'a> {
    name: Cow<'a, str>,
    #[serde(borrow)]
    configured: Settings<'a>,
    /// SHA-256 of the secret that was configured.
    configured_secret: Cow<'a, str>,
    /// The configured secret of a client that stands in no file.
    added: Option<Base64<'a>>,
    /// Missing when an administrator removed the client.
    present: Option<PresentState<'a>>,
}

macro_rules! declare_settings {
    ($(
        #[doc = $doc:literal]
        $name:ident $key:ident: $type:ty = $default:expr
        $(, property($property:ident $access:ident))?;
    )*) => {
        #[derive(Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Settings<'a> {
            $($key: <$type as Form<'a>>::Json,)*
        }

        impl<'a> Settings<'a> {
            fn of(settings: &'a ClientSettings) -> Self {
                Self { $($key: settings.$key.to_json(),)* }
            }

            fn into_core(self) -> Result<ClientSettings, ClientError> {
                Ok(ClientSettings {
                    $($key: Form::from_json(self.$key).map_err(wrong(stringify!($key)))?,)*
                })
            }
        }
    };
}

client_settings!(declare_settings);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PresentState<'a> {
    #[serde(borrow)]
    settings: Settings<'a>,
    /// A secret set at run time.
    secret: Option<Base64<'a>>,
    enabled: bool,
    created: i64,
    last_enabled: Option<i64>,
    last_checked_ok: Option<i64>,
    last_approval_request: Option<i64>,
    last_check: Check,
    deadline: Option<Moment<'a>>,
    denied: Option<Moment<'a>>,
    released: bool,
    /// The UUID of the machine's boot, without dashes.
    released_boot: Option<Cow<'a, str>>,
    /// True when it got another timeout at a start, and was not proved to be up since.
    #[serde(default)]
    renewed: bool,
    /// True when it waits for a person or a proof, because the state was lost.
    #[serde(default)]
    needs_proof: bool,
    /// Its guard, as in the store, in base64.
    #[serde(default)]
    guard: Option<Cow<'a, str>>,
}

/// Base64 of something that nobody shall see: it has no `Debug`.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Base64<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Check {
    None,
    Exited(u8),
    Signaled(i32),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Moment<'a> {
    /// The UUID of the boot in which `since_boot` counts, without dashes.
    boot: Cow<'a, str>,
    since_boot: u64,
    wall: i64,
    remaining: u64,
}

impl<'a> Document<'a> {
    pub(crate) fn of(saved: &'a Saved) -> Self {
        Self {
            format: FORMAT.into(),
            version: VERSION,
            clients: saved.clients.iter().map(Client::of).collect(),
            secrets: saved.secrets.iter().map(NamedSecret::of).collect(),
        }
    }

    pub(crate) fn into_saved(self) -> Result<Saved, HandoverError> {
        let mut seen = HashSet::new();
        let mut clients = Vec::with_capacity(self.clients.len());
        for client in self.clients {
            let name = client.name.clone();
            let client = client.into_saved().map_err(|error| match error {
                ClientError::Value(what) => HandoverError::Value {
                    client: name.clone().into_owned(),
                    what,
                },
                ClientError::Deadline => HandoverError::Deadline(name.clone().into_owned()),
            })?;
            if !seen.insert(client.name.clone()) {
                return Err(HandoverError::Twice(name.into_owned()));
            }
            clients.push(client);
        }
        let mut seen = HashSet::new();
        let mut secrets = Vec::with_capacity(self.secrets.len());
        for secret in self.secrets {
            let secret = secret.into_saved()?;
            if !seen.insert((secret.host, secret.name.clone())) {
                return Err(HandoverError::Secret {
                    secret: format!("{} of {}", secret.name, secret.host),
                    what: "is there twice; expected each name once for each host key".to_owned(),
                });
            }
            secrets.push(secret);
        }
        Ok(Saved {
            clients,
            secrets,
            ..Saved::default()
        })
    }
}

impl<'a> NamedSecret<'a> {
    fn of(secret: &'a SavedSecret) -> Self {
        Self {
            host_key_id: secret.host.to_string().into(),
            name: secret.name.as_str().into(),
            serial: secret.serial,
            sealed: secret.sealed.as_ref().map(|it| it.to_base64().into()),
            approval: secret.approval,
            put: secret.put.unix_micros(),
        }
    }

    fn into_saved(self) -> Result<SavedSecret, HandoverError> {
        let wrong = |what: String| HandoverError::Secret {
            secret: format!("{} of {}", self.name, self.host_key_id),
            what,
        };
        let host = self.host_key_id.parse();
        let host = host.map_err(|error: KeyIdError| wrong(error.to_string()))?;
        let name = SecretName::new(&self.name).map_err(|error| wrong(error.to_string()))?;
        let sealed = self
            .sealed
            .as_deref()
            .map(SealedSecret::from_text)
            .transpose();
        let sealed = sealed.map_err(|error| wrong(error.to_string()))?;
        let is_other = |sealed: &SealedSecret| {
            let header = sealed.header();
            (header.host, &header.name, header.serial) != (host, &name, self.serial)
        };
        if sealed.as_ref().is_some_and(is_other) {
            return Err(wrong("its header is that of another one".to_owned()));
        }
        Ok(SavedSecret {
            host,
            name,
            serial: self.serial,
            sealed: sealed.map(Arc::new),
            approval: self.approval,
            put: Wall::from_unix_micros(self.put),
        })
    }
}

enum ClientError {
    Value(String),
    Deadline,
}

/// Keeps what was wrong, with the name of the field.
fn wrong<E: fmt::Display>(field: &str) -> impl FnOnce(E) -> ClientError {
    move |error| ClientError::Value(format!("{field}: {error}"))
}

impl<'a> Client<'a> {
    fn of(client: &'a SavedClient) -> Self {
        Self {
            name: client.name.as_str().into(),
            configured: Settings::of(&client.configured),
            configured_secret: Hex(client.configured_secret.as_bytes()).to_string().into(),
            added: client.added.as_deref().map(base64),
            present: match &client.presence {
                ClientPresence::Present(present) => Some(PresentState::of(present)),
                ClientPresence::Removed => None,
            },
        }
    }

    fn into_saved(self) -> Result<SavedClient, ClientError> {
        let digest = bytes(&self.configured_secret).map_err(wrong("configured_secret"))?;
        Ok(SavedClient {
            name: ClientName::new(&self.name).map_err(wrong("name"))?,
            configured: self.configured.into_core()?,
            configured_secret: SecretDigest::from_bytes(digest),
            added: self.added.map(secret).transpose()?,
            presence: match self.present {
                Some(present) => ClientPresence::Present(Box::new(present.into_core()?)),
                None => ClientPresence::Removed,
            },
        })
    }
}

/// The type of a setting, and its form in the document.
trait Form<'a>: Sized {
    type Json;

    fn to_json(&'a self) -> Self::Json;

    /// The error says what was expected.
    fn from_json(json: Self::Json) -> Result<Self, String>;
}

/// Keys and fingerprints, in hexadecimal.
impl<'a, T: FromStr<Err: fmt::Display> + fmt::Display> Form<'a> for Option<T> {
    type Json = Option<Cow<'a, str>>;

    fn to_json(&'a self) -> Self::Json {
        self.as_ref().map(|it| it.to_string().into())
    }

    fn from_json(json: Self::Json) -> Result<Self, String> {
        let parsed = json.map(|text| text.parse().map_err(|error: T::Err| error.to_string()));
        parsed.transpose()
    }
}

impl<'a> Form<'a> for String {
    type Json = Cow<'a, str>;

    fn to_json(&'a self) -> Self::Json {
        self.as_str().into()
    }

    fn from_json(json: Self::Json) -> Result<Self, String> {
        Ok(json.into_owned())
    }
}

impl<'a> Form<'a> for Checker {
    type Json = Cow<'a, str>;

    fn to_json(&'a self) -> Self::Json {
        self.as_str().into()
    }

    fn from_json(json: Self::Json) -> Result<Self, String> {
        Self::new(json).map_err(|error| error.to_string())
    }
}

impl<'a> Form<'a> for Unannounced {
    type Json = Cow<'a, str>;

    fn to_json(&'a self) -> Self::Json {
        self.as_str().into()
    }

    fn from_json(json: Self::Json) -> Result<Self, String> {
        json.parse().map_err(|error: UnknownRule| error.to_string())
    }
}

impl Form<'_> for Duration {
    type Json = u64;

    fn to_json(&self) -> u64 {
        micros(*self)
    }

    fn from_json(json: u64) -> Result<Self, String> {
        Ok(Self::from_micros(json))
    }
}

impl Form<'_> for bool {
    type Json = Self;

    fn to_json(&self) -> Self {
        *self
    }

    fn from_json(json: Self) -> Result<Self, String> {
        Ok(json)
    }
}

impl<'a> PresentState<'a> {
    fn of(present: &'a PresentClient) -> Self {
        let state = &present.state;
        Self {
            settings: Settings::of(&present.settings),
            secret: present.secret.as_deref().map(base64),
            enabled: state.enabled,
            created: state.created.unix_micros(),
            last_enabled: state.last_enabled.map(Wall::unix_micros),
            last_checked_ok: state.last_checked_ok.map(Wall::unix_micros),
            last_approval_request: state.last_approval_request.map(Wall::unix_micros),
            last_check: match state.last_check {
                LastCheck::None => Check::None,
                LastCheck::Exited(status) => Check::Exited(status),
                LastCheck::Signaled(signal) => Check::Signaled(signal),
            },
            deadline: state.deadline.as_ref().map(Moment::of),
            denied: state.denied.as_ref().map(Moment::of),
            released: state.released,
            released_boot: state
                .released_boot
                .map(|boot| Hex(boot.as_bytes()).to_string().into()),
            renewed: state.renewed,
            needs_proof: state.needs_proof,
            guard: state
                .guard
                .as_ref()
                .map(|it| BASE64.encode(it.as_bytes()).into()),
        }
    }

    fn into_core(self) -> Result<PresentClient, ClientError> {
        if self.enabled != self.deadline.is_some() {
            return Err(ClientError::Deadline);
        }
        let wall = |micros: Option<i64>| micros.map(Wall::from_unix_micros);
        Ok(PresentClient {
            settings: self.settings.into_core()?,
            secret: self.secret.map(secret).transpose()?,
            state: SavedState {
                enabled: self.enabled,
                created: Wall::from_unix_micros(self.created),
                last_enabled: wall(self.last_enabled),
                last_checked_ok: wall(self.last_checked_ok),
                last_approval_request: wall(self.last_approval_request),
                last_check: match self.last_check {
                    Check::None => LastCheck::None,
                    Check::Exited(status) => LastCheck::Exited(status),
                    Check::Signaled(signal) => LastCheck::Signaled(signal),
                },
                deadline: self.deadline.map(Moment::into_core).transpose()?,
                denied: self.denied.map(Moment::into_core).transpose()?,
                released: self.released,
                released_boot: self
                    .released_boot
                    .map(|boot| bytes(&boot).map(BootNonce::from_bytes))
                    .transpose()
                    .map_err(wrong("released_boot"))?,
                renewed: self.renewed,
                needs_proof: self.needs_proof,
                guard: self.guard.map(|text| guard(&text)).transpose()?,
            },
        })
    }
}

impl Moment<'_> {
    fn of(moment: &SavedDeadline) -> Self {
        Self {
            boot: Hex(moment.boot.as_bytes()).to_string().into(),
            since_boot: micros(moment.mono.since_boot()),
            wall: moment.wall.unix_micros(),
            remaining: micros(moment.remaining),
        }
    }

    fn into_core(self) -> Result<SavedDeadline, ClientError> {
        Ok(SavedDeadline {
            boot: BootId::from_bytes(bytes(&self.boot).map_err(wrong("boot"))?),
            mono: Monotonic::from_boot(Duration::from_micros(self.since_boot)),
            wall: Wall::from_unix_micros(self.wall),
            remaining: Duration::from_micros(self.remaining),
        })
    }
}

fn base64(secret: &Secret) -> Base64<'static> {
    Base64(BASE64.encode(secret.expose()).into())
}

/// Without the decoder's text, which might quote what it read.
fn secret(text: Base64<'_>) -> Result<Arc<Secret>, ClientError> {
    let bytes = BASE64.decode(text.0.as_bytes());
    match bytes.map(Secret::new) {
        Ok(secret) if !secret.is_empty() => Ok(Arc::new(secret)),
        _ => Err(ClientError::Value("secret: expected base64".to_owned())),
    }
}

fn guard(text: &str) -> Result<SavedGuard, ClientError> {
    let wrong = |error: &dyn fmt::Display| ClientError::Value(format!("guard: {error}"));
    let bytes = BASE64.decode(text).map_err(|error| wrong(&error))?;
    SavedGuard::from_bytes(bytes).map_err(|error| wrong(&error))
}

/// Whole microseconds, cut: no deadline is later on the other side.
fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

fn bytes<const N: usize>(text: &str) -> Result<[u8; N], String> {
    digits::hex(text.as_bytes()).ok_or_else(|| format!("expected {} hexadecimal digits", 2 * N))
}
