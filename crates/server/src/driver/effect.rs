//! Everything that the driver does to the world.

use nightlatch_core::event::ClientId;
use tokio::sync::oneshot;

use super::order::OrderError;
use super::report::Report;
use super::{Reloaded, Verdict};

/// Something to be done once the changes before it are durable.
pub(super) enum Effect {
    Answer(oneshot::Sender<Verdict>, Verdict),
    StartCheck(ClientId),
    StopCheck(ClientId),
    Report(Report),
    Done(oneshot::Sender<()>),
    Reloaded(oneshot::Sender<Reloaded>),
    /// Tells the listener what came of the order with this number.
    Reply(u64, Result<Option<ClientId>, OrderError>),
}
