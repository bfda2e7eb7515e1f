//! Rules about the machine: who reaches pcscd, the configuration, and programs that take the card or the place of the agent.

use nightlatch_core::settings::card::{AfterRemoval, OpenPcscd};

use super::Findings;
use crate::doctor::facts::{DoctorFacts, ProcessFact};
use crate::pcscd_access::{MEND, PcscdAccess};

/// Programs that use cards by pcscd or beside it, by the first 15 bytes of their names.
pub(in crate::doctor) const CARD_PROGRAMS: [&str; 10] = [
    "scdaemon",
    "opensc-notify",
    "pkcs11-register",
    "pcsc_scan",
    "p11-kit-remote",
    "p11-kit-server",
    "yubikey-agent",
    // openpgp-card-ssh-agent
    "openpgp-card-ss",
    "ykman",
    "cardpeek",
];

/// Write permission of the group and of all users.
const OTHERS_WRITE: u32 = 0o022;

pub(super) fn pcscd(facts: &DoctorFacts, findings: &mut Findings) {
    let PcscdAccess { socket, mode, .. } = &facts.pcscd;
    let accepted = facts.conf.settings.as_ref().ok().map(|it| it.open_pcscd);
    match (facts.pcscd.judge(), accepted, mode) {
        (_, _, None) => findings.bad(
            "pcscd",
            format!("there is no socket {}", socket.display()),
            "systemctl enable --now pcscd.socket",
        ),
        (Err(open), Some(OpenPcscd::Accept), _) => findings.doubtful(
            "pcscd",
            format!("{open}; card.conf accepts it"),
            "remove open_pcscd from card.conf, and restart pcscd.socket and nightlatch-card",
        ),
        (Err(open), _, _) => findings.bad("pcscd", open.to_string(), MEND),
        (Ok(()), _, Some(mode)) => {
            let why = match facts.pcscd.asks_polkit {
                true => "pcscd asks polkit about each user",
                false => "not everybody can reach it",
            };
            findings.good(
                "pcscd",
                format!("its socket has the mode {mode:04o}, and {why}"),
            );
        }
    }
}

pub(super) fn conf(facts: &DoctorFacts, findings: &mut Findings) {
    let conf = &facts.conf;
    let shown = conf.path.display();
    for file in &conf.owners {
        let path = file.path.display();
        if file.owner != 0 {
            let said = format!(
                "{path} belongs to user {}, who decides which card gets the PIN",
                file.owner
            );
            findings.bad("config", said, format!("chown root {path}"));
        }
        // To read it does no harm: it names users, a card and a public key.
        if file.mode & OTHERS_WRITE != 0 {
            let said = format!(
                "others than root can write to {path}, which has the mode {:04o}",
                file.mode
            );
            findings.bad("config", said, format!("chmod go-w {path}"));
        }
    }
    match &conf.settings {
        Err(why) => findings.bad("config", why, format!("correct it: card.conf(5) has each setting of {shown}")),
        Ok(settings) if settings.after_removal == AfterRemoval::Unlock => findings.doubtful(
            "config",
            "after_removal = unlock: a device that imitates the card gets the PIN when it is put in",
            format!("remove after_removal from {shown}, unless nobody can reach the reader"),
        ),
        Ok(_) if conf.owners.iter().any(|file| file.path == conf.path) => {
            findings.good("config", format!("{shown} is in order"));
        }
        Ok(_) => findings.good(
            "config",
            format!("there is no {shown}: any card will do, for root alone"),
        ),
    }
}

pub(super) fn other_agents(facts: &DoctorFacts, findings: &mut Findings) {
    let own = facts.agent_socket.display();
    match &facts.ssh_auth_sock {
        Some(socket) if *socket != facts.agent_socket => findings.doubtful(
            "ssh",
            format!(
                "SSH_AUTH_SOCK is {}, so ssh asks another agent in this session",
                socket.display()
            ),
            format!("run jobs by `nightlatch card exec -- COMMAND`, or export SSH_AUTH_SOCK={own}"),
        ),
        _ => {}
    }
    for gnupg in &facts.gnupg {
        let folder = gnupg.folder.display();
        if gnupg.ssh_support {
            findings.doubtful(
                "gnupg",
                format!("{folder}/gpg-agent.conf has enable-ssh-support: gpg-agent is an SSH agent too, and its scdaemon wants the card"),
                format!("sed -i /enable-ssh-support/d {folder}/gpg-agent.conf && gpgconf --kill gpg-agent"),
            );
        }
        if facts.has_scdaemon && !gnupg.disable_ccid {
            findings.doubtful(
                "gnupg",
                format!("{folder}/scdaemon.conf has no disable-ccid: scdaemon would take the reader away from pcscd"),
                format!("echo disable-ccid >> {folder}/scdaemon.conf && gpgconf --kill scdaemon"),
            );
        }
    }
}

pub(super) fn card_programs(facts: &DoctorFacts, findings: &mut Findings) {
    let in_use = facts
        .agent
        .as_ref()
        .is_ok_and(|report| report.reason.as_deref() == Some("in-use"));
    for process in &facts.processes {
        let ProcessFact { name, id, user } = process;
        let end = match name.as_str() {
            "scdaemon" => format!("as user {user}: gpgconf --kill scdaemon"),
            _ => format!("kill {id}"),
        };
        match in_use {
            true => findings.bad(
                "card",
                format!("another program holds the card, and {name} of user {user} runs (process {id})"),
                end,
            ),
            false => findings.doubtful(
                "card",
                format!("{name} of user {user} runs (process {id}) and takes the card whenever the agent does not hold it"),
                end,
            ),
        }
    }
    if in_use && facts.processes.is_empty() {
        findings.bad(
            "card",
            "another program holds the card, and none that is known to do so runs",
            "look for it with `fuser -v /run/pcscd/pcscd.comm`, and end it",
        );
    }
}
