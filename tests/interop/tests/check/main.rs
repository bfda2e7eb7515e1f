//! `nightlatch check` on a machine with its keys, an image and an encrypted volume, a cable away from its
//! server. The image is made here of what `nightlatch image stage` writes: what real builders make of it is
//! tried elsewhere.

mod boot_network;
mod machine;
mod several;
mod transcript;

use machine::CheckedMachine;
use nightlatch_interop::site::SiteKind;

/// A check succeeds soon: the proof of life that a rehearsal needs.
pub(crate) const UP: &str = "checker = true\ntimeout = PT20M\ninterval = PT1S";

#[test]
fn a_machine_in_order_would_come_back() {
    let Some(fixture) = CheckedMachine::new(UP) else {
        return;
    };
    let before = fixture.network();
    let (status, said) = fixture.check(&[]);
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(fixture.network(), before);
    for part in [
        "ok    image     /boot/initrd.img-6.1 holds this machine's keys",
        "ok    server    from cli0: [fe80:",
        "warn  server    the server raised an alarm over this rehearsal",
        "-> tell who looks after the server, and allow the next one there before: nightlatch rehearsal",
        "ok    volume    root: the password opens ",
        "ok    time      a reboot takes ",
        "This machine would come back.",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    let (status, said) = fixture.check(&["--json"]);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("\"comes_back\": true"), "{said}");
    // It was a rehearsal both times, which nobody had allowed.
    let log = fixture.server_log();
    assert!(
        log.contains("alarm: rehearsed") && !log.contains("alarm: granted"),
        "{log}"
    );
}

