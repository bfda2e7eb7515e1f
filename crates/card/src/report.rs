//! The state of the card in words: for the control socket, for people, for JSON, and as the exit status of `check`. Pure.

use std::fmt::{self, Write as _};

use serde::Serialize;

use crate::board::BoardState;
use crate::card_data::Touch;
use crate::card_lock::{CardState, LockReason, NoCard};
use crate::policy::PolicyReport;

/// The state of a card, as one word and as the exit status of `nightlatch card check`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum StateWord {
    Unlocked,
    Locked,
    NoCard,
    TooFewTries,
    NoService,
    NeedsTouch,
}

impl StateWord {
    const ALL: [Self; 6] = [
        Self::Unlocked,
        Self::Locked,
        Self::NoCard,
        Self::TooFewTries,
        Self::NoService,
        Self::NeedsTouch,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Unlocked => "unlocked",
            Self::Locked => "locked",
            Self::NoCard => "no-card",
            Self::TooFewTries => "too-few-tries",
            Self::NoService => "no-service",
            Self::NeedsTouch => "needs-touch",
        }
    }

    /// A monitoring reads these: they never change.
    pub(crate) const fn exit(self) -> u8 {
        match self {
            Self::Unlocked => 0,
            Self::Locked => 10,
            Self::NoCard => 11,
            Self::TooFewTries => 12,
            Self::NoService => 13,
            Self::NeedsTouch => 14,
        }
    }

    /// The command that helps.
    pub(crate) const fn hint(self) -> Option<&'static str> {
        match self {
            Self::Unlocked => None,
            Self::Locked => Some("unlock it with `nightlatch card unlock`"),
            Self::NoCard => Some("`nightlatch card status` says what is missing"),
            Self::TooFewTries => Some(
                "unblock the PIN with the admin PIN or the reset code: `systemctl stop nightlatch-card.socket nightlatch-card-control.socket nightlatch-card`, `gpg --card-edit`, then start both sockets",
            ),
            Self::NoService => Some("start it with `systemctl start pcscd.socket`"),
            Self::NeedsTouch => Some(
                "switch the touch policy of the authentication key off, for work without people",
            ),
        }
    }
}

impl From<CardState> for StateWord {
    fn from(state: CardState) -> Self {
        match state {
            CardState::NoService | CardState::NoAnswer => Self::NoService,
            CardState::NoCard(_) => Self::NoCard,
            CardState::Locked(_) => Self::Locked,
            CardState::TooFewTries => Self::TooFewTries,
            CardState::Unlocked(Touch::Off) => Self::Unlocked,
            CardState::Unlocked(Touch::Needed) => Self::NeedsTouch,
        }
    }
}

/// The state as a sentence without a full stop.
pub(crate) struct Sentence<'s>(pub(crate) &'s BoardState);

impl fmt::Display for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BoardState {
            state,
            detail,
            card,
            ..
        } = self.0;
        let name = match card {
            Some(card) => format!("the card {}", card.aid.serial()),
            None => "the card".to_owned(),
        };
        match state {
            CardState::NoService => f.write_str("pcscd does not answer")?,
            CardState::NoAnswer => f.write_str("pcscd or the card does not answer")?,
            CardState::NoCard(why) => f.write_str(no_card(*why))?,
            CardState::Locked(why) => write!(f, "{name} is locked: {}", locked(*why))?,
            CardState::TooFewTries => {
                write!(
                    f,
                    "{name} has too few tries of its PIN left: the last one is never used"
                )?;
            }
            CardState::Unlocked(Touch::Off) => write!(f, "{name} is unlocked")?,
            CardState::Unlocked(Touch::Needed) => {
                write!(f, "{name} is unlocked, and each signature needs a touch")?;
            }
        }
        match detail {
            Some(detail) => write!(f, " ({detail})"),
            None => Ok(()),
        }
    }
}

const fn no_card(why: NoCard) -> &'static str {
    match why {
        NoCard::Missing => "no OpenPGP card is in a reader",
        NoCard::NotTheNamed => "the card that card.conf names is not there, but another one",
        NoCard::Several => "several cards are there: name one in card.conf (card = AID)",
        NoCard::NoKey => "the card has no authentication key that SSH can use",
        NoCard::KeyKind => "the card's authentication key is of a kind that SSH has no name for",
        NoCard::OtherKey => "the card has another authentication key than card.conf names",
        NoCard::InUse => {
            "another program uses the card: end it, for example `gpgconf --kill scdaemon`"
        }
        NoCard::Faulty => "the card or its reader does not work",
    }
}

