//! The answers of the trusted servers to one request, and what its callers are told in the end. Pure.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use nightlatch_core::key_id::KeyId;
use nightlatch_proto::local::{LocalAnswer, LocalFailure, LocalFailureKind};

/// The last answer of each server that has given no secret that is believed.
#[derive(Debug, Default)]
pub(super) struct Answers(BTreeMap<KeyId, LocalAnswer>);

impl Answers {
    pub(super) fn note(&mut self, server: KeyId, answer: LocalAnswer) {
        self.0.insert(server, answer);
    }

    /// The last line to the callers when no server is left to ask. `has_lost`: a server was lost while the request waited
    /// there. A person may still decide at that one, and nobody else decides for that person.
    pub(super) fn last_line(self, has_lost: bool) -> LocalAnswer {
        let no_server =
            |what: &str| LocalAnswer::Failed(LocalFailure::new(LocalFailureKind::NoServer, what));
        if has_lost {
            return no_server(
                "a server at which the request waited was lost; the log of nightlatch-agent says why",
            );
        }
        let says_most = |answer: &LocalAnswer| (weight(answer), Reverse(retry(answer)));
        self.0
            .into_values()
            .max_by_key(says_most)
            .unwrap_or_else(|| {
                no_server(
                    "no trusted server could be reached; the log of nightlatch-agent says why",
                )
            })
    }
}

/// A refusal that may pass by itself is told first: the caller asks again then. A person's denial of this request is told
/// only where no server says more: the caller gives up then, and a single server must not bring that about.
fn weight(answer: &LocalAnswer) -> u8 {
    match answer {
        LocalAnswer::Refused {
            reason: Some(reason),
            ..
        } if reason.asks_again() => 6,
        LocalAnswer::Rejected(_) => 5,
        LocalAnswer::Refused {
            reason: Some(reason),
            ..
        } => match reason.as_str() {
            "no-such-secret" => 0,
            "denied" => 1,
            "denied-before" => 3,
            _ => 4,
        },
        _ => 2,
    }
}

/// Of several that want to be asked again, the soonest is told: one must not keep the machine from the others.
fn retry(answer: &LocalAnswer) -> Option<Duration> {
    match answer {
        LocalAnswer::Refused { retry, .. } => *retry,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use nightlatch_core::secret_rejection::RejectionReason;
    use nightlatch_proto::release::ReasonWord;

    use super::*;

    fn refused(reason: &str, retry: Option<u64>) -> LocalAnswer {
        LocalAnswer::Refused {
            reason: ReasonWord::new(reason),
            retry: retry.map(Duration::from_secs),
        }
    }

    fn told(answers: &[(u8, LocalAnswer)]) -> String {
        let mut all = Answers::default();
        for (server, answer) in answers {
            let server = KeyId::from_bytes([*server; 32]).unwrap();
            all.note(server, answer.clone());
        }
        all.last_line(false).to_string()
    }

    #[test]
    fn the_answer_that_says_most_is_told_in_whatever_order_they_come() {
        let without_reason = LocalAnswer::Refused {
            reason: None,
            retry: None,
        };
        let rising = [
            refused("no-such-secret", None),
            refused("denied", None),
            without_reason,
            refused("denied-before", None),
            refused("suspect", None),
            LocalAnswer::Rejected(RejectionReason::Forged),
            refused("secret-changed", None),
        ];
        for (more, says_more) in rising.iter().enumerate() {
            for says_less in &rising[..more] {
                for (first, second) in [(says_less, says_more), (says_more, says_less)] {
                    let told = told(&[(1, first.clone()), (2, second.clone())]);
                    assert_eq!(told, says_more.to_string());
                }
            }
        }
    }

    #[test]
    fn the_last_answer_of_a_server_counts() {
        let (full, disabled) = (
            refused("too-many-wait", Some(60)),
            refused("disabled", None),
        );
        assert_eq!(
            told(&[(1, full), (1, disabled.clone())]),
            disabled.to_string()
        );
    }

    #[test]
    fn the_server_that_wants_to_be_asked_soonest_is_told() {
        let after = |retry| refused("too-many-wait", retry);
        let told = told(&[
            (1, after(Some(90))),
            (2, after(Some(60))),
            (3, after(Some(120))),
        ]);
        assert_eq!(told, after(Some(60)).to_string());
    }

    #[test]
    fn a_server_that_was_lost_while_the_request_waited_is_asked_again_whatever_others_say() {
        let mut answers = Answers::default();
        let forged = LocalAnswer::Rejected(RejectionReason::Forged);
        answers.note(KeyId::from_bytes([1; 32]).unwrap(), forged);
        let told = answers.last_line(true).to_string();
        assert!(told.starts_with("failed no-server"), "{told}");
        let nobody = Answers::default().last_line(false).to_string();
        assert!(nobody.starts_with("failed no-server"), "{nobody}");
    }
}
