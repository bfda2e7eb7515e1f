//! The orders that the table can have, and the times that a client has.

use std::cmp::Ordering;
use std::time::Duration;

use nightlatch_bus::client::ClientView;
use nightlatch_core::name::compare_naturally;
use nightlatch_core::time::Wall;

use crate::state::ClientState;

/// The order of the table. Clients that are equal in it are ordered by their names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Sort {
    #[default]
    Name,
    /// The state: first those that a person should look at.
    State,
    /// The deadline: first the nearest, last those without.
    Deadline,
}

impl Sort {
    /// The next order, the first one after the last.
    pub(crate) const fn next(self) -> Self {
        match self {
            Self::Name => Self::State,
            Self::State => Self::Deadline,
            Self::Deadline => Self::Name,
        }
    }

    /// Compares two clients. Never `Equal` for different ones, since their objects differ.
    pub(crate) fn compare(self, a: &ClientView, b: &ClientView) -> Ordering {
        let first = match self {
            Self::Name => Ordering::Equal,
            Self::State => ClientState::of(a).cmp(&ClientState::of(b)),
            Self::Deadline => deadline(a).cmp(&deadline(b)),
        };
        first
            .then_with(|| compare_naturally(&a.name, &b.name))
            .then_with(|| a.path.cmp(&b.path))
    }
}

/// The deadline of `client`, or the end of time.
fn deadline(client: &ClientView) -> Wall {
    let none = Wall::from_unix_micros(i64::MAX);
    client.expires.filter(|_| client.enabled).unwrap_or(none)
}

/// The time until the deadline, and its part of the window from 0 to 1; `None` without a deadline.
pub(crate) fn time_left(client: &ClientView, now: Wall) -> Option<(Duration, f64)> {
    let left = client.expires.filter(|_| client.enabled)?.since(now);
    if client.timeout.is_zero() {
        return Some((left, 0.0));
    }
    // After a delivery it has longer than its timeout: a full bar.
    Some((left, left.div_duration_f64(client.timeout).min(1.0)))
}
