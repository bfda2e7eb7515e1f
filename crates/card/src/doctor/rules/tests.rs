use std::path::PathBuf;

use nightlatch_core::settings::card::{AfterRemoval, CardSettings, OpenPcscd};

use super::*;
use crate::doctor::facts::{AgentFault, ConfFacts, GnupgFacts, OwnedFile, ProcessFact};
use crate::pcscd_access::PcscdAccess;
use crate::report::{StateWord, StatusReport};

const AID: &str = "d2760001240103040006123456780000";
const KEY: &str = "SHA256:uNiVztksCsDhcc0u9e8BrrJXVGDvbVGLiVNDnhQ9dEE";

/// A machine on which all is well.
fn sound() -> DoctorFacts {
    DoctorFacts {
        pcscd: PcscdAccess {
            socket: "/run/pcscd/pcscd.comm".into(),
            mode: Some(0o660),
            is_reachable: true,
            asks_polkit: false,
        },
        conf: ConfFacts {
            path: "/etc/nightlatch/card.conf".into(),
            settings: Ok(CardSettings {
                key: Some(KEY.to_owned()),
                ..CardSettings::default()
            }),
            owners: vec![owned(0, 0o644), owned(0, 0o755)],
        },
        agent: Ok(StatusReport {
            closed: None,
            usual_hosts: None,
            learning_until: None,
            state: StateWord::Unlocked,
            text: "the card 0006:12345678 is unlocked".to_owned(),
            recovers: false,
            aid: Some(AID.to_owned()),
            serial: Some("0006:12345678".to_owned()),
            key: Some("ssh-ed25519 AAAA".to_owned()),
            fingerprint: Some(KEY.to_owned()),
            tries: Some(3),
            signatures: 0,
            reason: None,
            touch: false,
            longest: Some(2039),
            chaining: true,
        }),
        agent_socket: "/run/nightlatch-card/agent".into(),
        ssh_auth_sock: None,
        processes: Vec::new(),
        gnupg: vec![GnupgFacts {
            folder: "/root/.gnupg".into(),
            ssh_support: false,
            disable_ccid: true,
        }],
        has_scdaemon: true,
        unlocks: vec![AID.to_owned()],
    }
}

fn owned(owner: u32, mode: u32) -> OwnedFile {
    OwnedFile {
        path: "/etc/nightlatch/card.conf".into(),
        owner,
        mode,
    }
}

fn process(name: &str) -> ProcessFact {
    ProcessFact {
        name: name.to_owned(),
        id: 123,
        user: 1000,
    }
}

fn report(facts: &mut DoctorFacts) -> &mut StatusReport {
    facts.agent.as_mut().unwrap()
}

fn settings(facts: &mut DoctorFacts) -> &mut CardSettings {
    facts.conf.settings.as_mut().unwrap()
}

fn no_card(facts: &mut DoctorFacts, reason: &str) {
    let report = report(facts);
    report.state = StateWord::NoCard;
    report.reason = Some(reason.to_owned());
    report.text = format!("no card: {reason}");
    (report.aid, report.key, report.fingerprint) = (None, None, None);
    report.tries = None;
}

#[test]
fn on_a_sound_machine_nothing_is_wrong() {
    let findings = findings(&sound());
    assert!(
        findings.iter().all(|found| found.level == Level::Ok),
        "{findings:?}"
    );
    assert_eq!(findings.len(), 4);
}

/// A change to a sound machine, and the one finding that is not well: level, a part of it, a part of its hint.
type Case = (fn(&mut DoctorFacts), Level, &'static str, &'static str);

