//! `nightlatch secret list`: every named secret in one line.

use clap::Args;
use nightlatch_bus::named_secrets::{SecretSource, SecretView};
use nightlatch_bus::proxy::MandosProxy;
use nightlatch_console::failure::{Failure, note};
use nightlatch_console::output::table::{Cell, render};
use nightlatch_console::output::{self, Style, human};
use nightlatch_core::name::compare_naturally;
use nightlatch_core::time::Wall;
use serde::Serialize;

use crate::bus;
use crate::json::time;
use crate::select::Selection;

/// The options of `secret list`.
#[derive(Args, Debug)]
pub struct ListSecretsOptions {
    /// Only those of these clients: names, or patterns with * ? [a-f]
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,

    /// Print JSON: an array of objects
    #[arg(long)]
    pub(crate) json: bool,
}

/// One secret in JSON. Keys may be added, never changed.
#[derive(Serialize)]
struct SecretJson<'s> {
    client: &'s str,
    host_key_id: &'s str,
    name: &'s str,
    serial: u64,
    created: String,
    expires: Option<String>,
    approval: bool,
    source: &'static str,
    size: u64,
}

impl<'s> From<&'s SecretView> for SecretJson<'s> {
    fn from(secret: &'s SecretView) -> Self {
        Self {
            client: &secret.client,
            host_key_id: &secret.host_key_id,
            name: &secret.name,
            serial: secret.serial,
            created: time(secret.created),
            expires: secret.expires.map(time),
            approval: secret.approval,
            source: secret.source.as_str(),
            size: secret.size,
        }
    }
}

/// Prints the secrets, by client and name.
///
/// # Errors
/// When there is no server, it refuses, or a name is unknown.
pub async fn run(
    options: &ListSecretsOptions,
    server: &MandosProxy,
    now: Wall,
) -> Result<u8, Failure> {
    let mut secrets = server.secrets(None).await.map_err(super::failure)?;
    if !options.names.is_empty() {
        let clients = server.clients().await.map_err(bus::failure)?;
        let chosen = Selection::named(&clients, &options.names)?.clients;
        secrets.retain(|secret| chosen.iter().any(|client| client.name == secret.client));
    }
    secrets.sort_by(|a, b| {
        let clients = compare_naturally(&a.client, &b.client);
        clients.then_with(|| compare_naturally(&a.name, &b.name))
    });
    if options.json {
        let lines: Vec<SecretJson<'_>> = secrets.iter().map(SecretJson::from).collect();
        output::print(&output::json::text(&lines)?)?;
        return Ok(0);
    }
    if secrets.is_empty() {
        note("there is no named secret; put one with: nightlatch secret put NAME CLIENT");
        return Ok(0);
    }
    output::print(&table(&secrets, now, output::coloured()))?;
    Ok(0)
}

fn table(secrets: &[SecretView], now: Wall, coloured: bool) -> String {
    let headings = [
        "CLIENT", "NAME", "SERIAL", "EXPIRES", "APPROVAL", "SOURCE", "SIZE",
    ];
    let rows: Vec<_> = secrets.iter().map(|secret| row(secret, now)).collect();
    render(headings, &rows, coloured)
}

fn row(secret: &SecretView, now: Wall) -> [Cell; 7] {
    let (expires, style) = match secret.expires {
        None => ("never".to_owned(), Style::Plain),
        Some(expires) if expires <= now => ("expired".to_owned(), Style::Bad),
        Some(expires) => (human::time(expires), Style::Plain),
    };
    [
        Cell::plain(match secret.client.as_str() {
            "" => "(none)",
            client => client,
        }),
        Cell::plain(&secret.name),
        Cell::plain(serial(secret.serial)),
        Cell::new(expires, style),
        Cell::plain(if secret.approval { "yes" } else { "no" }),
        Cell::new(
            match secret.source {
                SecretSource::File => "clients.conf",
                SecretSource::Runtime => "put",
            },
            Style::Dim,
        ),
        Cell::plain(secret.size.to_string()),
    ]
}

/// A serial as a time if it is one in milliseconds since 1970, as by default; otherwise as a number.
fn serial(serial: u64) -> String {
    /// 2020 to 2100 in milliseconds since 1970. A serial outside of it was given by `--serial`.
    const TIMES: std::ops::Range<u64> = 1_577_836_800_000..4_102_444_800_000;
    let millis = i64::try_from(serial)
        .ok()
        .filter(|_| TIMES.contains(&serial));
    match millis {
        Some(millis) => human::time(Wall::from_unix_micros(millis * 1000)),
        None => serial.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::samples::NOW;
    use std::time::Duration;

    #[test]
    fn a_line_says_what_the_server_knows_of_a_secret() {
        let secret = |client: &str, name: &str, serial| SecretView {
            client: client.to_owned(),
            host_key_id: "5a".repeat(32),
            name: name.to_owned(),
            serial,
            created: NOW,
            expires: None,
            approval: false,
            size: 700,
            source: SecretSource::Runtime,
        };
        let mut file = secret("web1", "card.pin", 7);
        file.source = SecretSource::File;
        file.approval = true;
        file.expires = Some(NOW.before(Duration::from_secs(1)));
        let secrets = [file, secret("web1", "postgres.password", 1_795_303_195_000)];
        assert_eq!(
            table(&secrets, NOW, false),
            "CLIENT  NAME               SERIAL                EXPIRES  APPROVAL  SOURCE        SIZE\n\
             web1    card.pin           7                     expired  yes       clients.conf  700\n\
             web1    postgres.password  2026-11-21T23:19:55Z  never    no        put           700\n"
        );
    }
}
