//! The state of a client in one word.

use nightlatch_bus::client::{CheckStatus, ClientView};
use nightlatch_console::output::Style;
use nightlatch_core::guard::GuardState;

/// The states, the most urgent first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, clap::ValueEnum)]
pub(crate) enum ClientState {
    /// A request waits for a person's decision.
    Waiting,
    /// A person decides on each request, because of what the guard found.
    Suspect,
    /// Enabled, but the last check failed, or the agent is silent.
    Failing,
    /// Enabled.
    Enabled,
    /// Disabled: no secret is released.
    Disabled,
}

impl ClientState {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [
        Self::Waiting,
        Self::Suspect,
        Self::Failing,
        Self::Enabled,
        Self::Disabled,
    ];

    pub(crate) fn of(client: &ClientView) -> Self {
        let failed = !matches!(
            client.last_check,
            CheckStatus::Never | CheckStatus::Exited(0)
        );
        let silent = client.guard.state == Some(GuardState::Quiet);
        match client {
            // A server may not have told a request yet that its client was disabled meanwhile.
            client if !client.enabled => Self::Disabled,
            client if client.request_waits() => Self::Waiting,
            client if client.guard.suspect.is_some() => Self::Suspect,
            _ if failed || silent => Self::Failing,
            _ => Self::Enabled,
        }
    }

    /// True when `list --state` and filters show `client` for this state. A suspect client is also found as suspect while it
    /// waits or is disabled.
    pub(crate) fn finds(self, client: &ClientView) -> bool {
        match self {
            Self::Suspect => client.guard.suspect.is_some(),
            state => state == Self::of(client),
        }
    }

    /// The word that tables, filters and JSON have.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Suspect => "suspect",
            Self::Failing => "failing",
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
        }
    }

    pub(crate) const fn style(self) -> Style {
        match self {
            Self::Waiting => Style::Warning,
            Self::Suspect | Self::Failing => Style::Bad,
            Self::Enabled => Style::Good,
            Self::Disabled => Style::Dim,
        }
    }
}