const CASES: [Case; 32] = [
    (
        |it| it.pcscd.mode = Some(0o666),
        Level::Failed,
        "every user of this machine",
        "restart pcscd.socket",
    ),
    (
        |it| {
            it.pcscd.mode = Some(0o666);
            settings(it).open_pcscd = OpenPcscd::Accept;
        },
        Level::Warning,
        "card.conf accepts it",
        "open_pcscd",
    ),
    (
        |it| it.pcscd.mode = None,
        Level::Failed,
        "no socket /run/pcscd",
        "enable --now pcscd.socket",
    ),
    (
        |it| it.conf.owners[0].mode = 0o664,
        Level::Failed,
        "mode 0664",
        "chmod go-w",
    ),
    (
        |it| it.conf.owners[1].mode = 0o757,
        Level::Failed,
        "mode 0757",
        "chmod go-w",
    ),
    (
        |it| it.conf.owners[0].owner = 1000,
        Level::Failed,
        "belongs to user 1000",
        "chown root",
    ),
    (
        |it| it.conf.settings = Err("card.conf:2: odd".to_owned()),
        Level::Failed,
        "card.conf:2: odd",
        "card.conf(5)",
    ),
    (
        |it| settings(it).after_removal = AfterRemoval::Unlock,
        Level::Warning,
        "imitates",
        "after_removal",
    ),
    (
        |it| {
            let text = "no agent answers".to_owned();
            it.agent = Err(AgentFault {
                text,
                hint: Some("start it".to_owned()),
            });
        },
        Level::Failed,
        "no agent answers",
        "start it",
    ),
    (
        |it| {
            it.agent = Err(AgentFault {
                text: "odd".to_owned(),
                hint: None,
            })
        },
        Level::Failed,
        "odd",
        "systemctl status",
    ),
    (
        |it| {
            report(it).state = StateWord::Locked;
            report(it).text = "the card is locked".to_owned();
        },
        Level::Warning,
        "is locked",
        "nightlatch card unlock",
    ),
    (
        |it| report(it).state = StateWord::NoService,
        Level::Failed,
        "the card",
        "restart pcscd",
    ),
    (
        |it| no_card(it, "missing"),
        Level::Failed,
        "missing",
        "put the card in",
    ),
    (
        |it| no_card(it, "not-the-named"),
        Level::Failed,
        "not-the-named",
        "card = AID",
    ),
    (
        |it| no_card(it, "several"),
        Level::Failed,
        "several",
        "card = AID",
    ),
    (
        |it| no_card(it, "no-key"),
        Level::Failed,
        "no-key",
        "generate",
    ),
    (
        |it| no_card(it, "key-kind"),
        Level::Failed,
        "key-kind",
        "Ed25519",
    ),
    (
        |it| no_card(it, "other-key"),
        Level::Failed,
        "other-key",
        "another device",
    ),
    (
        |it| no_card(it, "faulty"),
        Level::Failed,
        "faulty",
        "journalctl",
    ),
    (
        |it| no_card(it, "in-use"),
        Level::Failed,
        "none that is known",
        "fuser",
    ),
    (
        |it| {
            no_card(it, "in-use");
            it.processes.push(process("scdaemon"));
        },
        Level::Failed,
        "scdaemon of user 1000 runs (process 123)",
        "as user 1000: gpgconf --kill scdaemon",
    ),
    (
        |it| it.processes.push(process("opensc-notify")),
        Level::Warning,
        "takes the card whenever",
        "kill 123",
    ),
    (
        |it| report(it).tries = Some(2),
        Level::Failed,
        "2 tries",
        "nightlatch card unlock",
    ),
    (
        |it| {
            report(it).state = StateWord::TooFewTries;
            report(it).tries = Some(1);
        },
        Level::Failed,
        "1 tries",
        "admin PIN",
    ),
    (
        |it| {
            report(it).state = StateWord::NeedsTouch;
            report(it).touch = true;
        },
        Level::Failed,
        "status 14",
        "set-touch aut off",
    ),
    (
        |it| report(it).longest = Some(255),
        Level::Warning,
        "in parts",
        "try such a host",
    ),
    (
        |it| {
            report(it).longest = Some(255);
            report(it).chaining = false;
        },
        Level::Failed,
        "takes 255",
        "Ed25519 host key",
    ),
    (
        |it| it.ssh_auth_sock = Some("/tmp/other".into()),
        Level::Warning,
        "/tmp/other",
        "nightlatch card exec",
    ),
    (
        |it| it.gnupg[0].ssh_support = true,
        Level::Warning,
        "enable-ssh-support",
        "gpgconf --kill gpg-agent",
    ),
    (
        |it| it.gnupg[0].disable_ccid = false,
        Level::Warning,
        "no disable-ccid",
        "echo disable-ccid",
    ),
    (
        |it| settings(it).key = None,
        Level::Failed,
        "names no key",
        KEY,
    ),
    (
        |it| it.unlocks = vec![AID.to_uppercase()],
        Level::Failed,
        "lower case",
        AID,
    ),
];

#[test]
fn each_fault_is_one_finding_with_what_mends_it() {
    for (number, (change, level, said, hint)) in CASES.iter().enumerate() {
        let mut facts = sound();
        change(&mut facts);
        let all = findings(&facts);
        let wrong: Vec<&Finding> = all
            .iter()
            .filter(|found| found.level != Level::Ok)
            .collect();
        assert_eq!(wrong.len(), 1, "{number} {said}: {all:?}");
        assert_eq!(wrong[0].level, *level, "{wrong:?}");
        assert!(wrong[0].said.contains(said), "{said}: {wrong:?}");
        assert!(
            wrong[0].hint.as_deref().unwrap().contains(hint),
            "{hint}: {wrong:?}"
        );
    }
}

#[test]
fn a_unit_for_another_card_is_told_with_both() {
    let mut facts = sound();
    let other = AID.replace("12345678", "12345679");
    facts.unlocks = vec![other.clone()];
    let all = findings(&facts);
    let wrong = all
        .iter()
        .find(|found| found.level == Level::Failed)
        .unwrap();
    assert!(
        wrong.said.contains(&other) && wrong.said.contains(AID),
        "{wrong:?}"
    );
    assert!(wrong.hint.as_deref().unwrap().contains(AID));
}

#[test]
fn what_does_no_harm_is_not_told() {
    for change in [
        // polkit asks, or nobody gets to the socket.
        (|it: &mut DoctorFacts| {
            it.pcscd.mode = Some(0o666);
            it.pcscd.asks_polkit = true;
        }) as fn(&mut DoctorFacts),
        |it| {
            it.pcscd.mode = Some(0o666);
            it.pcscd.is_reachable = false;
        },
        // A digest goes to these cards.
        |it| {
            report(it).longest = Some(255);
            report(it).key = Some("ssh-rsa AAAA".to_owned());
        },
        |it| it.ssh_auth_sock = Some(PathBuf::from("/run/nightlatch-card/agent")),
        |it| {
            it.gnupg[0].disable_ccid = false;
            it.has_scdaemon = false;
        },
        // Without a PIN from a server the key need not be named.
        |it| {
            settings(it).key = None;
            it.unlocks.clear();
        },
    ] {
        let mut facts = sound();
        change(&mut facts);
        let all = findings(&facts);
        assert!(all.iter().all(|found| found.level == Level::Ok), "{all:?}");
    }
}
