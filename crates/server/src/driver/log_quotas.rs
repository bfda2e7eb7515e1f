//! Quotas for the log lines that requests cause: of one client, and of the network of a key that is no client's.

use nightlatch_core::checker::LastCheck;
use nightlatch_core::event::Event;
use nightlatch_core::log_limit::{LogLimit, LogQuota, MAX_CLASSES, OmittedLines, SourceClass};
use nightlatch_core::name::ClientName;
use nightlatch_core::time::Monotonic;
use tracing::warn;

use super::report::Report;
use crate::words;

/// A machine that is refused asks six times a minute. Clients do not count together: none can keep a line
/// of another out.
const CLIENT: LogQuota = LogQuota {
    class: 10,
    all: u32::MAX,
    // The configuration bounds them.
    classes: usize::MAX,
};

/// Whoever can make keys can come with any number of them, from the addresses that its network gives.
const UNKNOWN: LogQuota = LogQuota {
    class: 5,
    all: 10,
    classes: MAX_CLASSES,
};

/// What was not written of it: whose, and of which kind.
type Class<Whose> = (Whose, &'static str);

#[derive(Debug)]
pub(super) struct LogQuotas {
    clients: LogLimit<Class<ClientName>>,
    unknown: LogLimit<Class<SourceClass>>,
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
    pub(super) fn admit(&mut self, report: &Report, now: Monotonic) -> bool {
        let Some(kind) = kind(&report.event) else {
            return true;
        };
        self.close(now);
        match (&report.client, &report.asker) {
            (Some((_, name)), _) => self.clients.admit((name.clone(), kind), now),
            (None, Some(asker)) => {
                let source = SourceClass::from(asker.peer.address.ip());
                self.unknown.admit((source, kind), now)
            }
            (None, None) => true,
        }
    }

    /// When [`Self::close`] has something to do.
    pub(super) fn ends(&self) -> Option<Monotonic> {
        let ends = [self.clients.ends(), self.unknown.ends()];
        ends.into_iter().flatten().min()
    }

    /// Tells the numbers of what was left out in the windows that have ended.
    pub(super) fn close(&mut self, now: Monotonic) {
        log(self.clients.close(now), self.unknown.close(now));
    }

    /// Tells the numbers of what was left out until now.
    pub(super) fn finish(&mut self) {
        log(self.clients.finish(), self.unknown.finish());
    }
}

fn log(
    clients: Option<OmittedLines<Class<ClientName>>>,
    unknown: Option<OmittedLines<Class<SourceClass>>>,
) {
    const SENTENCE: &str = "lines of the last minute were left out";
    if let Some(left_out) = clients {
        for ((client, kind), left_out) in left_out.largest {
            warn!(client = client.as_str(), kind, left_out, "{SENTENCE}");
        }
        if left_out.others > 0 {
            warn!(left_out = left_out.others, "{SENTENCE} of other clients");
        }
    }
    if let Some(left_out) = unknown {
        for ((network, kind), left_out) in left_out.largest {
            warn!(%network, kind, left_out, "{SENTENCE}");
        }
        if left_out.others > 0 {
            warn!(left_out = left_out.others, "{SENTENCE} of other networks");
        }
    }
}

/// The kind of line that an event makes; `None` for what no peer can cause at will.
fn kind(event: &Event) -> Option<&'static str> {
    Some(match event {
        Event::Refused {
            alarm: Some(alarm), ..
        } => words::alarm(*alarm),
        Event::Refused { reason, .. } | Event::Revoked { reason, .. } => words::refusal(*reason),
        Event::Granted { alarm, .. } => alarm.map_or("granted", words::alarm),
        Event::Alarmed(Some(_), alarm) => words::alarm(*alarm),
        Event::NeedsApproval { .. } => "waits",
        Event::Abandoned { .. } => "abandoned",
        Event::Delivered { .. } => "delivered",
        Event::DeliveryFailed { .. } => "undelivered",
        // Whether a check fails is for the machine to say, and `check_on_release` starts one for each release.
        Event::CheckFinished(_, result) if *result != LastCheck::Exited(0) => "check-failed",
        // The registry itself says only the number of unknown keys, twice a minute.
        Event::Alarmed(None, _)
        | Event::Added(_)
        | Event::Removed(..)
        | Event::Enabled(_)
        | Event::Disabled(..)
        | Event::Decided { .. }
        | Event::Denied(_)
        | Event::DenialLifted(_)
        | Event::RehearsalsAllowed(..)
        | Event::CheckStarted(_)
        | Event::CheckStopping(_)
        | Event::CheckFinished(..)
        | Event::CheckedOk(_)
        | Event::TombstoneDropped(_)
        | Event::Changed(..) => return None,
    })
}
