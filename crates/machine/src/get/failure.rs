//! The failures of a request to the agent: the exit status, the text, and the time of the next try.

use std::io;
use std::time::Duration;

use nightlatch_console::failure::{
    EX_CONFIG, EX_DATAERR, EX_NOINPUT, EX_NOPERM, EX_OSERR, EX_PROTOCOL, EX_TEMPFAIL,
    EX_UNAVAILABLE, Failure,
};
use nightlatch_core::error_chain::format_error;
use nightlatch_core::secret_name::SecretName;
use nightlatch_core::secret_rejection::RejectionReason;
use nightlatch_proto::local::{LocalAnswer, LocalFailure, LocalFailureKind};
use nightlatch_proto::release::ReasonWord;

use super::agent::AgentError;

/// The longest pause that a server's refusal can ask for. nightlatchd asks for 60 s; one of several servers must not keep
/// the machine from the others.
const LONGEST_RETRY: Duration = Duration::from_secs(2 * 60);

/// The exit status when the request waited for a person who has denied it, and no trusted server grants it: a service
/// manager must not ask that person again and again. A request that is refused for an earlier denial asks nobody.
pub(super) const DENIED: u8 = 80;

/// A failure of one try.
pub(super) struct TryFailure {
    pub(super) failure: Failure,
    /// The next try may succeed without anybody doing anything.
    pub(super) is_passing: bool,
    /// The server wants no other request before.
    retry: Option<Duration>,
}

impl TryFailure {
    /// The time to the next try, which is `pause` where no server wants more; `None` when there is none in the time that is
    /// `left`.
    pub(super) fn wait(&self, pause: Duration, left: Option<Duration>) -> Option<Duration> {
        if !self.is_passing || left.is_some_and(|left| left.is_zero()) {
            return None;
        }
        let retry = self.retry.map(|retry| retry.min(LONGEST_RETRY));
        match (retry, left) {
            // It would be too soon for the server.
            (Some(retry), Some(left)) if retry > left => None,
            _ => {
                let wait = pause.max(retry.unwrap_or_default());
                Some(left.map_or(wait, |left| wait.min(left)))
            }
        }
    }
}

fn passing(failure: Failure) -> TryFailure {
    TryFailure {
        failure,
        is_passing: true,
        retry: None,
    }
}

fn lasting(failure: Failure) -> TryFailure {
    TryFailure {
        failure,
        is_passing: false,
        retry: None,
    }
}

pub(super) fn agent_failure(error: AgentError, is_root: bool) -> TryFailure {
    let what = format_error(&error);
    match error {
        // Root is kept out only while the agent makes its folder.
        AgentError::NoAgent(_, error)
            if error.kind() == io::ErrorKind::PermissionDenied && !is_root =>
        {
            lasting(Failure::new(EX_NOPERM, what))
        }
        AgentError::NoAgent(_, error) => {
            let failure = Failure::new(EX_UNAVAILABLE, what).hint(
                "systemctl status nightlatch-agent; it needs host keys: nightlatch enroll --host-key",
            );
            match error.kind() {
                // It is being started, as after an update.
                io::ErrorKind::NotFound
                | io::ErrorKind::ConnectionRefused
                | io::ErrorKind::PermissionDenied => passing(failure),
                _ => lasting(failure),
            }
        }
        AgentError::Ended | AgentError::Io(_) => passing(
            Failure::new(EX_UNAVAILABLE, what).hint("journalctl -u nightlatch-agent says why"),
        ),
        AgentError::TimedOut => passing(no_server(what)),
        AgentError::Form(_) => lasting(
            Failure::new(EX_PROTOCOL, what)
                .hint("systemctl restart nightlatch-agent, if it was updated"),
        ),
    }
}

fn no_server(what: impl Into<String>) -> Failure {
    Failure::new(EX_TEMPFAIL, what)
        .hint("journalctl -u nightlatch-agent says why; --wait gives it more time")
}

