//! Quotas for the log lines that requests cause: per client, and per network for unknown keys.

use nightlatch_core::event::LogClass;
use nightlatch_core::log_limit::{LogLimit, LogQuota, MAX_CLASSES, OmittedLines, SourceClass};
use nightlatch_core::name::ClientName;
use nightlatch_core::time::Monotonic;
use tracing::warn;

use super::report::EventReport;

/// A machine that is refused asks six times a minute. Each client has a quota of its own, so that none can
/// suppress the lines of another.
const CLIENT: LogQuota = LogQuota {
    class: 10,
    all: u32::MAX,
    // The configuration bounds them.
    classes: usize::MAX,
};

/// Anyone can make any number of keys, and connect from all addresses of a network.
const UNKNOWN: LogQuota = LogQuota {
    class: 5,
    all: 10,
    classes: MAX_CLASSES,
};

/// The source of a line, and its kind.
type ReportClass<Source> = (Source, LogClass);

#[derive(Debug)]
pub(super) struct LogQuotas {
    clients: LogLimit<ReportClass<ClientName>>,
    unknown: LogLimit<ReportClass<SourceClass>>,
}

impl Default for LogQuotas {
    fn default() -> Self {
        Self {
            clients: LogLimit::new(CLIENT),
            unknown: LogLimit::new(UNKNOWN),
        }
    }
}

impl LogQuotas {
    /// True when the line of `report` is to be written.
    pub(super) fn admit(&mut self, report: &EventReport, now: Monotonic) -> bool {
        let Some(kind) = report.event.log_class() else {
            return true;
        };
        self.close(now);
        match (&report.client, &report.request) {
            (Some((_, name)), _) => self.clients.admit((name.clone(), kind), now),
            (None, Some(request)) => {
                let source = SourceClass::from(request.address.ip());
                self.unknown.admit((source, kind), now)
            }
            (None, None) => true,
        }
    }

    /// The time at which [`Self::close`] is due.
    pub(super) fn ends(&self) -> Option<Monotonic> {
        let ends = [self.clients.ends(), self.unknown.ends()];
        ends.into_iter().flatten().min()
    }

    /// Logs how many lines were left out in the windows that have ended.
    pub(super) fn close(&mut self, now: Monotonic) {
        log(self.clients.close(now), self.unknown.close(now));
    }

    /// Logs how many lines were left out until now.
    pub(super) fn finish(&mut self) {
        log(self.clients.finish(), self.unknown.finish());
    }
}

fn log(
    clients: Option<OmittedLines<ReportClass<ClientName>>>,
    unknown: Option<OmittedLines<ReportClass<SourceClass>>>,
) {
    const SENTENCE: &str = "lines of the last minute were left out";
    if let Some(left_out) = clients {
        for ((client, LogClass { kind, named }), left_out) in left_out.largest {
            let named = named.then_some(true);
            warn!(
                client = client.as_str(),
                kind, named, left_out, "{SENTENCE}"
            );
        }
        if left_out.others > 0 {
            warn!(left_out = left_out.others, "{SENTENCE} of other clients");
        }
    }
    if let Some(left_out) = unknown {
        for ((network, LogClass { kind, named }), left_out) in left_out.largest {
            let named = named.then_some(true);
            warn!(%network, kind, named, left_out, "{SENTENCE}");
        }
        if left_out.others > 0 {
            warn!(left_out = left_out.others, "{SENTENCE} of other networks");
        }
    }
}
