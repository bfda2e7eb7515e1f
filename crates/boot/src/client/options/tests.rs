use proptest::prelude::*;

use super::*;

fn parsed(arguments: &[&str]) -> Result<Action<Box<ClientOptions>>, UsageError> {
    parse(
        ClientOptions::default(),
        arguments.iter().map(OsString::from),
    )
}

fn options(arguments: &[&str]) -> ClientOptions {
    match parsed(arguments) {
        Ok(Action::Run(options)) => *options,
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_arguments_the_defaults_of_the_manual_hold() {
    let options = options(&[]);
    assert!(options.connect == ServerList::default() && !options.debug && !options.allow_unsigned);
    assert_eq!(options.selection, InterfaceSelection::Suitable);
    assert_eq!(
        (options.delay, options.retry),
        (Duration::from_millis(2500), Duration::from_secs(10))
    );
    assert_eq!(
        options.hook_directory,
        PathBuf::from("/lib/mandos/network-hooks.d")
    );
}

#[test]
fn every_option_of_mandos_is_known_by_both_its_names() {
    let options = options(&[
        "-c::1:4711",
        "-ieth0",
        "-i",
        "eth1,eth2",
        "-p",
        "a",
        "-s",
        "b",
        "-tc",
        "-T",
        "d",
        "--priority=NORMAL",
        "--dh-bits=1024",
        "--dh-params",
        "x",
        "--delay=0.5",
        "--retry=1",
        "--network-hook-dir",
        "h",
        "--debug",
    ]);
    assert_eq!(options.connect.named[0].word, "::1:4711");
    assert_eq!(options.devices, "eth0,eth1,eth2");
    assert_eq!(options.keys.pubkey, Some("a".into()));
    assert_eq!(options.keys.seckey, Some("b".into()));
    assert_eq!(options.keys.tls_privkey, Some("c".into()));
    assert_eq!(options.keys.tls_pubkey, Some("d".into()));
    assert_eq!(options.delay, Duration::from_millis(500));
    assert_eq!(options.retry, Duration::from_secs(1));
    assert!(options.debug);
    assert!(matches!(parsed(&["-?"]), Ok(Action::Help)));
    assert!(matches!(parsed(&["--usage"]), Ok(Action::Usage)));
    assert!(matches!(parsed(&["-V"]), Ok(Action::Version)));
}

#[test]
fn the_command_line_has_the_last_word() {
    let over = |arguments: &[&str]| {
        let file = options(&["-i", "eth0", "--connect=192.0.2.1:4", "--retry=5"]);
        match parse(file, arguments.iter().map(OsString::from)) {
            Ok(Action::Run(options)) => *options,
            other => panic!("{other:?}"),
        }
    };
    let over_it = over(&["-i", "eth1", "-i", "eth2", "--connect=[fe80::1]:4"]);
    assert_eq!(over_it.devices, "eth1,eth2");
    assert_eq!(over_it.connect.to_string(), "[fe80::1]:4");
    assert_eq!(over_it.retry, Duration::from_secs(5));
    assert_eq!(over(&[]).devices, "eth0");
    assert_eq!(over(&["-i", ""]).selection, InterfaceSelection::Suitable);
}

#[test]
fn all_servers_of_one_command_line_are_kept_and_those_of_the_file_replaced() {
    let servers = |file: &[&str], line: &[&str]| {
        let file = read(ClientOptions::default(), file.iter().map(OsString::from));
        let Ok(Action::Run(file)) = file else {
            panic!("{file:?}");
        };
        match parse(*file, line.iter().map(OsString::from)) {
            Ok(Action::Run(options)) => options.connect.to_string(),
            other => panic!("{other:?}"),
        }
    };
    let both = ["--connect=192.0.2.1:1", "-c", "home.example:2"];
    assert_eq!(servers(&[], &both), "192.0.2.1:1, home.example:2");
    assert_eq!(servers(&both, &[]), "192.0.2.1:1, home.example:2");
    assert_eq!(servers(&["-c::1:9"], &both), "192.0.2.1:1, home.example:2");
    assert_eq!(servers(&both, &["--connect=none"]), "");
    // Whoever sits at the machine can mend a file with nothing good in it.
    assert_eq!(servers(&["-cx"], &["-c", "::1:9"]), "[::1]:9");
}

#[test]
fn a_bad_server_beside_a_good_one_is_told_and_left_out() {
    let options = options(&["--connect=x", "-c", "::1:1", "-c", "::1:0", "-c[::1]:1"]);
    assert_eq!(options.connect.to_string(), "[::1]:1");
    let remarks: Vec<String> = options.remarks().collect();
    assert_eq!(remarks.len(), 3);
    assert!(
        remarks[0].starts_with("left out --connect: \"x\" names no server: expected ADDRESS:PORT")
    );
    assert!(
        remarks[1].starts_with("left out --connect: \"::1:0\" names no server: expected a port")
    );
    assert_eq!(
        remarks[2],
        "--connect [::1]:1 is given twice: it is connected to once"
    );
}

#[test]
fn seconds_may_have_a_fraction() {
    for (text, millis) in [("2", 2000), ("2.5", 2500), (".25", 250), ("3.", 3000)] {
        assert_eq!(decimal(text), Some(Duration::from_millis(millis)), "{text}");
    }
    assert_eq!(decimal("0.0000000019"), Some(Duration::from_nanos(1)));
    assert_eq!(decimal("99999999999999999999"), None);
}

#[test]
fn a_unique_beginning_is_enough_and_mandos_comes_first() {
    assert_eq!(options(&["--se", "x"]).keys.seckey, Some("x".into()));
    assert!(options(&["--allow"]).allow_unsigned);
    assert!(matches!(
        parsed(&["--de", "1"]),
        Err(UsageError::Ambiguous(..))
    ));
}

#[test]
fn nonsense_is_refused() {
    for bad in [
        &["--connect", "x"][..],
        &["--connect", "::1:0"],
        &["--connect", "::1:0", "--connect", ""],
        &["--delay", "x"],
        &["--delay=-1"],
        &["--delay", "."],
        &["--delay", "1.5s"],
        &["--retry", "inf"],
        &["--retry", "nan"],
        &["--dh-bits", "many"],
        &["--priority", "GOOD"],
        &["--server-key-id", "12"],
        &["--interface", "a/b"],
        &["--unknown"],
        &["--debug=yes"],
        &["-x"],
        &["word"],
        &["--connect"],
    ] {
        assert!(parsed(bad).is_err(), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn any_arguments_are_read_or_refused(arguments in prop::collection::vec(
        prop_oneof![
            "\\PC{0,12}",
            prop::sample::select(MANDOS.iter().chain(&OURS).map(|o| format!("--{o}")).collect::<Vec<_>>()),
        ], 0..8)) {
        let _ = parse(ClientOptions::default(), arguments.into_iter().map(OsString::from));
    }
}
