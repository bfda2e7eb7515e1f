//! The orders that the table can have, and the times that a client has.

use std::cmp::Ordering;
use std::time::Duration;

use nightlatch_bus::client::ClientView;
use nightlatch_core::name::compare_naturally;
use nightlatch_core::time::Wall;

use crate::state::State as Standing;

/// What the table is ordered by. Clients that are the same in it stand in the order of their names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Sort {
    /// The name.
    #[default]
    Name,
    /// The state: first those that a person should look at.
    State,
    /// The deadline: first the nearest, last those without.
    Deadline,
}

impl Sort {
    /// The next one, round and round.
    pub(crate) const fn next(self) -> Self {
        match self {
            Self::Name => Self::State,
            Self::State => Self::Deadline,
            Self::Deadline => Self::Name,
        }
    }

    /// Which of two clients stands first. Never `Equal` for two clients, for their objects differ.
    pub(crate) fn compare(self, a: &ClientView, b: &ClientView) -> Ordering {
        let first = match self {
            Self::Name => Ordering::Equal,
            Self::State => Standing::of(a).cmp(&Standing::of(b)),
            Self::Deadline => deadline(a).cmp(&deadline(b)),
        };
        first
            .then_with(|| compare_naturally(&a.name, &b.name))
            .then_with(|| a.path.cmp(&b.path))
    }
}

/// When `client` is disabled unless it proves to be up; the far end of time when that never comes.
fn deadline(client: &ClientView) -> Wall {
    let none = Wall::from_unix_micros(i64::MAX);
    client.expires.filter(|_| client.enabled).unwrap_or(none)
}

/// How much time `client` has left, and how much of its window that is, from 0 to 1; `None` when it has
/// no deadline.
pub(crate) fn time_left(client: &ClientView, now: Wall) -> Option<(Duration, f64)> {
    let left = client.expires.filter(|_| client.enabled)?.since(now);
    if client.timeout.is_zero() {
        return Some((left, 0.0));
    }
    // After a delivery it has longer than its timeout: a full bar.
    Some((left, left.div_duration_f64(client.timeout).min(1.0)))
}

/// When the request of `client` is decided by itself; `None` when none waits.
pub(crate) fn decided_at(client: &ClientView) -> Option<Wall> {
    let asked = client
        .last_approval_request
        .filter(|_| client.approval_pending)?;
    Some(asked.after(client.approval_delay))
}
