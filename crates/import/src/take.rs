//! A whole state, client by client: their secrets opened, each judged, and told in a line.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;

use nightlatch_console::failure::{EX_DATAERR, EX_OSERR, Failure, note};
use nightlatch_core::calendar::DateTime;
use nightlatch_core::client::saved::Saved;
use nightlatch_core::secret::Secret;
use nightlatch_core::settings::client::ClientConfig;
use nightlatch_core::time::Wall;
use nightlatch_openpgp::Error;
use nightlatch_sys::clock;

use super::judge::{self, ImportTime, ImportedClient, ImportedState};
use super::report::ImportReport;
use super::secret::{self, EncryptedSecret};
use super::state::{StockClient, StockState};

/// More secrets than this take long enough for a person to wonder.
const MANY: usize = 30;

/// Judges every client and tells what becomes of it.
pub(crate) fn state(
    state: &StockState,
    clients: &[ClientConfig],
    report: &mut ImportReport,
) -> Result<Saved, Failure> {
    let boot = clock::boot_id()
        .map_err(|error| Failure::new(EX_OSERR, "cannot read the boot ID").because(error))?;
    // Before the secrets, which may take minutes: nobody's time shall run out by that.
    let clock = ImportTime {
        now: clock::now(),
        boot,
    };
    let mut secrets = open(state, clients);
    let mut saved = Saved::default();
    let mut expired = 0;
    for config in clients {
        let name = config.name.as_str();
        let secret = secrets.remove(name);
        let judged = match (
            state.clients.get(name).zip(secret),
            state.configured.get(name),
        ) {
            (Some((client, secret)), configured) => {
                let configured = configured.unwrap_or(&client.settings);
                judge::present(config, client, configured, secret, clock).map_err(|error| {
                    let what = format!("client {name:?}: cannot open its secret in the state");
                    Failure::new(EX_DATAERR, what).because(error)
                })?
            }
            (None, Some(configured)) => judge::removed(config, configured),
            (None, None) => judge::unknown(config),
        };
        report.detail(summary(name, &judged));
        expired += usize::from(matches!(judged.standing, ImportedState::Expired(_)));
        saved.clients.extend(judged.saved);
    }
    for name in forgotten(state, clients) {
        report.detail(format!(
            "{name:?}: not in clients.conf any more, and forgotten"
        ));
    }
    if expired > 0 {
        report.line(format_args!(
            "the time of {expired} ran out, perhaps only because no server was up: to keep those that are \
             alive enabled, start Mandos, let its checks pass, stop it, and import at once with --yes"
        ));
    }
    Ok(saved)
}

/// The secrets of all clients that are configured and in the state, by name.
fn open<'a>(
    state: &StockState,
    clients: &'a [ClientConfig],
) -> HashMap<&'a str, Result<Secret, Error>> {
    let known = |config: &'a ClientConfig| Some((config, state.clients.get(config.name.as_str())?));
    let known: Vec<(&ClientConfig, &StockClient)> = clients.iter().filter_map(known).collect();
    let secrets: Vec<EncryptedSecret<'_>> = known
        .iter()
        .map(|(config, client)| EncryptedSecret {
            encrypted: &client.encrypted_secret,
            configured: &config.secret,
        })
        .collect();
    if known.len() > MANY {
        note(format_args!(
            "opening the secrets of {} clients, some fifteen a second for each core",
            known.len()
        ));
    }
    let names = known.iter().map(|(config, _)| config.name.as_str());
    names.zip(secret::open_all(&secrets)).collect()
}

/// Names of clients that are in the state only.
fn forgotten<'a>(state: &'a StockState, clients: &[ClientConfig]) -> BTreeSet<&'a str> {
    let configured: HashSet<&str> = clients.iter().map(|it| it.name.as_str()).collect();
    let known = state.clients.keys().chain(state.configured.keys());
    known
        .map(String::as_str)
        .filter(|name| !configured.contains(name))
        .collect()
}

/// The line about one client.
fn summary(name: &str, judged: &ImportedClient) -> String {
    let mut line = match judged.standing {
        ImportedState::New { enabled: true } => {
            format!("{name}: new, starts enabled as clients.conf says")
        }
        ImportedState::New { enabled: false } => {
            format!("{name}: new, starts disabled as clients.conf says")
        }
        ImportedState::Removed => format!("{name}: removed, and stays so"),
        ImportedState::Disabled => format!("{name}: disabled"),
        ImportedState::Expired(when) => {
            format!("{name}: disabled, its time ran out at {}", date(when))
        }
        ImportedState::Enabled(until) => format!("{name}: enabled until {}", date(until)),
    };
    if !judged.changed.is_empty() {
        let _ = write!(line, "; changed at run time: {}", judged.changed.join(", "));
    }
    for remark in &judged.remarks {
        let _ = write!(line, "; {remark}");
    }
    line
}

fn date(wall: Wall) -> DateTime {
    DateTime::from(wall)
}