const fn locked(why: LockReason) -> &'static str {
    match why {
        LockReason::Start => "nobody has unlocked it since the agent was started",
        LockReason::Person => "somebody has locked it",
        LockReason::Removed => "it was taken out",
        LockReason::OtherCard => "it is not the card that was unlocked",
        LockReason::WrongPin => "it has refused the PIN",
        LockReason::Tries => "the agent does not try the PIN by itself with so few tries left",
        LockReason::Doubt => {
            "the PIN is not tried, because the card has answered in an unexpected way"
        }
    }
}

/// The reason for a missing card, as one word.
const fn no_card_word(why: NoCard) -> &'static str {
    match why {
        NoCard::Missing => "missing",
        NoCard::NotTheNamed => "not-the-named",
        NoCard::Several => "several",
        NoCard::NoKey => "no-key",
        NoCard::KeyKind => "key-kind",
        NoCard::OtherKey => "other-key",
        NoCard::InUse => "in-use",
        NoCard::Faulty => "faulty",
    }
}

/// The state as the commands get it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct StatusReport {
    pub(crate) state: StateWord,
    pub(crate) text: String,
    /// True while the agent gets the card back by itself.
    pub(crate) recovers: bool,
    pub(crate) aid: Option<String>,
    pub(crate) serial: Option<String>,
    /// The public key as a line of authorized_keys, without a comment.
    pub(crate) key: Option<String>,
    pub(crate) fingerprint: Option<String>,
    pub(crate) tries: Option<u8>,
    pub(crate) signatures: u64,
    /// The reason why nothing is signed now, if `hours` are the reason.
    pub(crate) closed: Option<String>,
    /// The number of usual hosts, without `hosts`.
    pub(crate) usual_hosts: Option<u64>,
    /// Until then each host becomes a usual one.
    pub(crate) learning_until: Option<String>,
    /// The reason for a missing card, as one word.
    pub(crate) reason: Option<String>,
    /// True when each signature needs a touch.
    pub(crate) touch: bool,
    /// The longest message in bytes that the card takes in one command.
    pub(crate) longest: Option<usize>,
    /// True when the card says that it takes longer ones in parts, without a limit.
    pub(crate) chaining: bool,
}

/// An answer of the agent that this version does not understand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the agent's answer is not understood: it is of another version")]
pub(crate) struct OtherVersion;

impl StatusReport {
    pub(crate) fn new(board: &BoardState, policy: PolicyReport) -> Self {
        let card = board.card.as_ref();
        Self {
            state: board.state.into(),
            text: Sentence(board).to_string(),
            recovers: board.recovers,
            aid: card.map(|card| card.aid.to_string()),
            serial: card.map(|card| card.aid.serial()),
            key: card.map(|card| card.key.line()),
            fingerprint: card.map(|card| card.key.fingerprint()),
            tries: card.and_then(|card| card.tries),
            signatures: board.signatures,
            closed: policy.closed,
            usual_hosts: policy.usual_hosts,
            learning_until: policy.learning_until,
            reason: match board.state {
                CardState::NoCard(why) => Some(no_card_word(why).to_owned()),
                _ => None,
            },
            touch: card.is_some_and(|card| card.touch == Touch::Needed),
            longest: card.map(|card| card.limits.longest_in_one()),
            chaining: card.is_some_and(|card| card.limits.chaining),
        }
    }

    /// `NAME VALUE` in each line; those without a value are left out.
    pub(crate) fn lines(&self) -> String {
        let mut lines = format!(
            "state {}\ntext {}\n",
            self.state.as_str(),
            self.text.replace('\n', " ")
        );
        for (name, is_set) in [
            ("recovers", self.recovers),
            ("touch", self.touch),
            ("chaining", self.chaining),
        ] {
            if is_set {
                // A string takes all that is written to it.
                let _ = writeln!(lines, "{name} yes");
            }
        }
        let longest = self.longest.map(|longest| longest.to_string());
        let tries = self.tries.map(|tries| tries.to_string());
        let signatures = Some(self.signatures.to_string());
        let usual_hosts = self.usual_hosts.map(|count| count.to_string());
        for (name, value) in [
            ("aid", &self.aid),
            ("serial", &self.serial),
            ("key", &self.key),
            ("fingerprint", &self.fingerprint),
            ("tries", &tries),
            ("signatures", &signatures),
            ("closed", &self.closed),
            ("usual-hosts", &usual_hosts),
            ("learning-until", &self.learning_until),
            ("reason", &self.reason),
            ("longest", &longest),
        ] {
            if let Some(value) = value {
                let _ = writeln!(lines, "{name} {value}");
            }
        }
        lines
    }

