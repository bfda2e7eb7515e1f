//! The state of a client in one word.

use nightlatch_bus::client::{CheckStatus, ClientView};
use nightlatch_console::output::Style;

/// The states, the most urgent first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, clap::ValueEnum)]
pub(crate) enum ClientState {
    /// A request waits for a person's decision.
    Waiting,
    /// Enabled, but the last check failed.
    Failing,
    /// Enabled.
    Enabled,
    /// Gets no secret.
    Disabled,
}

impl ClientState {
    pub(crate) fn of(client: &ClientView) -> Self {
        let failed = !matches!(
            client.last_check,
            CheckStatus::Never | CheckStatus::Exited(0)
        );
        match client {
            // A server may not have told a request yet that its client was disabled meanwhile.
            client if !client.enabled => Self::Disabled,
            client if client.approval_pending => Self::Waiting,
            _ if failed => Self::Failing,
            _ => Self::Enabled,
        }
    }

    /// The word itself.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Failing => "failing",
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
        }
    }

    pub(crate) const fn style(self) -> Style {
        match self {
            Self::Waiting => Style::Warning,
            Self::Failing => Style::Bad,
            Self::Enabled => Style::Good,
            Self::Disabled => Style::Dim,
        }
    }
}
