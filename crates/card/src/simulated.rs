//! A scripted card for tests: an OpenPGP card that keeps the rules of its retry counter, and misbehaves where a test wants it to.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use nightlatch_core::time::Monotonic;

use crate::apdu::Apdu;
use crate::card_data::tests::{ED25519, sample};
use crate::transport::{AccessError, Connection, ReaderWithCard, Readers};

pub(crate) const PIN: &[u8] = b"123456";

/// The name of the other reader.
const BESIDE: &str = "beside";

/// A card in a reader, and all that a test can turn.
#[derive(Debug)]
pub(crate) struct Simulation {
    pub(crate) serial: u32,
    pub(crate) key: [u8; 32],
    pub(crate) has_key: bool,
    pub(crate) tries: u8,
    pub(crate) is_verified: bool,
    pub(crate) is_selected: bool,
    /// The answer to GET DATA F9 with its status.
    pub(crate) kdf: Vec<u8>,
    /// The value that VERIFY must have.
    pub(crate) pin: Vec<u8>,
    /// The second byte of the PIN status.
    pub(crate) longest: u8,
    pub(crate) touch: u8,
    pub(crate) service: bool,
    pub(crate) present: bool,
    pub(crate) insertions: u32,
    pub(crate) in_use: bool,
    /// A reset was made elsewhere, and the connection was not told yet.
    pub(crate) was_reset: bool,
    /// Answers instead of the card's own: instruction, whether it has data, the answer.
    pub(crate) instead: VecDeque<(u8, bool, Result<Vec<u8>, AccessError>)>,
    /// Instructions that came, with the length of their data.
    pub(crate) log: Vec<(u8, usize)>,
    pub(crate) resets: usize,
    pub(crate) connected: usize,
    /// The time, which passes by `step` with each command.
    pub(crate) now: Monotonic,
    pub(crate) step: Duration,
    /// True while no command is answered.
    pub(crate) hangs: bool,
    /// The card is taken out and put in again, unseen by the connection, when this instruction comes.
    pub(crate) exchanged_at: Option<u8>,
    /// The next list of readers fails.
    pub(crate) list_fault: Option<AccessError>,
    /// Another reader with a card.
    pub(crate) beside: Option<SimulatedReaders>,
}

#[derive(Clone, Debug)]
pub(crate) struct SimulatedReaders(Arc<Mutex<Simulation>>);

impl SimulatedReaders {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Simulation {
            serial: 1,
            key: [7; 32],
            has_key: true,
            tries: 3,
            is_verified: false,
            is_selected: false,
            kdf: vec![0x6a, 0x88],
            pin: PIN.to_vec(),
            longest: 127,
            touch: 0,
            service: true,
            present: true,
            insertions: 1,
            in_use: false,
            was_reset: false,
            instead: VecDeque::new(),
            log: Vec::new(),
            resets: 0,
            connected: 0,
            now: Monotonic::from_boot(Duration::ZERO),
            step: Duration::ZERO,
            hangs: false,
            exchanged_at: None,
            list_fault: None,
            beside: None,
        })))
    }

    pub(crate) fn card(&self) -> MutexGuard<'_, Simulation> {
        self.0.lock().unwrap()
    }

    /// The number of VERIFY commands with a PIN.
    pub(crate) fn tried(&self) -> usize {
        let card = self.card();
        card.log
            .iter()
            .filter(|(ins, length)| *ins == 0x20 && *length > 0)
            .count()
    }

    pub(crate) fn count(&self, instruction: u8) -> usize {
        self.card()
            .log
            .iter()
            .filter(|(ins, _)| *ins == instruction)
            .count()
    }

    /// The next command of this kind gets `answer`.
    pub(crate) fn answer(&self, instruction: u8, with_data: bool, answer: &[u8]) {
        let answer = Ok(answer.to_vec());
        self.card()
            .instead
            .push_back((instruction, with_data, answer));
    }

    pub(crate) fn fail(&self, instruction: u8, error: AccessError) {
        for with_data in [true, false] {
            let error = Err(error.clone());
            self.card()
                .instead
                .push_back((instruction, with_data, error));
        }
    }

    /// The answer to the next VERIFY with a PIN is lost. The card was not reached: its counter stays as it is.
    pub(crate) fn lose_verify(&self, error: AccessError) {
        let lost = (0x20, true, Err(error));
        self.card().instead.push_back(lost);
    }

    /// pcscd ends, and counts the cards of its readers from 0 when it is back.
    pub(crate) fn stop_service(&self) {
        let mut card = self.card();
        card.lose_power();
        card.service = false;
        card.insertions = 0;
    }

    /// Power is lost: nothing is verified.
    pub(crate) fn reset_elsewhere(&self) {
        let mut card = self.card();
        card.lose_power();
        card.was_reset = true;
    }

    pub(crate) fn take_out(&self) {
        let mut card = self.card();
        card.lose_power();
        card.present = false;
        card.insertions += 1;
    }

    pub(crate) fn put_in(&self) {
        let mut card = self.card();
        card.present = true;
        card.insertions += 1;
    }
}

