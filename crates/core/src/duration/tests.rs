use super::*;
use proptest::prelude::*;

fn seconds(text: &str) -> Result<u64, DurationError> {
    parse(text).map(|duration| duration.as_secs())
}

#[test]
fn durations_have_the_lengths_of_mandos() {
    let measured = [
        ("PT5M", 300),
        ("PT0S", 0),
        ("P1W", 7 * 86_400),
        ("P1M", 28 * 86_400),
        ("P1Y", 364 * 86_400),
        ("P1Y2M3DT4H5M6S", 423 * 86_400 + 4 * 3600 + 5 * 60 + 6),
        ("P1DT30S", 86_430),
        ("PT0900S", 900),
        ("1d 2h", 93_600),
        ("5m 30s", 330),
        (" 1w\t1d ", 8 * 86_400),
        ("", 0),
    ];
    for (text, expected) in measured {
        assert_eq!(seconds(text), Ok(expected), "{text:?}");
    }
}

#[test]
fn an_error_quotes_what_was_found_and_says_what_is_missing() {
    let said = |text| read(text).unwrap_err().to_string();
    let expected = r#"expected a duration such as PT5M, P1DT12H or "1d 12h", found "#;
    for (text, rest) in [
        (
            "300",
            r#""300": 300 needs a unit, as in 300s for seconds or 300m for minutes"#,
        ),
        (
            " 300\t",
            r#""300": 300 needs a unit, as in 300s for seconds or 300m for minutes"#,
        ),
        (
            "1d 12",
            r#""1d 12": 12 needs a unit, as in 12s for seconds or 12m for minutes"#,
        ),
        ("5 m", r#""5 m": a unit follows its number at once, 5m"#),
        (
            "5min",
            r#""5min": "min" is no unit, units are s, m, h, d and w"#,
        ),
        ("5M", r#""5M": "M" is no unit, units are s, m, h, d and w"#),
        (
            "1d 5minutes",
            r#""1d 5minutes": "minutes" is no unit, units are s, m, h, d and w"#,
        ),
        ("PT5", r#""PT5": the unit after the last number is missing"#),
        (
            "P5H",
            r#""P5H": hours, minutes and seconds stand after a T, PT5H"#,
        ),
        ("pt5m", r#""pt5m": write it in capitals, PT5M"#),
        (
            "PT5M # five",
            r#""PT5M # five": a comment must have a line of its own"#,
        ),
        (
            "5m ;five",
            r#""5m ;five": a comment must have a line of its own"#,
        ),
        ("soon", r#""soon""#),
        ("m", r#""m""#),
        ("5µ", r#""5µ": "µ" is no unit, units are s, m, h, d and w"#),
    ] {
        assert_eq!(said(text), format!("{expected}{rest}"));
    }
    assert!(said("PT1H30S").ends_with(r#"not PT1H30S, found "PT1H30S""#));
    assert!(
        said("PT1.5S # x")
            .ends_with(r#"found "PT1.5S # x": a comment must have a line of its own"#)
    );
}

#[test]
fn units_must_be_next_to_each_other() {
    for text in ["PT1H30S", "P1Y1D", "P1YT1S", "P1MT1S"] {
        assert_eq!(seconds(text), Err(DurationError::Gap), "{text:?}");
    }
}

#[test]
fn texts_that_mandos_refuses_are_refused() {
    for text in [
        "P", "PT", "P1DT", "pt5m", "5M", "10", "1y", "1d2h", "P1W1D", "PT5M1H", "P5", "PD", "P1S",
        "PT1D", "P W", "d", "+d", "P+1D", "PT5M ", "P1D 2h", "٣d", "P٣D", "PT1M1M",
    ] {
        assert_eq!(seconds(text), Err(DurationError::Syntax), "{text:?}");
    }
    assert_eq!(seconds("PT1.5S"), Err(DurationError::Fraction));
}

#[test]
fn negative_durations_are_refused() {
    assert_eq!(seconds("-5m"), Err(DurationError::Negative));
    assert_eq!(seconds("1h -5m"), Err(DurationError::Negative));
}

#[test]
fn durations_out_of_reach_are_refused() {
    assert_eq!(parse("P10000Y"), Ok(MAX));
    for text in [
        "P10001Y",
        "P10000YT1S",
        "P99999999999999999999W",
        "18446744073709551615s 1s",
        "PT18446744073709551615H",
        "99999999999999w",
    ] {
        let error = seconds(text).unwrap_err();
        let expected = if text.contains("YT") {
            DurationError::Gap
        } else {
            DurationError::TooLong
        };
        assert_eq!(error, expected, "{text:?}");
    }
}

#[test]
fn the_lenient_reading_is_that_of_mandos_ctl() {
    let measured = [
        ("PT1H30S", 31),
        ("P1Y1D", 2),
        ("P", 0),
        ("", 0),
        ("PT1.5S", 6),
        ("pt5m", 300_000),
        ("5M", 5),
        ("10", 10),
        ("1d2h", 93_600_000),
        ("5 m", 5),
        ("-5m", 300_000),
        ("5ms", 300_000),
        ("1w1d1h1m1s1", 694_861_001),
        ("5,5m", 300_005),
    ];
    for (text, millis) in measured {
        let expected = Ok(Duration::from_millis(millis));
        assert_eq!(parse_lenient(text), expected, "{text:?}");
    }
    for text in [
        "99999999999999999999",
        "18446744073709551615w",
        "1w 18446744073709551615",
    ] {
        assert_eq!(parse_lenient(text), Err(DurationError::TooLong), "{text:?}");
    }
}

#[test]
fn parse_rfc3339_refuses_other_forms() {
    assert_eq!(parse_rfc3339("PT5M"), Ok(Duration::from_secs(300)));
    for text in ["5m", "", "PT1H30S", "PT5M "] {
        assert!(parse_rfc3339(text).is_err(), "{text:?}");
    }
}

#[test]
fn printing_fills_the_gaps() {
    let print = |seconds| print(Duration::from_secs(seconds));
    assert_eq!(print(0), "PT0S");
    assert_eq!(print(300), "PT5M");
    assert_eq!(print(3630), "PT1H0M30S");
    assert_eq!(print(86_430), "P1DT30S");
    assert_eq!(print(14 * 86_400), "P2W");
    assert_eq!(print(15 * 86_400), "P15D");
}

proptest! {
    #[test]
    fn every_duration_survives_its_text(seconds in 0..=MAX.as_secs()) {
        let duration = Duration::from_secs(seconds);
        prop_assert_eq!(parse(&print(duration)), Ok(duration));
    }

    #[test]
    fn every_short_duration_survives_its_text(seconds in 0..=2 * WEEK) {
        let duration = Duration::from_secs(seconds);
        prop_assert_eq!(parse(&print(duration)), Ok(duration));
    }

    #[test]
    fn any_duration_is_printed(duration: Duration) {
        prop_assert!(print(duration).starts_with('P'));
    }

    #[test]
    fn any_text_is_read_or_refused(text in r"P?[0-9YMWDTHSsmhdw +-]{0,24}") {
        let _ = (parse(&text), parse_lenient(&text));
    }
}
