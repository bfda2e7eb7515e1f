//! `unlock`: the PIN of a person, a file or a credential, and the wait for its card.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nightlatch_console::failure::{
    EX_DATAERR, EX_NOINPUT, EX_NOPERM, EX_TEMPFAIL, EX_USAGE, Failure, note,
};
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
use crate::pin_text::{self, without_line_end};
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
        Some(file) => {
            let is_credential = options.credential.is_some();
            let pin = read_pin(&file, is_credential)?;
            check_pin(&pin)?;
            Some((pin, TriedBy::Agent))
        }
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
    let request = request(by, pin.len(), named, &report);
    answer(call(control, &request, Some(pin))?).map(drop)
}

/// The PIN of a person is for the card that the prompt has shown: another one may be in the reader by now. One from a file is for the
/// card that an administrator has named, and for no other that happens to be there.
fn request(
    by: TriedBy,
    length: usize,
    mut named: NamedCard,
    shown: &StatusReport,
) -> ControlRequest {
    if by == TriedBy::Person {
        let shown = shown.aid.as_deref().and_then(CardName::parse);
        named.card = shown.or(named.card);
    }
    ControlRequest::Unlock { by, length, named }
}

/// The agent refuses such a PIN too. Here it does not even go to the agent.
fn check_pin(pin: &Secret) -> Result<(), Failure> {
    if pin.len() > MAX_PIN {
        let what = format!("the PIN was not tried: it has more than {MAX_PIN} bytes");
        return Err(Failure::new(EX_DATAERR, what));
    }
    pin_text::check(pin.expose())
        .map_err(|fault| Failure::new(EX_DATAERR, format!("the PIN was not tried: {fault}")))
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

fn read_pin(file: &Path, is_credential: bool) -> Result<Secret, Failure> {
    let failed = |error| {
        Failure::new(
            EX_NOINPUT,
            format!("cannot read the PIN in {}", file.display()),
        )
        .because(error)
    };
    let mut source: Box<dyn io::Read> = match file.to_str() {
        Some("-") => Box::new(io::stdin()),
        _ => {
            let opened = std::fs::File::open(file).map_err(failed)?;
            is_private(&opened.metadata().map_err(failed)?, file, is_credential)?;
            Box::new(opened)
        }
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
    Ok(Secret::new(without_line_end(pin.expose()).to_vec()))
}

/// Refuses a file that others can read. A pipe has one reader. The access list that systemd gives a credential for its service's user
/// looks like rights of the group.
fn is_private(found: &Metadata, file: &Path, is_credential: bool) -> Result<(), Failure> {
    let mode = found.permissions().mode() & 0o777;
    let of_others = match is_credential {
        true => 0o007,
        false => 0o077,
    };
    if !found.is_file() || mode & of_others == 0 {
        return Ok(());
    }
    let shown = file.display();
    let what =
        format!("the PIN was not read: others can read or change {shown}, its mode is {mode:04o}");
    Err(Failure::new(EX_NOPERM, what).hint(format!(
        "`chmod 600 {shown}`, and change the PIN if others were on this machine"
    )))
}

fn ask_pin(report: &StatusReport) -> Result<Secret, Failure> {
    let name = report.serial.as_deref().unwrap_or("");
    let tries = match report.tries {
        Some(tries) => format!(" ({tries} tries left)"),
        None => String::new(),
    };
    let prompt = format!("PIN of the card {name}{tries}: ");
    let pin = terminal::read_password(&prompt).map_err(|error| {
        Failure::new(EX_NOINPUT, "cannot ask for the PIN")
            .because(error)
            .hint("run it from a terminal (ssh -t), or give the PIN in a file: --pin-file FILE")
    })?;
    check_pin(&pin)?;
    Ok(pin)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;

    #[test]
    fn a_typed_pin_is_for_the_card_that_the_prompt_has_shown_and_one_from_a_file_for_a_named_one() {
        let aid = "d2760001240103040006123456780000";
        let text = format!("state locked\ntext x\naid {aid}\nserial 0006:12345678\n");
        let shown = StatusReport::parse(&text).unwrap();
        let none = NamedCard::default();
        let typed = request(TriedBy::Person, 6, none.clone(), &shown);
        assert_eq!(typed.to_string(), format!("unlock person 6 card={aid}"));
        let named = NamedCard {
            card: CardName::parse("0006:12345678"),
            key: None,
        };
        assert_eq!(request(TriedBy::Person, 6, named, &shown), typed);
        let file = request(TriedBy::Agent, 6, none, &shown);
        assert_eq!(file.to_string(), "unlock file 6");
    }

    #[test]
    fn a_file_with_the_pin_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pin");
        fs::write(&file, "123456\r\n").unwrap();
        for (mode, is_credential, is_read) in [
            (0o600, false, true),
            (0o400, false, true),
            (0o640, false, false),
            (0o604, false, false),
            (0o602, false, false),
            (0o440, true, true),
            (0o444, true, false),
        ] {
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            match read_pin(&file, is_credential) {
                Ok(pin) => assert!(is_read && pin.expose() == b"123456", "{mode:o}"),
                Err(failure) => {
                    assert!(!is_read, "{mode:o}");
                    assert_eq!(failure.exit(), EX_NOPERM);
                    assert!(failure.to_string().contains(&format!("{mode:04o}")));
                }
            }
        }
    }

    #[test]
    fn a_pin_that_only_a_file_can_have_is_not_sent() {
        for pin in [
            &b"123456\r"[..],
            b"123456 ",
            b"\xff\xfe1\x002\x00",
            &[b'1'; 128],
        ] {
            let failure = check_pin(&Secret::new(pin.to_vec())).unwrap_err();
            assert_eq!(failure.exit(), EX_DATAERR);
            let text = failure.to_string();
            assert!(text.starts_with("the PIN was not tried: it "), "{text}");
        }
    }
}
