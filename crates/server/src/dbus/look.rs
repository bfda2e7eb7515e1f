//! What our own interface answers after a look at the record or the registry.

use nightlatch_core::record::{Line, Page, Query};
use zbus::message::Message;

use super::call::Own;
use super::explain::{Explanation, Reason, TELLING};
use super::own::{self, About, Counts};
use super::wire::Fault;
use crate::driver::Handle;

/// So many of a client's records tell why it stands as it does: the last of each kind is among them.
const TOLD: u32 = 50;

/// What a look needs, of its own.
pub(super) struct Look {
    pub(super) driver: Handle,
    pub(super) about: About,
    /// Of the moment of the call.
    pub(super) counts: Counts,
}

impl Look {
    pub(super) async fn answer(&self, message: &Message, own: Own) -> Result<Message, Fault> {
        let answer = Message::method_return(&message.header());
        let built = match own {
            Own::Records(query) => {
                let Page { lines, next } = self.records(query).await?;
                let lines: Vec<String> = lines.iter().map(Line::to_string).collect();
                answer.build(&(lines, next.unwrap_or(0)))
            }
            Own::Explain(id, view) => {
                let standing = self.driver.standing(id).await;
                let (standing, until) = standing.ok_or_else(|| own::no_client(&view.name))?;
                let query = Query {
                    client: Some(view.name.clone()),
                    kinds: TELLING.to_vec(),
                    limit: TOLD,
                    newest: true,
                    ..Query::default()
                };
                let lines = self.records(query).await?.lines;
                let reasons: Vec<Reason> = lines.iter().filter_map(Reason::read).collect();
                let waiting = self.driver.waiting(Some(id)).await.ok_or_else(stopping)?;
                let explanation = Explanation::new(&view, standing, until, &reasons, &waiting);
                answer.build(&explanation.to_dict())
            }
            Own::Requests(client) => {
                let waiting = self.driver.waiting(client).await.ok_or_else(stopping)?;
                let waiting: Vec<_> = waiting.iter().map(own::request).collect();
                answer.build(&waiting)
            }
            Own::Properties(which) => {
                let ends = self.driver.record_ends().await.ok_or_else(stopping)?;
                let values = own::values(which, &self.about, &self.counts, &ends);
                match (which, values.0.first()) {
                    (Some(_), Some((_, value))) => answer.build(value),
                    _ => answer.build(&values),
                }
            }
        };
        built.map_err(|error| Fault::failed(error.to_string()))
    }

    async fn records(&self, query: Query) -> Result<Page, Fault> {
        let page = self.driver.records(query).await.ok_or_else(stopping)?;
        page.map_err(|error| Fault::failed(format!("the record cannot be read: {error}")))
    }
}

fn stopping() -> Fault {
    Fault::failed("the server is stopping")
}
