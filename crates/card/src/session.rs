//! The commands for an OpenPGP card, one after the other: what is sent, and what each answer means. Decides nothing that
//! outlives a command.

use nightlatch_core::secret::Secret;

use crate::apdu::{Command, CommandLimits, Expected, StatusWord, TooLong, split_answer};
use crate::card_data::{AID_PREFIX, CardData, CardDataFault, PinStatus, Touch, pin_status, touch};
use crate::card_lock::{TooFewTries, TriedBy, may_try};
use crate::kdf::{Kdf, KdfDoubt};
use crate::key::{AuthKey, SignInput};
use crate::pin_text::{self, PinTextFault};
use crate::transport::{AccessError, Connection};

const SELECT: u8 = 0xa4;
const GET_DATA: u8 = 0xca;
const VERIFY: u8 = 0x20;
const GENERATE: u8 = 0x47;
const INTERNAL_AUTHENTICATE: u8 = 0x88;
const GET_RESPONSE: u8 = 0xc0;

/// The reference of PW1 for everything but signatures (OpenPGP card 3.4, 7.2.2).
const PW1_OTHER: u8 = 0x82;

/// The tag of the application related data.
const APPLICATION_DATA: u8 = 0x6e;

/// The control reference template of the authentication key.
const AUTHENTICATION: [u8; 2] = [0xa4, 0];

/// The shortest PIN that a card accepts (OpenPGP card 3.4, 4.3). A shorter one would cost a try.
const SHORTEST_PIN: usize = 6;

/// An answer that goes on and on is ended here: a public key of RSA has some 1,100 bytes.
const MAX_ANSWER: usize = 16 * 1024;

/// A card could not be opened.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum OpenFault {
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error("the card has no OpenPGP application (it answers {0} to its selection)")]
    NotOpenPgp(StatusWord),
    /// It may have one: the next attempt may tell.
    #[error("the card answers {0} when its OpenPGP application is selected")]
    Select(StatusWord),
    #[error("the card answers {status} when its {what} is read")]
    Status {
        what: &'static str,
        status: StatusWord,
    },
    #[error(transparent)]
    Data(#[from] CardDataFault),
    #[error("the card has no authentication key")]
    NoKey,
    #[error("the card's authentication key is of a kind that SSH has no name for")]
    KeyKind,
    #[error("the card's answer is malformed")]
    Malformed,
}

impl From<TransmitFault> for OpenFault {
    fn from(fault: TransmitFault) -> Self {
        match fault {
            TransmitFault::Access(error) => Self::Access(error),
            TransmitFault::TooLong(_) | TransmitFault::Malformed => Self::Malformed,
        }
    }
}

/// A command had no usable answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum TransmitFault {
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error(transparent)]
    TooLong(#[from] TooLong),
    #[error("the card's answer is malformed")]
    Malformed,
}

/// A card as it was read after its selection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct OpenCard {
    pub(crate) data: CardData,
    pub(crate) key: AuthKey,
}

/// Selects the application, once after each reset, and reads what has to be known. Another selection could drop what is verified.
pub(crate) fn open(card: &mut dyn Connection) -> Result<OpenCard, OpenFault> {
    let data = select(card)?;
    let key = read_key(card, &data)?;
    Ok(OpenCard { data, key })
}

/// The first half of [`open`]: all but the key.
pub(crate) fn select(card: &mut dyn Connection) -> Result<CardData, OpenFault> {
    let plain = CommandLimits::default();
    let select = command(SELECT, [4, 0], &AID_PREFIX, Expected::Short);
    let (_, status) = send(card, &select, &plain)?;
    match status {
        StatusWord::OK => {}
        status if status.has_no_application() => return Err(OpenFault::NotOpenPgp(status)),
        status => return Err(OpenFault::Select(status)),
    }
    let (answer, status) = send(card, &get_data(APPLICATION_DATA), &plain)?;
    if status != StatusWord::OK {
        let what = "application related data";
        return Err(OpenFault::Status { what, status });
    }
    let mut data = CardData::parse(&answer)?;
    // Not every card has this object, nor puts it into the one above.
    let (policy, status) = send(card, &get_data(0xd8), &data.limits)?;
    match status {
        StatusWord::OK if touch(&policy) == Touch::Needed => data.touch = Touch::Needed,
        StatusWord::OK => {}
        status if status.has_no_object() => {}
        status => {
            let what = "touch policy";
            return Err(OpenFault::Status { what, status });
        }
    }
    Ok(data)
}

/// The second half of [`open`].
pub(crate) fn read_key(card: &mut dyn Connection, data: &CardData) -> Result<AuthKey, OpenFault> {
    let algorithm = data.algorithm.ok_or(OpenFault::KeyKind)?;
    let read_key = command(GENERATE, [0x81, 0], &AUTHENTICATION, Expected::Long);
    let (answer, status) = send(card, &read_key, &data.limits)?;
    if status != StatusWord::OK {
        return Err(OpenFault::NoKey);
    }
    AuthKey::parse(algorithm, &answer).ok_or(OpenFault::NoKey)
}

