//! The calls of our own interface that read the audit log or ask the driver, in a task of their own.

use nightlatch_core::explanation::StateRecord;
use nightlatch_core::record::{RecordExcerpt, RecordLine, RecordSelection};
use nightlatch_sys::clock;
use zbus::message::Message;

use super::call::LookupCall;
use super::explain;
use super::named_secrets;
use super::nightlatch::{self, ClientCounts, ServerStatus};
use super::wire::CallError;
use crate::driver::Handle;

/// Records read to explain the state of a client: enough to have the last one of each kind.
const EXPLAINING: u32 = 50;

/// Answers one call.
pub(super) struct LookupTask {
    pub(super) driver: Handle,
    pub(super) info: ServerStatus,
    /// Taken when the call came.
    pub(super) counts: ClientCounts,
}

impl LookupTask {
    pub(super) async fn answer(
        &self,
        message: &Message,
        lookup: LookupCall,
    ) -> Result<Message, CallError> {
        let answer = Message::method_return(&message.header());
        let built = match lookup {
            LookupCall::Records(query) => {
                let RecordExcerpt { lines, next } = self.records(query).await?;
                let lines: Vec<String> = lines.iter().map(RecordLine::to_string).collect();
                answer.build(&(lines, next.unwrap_or(0)))
            }
            LookupCall::Explain(id, view) => {
                let forecast = self.driver.forecast(id).await;
                let forecast = forecast.ok_or_else(|| CallError::no_client(&view.name))?;
                let query = RecordSelection {
                    client: Some(view.name.clone()),
                    kinds: StateRecord::KINDS.to_vec(),
                    limit: EXPLAINING,
                    newest: true,
                    ..RecordSelection::default()
                };
                let lines = self.records(query).await?.lines;
                let records: Vec<_> = lines.iter().filter_map(explain::read_record).collect();
                let waiting = self.driver.waiting(Some(id)).await.ok_or_else(stopping)?;
                let now = clock::now().wall;
                let explanation = explain::explain(&view, forecast, &records, &waiting, now);
                answer.build(&explain::to_dict(explanation))
            }
            LookupCall::Requests(client) => {
                let waiting = self.driver.waiting(client).await.ok_or_else(stopping)?;
                let waiting: Vec<_> = waiting.iter().map(nightlatch::request).collect();
                answer.build(&waiting)
            }
            LookupCall::Secrets(client) => {
                let secrets = self.driver.secrets(client).await.ok_or_else(stopping)?;
                let secrets: Vec<_> = secrets.iter().map(named_secrets::to_dict).collect();
                answer.build(&secrets)
            }
            LookupCall::Properties(which) => {
                let ends = self.driver.record_ends().await.ok_or_else(stopping)?;
                let values = nightlatch::values(which, &self.info, &self.counts, &ends);
                match (which, values.0.first()) {
                    (Some(_), Some((_, value))) => answer.build(value),
                    _ => answer.build(&values),
                }
            }
        };
        built.map_err(|error| CallError::failed(error.to_string()))
    }

    async fn records(&self, query: RecordSelection) -> Result<RecordExcerpt, CallError> {
        let page = self.driver.records(query).await.ok_or_else(stopping)?;
        page.map_err(|error| CallError::failed(format!("the audit log cannot be read: {error}")))
    }
}

fn stopping() -> CallError {
    CallError::failed("the server is stopping")
}
