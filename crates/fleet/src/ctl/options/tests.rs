//! The grammar; that it is mandos-ctl's is tried beside it in `tests/interop`.

use super::*;

fn read(line: &str) -> Result<Options, CtlUsageError> {
    match parse(line.split_whitespace().map(OsString::from))? {
        CtlAction::Run(options) => Ok(options),
        other => panic!("{other:?}"),
    }
}

#[test]
fn orders_keep_their_order_and_repeat() {
    let options = read("-t PT5M -H a -tPT6M --ena foo bar foo").unwrap();
    let timeout = |millis| (Property::Timeout, PropertyValue::Milliseconds(millis));
    let commands = options.commands.iter().map(|command| match command {
        CtlCommand::Set(property, value) => (*property, value.clone()),
        other => panic!("{other:?}"),
    });
    assert_eq!(
        commands.collect::<Vec<_>>(),
        [
            timeout(300_000),
            (Property::Host, PropertyValue::Text("a".into())),
            timeout(360_000),
            (Property::Enabled, PropertyValue::Boolean(true)),
        ]
    );
    assert_eq!(options.clients, ["foo", "bar", "foo"]);
    assert_eq!(options.show, Show::Nothing);
}

#[test]
fn a_client_is_denied_before_it_is_removed() {
    let options = read("-r -D -a").unwrap();
    assert!(matches!(
        options.commands[..],
        [CtlCommand::Approve(false), CtlCommand::Remove]
    ));
}

#[test]
fn what_does_not_go_together_is_refused() {
    for line in [
        "-e",
        "-e -d -a",
        "-a",
        "-a -v",
        "-v -e a",
        "-j -v",
        "-V a b",
        "-V a a",
        "-r -e a",
        "-r -A a",
        "--app a",
        "--d a",
        "--nonsense",
        "-x",
        "-t",
        "-t -5m a",
        "-H -- a",
        "--enable=yes a",
        "-s /nonexistent a",
        "-t P20000Y a",
        "-t 99999999999999999999w a",
    ] {
        assert!(read(line).is_err(), "{line}");
    }
}

#[test]
fn a_negative_number_and_a_lone_dash_are_values() {
    assert!(read("-t -5 a").is_ok());
    assert!(read("-H - a").is_ok());
    assert!(read("--timeout=-5m a").is_ok());
    assert_eq!(read("-- -x").unwrap().clients, ["-x"]);
}

#[test]
fn the_help_names_every_option() {
    for option in &OPTIONS {
        let named = crate::ctl::help::HELP.contains(&format!("--{}", option.name));
        assert!(named, "{}", option.name);
    }
}
