//! PC/SC: the readers of this machine by pcscd, and the thread that waits for changes.
//!
//! Cards are held exclusively, and never with a transaction: SCardBeginTransaction has no time-out.

use std::ffi::CString;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;

use nightlatch_core::settings::card::OpenPcscd;
use pcsc::{
    Card, Context, Disposition, Error, PNP_NOTIFICATION, Protocols, ReaderState, Scope, ShareMode,
    State,
};

use crate::apdu::Apdu;
use crate::pcscd_access::PcscdAccess;
use crate::transport::{AccessError, Connection, ReaderWithCard, Readers};
use crate::worker::Order;

/// Room for one answer: more than any command here asks for.
const ANSWER: usize = 8 * 1024;

/// Pause before pcscd is looked for again. A connection starts it where systemd listens for it.
const PAUSE: Duration = Duration::from_millis(200);

fn access(error: Error) -> AccessError {
    match error {
        // libpcsclite tells a closed socket so when pcscd ends with a request unread.
        Error::SecurityViolation
        | Error::NoService
        | Error::ServiceStopped
        | Error::InvalidHandle
        | Error::CommError
        | Error::Shutdown
        | Error::ServerTooBusy => AccessError::NoService,
        Error::RemovedCard
        | Error::NoSmartcard
        | Error::ReaderUnavailable
        | Error::UnknownReader => AccessError::Removed,
        Error::ResetCard => AccessError::Reset,
        Error::SharingViolation => AccessError::InUse,
        other => AccessError::Faulty(other.to_string()),
    }
}

/// The readers that pcscd knows.
pub(crate) struct PcscReaders {
    context: Option<Context>,
    open_pcscd: OpenPcscd,
    refusals: Refusals,
}

/// Tells a refusal by polkit from the end of pcscd, which look alike when a context is established.
#[derive(Default)]
struct Refusals {
    /// The last attempt was refused too.
    was_refused: bool,
}

impl Refusals {
    /// Refused twice in a row: no pcscd ends so often.
    fn judge(&mut self, error: Error) -> AccessError {
        let is_refused = error == Error::SecurityViolation;
        let was_refused = std::mem::replace(&mut self.was_refused, is_refused);
        match is_refused && was_refused {
            true => AccessError::Refused,
            false => access(error),
        }
    }
}

impl PcscReaders {
    pub(crate) fn new(open_pcscd: OpenPcscd) -> Self {
        Self {
            context: None,
            open_pcscd,
            refusals: Refusals::default(),
        }
    }

    fn context(&mut self) -> Result<Context, AccessError> {
        if let Some(context) = &self.context {
            return Ok(context.clone());
        }
        // Each time: pcscd may come after the agent, or anew with another socket.
        let judged = PcscdAccess::look().judge_for(self.open_pcscd);
        judged.map_err(|_| AccessError::Open)?;
        let context = match Context::establish(Scope::System) {
            Ok(context) => context,
            Err(error) => return Err(self.refusals.judge(error)),
        };
        self.refusals = Refusals::default();
        self.context = Some(context.clone());
        Ok(context)
    }

    /// A context of a pcscd that has ended is of no use any more.
    fn told(&mut self, error: Error) -> AccessError {
        let error = access(error);
        if error == AccessError::NoService {
            self.context = None;
        }
        error
    }
}

impl Readers for PcscReaders {
    fn with_card(&mut self) -> Result<Vec<ReaderWithCard>, AccessError> {
        let context = self.context()?;
        let states = match reader_states(&context) {
            // A reader was unplugged between the list and the look at it.
            Err(Error::UnknownReader) => reader_states(&context),
            states => states,
        };
        let states = states.map_err(|error| self.told(error))?;
        let with_card = states.iter().filter(|state| {
            let event = state.event_state();
            event.contains(State::PRESENT) && !event.contains(State::MUTE)
        });
        let named = with_card.filter_map(|state| {
            Some(ReaderWithCard {
                name: state.name().to_str().ok()?.to_owned(),
                insertions: state.event_count(),
            })
        });
        Ok(named.collect())
    }

