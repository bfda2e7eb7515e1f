//! Rules about the agent, the card that it has, and the PIN from a server.

use nightlatch_core::settings::card::CardName;

use super::Findings;
use crate::doctor::facts::DoctorFacts;
use crate::report::{StateWord, StatusReport};

/// With fewer tries left the agent does not try a PIN from a file.
const ALL_TRIES: u8 = 3;

/// With so many left nobody may try.
const LAST_TRY: u8 = 1;

/// The longest name of a user that is reckoned with, as useradd(8) makes them.
const LONGEST_USER: usize = 32;

/// The host key of RSA with 4096 bits as a host-bound login has it: name, exponent and modulus with their lengths.
const RSA_4096: usize = string("ssh-rsa".len()) + string(3) + string(513);

pub(super) fn agent(facts: &DoctorFacts, findings: &mut Findings) {
    let report = match &facts.agent {
        Ok(report) => report,
        Err(fault) => {
            let hint = fault.hint.as_deref();
            let hint = hint.unwrap_or("look at it with `systemctl status nightlatch-card`");
            return findings.bad("agent", &fault.text, hint);
        }
    };
    match report.state {
        StateWord::Unlocked | StateWord::NeedsTouch => findings.good("agent", &report.text),
        StateWord::Locked => {
            findings.doubtful("agent", &report.text, "nightlatch card unlock");
        }
        // `tries` says what to do.
        StateWord::TooFewTries => {}
        StateWord::NoCard => no_card(report, findings),
        StateWord::NoService => {
            findings.bad(
                "agent",
                &report.text,
                "systemctl restart pcscd.socket pcscd.service",
            );
        }
    }
    tries(report, findings);
    if report.touch {
        findings.bad(
            "card",
            "each signature needs a touch, and nobody is there at night (status 14)",
            "ykman openpgp keys set-touch aut off (another maker's tool for another card), while nightlatch-card is stopped",
        );
    }
    message_length(report, findings);
}

fn no_card(report: &StatusReport, findings: &mut Findings) {
    let hint = match report.reason.as_deref() {
        // The programs that run are told apart from this.
        Some("in-use") => return,
        Some("not-the-named") => {
            "put the card in that card.conf names, or name this one (card = AID)"
        }
        Some("several") => {
            "name one in card.conf: card = AID, then `systemctl restart nightlatch-card`"
        }
        Some("no-key") => {
            "make an authentication key while nightlatch-card is stopped: `gpg --card-edit`, then admin and generate"
        }
        Some("key-kind") => {
            "make one of Ed25519, of a NIST curve or of RSA while nightlatch-card is stopped: `gpg --card-edit`, then admin and key-attr"
        }
        Some("other-key") => {
            "compare `nightlatch card status` with card.conf: unless you have made the key anew, this is another device"
        }
        Some("faulty") => {
            "look at `journalctl -u pcscd -u nightlatch-card`, then put the card in again"
        }
        _ => "put the card in; `pcsc_scan` shows what pcscd sees",
    };
    findings.bad("card", &report.text, hint);
}

fn tries(report: &StatusReport, findings: &mut Findings) {
    match report.tries {
        Some(left) if left <= LAST_TRY => findings.bad(
            "card",
            format!("{left} tries of its PIN are left, and the last one is never used"),
            "unblock the PIN with the admin PIN or the reset code: `gpg --card-edit`, while nightlatch-card is stopped",
        ),
        Some(left) if left < ALL_TRIES => findings.bad(
            "card",
            format!("{left} tries of its PIN are left: somebody gave a wrong one, and a PIN from a file is not tried"),
            "type the right PIN, which restores all three: nightlatch card unlock",
        ),
        _ => {}
    }
}

