//! `nightlatch check` on a machine with its keys, an image and an encrypted volume, a cable away from its
//! server. The image is made here of what `nightlatch image stage` writes: what real builders make of it is
//! tried elsewhere.

mod machine;

use machine::House;

/// A check succeeds soon: the proof of life that a rehearsal needs.
const UP: &str = "checker = true\ntimeout = PT20M\ninterval = PT1S";

#[test]
fn a_machine_in_order_would_come_back() {
    let Some(house) = House::new(UP) else { return };
    let (status, said) = house.check(&[]);
    assert_eq!(status, Some(0), "{said}");
    for part in [
        "ok    image     /boot/initrd.img-6.1 holds this machine's keys",
        "ok    server    from cli0: the server at [fe80:",
        "ok    volume    the password opens root on ",
        "ok    time      a reboot takes ",
        "This machine would come back.",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    let (status, said) = house.check(&["--json"]);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("\"comes_back\": true"), "{said}");
    // It was a rehearsal both times: a release would be followed by an alarm.
    let log = house.server_log();
    assert!(!log.contains("alarm"), "{log}");
}

#[test]
fn an_image_with_other_keys_would_not_boot() {
    let Some(house) = House::new(UP) else { return };
    house.make_new_keys_after_the_image();
    let (status, said) = house.check(&["--wait", "1"]);
    assert_eq!(status, Some(1), "{said}");
    let part = "has another /conf/conf.d/nightlatch/seckey.txt than this machine";
    assert!(said.contains(part), "{said}");
    assert!(said.contains("would NOT come back"), "{said}");
}

#[test]
fn an_image_is_for_root_alone_and_has_nothing_of_a_server() {
    let Some(house) = House::new(UP) else { return };
    house.make_image(&[
        "etc/nightlatch/clients.conf",
        "conf/conf.d/nightlatch/other.pem",
    ]);
    house.let_everybody_read_the_image();
    let (status, said) = house.check(&[]);
    assert_eq!(status, Some(1), "{said}");
    for part in [
        "can be read by everybody",
        "has /etc/nightlatch/clients.conf, a server's file",
        "has /conf/conf.d/nightlatch/other.pem, which is no part of it",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
}

#[test]
fn a_kernel_without_an_image_would_not_boot() {
    let Some(house) = House::new(UP) else { return };
    house.remove_image();
    let (status, said) = house.check(&[]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("the kernel 6.1 has no image"), "{said}");
}

#[test]
fn a_server_that_is_away_or_refuses_is_told() {
    let Some(house) = House::new("checker = true\nenabled = no") else {
        return;
    };
    let (status, said) = house.check(&["--wait", "3"]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("the server refuses: disabled"), "{said}");
    house.stop_server();
    let (status, said) = house.check(&["--wait", "1"]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("from cli0: "), "{said}");
}

#[test]
fn a_volume_that_the_password_does_not_open_is_told() {
    let Some(house) = House::new(UP) else { return };
    house.lock_volume_with("another password");
    let (status, said) = house.check(&[]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("the password does not open root"), "{said}");
}

#[test]
fn a_reboot_that_takes_longer_than_the_server_allows_is_told() {
    let Some(house) = House::new(UP) else { return };
    house.configure("[client]\ndowntime = PT1H\n");
    let (status, said) = house.check(&[]);
    assert_eq!(status, Some(1), "{said}");
    let part = "a reboot takes 1 h as client.conf says, and the server allows 19 min 59 s at least";
    assert!(said.contains(part), "{said}");
    house.configure("[client]\ndowntime = PT19M\n");
    let (status, said) = house.check(&[]);
    assert_eq!(status, Some(0), "{said}");
}
