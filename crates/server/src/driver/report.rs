//! Events as lines of the log, with their clients and requests.

use nightlatch_core::event::{ClientId, Event};
use nightlatch_core::name::ClientName;
use nightlatch_core::settings::server::LogLevel;
use tracing::{debug, error, info, warn};

use crate::session::SecretRequest;

/// An event with its client and its request.
#[derive(Clone, Debug)]
pub(crate) struct EventReport {
    pub(crate) event: Event,
    pub(crate) client: Option<(ClientId, ClientName)>,
    pub(crate) request: Option<SecretRequest>,
}

impl EventReport {
    pub(super) fn log(&self) {
        let Some(line) = self.event.log_line() else {
            return;
        };
        let fields = line.fields;
        let client = self.client.as_ref().map(|(_, name)| name);
        let client = fields.client.or(client).map_or("-", ClientName::as_str);
        let request = self.request.as_ref();
        // A field without a value is left out.
        macro_rules! write_line {
            ($write:ident) => {
                $write!(
                    client,
                    request = request.map(|it| it.id.0),
                    peer = request.map(|it| display(it.address)),
                    key_id = request.map(|it| display(it.key)),
                    secret = fields.secret.map(display),
                    serial = fields.serial,
                    reason = fields.reason,
                    why = fields.why,
                    status = fields.status,
                    signal = fields.signal,
                    length = fields.length,
                    settings = fields.settings,
                    without_answer = fields.without_answer,
                    "{}",
                    line.message
                )
            };
        }
        match line.level {
            LogLevel::Critical | LogLevel::Error => write_line!(error),
            LogLevel::Warning => write_line!(warn),
            LogLevel::Info => write_line!(info),
            LogLevel::Debug => write_line!(debug),
        }
    }
}
