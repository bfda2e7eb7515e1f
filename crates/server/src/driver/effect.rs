//! Everything that the driver does to the world.

use nightlatch_core::event::{ClientId, Refusal};
use tokio::sync::oneshot;

use super::Reloaded;
use super::admin_command::AdminError;
use super::report::EventReport;
use crate::session::{LifeAnswer, Permit};

/// Something to be done once the changes before it are durable.
pub(super) enum Effect {
    Answer(
        oneshot::Sender<Result<Permit, Refusal>>,
        Result<Permit, Refusal>,
    ),
    AnswerLife(
        oneshot::Sender<Result<LifeAnswer, Refusal>>,
        Result<LifeAnswer, Refusal>,
    ),
    StartCheck(ClientId),
    StopCheck(ClientId),
    Report(EventReport),
    Done(oneshot::Sender<()>),
    Reloaded(oneshot::Sender<Reloaded>),
    /// Tells the subscriber the result of the command with this number.
    CommandDone(u64, Result<Option<ClientId>, AdminError>),
}