impl Simulation {
    fn lose_power(&mut self) {
        self.is_verified = false;
        self.is_selected = false;
    }

    fn execute(&mut self, apdu: &[u8]) -> Vec<u8> {
        let data = match apdu.get(4..) {
            Some([length, data @ ..]) if data.len() >= usize::from(*length) => {
                &data[..usize::from(*length)]
            }
            _ => &[],
        };
        if apdu[1] == 0xa4 {
            self.is_selected = true;
            return vec![0x90, 0];
        }
        if !self.is_selected {
            return vec![0x69, 0x85];
        }
        match (apdu[1], apdu[3]) {
            (0xca, 0x6e) => [&sample(self.serial, self.tries, &ED25519)[..], &[0x90, 0]].concat(),
            (0xca, 0xc4) => vec![1, self.longest, 127, 127, self.tries, 0, 3, 0x90, 0],
            (0xca, 0xd8) => vec![self.touch, 0x20, 0x90, 0],
            (0xca, 0xf9) => self.kdf.clone(),
            (0x47, _) if !self.has_key => vec![0x6a, 0x88],
            (0x47, _) => [&[0x7f, 0x49, 34, 0x86, 32][..], &self.key, &[0x90, 0]].concat(),
            (0x20, 0x82) => self.verify(data),
            (0x88, _) if self.is_verified => [&[9; 64][..], &[0x90, 0]].concat(),
            (0x88, _) => vec![0x69, 0x82],
            _ => vec![0x6a, 0x88],
        }
    }

    fn verify(&mut self, data: &[u8]) -> Vec<u8> {
        if data.is_empty() && self.is_verified {
            return vec![0x90, 0];
        }
        if !data.is_empty() {
            self.is_verified = self.tries > 0 && data == self.pin;
            if self.is_verified {
                self.tries = 3;
                return vec![0x90, 0];
            }
            self.tries = self.tries.saturating_sub(1);
        }
        match self.tries {
            0 => vec![0x69, 0x83],
            left => vec![0x63, 0xc0 | left],
        }
    }
}

impl Readers for SimulatedReaders {
    fn with_card(&mut self) -> Result<Vec<ReaderWithCard>, AccessError> {
        let mut card = self.card();
        if !card.service {
            return Err(AccessError::NoService);
        }
        if let Some(fault) = card.list_fault.take() {
            return Err(fault);
        }
        let mut list = Vec::new();
        if let Some(beside) = &card.beside {
            let beside = beside.card();
            if beside.present {
                list.push(ReaderWithCard {
                    name: BESIDE.to_owned(),
                    insertions: beside.insertions,
                });
            }
        }
        if card.present {
            list.push(ReaderWithCard {
                name: "reader".to_owned(),
                insertions: card.insertions,
            });
        }
        Ok(list)
    }

    fn connect(&mut self, reader: &str) -> Result<Box<dyn Connection>, AccessError> {
        let mut card = self.card();
        if let (BESIDE, Some(mut beside)) = (reader, card.beside.clone()) {
            return beside.connect("reader");
        }
        if card.in_use {
            return Err(AccessError::InUse);
        }
        card.was_reset = false;
        card.connected += 1;
        Ok(Box::new(SimulatedConnection(self.clone())))
    }
}

struct SimulatedConnection(SimulatedReaders);

impl Connection for SimulatedConnection {
    fn transmit(&mut self, apdu: &Apdu) -> Result<Vec<u8>, AccessError> {
        while self.0.card().hangs {
            thread::sleep(Duration::from_millis(1));
        }
        let mut card = self.0.card();
        if !card.service {
            return Err(AccessError::NoService);
        }
        if !card.present {
            return Err(AccessError::Removed);
        }
        if card.was_reset {
            return Err(AccessError::Reset);
        }
        let length = usize::from(apdu.get(4).copied().unwrap_or(0));
        card.log.push((apdu[1], length));
        if card.exchanged_at == Some(apdu[1]) {
            card.exchanged_at = None;
            card.insertions += 2;
        }
        card.now = card.now.after(card.step);
        let place = card.instead.iter().position(|(instruction, with_data, _)| {
            *instruction == apdu[1] && *with_data == (length > 0)
        });
        if let Some((_, _, answer)) = place.and_then(|place| card.instead.remove(place)) {
            return answer;
        }
        Ok(card.execute(apdu))
    }

    fn reset(&mut self) -> Result<(), AccessError> {
        let mut card = self.0.card();
        if !card.service {
            return Err(AccessError::NoService);
        }
        card.lose_power();
        card.was_reset = false;
        card.resets += 1;
        Ok(())
    }

    fn reconnect(&mut self) -> Result<(), AccessError> {
        let mut card = self.0.card();
        match (card.service, card.present) {
            (false, _) => Err(AccessError::NoService),
            (_, false) => Err(AccessError::Removed),
            _ => {
                card.was_reset = false;
                Ok(())
            }
        }
    }

    fn release(self: Box<Self>) {
        std::mem::forget(self);
    }
}

impl Drop for SimulatedConnection {
    fn drop(&mut self) {
        let mut card = self.0.card();
        card.lose_power();
        card.resets += 1;
    }
}
