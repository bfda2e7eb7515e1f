//! The sentences about the guard of a client: what is known of its agent, what a person should do about a suspicion,
//! and what became of its releases.

use super::{ClientFacts, at};
use crate::guard::{GuardState, Suspicion};
use crate::name::shell_word;
use crate::time::Wall;

/// Facts about the guard of a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GuardFacts {
    /// The state of the guard.
    pub state: GuardState,
    /// True when a host key is configured, so that an agent may be heard.
    pub has_host_key: bool,
    /// The reason for which a person decides on each request.
    pub suspect: Option<Suspicion>,
    /// Time of the last sign of life of the agent.
    pub last_heartbeat: Option<Wall>,
    /// The end of the time for an announced reboot.
    pub leaving_until: Option<Wall>,
    /// Number of releases whose boots were not heard.
    pub unaccounted: u32,
}

impl GuardFacts {
    /// True once the agent was heard.
    pub const fn is_armed(&self) -> bool {
        match self.state {
            // The state does not say it.
            GuardState::Off => self.last_heartbeat.is_some(),
            GuardState::Unarmed => false,
            GuardState::Up | GuardState::Quiet | GuardState::Leaving | GuardState::Opened => true,
        }
    }

    /// The reason for which each release waits for a person; `None` where the guard decides nothing.
    pub fn suspicion_in_force(&self) -> Option<Suspicion> {
        self.suspect.filter(|_| self.state != GuardState::Off)
    }

    /// The knowledge of the agent. `None` for a client without one.
    fn agent(&self, enabled: bool) -> Option<String> {
        // The signs of life of a disabled client have no time.
        let heard = self.last_heartbeat.filter(|_| enabled);
        let last_heard = heard.map_or_else(String::new, |it| {
            format!("; it was last heard at {}", at(it))
        });
        Some(match self.state {
            GuardState::Off if self.is_armed() => {
                format!(
                    "The guard is off (guard = no), so its boot key is worth as much as without an agent{last_heard}."
                )
            }
            GuardState::Unarmed if self.has_host_key => {
                "Its agent was not heard with this host key yet, so its boot key is not guarded."
                    .to_owned()
            }
            GuardState::Off | GuardState::Unarmed => return None,
            GuardState::Up => match heard {
                Some(heard) => format!("Its agent was heard at {}.", at(heard)),
                None => "Its agent is heard.".to_owned(),
            },
            GuardState::Quiet => format!("Its agent is silent{last_heard}."),
            GuardState::Leaving => match self.leaving_until {
                Some(until) => format!(
                    "The machine said goodbye, and its time for the reboot ends at {}.",
                    at(until)
                ),
                None => "The machine said goodbye.".to_owned(),
            },
            GuardState::Opened => {
                format!("Its secret was released, and its agent was not heard since{last_heard}.")
            }
        })
    }

    /// The releases that nobody has accounted for. One that was just made is told by the state.
    fn releases(&self) -> Option<String> {
        match self.unaccounted {
            0 => None,
            1 if self.state == GuardState::Opened => None,
            1 => Some(
                "One release of its secret is unaccounted for: no boot has said that it got it. It was a boot that \
                 failed, or a thief."
                    .to_owned(),
            ),
            count => Some(format!(
                "{count} releases of its secret are unaccounted for: no boot has said that it got one. Each was a boot \
                 that failed, or a thief."
            )),
        }
    }
}

/// The reason for a suspicion, and what to do about it, for the client `name`.
pub fn suspicion(reason: Suspicion, name: &str) -> String {
    let (because, mend) = match reason {
        Suspicion::Impostor => (
            "its boot key was used while it was up, so somebody else has a copy of that key",
            "Look at the machine, and give it new keys there (nightlatch unenroll, then nightlatch enroll)",
        ),
        Suspicion::ServedImpostor => (
            "its secret was released to somebody else while it was up, so its disk password is known",
            "Look at the machine, and change its disk password and its keys there now (nightlatch unenroll, then nightlatch enroll)",
        ),
        Suspicion::Doubled => (
            "a boot of it that was over is up beside a later one, so it was cloned, or a snapshot was put back",
            "Look for the other machine, and give this one new keys (nightlatch unenroll, then nightlatch enroll)",
        ),
    };
    format!(
        "It is suspect: {because}. {mend}. To trust it again, run: nightlatch trust {}.",
        shell_word(name)
    )
}

impl ClientFacts<'_> {
    /// Everything about the guard but what a boot would get: empty, or one or more sentences with a space before each.
    pub(super) fn guard_sentences(&self) -> String {
        let Some(guard) = &self.guard else {
            return String::new();
        };
        let suspicion = guard.suspect.map(|reason| suspicion(reason, self.name));
        let sentences = [suspicion, guard.agent(self.enabled), guard.releases()];
        let sentences = sentences.into_iter().flatten();
        sentences.map(|sentence| format!(" {sentence}")).collect()
    }

    pub(super) fn is_armed(&self) -> bool {
        self.guard.is_some_and(|guard| guard.is_armed())
    }
}
