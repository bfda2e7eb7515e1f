//! `nightlatch log`: what happened, who did it, and why.

use clap::Args;
use clap::builder::PossibleValuesParser;
use nightlatch_bus::error::BusError;
use nightlatch_bus::own::{MAX_PAGE, RecordQuery};
use nightlatch_bus::proxy::MandosProxy;
use nightlatch_bus::signal::ServerSignal;
use nightlatch_console::failure::{EX_PROTOCOL, EX_UNAVAILABLE, EX_USAGE, Failure, note};
use nightlatch_console::output;
use nightlatch_core::record::RecordKind;
use nightlatch_core::record::RecordLine;
use nightlatch_core::time::Wall;

use crate::{bus, point_in_time};

mod chain;
pub(crate) mod record;

use record::Record;

/// The options of `log`.
#[derive(Args, Debug, Default)]
pub struct LogOptions {
    /// Only about this client
    #[arg(short, long, value_name = "NAME")]
    pub(crate) client: Option<String>,

    /// Only from then on: 2h or PT2H ago, 2026-11-24, 2026-11-24T18:30 (UTC)
    #[arg(short, long, value_name = "TIME")]
    pub(crate) since: Option<String>,

    /// Only this kind, as released, refused, approved, disabled; may be repeated
    #[arg(short, long, value_name = "KIND", value_parser = kinds(), hide_possible_values = true)]
    pub(crate) kind: Vec<String>,

    /// Only alarms
    #[arg(long)]
    pub(crate) alarms: bool,

    /// Only the newest N
    #[arg(short = 'N', long, value_name = "N", value_parser = count)]
    pub(crate) last: Option<u32>,

    /// Go on with what happens from now on
    #[arg(short, long)]
    pub(crate) follow: bool,

    /// Print the records as they are chained, one line of JSON each
    #[arg(long)]
    pub(crate) json: bool,

    /// Check that no record was changed, taken out or put elsewhere, and say so in one line
    #[arg(long, conflicts_with_all = ["client", "since", "kind", "alarms", "last", "follow"])]
    pub(crate) verify: bool,
}

/// The kinds of records.
fn kinds() -> PossibleValuesParser {
    PossibleValuesParser::new(RecordKind::ALL.iter().map(|kind| kind.as_str()))
}

/// Reads the value of `--last`.
fn count(text: &str) -> Result<u32, String> {
    let count = text
        .parse()
        .ok()
        .filter(|count| (1..=MAX_PAGE).contains(count));
    count.ok_or_else(|| format!("expected a number from 1 to {MAX_PAGE}, found {text:?}"))
}

/// Carries the verb out.
pub(crate) async fn run(
    options: &LogOptions,
    server: &MandosProxy,
    now: Wall,
) -> Result<u8, Failure> {
    if options.verify {
        return chain::verify(server, options.json).await;
    }
    let since = options
        .since
        .as_deref()
        .map(|text| point_in_time::parse(text, now));
    let since = since
        .transpose()
        .map_err(|error| Failure::new(EX_USAGE, "--since").because(error))?;
    let query = RecordQuery {
        client: options.client.clone(),
        since,
        kinds: options.kind.clone(),
        alarms: options.alarms,
        limit: options.last.unwrap_or_default(),
        last: options.last.is_some(),
        after: 0,
    };
    let mut printer = RecordPrinter {
        options,
        coloured: output::coloured(),
        last: 0,
    };
    if options.follow {
        return follow(server, query, &mut printer).await;
    }
    printer.catch_up(server, query).await?;
    Ok(0)
}

/// The error of a failed query of the audit log.
pub(crate) fn failure(error: BusError) -> Failure {
    match error {
        BusError::NotSupported => Failure::new(
            EX_UNAVAILABLE,
            "this server keeps no audit log: it is a Mandos server",
        )
        .hint("what it logs is in the journal: journalctl -u mandos"),
        error => bus::failure(error),
    }
}

/// Shows the records of the server, and then each new one. Ends only when the connection to the bus is lost.
async fn follow(
    server: &MandosProxy,
    query: RecordQuery,
    printer: &mut RecordPrinter<'_>,
) -> Result<u8, Failure> {
    // Heard before it is asked, so that nothing falls in between.
    let mut signals = server.signals().await.map_err(bus::failure)?;
    printer.catch_up(server, query.clone()).await?;
    loop {
        match signals.next().await {
            Some(ServerSignal::Recorded(line)) => printer.show_new(&line)?,
            Some(ServerSignal::ServerGone) => {
                note("the server went away; waiting for it to come back")
            }
            Some(ServerSignal::ServerCame) => {
                let missed = RecordQuery {
                    after: printer.last,
                    last: false,
                    limit: 0,
                    ..query.clone()
                };
                printer.catch_up(server, missed).await?;
            }
            Some(_) => {}
            None => {
                return Err(Failure::new(
                    EX_UNAVAILABLE,
                    "lost the connection to the system bus",
                ));
            }
        }
    }
}

/// Shows records, each once.
struct RecordPrinter<'o> {
    options: &'o LogOptions,
    coloured: bool,
    /// The highest sequence number so far.
    last: u64,
}

impl RecordPrinter<'_> {
    /// Shows all that the server has, page by page.
    async fn catch_up(
        &mut self,
        server: &MandosProxy,
        mut query: RecordQuery,
    ) -> Result<(), Failure> {
        loop {
            let page = server.query_records(&query).await.map_err(failure)?;
            let mut text = String::new();
            for line in &page.lines {
                self.show(line, &mut text)?;
            }
            output::print(&text)?;
            match page.next {
                // The newest are one page. Whoever answers the same page for ever is not asked for ever.
                Some(next) if next > query.after && !query.last => query.after = next,
                _ => return Ok(()),
            }
        }
    }

    /// Shows the record of a signal, if it passes the filters and was not shown yet.
    fn show_new(&mut self, line: &str) -> Result<(), Failure> {
        let read: RecordLine = line.parse().map_err(malformed)?;
        let record = Record::read(&read.text).map_err(malformed)?;
        if read.seq <= self.last || !self.wants(&record) {
            return Ok(());
        }
        let mut text = String::new();
        self.show(line, &mut text)?;
        output::print(&text)
    }

    /// The filters that the server applies to a query, for records that it sends as they are written. `--since` holds
    /// for all of these.
    fn wants(&self, record: &Record) -> bool {
        let options = self.options;
        let is_about = |name: &String| record.client.as_ref() == Some(name);
        options.client.as_ref().is_none_or(is_about)
            && (options.kind.is_empty() || options.kind.contains(&record.kind))
            && (!options.alarms || record.alarm.is_some() || record.kind == "alarm")
    }

    fn show(&mut self, line: &str, text: &mut String) -> Result<(), Failure> {
        let read: RecordLine = line.parse().map_err(malformed)?;
        self.last = self.last.max(read.seq);
        if self.options.json {
            text.push_str(line);
        } else {
            let record = Record::read(&read.text).map_err(malformed)?;
            text.push_str(&record.show(self.coloured));
        }
        text.push('\n');
        Ok(())
    }
}

pub(crate) fn malformed(error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Failure::new(EX_PROTOCOL, "cannot understand a record of the server").because(error)
}