/// The card's word on its PIN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PinState {
    Verified,
    /// Tries that are left.
    Left(u8),
    /// Neither.
    Unknown(StatusWord),
}

/// An empty VERIFY: asks, and uses no try.
pub(crate) fn pin_state(
    card: &mut dyn Connection,
    limits: &CommandLimits,
) -> Result<PinState, TransmitFault> {
    let ask = command(VERIFY, [0, PW1_OTHER], &[], Expected::Nothing);
    let (_, status) = send(card, &ask, limits)?;
    Ok(match (status, status.tries()) {
        (StatusWord::OK, _) => PinState::Verified,
        (StatusWord::BLOCKED, _) => PinState::Left(0),
        (_, Some(left)) => PinState::Left(left),
        _ => PinState::Unknown(status),
    })
}

/// The end of an order to verify a PIN.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum VerifyEnd {
    Verified,
    /// The card has refused it; so many tries are left.
    Rejected(u8),
    /// It was not tried.
    NotTried(NotTried),
    /// The card has answered neither yes nor no.
    Unexpected(StatusWord),
    /// The connection broke before it was tried.
    Broken(TransmitFault),
    /// The connection broke while it was tried.
    Lost(TransmitFault),
}

/// Why a PIN was not tried.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum NotTried {
    #[error(transparent)]
    TooFewTries(#[from] TooFewTries),
    #[error(transparent)]
    Text(#[from] PinTextFault),
    #[error("the PIN has {found} characters, and this card's have {SHORTEST_PIN} to {longest}")]
    Length { found: usize, longest: u8 },
    #[error(transparent)]
    Kdf(#[from] KdfDoubt),
    #[error("the card answers {0} when it is asked how many tries are left")]
    Tries(StatusWord),
    #[error(transparent)]
    PinStatus(#[from] CardDataFault),
    #[error("the card takes PINs in a format that this agent does not send (PIN block 2)")]
    Format,
    #[error("the card says that a PIN is verified already, so this one would not be tested")]
    Verified,
}

/// Verifies `pin`, after everything that could make it a wasted try was ruled out.
pub(crate) fn verify(
    card: &mut dyn Connection,
    open: &OpenCard,
    pin: &Secret,
    by: TriedBy,
) -> VerifyEnd {
    match before_verify(card, open, pin, by) {
        Ok(ready) => send_pin(card, &open.data.limits, pin, &ready),
        Err(end) => end,
    }
}

/// A PIN may be sent now.
pub(crate) struct ReadyPin {
    /// What is sent in place of the PIN.
    derived: Option<Secret>,
    /// The tries that are left.
    left: u8,
}

/// Rules out everything that could make `pin` a wasted try. [`send_pin`] must follow at once, or nothing.
pub(crate) fn before_verify(
    card: &mut dyn Connection,
    open: &OpenCard,
    pin: &Secret,
    by: TriedBy,
) -> Result<ReadyPin, VerifyEnd> {
    let not_tried = |why: NotTried| VerifyEnd::NotTried(why);
    pin_text::check(pin.expose()).map_err(|fault| not_tried(fault.into()))?;
    let limits = &open.data.limits;
    let (object, status) = send(card, &get_data(0xf9), limits).map_err(VerifyEnd::Broken)?;
    let kdf = Kdf::from_answer(&object, status, open.data.may_have_kdf)
        .map_err(|doubt| not_tried(doubt.into()))?;
    let derived = kdf.derive(pin);
    let (found, longest) = (pin.len(), open.data.pin.longest);
    let sent = derived.as_ref().map_or(found, Secret::len);
    if found < SHORTEST_PIN || sent > usize::from(longest) {
        return Err(not_tried(NotTried::Length { found, longest }));
    }
    let left = match pin_state(card, limits).map_err(VerifyEnd::Broken)? {
        PinState::Left(left) => left,
        PinState::Verified => return Err(not_tried(NotTried::Verified)),
        PinState::Unknown(status) => return Err(not_tried(NotTried::Tries(status))),
    };
    let counter = match read_pin_status(card, limits).map_err(VerifyEnd::Broken)? {
        Ok(counter) => counter,
        Err(why) => return Err(not_tried(why)),
    };
    if counter.is_block {
        return Err(not_tried(NotTried::Format));
    }
    let left = left.min(counter.tries);
    may_try(by, left).map_err(|few| not_tried(few.into()))?;
    Ok(ReadyPin { derived, left })
}

/// The PIN status as it is now. Some cards have it only as a part of the application related data.
fn read_pin_status(
    card: &mut dyn Connection,
    limits: &CommandLimits,
) -> Result<Result<PinStatus, NotTried>, TransmitFault> {
    let (bytes, status) = send(card, &get_data(0xc4), limits)?;
    if status == StatusWord::OK {
        return Ok(pin_status(&bytes).map_err(NotTried::PinStatus));
    }
    if status != StatusWord::NOT_FOUND {
        return Ok(Err(NotTried::Tries(status)));
    }
    let (bytes, status) = send(card, &get_data(APPLICATION_DATA), limits)?;
    Ok(match status {
        StatusWord::OK => CardData::parse(&bytes)
            .map(|data| data.pin)
            .map_err(NotTried::PinStatus),
        status => Err(NotTried::Tries(status)),
    })
}

/// Makes the try.
pub(crate) fn send_pin(
    card: &mut dyn Connection,
    limits: &CommandLimits,
    pin: &Secret,
    ready: &ReadyPin,
) -> VerifyEnd {
    let pin = ready.derived.as_ref().unwrap_or(pin);
    let verify = command(VERIFY, [0, PW1_OTHER], pin.expose(), Expected::Nothing);
    let status = match send(card, &verify, limits) {
        Ok((_, status)) => status,
        Err(fault) => return VerifyEnd::Lost(fault),
    };
    match (status, status.tries()) {
        (StatusWord::OK, _) => VerifyEnd::Verified,
        (StatusWord::BLOCKED, _) => VerifyEnd::Rejected(0),
        (_, Some(left)) => VerifyEnd::Rejected(left),
        // Cards of version 2 answer 6982 to a wrong PIN; others to other things. The counter knows.
        _ => match pin_state(card, limits) {
            Ok(PinState::Left(left)) if left < ready.left => VerifyEnd::Rejected(left),
            _ => VerifyEnd::Unexpected(status),
        },
    }
}

/// A signature was not made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum AuthenticateFault {
    #[error(transparent)]
    Transmit(#[from] TransmitFault),
    /// 6982: mostly that, but an empty VERIFY tells; so it does after any other status.
    #[error("the card's PIN is not verified any more")]
    NotVerified,
    #[error("the key was not touched in time, or the card cannot sign now (6985)")]
    NotTouched,
    #[error("the card answers {0} to a request for a signature")]
    Status(StatusWord),
}

/// INTERNAL AUTHENTICATE: the raw signature.
pub(crate) fn authenticate(
    card: &mut dyn Connection,
    limits: &CommandLimits,
    input: &SignInput,
) -> Result<Vec<u8>, AuthenticateFault> {
    let sign = command(INTERNAL_AUTHENTICATE, [0, 0], &input.data, input.expected);
    let (signature, status) = send(card, &sign, limits)?;
    match status {
        StatusWord::OK => Ok(signature),
        StatusWord::SECURITY => Err(AuthenticateFault::NotVerified),
        StatusWord::CONDITIONS => Err(AuthenticateFault::NotTouched),
        other => Err(AuthenticateFault::Status(other)),
    }
}

fn command(instruction: u8, parameters: [u8; 2], data: &[u8], expected: Expected) -> Command<'_> {
    Command {
        instruction,
        parameters,
        data,
        expected,
    }
}

const fn get_data(tag: u8) -> Command<'static> {
    Command {
        instruction: GET_DATA,
        parameters: [0, tag],
        data: &[],
        expected: Expected::Short,
    }
}

/// Sends a command in as many parts as it needs, and fetches all of the answer. No command is ever repeated.
fn send(
    card: &mut dyn Connection,
    command: &Command<'_>,
    limits: &CommandLimits,
) -> Result<(Vec<u8>, StatusWord), TransmitFault> {
    let mut parts = command.encode(limits)?.into_iter().peekable();
    let (mut data, mut status) = (Vec::new(), StatusWord::OK);
    while let Some(apdu) = parts.next() {
        let answer = card.transmit(&apdu)?;
        let (part, end) = split_answer(&answer).ok_or(TransmitFault::Malformed)?;
        data.extend_from_slice(part);
        status = end;
        if parts.peek().is_some() && status != StatusWord::OK {
            return Ok((data, status));
        }
    }
    while status.has_more() {
        let more = Command {
            instruction: GET_RESPONSE,
            parameters: [0, 0],
            data: &[],
            expected: Expected::Short,
        };
        for apdu in more.encode(&CommandLimits::default())? {
            let answer = card.transmit(&apdu)?;
            let (part, end) = split_answer(&answer).ok_or(TransmitFault::Malformed)?;
            if part.is_empty() || data.len() + part.len() > MAX_ANSWER {
                return Err(TransmitFault::Malformed);
            }
            data.extend_from_slice(part);
            status = end;
        }
    }
    Ok((data, status))
}

#[cfg(test)]
mod tests;