/// The failure that a last line tells. What one server says may pass as long as another was not reached.
pub(super) fn answer_failure(
    name: &SecretName,
    answer: LocalAnswer,
    unreached: usize,
) -> TryFailure {
    let with_others = match unreached {
        0 => lasting,
        _ => passing,
    };
    match answer {
        LocalAnswer::Refused { reason, retry } => {
            let failure = refused(name, reason.as_ref(), unreached);
            match reason.is_some_and(|reason| reason.asks_again()) {
                // Its `retry` is not for the servers that were not reached.
                true => TryFailure {
                    retry: retry.filter(|_| unreached == 0),
                    ..passing(failure)
                },
                false => with_others(failure),
            }
        }
        LocalAnswer::Rejected(reason) => with_others(rejected(name, reason)),
        LocalAnswer::Failed(failure) => failed(&failure),
        // These are not last lines.
        LocalAnswer::Trying
        | LocalAnswer::Waiting(_)
        | LocalAnswer::Unreached(_)
        | LocalAnswer::Value(_) => lasting(Failure::new(EX_PROTOCOL, "the agent sent no answer")),
    }
}

fn refused(name: &SecretName, reason: Option<&ReasonWord>, unreached: usize) -> Failure {
    let others = match unreached {
        0 => String::new(),
        count => format!("; not reached: {count} other trusted servers"),
    };
    match reason.map(ReasonWord::as_str) {
        Some(reason @ "no-such-secret") => Failure::new(
            EX_NOINPUT,
            format!("the server has no such secret for this machine ({reason}){others}"),
        )
        .hint(format!("nightlatch secret put {name} CLIENT gives it one")),
        Some(reason @ "denied") if unreached == 0 => {
            Failure::new(DENIED, format!("a person has denied it ({reason})"))
                .hint("on the server: nightlatch why CLIENT")
        }
        Some(reason @ "denied-before") if unreached == 0 => Failure::new(
            EX_NOINPUT,
            format!("a person has denied an earlier request of this machine ({reason})"),
        )
        .hint("on the server: nightlatch why CLIENT says until when that counts"),
        Some(reason) => Failure::new(EX_NOINPUT, format!("the server refuses: {reason}{others}"))
            .hint("on the server: nightlatch why CLIENT"),
        None => Failure::new(
            EX_NOINPUT,
            format!(
                "the server refuses and gives no reason: it does not know this host key, or no named secrets{others}"
            ),
        )
        .hint("on the server: nightlatch log; its clients.conf needs host_key_id of this machine"),
    }
}

fn rejected(name: &SecretName, reason: RejectionReason) -> Failure {
    let hint = match reason {
        RejectionReason::Forged => {
            "compare /etc/nightlatch/admin-keys with `nightlatch admin-key show`; if they are the same, the server is not \
             to be trusted"
                .to_owned()
        }
        RejectionReason::Expired => format!("compare the clock; or seal {name} anew: nightlatch secret put {name} CLIENT"),
        RejectionReason::RolledBack => format!(
            "the server, or a backup of it, has an older one: seal {name} anew with `nightlatch secret put {name} CLIENT`"
        ),
        RejectionReason::Swapped | RejectionReason::Malformed | RejectionReason::Other => format!(
            "seal {name} anew with `nightlatch secret put {name} CLIENT`; if that does not help, the server is not to be \
             trusted"
        ),
    };
    Failure::new(
        EX_DATAERR,
        format!(
            "the agent does not believe what the server gave: {reason}: {}",
            reason.sentence()
        ),
    )
    .hint(hint)
}