    /// Reads these lines. Unknown names are left to later versions.
    pub(crate) fn parse(text: &str) -> Result<Self, OtherVersion> {
        let value = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(' '));
            let found = lines.find(|(found, _)| *found == name);
            found.map(|(_, value)| value.to_owned())
        };
        let state = value("state").ok_or(OtherVersion)?;
        let state = StateWord::ALL
            .into_iter()
            .find(|word| word.as_str() == state);
        let number = |name: &str| value(name).map(|value| value.parse().map_err(|_| OtherVersion));
        Ok(Self {
            state: state.ok_or(OtherVersion)?,
            text: value("text").ok_or(OtherVersion)?,
            recovers: value("recovers").is_some(),
            aid: value("aid"),
            serial: value("serial"),
            key: value("key"),
            fingerprint: value("fingerprint"),
            tries: number("tries")
                .transpose()?
                .and_then(|tries: u64| u8::try_from(tries).ok()),
            signatures: number("signatures").transpose()?.unwrap_or(0),
            closed: value("closed"),
            usual_hosts: number("usual-hosts").transpose()?,
            learning_until: value("learning-until"),
            reason: value("reason"),
            touch: value("touch").is_some(),
            longest: number("longest")
                .transpose()?
                .and_then(|longest| usize::try_from(longest).ok()),
            chaining: value("chaining").is_some(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::BoardCard;
    use crate::card_data::CardData;
    use crate::card_data::tests::{ED25519, sample};
    use crate::key::AuthKey;

    fn board(state: CardState) -> BoardState {
        let data = CardData::parse(&sample(0x1234_5678, 3, &ED25519)).unwrap();
        BoardState {
            state,
            recovers: true,
            card: Some(BoardCard {
                aid: data.aid,
                key: AuthKey::Ed25519([1; 32]),
                tries: Some(3),
                touch: Touch::Needed,
                limits: data.limits,
            }),
            detail: Some("a\nfault".to_owned()),
            signatures: 7,
        }
    }

    fn policy() -> PolicyReport {
        PolicyReport {
            closed: Some("the next hours begin on Mon".to_owned()),
            usual_hosts: Some(12),
            learning_until: Some("2026-11-21 23:19:55 UTC".to_owned()),
        }
    }

    /// Monitorings rely on them.
    #[test]
    fn each_state_has_its_exit_status() {
        for (state, exit) in [
            (CardState::Unlocked(Touch::Off), 0),
            (CardState::Locked(LockReason::Start), 10),
            (CardState::NoCard(NoCard::Missing), 11),
            (CardState::TooFewTries, 12),
            (CardState::NoService, 13),
            (CardState::NoAnswer, 13),
            (CardState::Unlocked(Touch::Needed), 14),
        ] {
            let word = StateWord::from(state);
            assert_eq!(word.exit(), exit);
            assert_eq!(word.hint().is_none(), exit == 0);
        }
    }

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let report = StatusReport::new(&board(CardState::Locked(LockReason::Removed)), policy());
        assert_eq!(
            report.text,
            "the card 0006:12345678 is locked: it was taken out (a\nfault)"
        );
        let read = StatusReport::parse(&report.lines()).unwrap();
        let text = "the card 0006:12345678 is locked: it was taken out (a fault)".to_owned();
        assert_eq!(read, StatusReport { text, ..report });
        let mut empty = board(CardState::NoService);
        empty.card = None;
        empty.detail = None;
        let report = StatusReport::new(&empty, PolicyReport::default());
        assert_eq!(StatusReport::parse(&report.lines()), Ok(report.clone()));
        assert_eq!(report.text, "pcscd does not answer");
        for other in ["", "state odd\ntext x\n", "text x\n"] {
            assert_eq!(StatusReport::parse(other), Err(OtherVersion));
        }
    }
}