#[test]
fn a_copy_of_a_host_key_in_an_image_is_found_under_any_name() {
    let Some(fixture) = CheckedMachine::new(UP) else {
        return;
    };
    let private = fixture.add_host_keys();
    fixture.make_image(&["root/notes"]);
    let (status, said) = fixture.check(&[]);
    assert_eq!(status, Some(0), "{said}");
    for part in [
        "ok    host key  key id ",
        "ok    host key  only root can read /var/lib/nightlatch-agent/keys",
        "warn  host key  /var/lib/nightlatch-agent/keys is on a file system that is not encrypted (overlay of ",
        "ok    host key  no boot image has a copy of a private host key: 1 image was examined",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    fixture.make_image_with(&[("root/notes", &private)]);
    let (status, said) = fixture.check(&["--json"]);
    assert_eq!(status, Some(1), "{said}");
    let document: serde_json::Value = serde_json::from_str(&said).unwrap();
    let found = &document["host_keys"];
    assert_eq!(
        found["copies_in_images"][0]["path"], "/root/notes",
        "{said}"
    );
    assert_eq!(found["private"], true, "{said}");
    assert_eq!(found["encrypted"], false, "{said}");
}

#[test]
fn an_image_with_other_keys_would_not_boot() {
    let Some(fixture) = CheckedMachine::new(UP) else {
        return;
    };
    fixture.make_new_keys_after_the_image();
    let (status, said) = fixture.check(&["--wait", "1"]);
    assert_eq!(status, Some(1), "{said}");
    let part = "has another /conf/conf.d/nightlatch/seckey.txt than this machine";
    assert!(said.contains(part), "{said}");
    assert!(said.contains("would NOT come back"), "{said}");
}

#[test]
fn an_image_is_for_root_alone_and_has_nothing_of_a_server() {
    let Some(fixture) = CheckedMachine::new(UP) else {
        return;
    };
    fixture.make_image(&[
        "etc/nightlatch/clients.conf",
        "conf/conf.d/nightlatch/other.pem",
    ]);
    fixture.let_everybody_read_the_image();
    let (status, said) = fixture.check(&[]);
    assert_eq!(status, Some(1), "{said}");
    for part in [
        "can be read by everybody",
        "has /etc/nightlatch/clients.conf, a server's file",
        "has /conf/conf.d/nightlatch/other.pem, a key or setting that is none of this machine's",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
}

#[test]
fn a_kernel_without_an_image_would_not_boot() {
    let Some(fixture) = CheckedMachine::new(UP) else {
        return;
    };
    fixture.remove_image();
    let (status, said) = fixture.check(&[]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("the kernel 6.1 has no image"), "{said}");
}

#[test]
fn a_server_that_is_away_or_refuses_is_told() {
    let Some(fixture) = CheckedMachine::new("checker = true\nenabled = no") else {
        return;
    };
    let (status, said) = fixture.check(&["--wait", "3"]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("the server refuses: disabled"), "{said}");
    fixture.stop_server();
    let (status, said) = fixture.check(&["--wait", "1"]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("from cli0: "), "{said}");
}

#[test]
fn a_volume_that_the_password_does_not_open_is_told() {
    let Some(fixture) = CheckedMachine::new(UP) else {
        return;
    };
    fixture.lock_volume_with("root", "another password");
    let (status, said) = fixture.check(&[]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("root: the password does not open "), "{said}");
}

#[test]
fn a_reboot_that_takes_longer_than_the_server_allows_is_told() {
    let Some(fixture) = CheckedMachine::new(UP) else {
        return;
    };
    fixture.configure("[client]\ndowntime = PT1H\n");
    let (status, said) = fixture.check(&[]);
    assert_eq!(status, Some(1), "{said}");
    let part = "a reboot takes 1 h as client.conf says, and the server allows 19 min 59 s at least";
    assert!(said.contains(part), "{said}");
    fixture.configure("[client]\ndowntime = PT19M\n");
    let (status, said) = fixture.check(&[]);
    assert_eq!(status, Some(0), "{said}");
}

#[test]
fn an_image_that_starts_nothing_would_not_boot_by_itself() {
    let Some(fixture) = CheckedMachine::new(UP) else {
        return;
    };
    fixture.forget_scripts_in_the_image();
    let (status, said) = fixture.check(&[]);
    assert_eq!(status, Some(1), "{said}");
    for part in [
        "has nothing that starts the client: it lacks /scripts/init-premount/nightlatch",
        "-> update-initramfs -u -k 6.1",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
}

#[test]
fn an_image_that_is_left_behind_must_not_give_the_keys_away() {
    let Some(fixture) = CheckedMachine::new(UP) else {
        return;
    };
    fixture.leave_an_image_behind();
    let (status, said) = fixture.check(&[]);
    assert_eq!(status, Some(1), "{said}");
    let part = "initrd.img-6.0.dpkg-bak is no kernel's image, holds keys, and can be read";
    assert!(said.contains(part), "{said}");
}

#[test]
fn each_volume_is_tried_by_what_opens_it() {
    let Some(fixture) = CheckedMachine::new(UP) else {
        return;
    };
    let right = fixture.add_file("right", "a key");
    let wrong = fixture.add_file("wrong", "another key");
    fixture.add_volume("by-file", &format!("{right} luks"), false);
    fixture.add_volume("by-wrong-file", &format!("{wrong} luks"), false);
    fixture.add_volume("optional", &format!("{wrong} luks,nofail"), false);
    for name in ["by-file", "by-wrong-file", "optional"] {
        fixture.lock_volume_with(name, "a key");
    }
    fixture.add_volume("late", "none luks", false);
    fixture.add_volume("socket", "/run/nightlatch/key luks", false);
    for name in ["late", "socket"] {
        fixture.lock_volume_with(name, "a password of the machine");
    }
    fixture.add_volume("forgotten", "none luks,initramfs", false);
    fixture.lock_volume_with("forgotten", "a password of the machine");
    fixture.add_volume("swap", "/dev/urandom swap,plain", false);
    fixture.add_volume("gone", "none luks,initramfs", true);
    fixture.make_image(&[]);
    let (status, said) = fixture.check(&[]);
    assert_eq!(status, Some(1), "{said}");
    for part in [
        "ok    volume    root: the password opens ",
        "ok    volume    by-file: its key file /etc/nightlatch/right opens it",
        "FAIL  volume    by-wrong-file: its key file /etc/nightlatch/wrong does not open it",
        "warn  volume    optional: its key file /etc/nightlatch/wrong does not open it",
        "FAIL  volume    late: the password opens ",
        "-> add the option initramfs to its line",
        "ok    volume    socket: the password opens ",
        "FAIL  image     /boot/initrd.img-6.1 does not open the volume forgotten",
        "ok    volume    swap: has a new key at each boot",
        "FAIL  volume    gone: cannot be tried: cryptsetup says: Device ",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
}

#[test]
fn one_interface_that_leads_to_a_server_is_enough() {
    let Some(fixture) = CheckedMachine::new(UP) else {
        return;
    };
    fixture.add_a_wrong_cable();
    let (status, said) = fixture.check(&["--wait", "3"]);
    assert_eq!(status, Some(0), "{said}");
    for part in [
        "ok    server    from cli0: ",
        "warn  server    from aaa0: no server was found within 3 s",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    assert!(!said.contains("docker0"), "{said}");
}

#[test]
fn the_interfaces_of_the_configuration_are_tried_each_by_itself_and_none_is_taken_up() {
    let Some(fixture) = CheckedMachine::new(UP) else {
        return;
    };
    fixture.add_a_wrong_cable();
    fixture.add_an_interface_that_is_down();
    fixture.configure("[client]\ninterface = cli0, aaa0, down0\n");
    let before = fixture.network();
    let (status, said) = fixture.check(&["--wait", "3"]);
    assert_eq!(status, Some(0), "{said}");
    for part in [
        "ok    server    from cli0: ",
        "warn  server    from aaa0: no server was found within 3 s",
        "warn  network   down0 is down: a boot would take it up, it is not tried",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    assert_eq!(fixture.network(), before);
}

#[test]
fn a_server_that_wants_a_person_s_approval_is_told() {
    let settings = format!("{UP}\napproved_by_default = no\napproval_delay = PT1M");
    let Some(fixture) = CheckedMachine::new(&settings) else {
        return;
    };
    let (status, said) = fixture.check(&[]);
    assert_eq!(status, Some(1), "{said}");
    for part in [
        "the server refuses: rehearsal-needs-approval",
        "-> a person has to approve each boot",
        "warn  volume    root: not tried without the password",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
}

#[test]
fn a_server_of_mandos_is_asked_only_when_it_is_wanted() {
    let Some(fixture) = CheckedMachine::with(SiteKind::StockByAvahi, UP) else {
        return;
    };
    let (status, said) = fixture.check(&[]);
    assert_eq!(status, Some(0), "{said}");
    for part in [
        "warn  server    from cli0: [fe80:",
        "-> nightlatch check --stock-server",
        "not all was tried",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    assert!(!fixture.server_log().contains("Sending secret"));
    let (status, said) = fixture.check(&["--stock-server"]);
    assert_eq!(status, Some(0), "{said}");
    for part in [
        "a server of Mandos, gives this machine its password",
        "ok    volume    root: the password opens ",
        "warn  time      a server of Mandos does not tell",
        "This machine would come back.",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    assert!(fixture.server_log().contains("Sending secret"));
}
