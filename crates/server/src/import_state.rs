//! `--import-state`: imports a state from a document, as the server's user. Never starts to serve.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use nightlatch_core::client::saved::{Change, ClientPresence, Saved, Trust};
use nightlatch_core::event::RecordContent;
use nightlatch_core::record::RecordKind;
use nightlatch_core::settings::server::ServerSettings;
use nightlatch_store::Store;
use nightlatch_sys::clock;
use zeroize::Zeroizing;

use crate::accounts::Accounts;
use crate::audit::{self, Context, Who};
use crate::cli::ServerOptions;
use crate::config;
use crate::error::{ImportError, MAX_DOCUMENT, RunError, and_secrets};
use crate::state_folder::{become_owner, open};

/// Imports the document; returns a summary of it.
pub(crate) fn run(options: &ServerOptions) -> Result<String, RunError> {
    let path = options.import_state.clone().unwrap_or_default();
    let statedir = statedir(options)?;
    // Read before root is dropped: the file need not be readable for the server's user.
    let text = read_document(&path)?;
    let incoming = nightlatch_handover::read(&text).map_err(ImportError::from)?;
    drop(text);
    let accounts = Accounts::find(&options.configdir)?;
    become_owner(&statedir, accounts.as_ref().map(|it| &it.server))?;
    let mut store = open(&statedir)?;
    let summary_line = summary(&incoming, &statedir);
    replace(
        &mut store,
        incoming,
        options.replace_state,
        &statedir,
        &summary_line,
    )?;
    // The imported state is complete, however the last server ended.
    store.close().map_err(RunError::Store)?;
    Ok(summary_line)
}

/// The state directory, by the same settings as for the server.
fn statedir(options: &ServerOptions) -> Result<PathBuf, RunError> {
    let (_, file) = config::read_server(&options.configdir).map_err(RunError::Config)?;
    let mut settings = ServerSettings::default();
    settings.apply(file.value);
    settings.apply(options.settings());
    Ok(settings.statedir)
}

fn read_document(path: &Path) -> Result<Zeroizing<Vec<u8>>, ImportError> {
    let unreadable = |source| ImportError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let mut text = Zeroizing::new(Vec::new());
    let mut read = |from: &mut dyn Read| from.take(MAX_DOCUMENT + 1).read_to_end(&mut text);
    if path == Path::new("-") {
        read(&mut io::stdin().lock()).map_err(unreadable)?;
    } else {
        read(&mut File::open(path).map_err(unreadable)?).map_err(unreadable)?;
    }
    if text.len() as u64 > MAX_DOCUMENT {
        return Err(ImportError::TooLarge);
    }
    Ok(text)
}

/// Replaces the state in one transaction.
fn replace(
    store: &mut dyn Store,
    incoming: Saved,
    forget: bool,
    statedir: &Path,
    summary_line: &str,
) -> Result<(), RunError> {
    let before = store.load().map_err(RunError::Store)?;
    let (clients, secrets) = (
        before.clients.len(),
        // A row of which something was lost may be among those that were read.
        before.secrets.len().max(before.lost_secrets),
    );
    if clients + secrets > 0 && !forget {
        let error = ImportError::NotEmpty {
            statedir: statedir.to_owned(),
            clients,
            secrets,
        };
        return Err(error.into());
    }
    let clients = before.clients.into_iter();
    let gone = clients
        .map(|client| Change::Forget(client.name))
        .chain([Change::ForgetSecrets]);
    let new = incoming
        .clients
        .into_iter()
        .map(|client| Change::Put(Box::new(client)))
        .chain(
            incoming
                .secrets
                .into_iter()
                .map(|secret| Change::PutSecret {
                    client: None,
                    secret: Box::new(secret),
                }),
        );
    let entry = audit::entry(
        RecordContent::with_detail(RecordKind::Imported, summary_line.trim_end().to_owned()),
        Context {
            time: clock::now().wall,
            client: None,
            request: None,
            who: &Who::Configuration,
        },
    );
    let record = [Change::Record(Box::new(entry)), Change::Trust(Trust::Full)];
    let changes: Vec<Change> = gone.chain(new).chain(record).collect();
    store.commit(&changes).map_err(RunError::Store)?;
    Ok(())
}

