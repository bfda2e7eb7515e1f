//! `nightlatch secret history`: what happened to one named secret of one machine, from the audit log.

use clap::Args;
use nightlatch_bus::own::RecordQuery;
use nightlatch_bus::proxy::MandosProxy;
use nightlatch_console::failure::{Failure, note};
use nightlatch_console::output;
use nightlatch_core::record::RecordLine;

use crate::verbs::log::record::Record;
use crate::verbs::log::{failure, malformed};

/// The options of `secret history`.
#[derive(Args, Debug)]
pub struct HistoryOptions {
    /// Name of the secret, as postgres.password
    #[arg(id = "secret", value_name = "NAME")]
    pub(crate) secret: String,

    /// Name of the client; it need not be known any more
    #[arg(value_name = "CLIENT")]
    pub(crate) client: String,

    /// Print the records as they are chained, one line of JSON each
    #[arg(long)]
    pub(crate) json: bool,
}

/// Prints the records about the secret, page by page.
///
/// # Errors
/// When there is no server, or it keeps no audit log.
pub async fn run(options: &HistoryOptions, server: &MandosProxy) -> Result<u8, Failure> {
    let name = super::name(&options.secret)?;
    let mut query = RecordQuery {
        client: Some(options.client.clone()),
        ..RecordQuery::default()
    };
    let coloured = output::coloured();
    let mut found = false;
    loop {
        let page = server.query_records(&query).await.map_err(failure)?;
        let mut text = String::new();
        for line in &page.lines {
            let Some(shown) = show(line, name.as_str(), options.json, coloured)? else {
                continue;
            };
            text.push_str(&shown);
            text.push('\n');
        }
        found |= !text.is_empty();
        output::print(&text)?;
        match page.next {
            // Whoever answers the same page for ever is not asked for ever.
            Some(next) if next > query.after => query.after = next,
            _ => break,
        }
    }
    if !found && !options.json {
        note(format_args!(
            "the audit log has nothing about the secret {name} of {:?}",
            options.client
        ));
    }
    Ok(0)
}

/// The line of a record; `None` for one about something else.
fn show(line: &str, name: &str, json: bool, coloured: bool) -> Result<Option<String>, Failure> {
    let read: RecordLine = line.parse().map_err(malformed)?;
    let record = Record::read(&read.text).map_err(malformed)?;
    if record.secret.as_deref() != Some(name) {
        return Ok(None);
    }
    Ok(Some(match json {
        true => line.to_owned(),
        false => record.show(coloured),
    }))
}
