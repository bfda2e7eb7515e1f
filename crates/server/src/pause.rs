//! The pause before what failed is tried again.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);

/// A bus or an Avahi that comes back is found again within this time.
const LONGEST: Duration = Duration::from_secs(30);

/// Pauses that double from one second to half a minute.
#[derive(Debug)]
pub(crate) struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Pause {
    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(LONGEST);
    }

    /// Whether nothing has failed since the last success.
    pub(crate) fn is_first(&self) -> bool {
        self.0 == FIRST
    }

    /// It worked.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }
}
