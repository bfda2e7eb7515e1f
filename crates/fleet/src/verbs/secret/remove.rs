//! `nightlatch secret remove`: takes named secrets that were put from the server.

use clap::Args;
use nightlatch_bus::client::ClientView;
use nightlatch_bus::concurrent;
use nightlatch_bus::named_secrets::{SecretSource, SecretView};
use nightlatch_bus::proxy::MandosProxy;
use nightlatch_console::ask;
use nightlatch_console::failure::{EX_DATAERR, EX_NOUSER, Failure, note};
use nightlatch_console::output::table::visible;
use nightlatch_core::key_id::KeyId;
use nightlatch_core::secret_name::SecretName;

use crate::bus;
use crate::select::{SelectOptions, Selection, names};
use crate::verbs::outcome::{self, ConfirmOptions};

/// The options of `secret remove`.
#[derive(Args, Debug)]
pub struct RemoveSecretOptions {
    /// Name of the secret, as postgres.password
    #[arg(id = "secret", value_name = "NAME")]
    pub(crate) secret: String,

    #[command(flatten)]
    pub(crate) which: SelectOptions,

    #[command(flatten)]
    pub(crate) sure: ConfirmOptions,
}

/// Removes the secret of the chosen machines that have it. One of them with the secret in its section is an error, and
/// nothing is removed.
///
/// # Errors
/// When there is no server, it refuses, or none of the machines has the secret.
pub async fn run(options: &RemoveSecretOptions, server: &MandosProxy) -> Result<u8, Failure> {
    let name = super::name(&options.secret)?;
    if let [host] = options.which.names.as_slice()
        && host.parse::<KeyId>().is_ok()
    {
        return remove_orphan(options, server, host, &name).await;
    }
    let secrets = server.secrets(None).await.map_err(super::failure)?;
    let clients = server.clients().await.map_err(bus::failure)?;
    let mut selection = Selection::of(&clients, &options.which)?;
    let of = |client: &ClientView| {
        let mut secrets = secrets.iter();
        secrets.find(|it| it.client == client.name && it.name == name.as_str())
    };
    check_sources(&selection, of)?;
    selection.clients.retain(|client| of(client).is_some());
    if selection.clients.is_empty() {
        return Err(Failure::new(
            EX_NOUSER,
            format!("none of these machines has a secret {name}"),
        )
        .hint("the secrets are shown by: nightlatch secret list"));
    }
    let what = format!("remove the secret {name} of {}", selection.all_names());
    if options.sure.dry_run {
        note(format_args!("dry run: {what}"));
        return Ok(0);
    }
    ask::confirm(&what, options.sure.yes)?;
    // Only what was listed: another value may be put while somebody is asked.
    let serial = |client: &ClientView| of(client).map_or(0, |secret| secret.serial);
    let call = |client: &&ClientView| {
        let serial = serial(client);
        let (server, client, name) = (server.clone(), client.name.clone(), name.clone());
        async move { server.remove_secret(&client, &name, serial).await }
    };
    let answers = concurrent::for_each(&selection.clients, call).await;
    let done = format!("removed the secret {name} of");
    let failures = answers.into_iter();
    let failures = failures.map(|answer| answer.err().map(super::failure));
    let names: Vec<&str> = selection
        .clients
        .iter()
        .map(|it| it.name.as_str())
        .collect();
    outcome::print_failures(&done, &names, failures.collect(), &options.sure)
}

/// Removes the secret of a machine that is no client any more, by the id of its host key, as `secret list --json` has it.
async fn remove_orphan(
    options: &RemoveSecretOptions,
    server: &MandosProxy,
    host: &str,
    name: &SecretName,
) -> Result<u8, Failure> {
    let secrets = server.secrets(None).await.map_err(super::failure)?;
    let serial = orphan_serial(&secrets, host, name).ok_or_else(|| {
        let what = format!("the server has no secret {name} for the host key {host}");
        Failure::new(EX_NOUSER, what).hint("the ids are shown by: nightlatch secret list --json")
    })?;
    let what = format!("remove the secret {name} of the host key {host}");
    if options.sure.dry_run {
        note(format_args!("dry run: {what}"));
        return Ok(0);
    }
    ask::confirm(&what, options.sure.yes)?;
    let removed = server.remove_secret(host, name, serial).await;
    let failure = removed.err().map(super::failure);
    let done = format!("removed the secret {name} of the host key");
    outcome::print_failures(&done, &[host], vec![failure], &options.sure)
}

/// The serial of the secret `name` for a host key; its id may be in upper or lower case.
fn orphan_serial(secrets: &[SecretView], host: &str, name: &SecretName) -> Option<u64> {
    let host: KeyId = host.parse().ok()?;
    let mut secrets = secrets.iter();
    let secret = secrets.find(|it| it.host_key_id.parse() == Ok(host) && it.name == name.as_str());
    secret.map(|secret| secret.serial)
}

/// Refuses the removal where a section has the secret: the next reload would bring it back.
fn check_sources<'s>(
    selection: &Selection<'_>,
    of: impl Fn(&ClientView) -> Option<&'s SecretView>,
) -> Result<(), Failure> {
    let in_file = |client: &&&ClientView| {
        of(client).is_some_and(|secret| secret.source == SecretSource::File)
    };
    let found: Vec<&str> = selection
        .clients
        .iter()
        .filter(in_file)
        .map(|client| client.name.as_str())
        .collect();
    if found.is_empty() {
        return Ok(());
    }
    let found = visible(&names(found.into_iter()));
    Err(Failure::new(
        EX_DATAERR,
        format!("it stands in the file for {found}: nothing was removed"),
    )
    .hint("take the line secret.NAME out of the section, then run: nightlatch reload"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::samples::NOW;

    #[test]
    fn a_secret_without_a_client_is_found_by_its_host_key() {
        let view = |host: &str, name: &str, serial| SecretView {
            client: String::new(),
            host_key_id: host.repeat(32),
            name: name.to_owned(),
            serial,
            created: NOW,
            expires: None,
            approval: false,
            size: 1,
            source: SecretSource::Runtime,
        };
        let secrets = [view("6a", "a", 1), view("5a", "b", 2), view("5a", "a", 3)];
        let serial = |host: &str, name: &str| {
            let name = SecretName::new(name).unwrap();
            orphan_serial(&secrets, &host.repeat(32), &name)
        };
        assert_eq!(serial("5a", "a"), Some(3));
        assert_eq!(serial("5A", "b"), Some(2));
        assert_eq!(serial("6a", "b"), None);
    }
}
