//! `unlock`: the PIN of a person, a file or a credential, and the wait for its card.

use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nightlatch_console::failure::{EX_DATAERR, EX_NOINPUT, EX_TEMPFAIL, EX_USAGE, Failure, note};
use nightlatch_core::secret::{Secret, SecretBuffer};
use nightlatch_core::settings::card::CardName;
use nightlatch_sys::{clock, memory, terminal};
use sd_notify::NotifyState;
use zeroize::Zeroizing;

use super::{answer, ask, call, not_unlocked};
use crate::card_lock::TriedBy;
use crate::cli::{UnlockOptions, Wait};
use crate::control::{ControlRequest, MAX_PIN};
use crate::named_card::NamedCard;
use crate::report::{StateWord, StatusReport};

/// Pauses between two attempts: the first, and the longest, as each is twice the one before. A card may be away for days.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Unlocks the card, as soon as it is there.
pub(crate) fn unlock(options: &UnlockOptions) -> Result<u8, Failure> {
    // Where the system forbids these, a typed PIN is no worse off than in any other program.
    let _ = memory::forbid_core_dumps();
    let _ = memory::lock_all();
    let until = match options.wait {
        Wait::AtMost(length) => Some(clock::now().mono.after(length)),
        Wait::Forever => None,
    };
    let mut pin = match pin_file(options)? {
        // Before anything is waited for: without a PIN there is nothing to wait for.
        Some(file) => Some((read_pin(&file)?, TriedBy::Agent)),
        None => None,
    };
    let mut pause = FIRST_PAUSE;
    let mut told = String::new();
    loop {
        let failure = match unlock_once(options, &mut pin) {
            Ok(()) => return Ok(0),
            Err(failure) => failure,
        };
        let left = until.map_or(LONGEST_PAUSE, |until| until.since(clock::now().mono));
        if left.is_zero() || !may_pass(failure.exit()) {
            return Err(failure);
        }
        tell(&failure, &mut told);
        thread::sleep(pause.min(left));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// True for the failures that end without a person: no card, the wrong one, no pcscd, no agent, a busy card. After each of them the
/// PIN may be given again: the agent tries one from a file only while all tries are left, so none that the card has refused is sent
/// twice.
const fn may_pass(exit: u8) -> bool {
    exit == StateWord::NoCard.exit() || exit == StateWord::NoService.exit() || exit == EX_TEMPFAIL
}

/// Says what is waited for, in `systemctl status` and in the log.
fn tell(failure: &Failure, told: &mut String) {
    let text = failure.to_string();
    if *told == text {
        return;
    }
    // A manager that does not read must not keep the card locked.
    let _ = sd_notify::notify(&[NotifyState::Status(&format!("Waits: {text}"))]);
    note(format!("waits: {text}"));
    *told = text;
}

fn unlock_once(
    options: &UnlockOptions,
    pin: &mut Option<(Secret, TriedBy)>,
) -> Result<(), Failure> {
    let control = &options.control.control;
    let report = ask(control)?;
    let named = NamedCard {
        card: options.card,
        key: options.key.clone(),
    };
    is_wanted(&named, &report)?;
    match report.state {
        StateWord::Unlocked | StateWord::NeedsTouch => {
            note(&report.text);
            return Ok(());
        }
        StateWord::Locked | StateWord::TooFewTries => {}
        StateWord::NoCard | StateWord::NoService => return Err(not_unlocked(&report)),
    }
    let (pin, by) = match pin {
        Some((pin, by)) => (&*pin, *by),
        // A typed PIN lives as long as the attempt, and is asked for anew.
        None => (&ask_pin(&report)?, TriedBy::Person),
    };
    if pin.len() > MAX_PIN {
        let what = format!("the PIN has more than {MAX_PIN} characters");
        return Err(Failure::new(EX_DATAERR, what));
    }
    let length = pin.len();
    let request = ControlRequest::Unlock { by, length, named };
    answer(call(control, &request, Some(pin))?).map(drop)
}

/// The agent looks at this too, before it sends the PIN; here the PIN does not even go to the agent.
fn is_wanted(named: &NamedCard, report: &StatusReport) -> Result<(), Failure> {
    let (Some(aid), Some(serial), Some(fingerprint)) =
        (&report.aid, &report.serial, &report.fingerprint)
    else {
        return Ok(());
    };
    match CardName::parse(aid) {
        Some(CardName::Aid(aid)) => named.fits(&aid, serial, fingerprint),
        _ => Ok(()),
    }
    .map_err(|wrong| Failure::new(StateWord::NoCard.exit(), wrong.to_string()))
}
fn pin_file(options: &UnlockOptions) -> Result<Option<PathBuf>, Failure> {
    let Some(name) = &options.credential else {
        return Ok(options.pin_file.clone());
    };
    match std::env::var_os("CREDENTIALS_DIRECTORY") {
        Some(folder) => Ok(Some(Path::new(&folder).join(name))),
        None => Err(Failure::new(EX_USAGE, "no credentials were passed to this program")
            .hint("--credential is for services of systemd with LoadCredential=; use --pin-file FILE elsewhere")),
    }
}

fn read_pin(file: &Path) -> Result<Secret, Failure> {
    let failed = |error| {
        Failure::new(
            EX_NOINPUT,
            format!("cannot read the PIN in {}", file.display()),
        )
        .because(error)
    };
    let mut source: Box<dyn io::Read> = match file.to_str() {
        Some("-") => Box::new(io::stdin()),
        _ => Box::new(std::fs::File::open(file).map_err(failed)?),
    };
    let mut pin = SecretBuffer::default();
    let mut part = Zeroizing::new([0; 256]);
    loop {
        match source.read(&mut *part).map_err(failed)? {
            0 => break,
            read => pin.append(&part[..read]),
        }
        if pin.len() > MAX_PIN + 2 {
            break;
        }
    }
    let pin = pin.expose();
    let pin = pin.strip_suffix(b"\n").unwrap_or(pin);
    Ok(Secret::new(pin.to_vec()))
}

fn ask_pin(report: &StatusReport) -> Result<Secret, Failure> {
    let name = report.serial.as_deref().unwrap_or("");
    let tries = match report.tries {
        Some(tries) => format!(" ({tries} tries left)"),
        None => String::new(),
    };
    terminal::read_password(&format!("PIN of the card {name}{tries}: ")).map_err(|error| {
        Failure::new(EX_NOINPUT, "cannot ask for the PIN")
            .because(error)
            .hint("run it from a terminal (ssh -t), or give the PIN in a file: --pin-file FILE")
    })
}
