//! The same call for many clients: several on their way at once, so that a server can make them durable
//! together, and a slow answer holds up no other.

use std::future::Future;

use tokio::task::JoinSet;

use crate::error::Error;

/// How many calls may be on their way. dbus-daemon lets one connection wait for 128 answers, unless its
/// configuration says otherwise (`max_replies_per_connection`).
const AT_ONCE: usize = 64;

/// Makes `call` for each of `items`; gives the answers in their order.
///
/// Calls are sent in order. One that fails stops no other.
pub async fn for_each<T, F>(
    items: impl IntoIterator<Item = T>,
    mut call: impl FnMut(T) -> F,
) -> Vec<Result<(), Error>>
where
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    let mut answers = Vec::new();
    let mut running = JoinSet::new();
    for (index, item) in items.into_iter().enumerate() {
        if running.len() == AT_ONCE {
            take(&mut running, &mut answers).await;
        }
        // Nothing is known of it until it is done.
        answers.push(Err(Error::ServerGone));
        let call = call(item);
        running.spawn(async move { (index, call.await) });
    }
    while !running.is_empty() {
        take(&mut running, &mut answers).await;
    }
    answers
}

async fn take(
    running: &mut JoinSet<(usize, Result<(), Error>)>,
    answers: &mut [Result<(), Error>],
) {
    // A call that panicked is a fault of ours and stays unanswered.
    if let Some(Ok((index, answer))) = running.join_next().await
        && let Some(place) = answers.get_mut(index)
    {
        *place = answer;
    }
}
