//! The calls about named secrets (docs/decisions/0173).

use std::collections::HashMap;

use nightlatch_bus::names::errors;
use nightlatch_core::key_id::KeyId;
use nightlatch_core::name::ClientName;
use nightlatch_core::registry::{NamedSecretError, NamedSecretInfo};
use nightlatch_core::sealed_secret::SealedSecret;
use nightlatch_core::secret_name::SecretName;
use nightlatch_core::time::Wall;
use zbus::Variant;

use super::call::{LookupCall, MethodCall, Reaction};
use super::client_cache::ClientCache;
use super::wire::{CallError, Map};
use crate::driver::{AdminCommand, ClientAction};

/// `PutSecret`.
pub(super) fn put(call: &MethodCall<'_>, cache: &ClientCache) -> Result<Reaction, CallError> {
    let (client, sealed, options): (&str, Vec<u8>, HashMap<String, Variant<'_>>) =
        call.arguments()?;
    // Without a word about it, approval is as before.
    let (mut dry_run, mut approval) = (false, None);
    for (key, value) in &options {
        match (key.as_str(), value) {
            ("dry-run", Variant::Bool(value)) => dry_run = *value,
            ("approval", Variant::Bool(value)) => approval = Some(*value),
            _ => {
                return Err(CallError::invalid(format!(
                    "PutSecret: unknown option {key}, or its value is no boolean; known are dry-run and approval"
                )));
            }
        }
    }
    let (id, _) = cache
        .by_name(client)
        .ok_or_else(|| CallError::no_client(client))?;
    let sealed = SealedSecret::from_bytes(sealed)
        .map_err(|error| CallError::new(errors::BAD_SECRET, format!("PutSecret: {error}")))?;
    let action = ClientAction::PutSecret {
        sealed,
        approval,
        dry_run,
    };
    Ok(Reaction::Command(AdminCommand::Client(id, action)))
}

/// `RemoveSecret`. A host key id in place of a client names one that no client has any more. The serial 0 stands for any.
pub(super) fn remove(call: &MethodCall<'_>, cache: &ClientCache) -> Result<Reaction, CallError> {
    let (client, name, serial): (&str, &str, u64) = call.arguments()?;
    let serial = Some(serial).filter(|serial| *serial > 0);
    let name = SecretName::new(name)
        .map_err(|error| CallError::invalid(format!("RemoveSecret: {error}")))?;
    let command = match (cache.by_name(client), client.parse::<KeyId>()) {
        (Some((id, _)), _) => AdminCommand::Client(id, ClientAction::RemoveSecret(name, serial)),
        (None, Ok(host)) => AdminCommand::RemoveOrphanedSecret { host, name, serial },
        (None, Err(_)) => return Err(CallError::no_client(client)),
    };
    Ok(Reaction::Command(command))
}

/// `ListSecrets`.
pub(super) fn list(call: &MethodCall<'_>, cache: &ClientCache) -> Result<Reaction, CallError> {
    let client = match call.arguments()? {
        "" => None,
        name => Some(
            cache
                .by_name(name)
                .ok_or_else(|| CallError::no_client(name))?
                .0,
        ),
    };
    Ok(Reaction::Lookup(LookupCall::Secrets(client)))
}

/// A named secret as a dictionary.
pub(super) fn to_dict(secret: &NamedSecretInfo) -> Map<&'static str, Variant<'static>> {
    let client = secret.client.as_ref().map_or("", ClientName::as_str);
    let millis = |wall: Wall| Variant::from(wall.unix_micros().div_euclid(1000));
    let mut dict = vec![
        ("client", Variant::from(client.to_owned())),
        ("host-key-id", Variant::from(secret.host.to_string())),
        ("name", Variant::from(secret.name.to_string())),
        ("serial", Variant::from(secret.serial)),
        ("created", millis(secret.created)),
        ("approval", Variant::from(secret.approval)),
        ("size", Variant::from(secret.size as u64)),
        ("source", Variant::from(secret.source.as_str())),
    ];
    dict.extend(secret.expires.map(|expires| ("expires", millis(expires))));
    Map(dict)
}

/// The name of an error on the bus.
pub(super) const fn error_name(error: &NamedSecretError) -> &'static str {
    match error {
        NamedSecretError::NoSuchClient => errors::NO_SUCH_CLIENT,
        NamedSecretError::NoHostKey(_) => errors::NO_HOST_KEY,
        NamedSecretError::InFile { .. } => errors::SECRET_IN_FILE,
        NamedSecretError::NotNewer { .. } | NamedSecretError::OtherSerial { .. } => {
            errors::OLD_SECRET
        }
        NamedSecretError::OtherHost { .. }
        | NamedSecretError::Ahead { .. }
        | NamedSecretError::Expired { .. } => errors::BAD_SECRET,
        NamedSecretError::TooMany(_) => errors::TOO_MANY_SECRETS,
        NamedSecretError::NoOrphan { .. } | NamedSecretError::NoSuchSecret { .. } => {
            errors::NO_SUCH_SECRET
        }
    }
}