/// The contents of a document, in one line.
fn summary(saved: &Saved, statedir: &Path) -> String {
    let count = |wanted: fn(&ClientPresence) -> bool| {
        saved
            .clients
            .iter()
            .filter(|it| wanted(&it.presence))
            .count()
    };
    let enabled =
        count(|presence| matches!(presence, ClientPresence::Present(it) if it.state.enabled));
    let disabled =
        count(|presence| matches!(presence, ClientPresence::Present(it) if !it.state.enabled));
    let removed = count(|presence| *presence == ClientPresence::Removed);
    format!(
        "{}: {enabled} enabled, {disabled} disabled and {removed} removed clients{} taken over\n",
        statedir.display(),
        and_secrets(saved.secrets.len())
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::damaged_store::DamagedStore;
    use nightlatch_core::client::saved::{SavedClient, SavedSecret};
    use nightlatch_core::key_id::KeyId;
    use nightlatch_core::name::ClientName;
    use nightlatch_core::secret::Secret;
    use nightlatch_core::secret_name::SecretName;
    use nightlatch_core::settings::client::ClientSettings;
    use nightlatch_core::time::Wall;
    use nightlatch_store::MemoryStore;

    fn saved(names: &[&str]) -> Saved {
        let clients = names.iter().map(|name| SavedClient {
            name: ClientName::new(name).unwrap(),
            configured: ClientSettings::default(),
            configured_secret: Secret::new(vec![1]).digest(),
            added: None,
            presence: ClientPresence::Removed,
        });
        Saved {
            clients: clients.collect(),
            ..Saved::default()
        }
    }

    fn names(store: &mut MemoryStore) -> Vec<String> {
        let clients = store.load().unwrap().clients;
        let mut names: Vec<String> = clients.iter().map(|it| it.name.to_string()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn a_state_with_clients_is_replaced_only_when_that_is_asked_for() {
        let mut store = MemoryStore::default();
        let dir = Path::new("/s");
        replace(&mut store, saved(&["a", "b"]), false, dir, "imported").unwrap();
        let refused = replace(&mut store, saved(&["b", "c"]), false, dir, "imported").unwrap_err();
        assert_eq!(refused.status(), 73);
        assert_eq!(refused.to_string(), "/s holds 2 clients already");
        assert_eq!(names(&mut store), ["a", "b"]);
        replace(&mut store, saved(&["b", "c"]), true, dir, "imported").unwrap();
        assert_eq!(store.ends().head.seq, 2, "each import is in the audit log");
        assert_eq!(names(&mut store), ["b", "c"]);
    }

    #[test]
    fn a_named_secret_that_cannot_be_read_is_replaced_too() {
        let damaged = DamagedStore::new();
        let mut store = damaged.open();
        let dir = Path::new("/s");
        let refused = replace(&mut store, Saved::default(), false, dir, "imported").unwrap_err();
        assert_eq!(
            refused.to_string(),
            "/s holds 0 clients and 1 named secrets already"
        );
        replace(&mut store, Saved::default(), true, dir, "imported").unwrap();
        assert_eq!(store.load().unwrap().lost_secrets, 0);
    }

    #[test]
    fn named_secrets_are_replaced_only_when_that_is_asked_for() {
        let mut store = MemoryStore::default();
        let dir = Path::new("/s");
        let secret = |name: &str| SavedSecret {
            host: KeyId::from_bytes([1; 32]).unwrap(),
            name: SecretName::new(name).unwrap(),
            serial: 1,
            sealed: None,
            approval: false,
            put: Wall::from_unix_micros(0),
        };
        let of = |name| Saved {
            secrets: vec![secret(name)],
            ..Saved::default()
        };
        let line = summary(&of("pin"), dir);
        assert!(line.ends_with("removed clients and 1 named secrets taken over\n"));
        replace(&mut store, of("pin"), false, dir, &line).unwrap();
        let refused = replace(&mut store, of("other"), false, dir, &line).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "/s holds 0 clients and 1 named secrets already"
        );
        assert_eq!(store.load().unwrap().secrets, [secret("pin")]);
        replace(&mut store, of("other"), true, dir, &line).unwrap();
        assert_eq!(store.load().unwrap().secrets, [secret("other")]);
    }
}