fn failed(failure: &LocalFailure) -> TryFailure {
    let text = failure.text();
    match failure.kind {
        LocalFailureKind::NotAllowed => lasting(Failure::new(EX_NOPERM, text)),
        LocalFailureKind::Busy | LocalFailureKind::Lookup => {
            passing(Failure::new(EX_TEMPFAIL, text))
        }
        LocalFailureKind::NoServer => passing(no_server(text)),
        LocalFailureKind::Setup => lasting(Failure::new(EX_CONFIG, text)),
        LocalFailureKind::State => lasting(Failure::new(EX_OSERR, text)),
        LocalFailureKind::Request | LocalFailureKind::Other => lasting(
            Failure::new(EX_PROTOCOL, format!("the agent cannot do this: {text}"))
                .hint("systemctl restart nightlatch-agent, if it was updated"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn db() -> SecretName {
        SecretName::new("db").unwrap()
    }

    fn shown(failure: TryFailure) -> (u8, bool) {
        (failure.failure.exit(), failure.is_passing)
    }

    fn refusal(word: &str) -> LocalAnswer {
        LocalAnswer::Refused {
            reason: ReasonWord::new(word),
            retry: None,
        }
    }

    #[test]
    fn a_refusal_is_final_when_every_trusted_server_has_answered() {
        let forged = || LocalAnswer::Rejected(RejectionReason::Forged);
        for (answer, unreached, expected) in [
            (refusal("disabled"), 0, (EX_NOINPUT, false)),
            (refusal("disabled"), 1, (EX_NOINPUT, true)),
            (refusal("no-such-secret"), 1, (EX_NOINPUT, true)),
            (refusal("secret-changed"), 0, (EX_NOINPUT, true)),
            (refusal("guard-changed"), 0, (EX_NOINPUT, true)),
            (refusal("machine-is-suspect"), 0, (EX_NOINPUT, true)),
            (refusal("too-many-wait"), 0, (EX_NOINPUT, true)),
            // A person's word ends it, unless another server may not know of it.
            (refusal("denied"), 0, (DENIED, false)),
            (refusal("denied"), 2, (EX_NOINPUT, true)),
            // Nobody was asked.
            (refusal("denied-before"), 0, (EX_NOINPUT, false)),
            (forged(), 0, (EX_DATAERR, false)),
            (forged(), 1, (EX_DATAERR, true)),
        ] {
            let text = answer.to_string();
            let found = shown(answer_failure(&db(), answer, unreached));
            assert_eq!(found, expected, "{text} {unreached}");
        }
        let lookup = LocalFailure::new(LocalFailureKind::Lookup, "LDAP");
        assert_eq!(shown(failed(&lookup)), (EX_TEMPFAIL, true));
    }

    #[test]
    fn a_server_that_asks_for_a_pause_has_it_and_not_more_than_two_minutes() {
        let second = Duration::from_secs(1);
        let after_with = |word: &str, retry: u64, unreached: usize| {
            let answer = LocalAnswer::Refused {
                reason: ReasonWord::new(word),
                retry: Some(second * u32::try_from(retry).unwrap()),
            };
            answer_failure(&db(), answer, unreached)
        };
        let after = |word, retry| after_with(word, retry, 0);
        let full = after("too-many-wait", 60);
        assert_eq!(full.wait(second, None), Some(second * 60));
        assert_eq!(full.wait(second, Some(second * 90)), Some(second * 60));
        // No other request makes sense in the time that is left.
        assert_eq!(full.wait(second, Some(second * 59)), None);
        let greedy = after("too-many-wait", 999_999);
        assert_eq!(greedy.wait(second, None), Some(LONGEST_RETRY));
        // The other server is not kept waiting.
        let away = after_with("too-many-wait", 60, 1);
        assert_eq!(away.wait(second, Some(second * 20)), Some(second));
        let other = after_with("disabled", 60, 1);
        assert_eq!(other.wait(second, Some(second * 90)), Some(second));
        assert_eq!(other.wait(second * 8, Some(second * 3)), Some(second * 3));
        assert_eq!(other.wait(second, Some(Duration::ZERO)), None);
    }

    #[test]
    fn an_agent_that_is_being_started_is_waited_for() {
        let absent = |kind: io::ErrorKind| AgentError::NoAgent(PathBuf::new(), kind.into());
        for (kind, is_root, expected) in [
            (io::ErrorKind::NotFound, false, (EX_UNAVAILABLE, true)),
            (
                io::ErrorKind::ConnectionRefused,
                true,
                (EX_UNAVAILABLE, true),
            ),
            (
                io::ErrorKind::PermissionDenied,
                true,
                (EX_UNAVAILABLE, true),
            ),
            (io::ErrorKind::PermissionDenied, false, (EX_NOPERM, false)),
            (io::ErrorKind::NotADirectory, true, (EX_UNAVAILABLE, false)),
        ] {
            assert_eq!(
                shown(agent_failure(absent(kind), is_root)),
                expected,
                "{kind}"
            );
        }
    }
}
