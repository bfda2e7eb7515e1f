//! The same call for many clients, several at a time: the server can make them durable together, and a slow answer does
//! not delay the others.

use std::future::Future;

use tokio::task::JoinSet;

use crate::error::BusError;

/// Most calls that wait for an answer. dbus-daemon allows 128 for one connection, unless its configuration says
/// otherwise (`max_replies_per_connection`).
const MAX_CONCURRENT: usize = 64;

/// Makes `call` for each of `items`; gives the answers in their order.
///
/// Calls are sent in order. One that fails stops no other.
pub async fn for_each<T, F>(
    items: impl IntoIterator<Item = T>,
    mut call: impl FnMut(T) -> F,
) -> Vec<Result<(), BusError>>
where
    F: Future<Output = Result<(), BusError>> + Send + 'static,
{
    let mut answers = Vec::new();
    let mut running = JoinSet::new();
    for (index, item) in items.into_iter().enumerate() {
        if running.len() == MAX_CONCURRENT {
            take(&mut running, &mut answers).await;
        }
        // Nothing is known of it until it is done.
        answers.push(Err(BusError::ServerGone));
        let call = call(item);
        running.spawn(async move { (index, call.await) });
    }
    while !running.is_empty() {
        take(&mut running, &mut answers).await;
    }
    answers
}

async fn take(
    running: &mut JoinSet<(usize, Result<(), BusError>)>,
    answers: &mut [Result<(), BusError>],
) {
    // A call that panicked is a fault of ours and stays unanswered.
    if let Some(Ok((index, answer))) = running.join_next().await
        && let Some(place) = answers.get_mut(index)
    {
        *place = answer;
    }
}
