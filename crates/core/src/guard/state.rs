//! The words by which the guard of a client is shown to people and programs.

use super::{Phase, Suspicion};

/// The state of a client's guard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GuardState {
    /// The setting `guard` is `no`: a boot key is worth as much as without an agent.
    Off,
    /// No agent was heard yet.
    Unarmed,
    /// The agent was heard.
    Up,
    /// The agent was not heard when it should have been.
    Quiet,
    /// The machine said goodbye, and nothing was released since.
    Leaving,
    /// Something was released, and the agent was not heard since.
    Opened,
}

impl GuardState {
    const ALL: [Self; 6] = [
        Self::Off,
        Self::Unarmed,
        Self::Up,
        Self::Quiet,
        Self::Leaving,
        Self::Opened,
    ];

    /// The word on D-Bus and in tools.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Unarmed => "unarmed",
            Self::Up => "up",
            Self::Quiet => "quiet",
            Self::Leaving => "leaving",
            Self::Opened => "opened",
        }
    }

    /// The state with this word.
    pub fn by_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

impl From<Phase> for GuardState {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Unarmed => Self::Unarmed,
            Phase::Up { .. } => Self::Up,
            Phase::Quiet => Self::Quiet,
            Phase::Leaving { .. } => Self::Leaving,
            Phase::Opened => Self::Opened,
        }
    }
}

impl Suspicion {
    const ALL: [Self; 3] = [Self::Doubled, Self::Impostor, Self::ServedImpostor];

    /// The word on D-Bus and in tools: that of the alarm.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Doubled => "doubled",
            Self::Impostor => "impostor",
            Self::ServedImpostor => "served-impostor",
        }
    }

    /// The suspicion with this word.
    pub fn by_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_back() {
        for state in GuardState::ALL {
            assert_eq!(GuardState::by_word(state.as_str()), Some(state));
        }
        for reason in Suspicion::ALL {
            assert_eq!(Suspicion::by_word(reason.as_str()), Some(reason));
        }
        assert_eq!(GuardState::by_word(""), None);
        assert_eq!(Suspicion::by_word("up"), None);
    }
}