    fn connect(&mut self, reader: &str) -> Result<Box<dyn Connection>, AccessError> {
        let context = self.context()?;
        let name = CString::new(reader).map_err(|error| AccessError::Faulty(error.to_string()))?;
        match context.connect(&name, ShareMode::Exclusive, Protocols::ANY) {
            Ok(card) => Ok(Box::new(PcscConnection(card))),
            // A pcscd that still answers has not ended: polkit refuses.
            Err(Error::SecurityViolation) if context.list_readers_len().is_ok() => {
                Err(AccessError::Refused)
            }
            Err(error) => Err(self.told(error)),
        }
    }
}

/// All readers, and what is in them now.
fn reader_states(context: &Context) -> Result<Vec<ReaderState>, Error> {
    let names = match context.list_readers_owned() {
        Err(Error::NoReadersAvailable) => Vec::new(),
        names => names?,
    };
    let mut states: Vec<ReaderState> = names
        .into_iter()
        .map(|name| ReaderState::new(name, State::UNAWARE))
        .collect();
    if states.is_empty() {
        return Ok(states);
    }
    match context.get_status_change(Duration::ZERO, &mut states) {
        Ok(()) | Err(Error::Timeout) => Ok(states),
        Err(error) => Err(error),
    }
}

/// Its drop disconnects with a reset, as that of [`Card`] does.
struct PcscConnection(Card);

impl PcscConnection {
    fn again(&mut self, disposition: Disposition) -> Result<(), AccessError> {
        self.0
            .reconnect(ShareMode::Exclusive, Protocols::ANY, disposition)
            .map_err(access)
    }
}

impl Connection for PcscConnection {
    fn transmit(&mut self, apdu: &Apdu) -> Result<Vec<u8>, AccessError> {
        let mut room = vec![0; ANSWER];
        let answer = self.0.transmit(apdu, &mut room).map_err(access)?;
        Ok(answer.to_vec())
    }

    fn reset(&mut self) -> Result<(), AccessError> {
        self.again(Disposition::ResetCard)
    }

    fn reconnect(&mut self) -> Result<(), AccessError> {
        self.again(Disposition::LeaveCard)
    }

    fn release(self: Box<Self>) {
        // One that cannot be given back without a reset is reset by its drop.
        drop(self.0.disconnect(Disposition::LeaveCard));
    }
}

/// Tells the worker of every change of readers and cards, and of pcscd's coming and going. Ends with the worker.
pub(crate) fn watch(orders: &SyncSender<Order>) {
    loop {
        match Context::establish(Scope::System) {
            Err(_) => thread::sleep(PAUSE),
            // The end of pcscd ends it.
            Ok(context) => drop(watch_service(&context, orders)),
        }
        if orders.send(Order::Look).is_err() {
            return;
        }
    }
}

fn watch_service(context: &Context, orders: &SyncSender<Order>) -> Result<(), Error> {
    let mut states = vec![ReaderState::new(PNP_NOTIFICATION(), State::UNAWARE)];
    loop {
        let names = match context.list_readers_owned() {
            Err(Error::NoReadersAvailable) => Vec::new(),
            names => names?,
        };
        states.retain(|state| {
            let is_known = names.iter().any(|name| name.as_c_str() == state.name());
            is_known || state.name() == PNP_NOTIFICATION()
        });
        for name in names {
            if !states.iter().any(|state| state.name() == name.as_c_str()) {
                states.push(ReaderState::new(name, State::UNAWARE));
            }
        }
        states.iter_mut().for_each(ReaderState::sync_current_state);
        context.get_status_change(None, &mut states)?;
        if orders.send(Order::Look).is_err() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pcscd_that_ends_with_a_request_unread_is_no_refusal() {
        assert_eq!(access(Error::SecurityViolation), AccessError::NoService);
    }

    #[test]
    fn a_second_refusal_in_a_row_is_one_by_polkit_and_names_the_rule_that_mends_it() {
        let mut refusals = Refusals::default();
        let ended = refusals.judge(Error::SecurityViolation);
        assert_eq!(ended, AccessError::NoService);
        assert_eq!(refusals.judge(Error::NoService), AccessError::NoService);
        assert_eq!(
            refusals.judge(Error::SecurityViolation),
            AccessError::NoService
        );
        let error = refusals.judge(Error::SecurityViolation);
        assert_eq!(error, AccessError::Refused);
        let file = "/usr/share/polkit-1/rules.d/nightlatch-card.rules";
        assert!(error.to_string().contains(file), "{error}");
    }
}
