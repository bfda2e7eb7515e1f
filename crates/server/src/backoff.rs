//! Pauses between attempts that fail.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);

/// Within this time a bus or an Avahi that is back is found again.
const LONGEST: Duration = Duration::from_secs(30);

/// A pause that doubles from one second to half a minute.
#[derive(Debug)]
pub(crate) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Backoff {
    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(LONGEST);
    }

    /// True when nothing has failed since the last success.
    pub(crate) fn is_first(&self) -> bool {
        self.0 == FIRST
    }

    /// Starts again with the shortest pause, after a success.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }
}