/// Ed25519 cards get the whole message, and a login that is bound to the key of its host has that key in it.
fn message_length(report: &StatusReport, findings: &mut Findings) {
    let Some((longest, "ssh-ed25519")) = report.longest.zip(report.key.as_deref().and_then(kind))
    else {
        return;
    };
    let needed = host_bound_login(LONGEST_USER, RSA_4096);
    if longest >= needed {
        return;
    }
    let said = format!(
        "a login to a host with an RSA key of 4096 bits has {needed} bytes, all of which go to an Ed25519 card"
    );
    let hint = "give these hosts an Ed25519 host key, or the card a key of a NIST curve or of RSA, which gets a digest only";
    match report.chaining {
        true => findings.doubtful(
            "card",
            format!("{said}; this one takes {longest} at once, and more in parts without saying how many"),
            format!("try such a host once; if it fails: {hint}"),
        ),
        false => findings.bad("card", format!("{said}; this one takes {longest}"), hint),
    }
}

fn kind(line: &str) -> Option<&str> {
    line.split(' ').next()
}

/// A string of SSH with its length before it.
const fn string(length: usize) -> usize {
    4 + length
}

/// The bytes to sign for a login that is bound to its host (OpenSSH's PROTOCOL, publickey-hostbound-v00@openssh.com), with an Ed25519
/// key and the longest session identifier, of SHA-512.
const fn host_bound_login(user: usize, host_key: usize) -> usize {
    let key = string("ssh-ed25519".len()) + string(32);
    string(64)
        + 1
        + string(user)
        + string("ssh-connection".len())
        + string("publickey-hostbound-v00@openssh.com".len())
        + 1
        + string("ssh-ed25519".len())
        + string(key)
        + string(host_key)
}

/// The units that unlock a card with a PIN from a server.
pub(super) fn unlock_units(facts: &DoctorFacts, findings: &mut Findings) {
    let key_is_named = match &facts.conf.settings {
        Ok(settings) => settings.key.is_some(),
        // Told already.
        Err(_) => true,
    };
    let report = facts.agent.as_ref().ok();
    let present = report.and_then(|report| report.aid.as_deref());
    for instance in &facts.unlocks {
        let unit = format!("nightlatch-card-unlock@{instance}");
        let is_aid = matches!(CardName::parse(instance), Some(CardName::Aid(_)));
        if !is_aid || *instance != instance.to_ascii_lowercase() {
            findings.bad(
                "server",
                format!("{unit} is enabled, and its instance is no AID in lower case: there can be no secret of that name"),
                format!("systemctl disable {unit}; systemctl enable --now nightlatch-card-unlock@{}", present.unwrap_or("AID")),
            );
        } else if !key_is_named {
            let fingerprint = report.and_then(|report| report.fingerprint.as_deref());
            findings.bad(
                "server",
                format!("{unit} is enabled, and card.conf names no key: the PIN of a server is sent to no card"),
                format!(
                    "write `key = {}` in card.conf, then systemctl restart nightlatch-card",
                    fingerprint.unwrap_or("FINGERPRINT")
                ),
            );
        } else if let Some(present) = present.filter(|present| present != instance) {
            findings.bad(
                "server",
                format!("{unit} is enabled, and the card {present} is there: it waits for its own"),
                format!("systemctl disable --now {unit}; systemctl enable --now nightlatch-card-unlock@{present}"),
            );
        } else {
            findings.good(
                "server",
                format!("{unit} unlocks the card with the secret card.{instance}.pin"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use nightlatch_core::ssh::wire::put_string;

    use super::*;
    use crate::purpose::tests::login_request;

    #[test]
    fn the_length_of_a_login_is_that_of_its_bytes() {
        let mut host_key = Vec::new();
        for part in [&b"ssh-rsa"[..], &[1, 0, 1], &[0; 513]] {
            put_string(&mut host_key, part);
        }
        assert_eq!(host_key.len(), RSA_4096);
        let mut key = Vec::new();
        for part in [&b"ssh-ed25519"[..], &[0; 32]] {
            put_string(&mut key, part);
        }
        let user = "u".repeat(LONGEST_USER);
        // That request has a session of 32 bytes, and a key that is the word "key".
        let request = login_request(&user, Some(&host_key));
        let expected = request.len() + 32 - 3 + key.len();
        assert_eq!(host_bound_login(LONGEST_USER, RSA_4096), expected);
    }
}
