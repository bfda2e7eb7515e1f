//! The release policy applied to a client without a request.

use std::time::Duration;

use super::{ClientId, Grant, Refusal, Registry};
use crate::client::{Client, ReleaseDecision};
use crate::guard::Forecast;
use crate::time::{Now, Wall};

/// The answer that a request of a client would get.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReleaseForecast {
    /// It would get the secret.
    Released(Grant),
    /// It would be held so long at most while the agent is asked. Then it would get the secret, unless the agent answered.
    ReleasedAfterAsking(Grant, Duration),
    /// It would wait for a person's approval, for `approval_delay`.
    NeedsApproval,
    /// It would wait for a person until the deadline: the guard lets nothing else decide.
    NeedsPerson,
    /// It would be refused.
    Refused(Refusal),
}

impl Registry {
    /// The answer that a request at `now` would get, and the time at which it changes without an event; `None` for a
    /// removed client.
    pub fn forecast(&self, id: ClientId, now: Now) -> Option<(ReleaseForecast, Option<Wall>)> {
        let client = self.clients.get(&id)?;
        let forecast = match client.refusal(now) {
            Some(reason) => ReleaseForecast::Refused(reason),
            None => forecast_of_enabled(client, now),
        };
        let until = match forecast {
            ReleaseForecast::Refused(Refusal::Denied) => denial_ends(client, now),
            _ => client.leaving_until().or(client.expires()),
        };
        Some((forecast, until))
    }
}

fn forecast_of_enabled(client: &Client, now: Now) -> ReleaseForecast {
    let settings = client.guard_settings(now);
    let guard = client
        .is_guarded()
        .then(|| client.guard().forecast(&settings, now.mono));
    if guard == Some(Forecast::Person) {
        return ReleaseForecast::NeedsPerson;
    }
    match client.approval(now.mono, now) {
        ReleaseDecision::Release(grant)
            if guard == Some(Forecast::PassAfterAsking) && !settings.guard_wait.is_zero() =>
        {
            ReleaseForecast::ReleasedAfterAsking(grant, settings.guard_wait)
        }
        ReleaseDecision::Release(grant) => ReleaseForecast::Released(grant),
        ReleaseDecision::Wait(_) => ReleaseForecast::NeedsApproval,
        ReleaseDecision::Refuse(reason) => ReleaseForecast::Refused(reason),
    }
}

/// End of the denial in force, or the deadline if that is earlier.
fn denial_ends(client: &Client, now: Now) -> Option<Wall> {
    let until = client.denied?;
    let ends = now.wall.after(until.since(now.mono));
    Some(client.expires().map_or(ends, |expires| expires.min(ends)))
}
