//! Pickles made by hand; those that Python makes are in `tests/import.rs`.

#![allow(clippy::unwrap_used, reason = "in a test it is the assertion itself")]

use super::*;

/// A whole pickle of protocol 4 around `body`.
fn whole(body: &[u8]) -> Vec<u8> {
    [b"\x80\x04", body, b"."].concat()
}

fn fault(bytes: &[u8]) -> PickleFault {
    read(bytes).err().unwrap().fault
}

fn int(bytes: &[u8]) -> i64 {
    match read(&whole(bytes)).unwrap().root().view() {
        PickleView::Int(value) => value,
        _ => panic!("no integer"),
    }
}

#[test]
fn whatever_would_be_called_is_refused_by_name() {
    for (body, name) in [
        (&b"cos\nsystem\n\x8c\x02id\x85R"[..], "os.system"),
        (b"cposix\nsystem\n\x8c\x02id\x85R", "posix.system"),
        (b"\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R", "os.system"),
        (b"c__builtin__\neval\n\x8c\x011\x85R", "__builtin__.eval"),
        (b"cdatetime\ntimezone\n)R", "datetime.timezone"),
        (b"cdbus\nSystemBus\n)R", "dbus.SystemBus"),
        (b"c_codecs\ndecode\n)R", "_codecs.decode"),
        (b"ca\x1b[2J\nb\n", "a\\u{1b}[2J.b"),
    ] {
        assert_eq!(fault(&whole(body)), PickleFault::Name(name.to_owned()));
    }
}

#[test]
fn opcodes_that_make_objects_by_other_ways_are_refused() {
    // INST, OBJ, BUILD, NEWOBJ_EX, PERSID, BINPERSID, EXT1, and those of protocol 0.
    for opcode in *b"iobPQ\x92\x82IFSVLgpld" {
        let bytes = whole(&[b'N', opcode, b'1', b'\n']);
        assert_eq!(fault(&bytes), PickleFault::Opcode(opcode), "{opcode:#x}");
    }
    assert_eq!(fault(&whole(b"U\x01a")), PickleFault::PythonTwo);
}

#[test]
fn a_type_is_no_value() {
    assert_eq!(fault(&whole(b"cdatetime\ndatetime\n")), PickleFault::Type);
    assert_eq!(fault(&whole(b"(cdatetime\ndatetime\nt")), PickleFault::Type);
    assert_eq!(fault(&whole(b"N)R")), PickleFault::Type);
    let odd = b"cdatetime\ntimedelta\nK\x01\x85R";
    assert_eq!(
        fault(&whole(odd)),
        PickleFault::Arguments("datetime.timedelta")
    );
    // By the opcode that would call the type's __new__ alone.
    let new = b"cdatetime\ntimedelta\nK\x01K\x02K\x03\x87\x81";
    assert_eq!(
        fault(&whole(new)),
        PickleFault::Arguments("datetime.timedelta")
    );
}

#[test]
fn integers_of_every_width_are_read() {
    assert_eq!(int(b"K\xff"), 255);
    assert_eq!(int(b"M\x01\x02"), 0x201);
    assert_eq!(int(b"J\xfe\xff\xff\xff"), -2);
    assert_eq!(int(b"\x8a\x00"), 0);
    assert_eq!(int(b"\x8a\x01\x80"), -128);
    assert_eq!(int(b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f"), i64::MAX);
    assert_eq!(int(b"\x8b\x02\x00\x00\x00\x00\x01"), 256);
    assert_eq!(
        fault(&whole(b"\x8a\x09\0\0\0\0\0\0\0\0\x01")),
        PickleFault::Number
    );
    assert_eq!(
        fault(&whole(b"\x8b\xff\xff\xff\xff")),
        PickleFault::Truncated
    );
}

#[test]
fn dates_exist_or_are_refused() {
    let date = |payload: &[u8]| whole(&[b"cdatetime\ndatetime\nC\x0a", payload, b"\x85R"].concat());
    let bytes = date(b"\x07\xea\x0b\x18\x16\x39\x39\x00\x99\xd4");
    let pickle = read(&bytes).unwrap();
    let PickleView::DateTime(moment) = pickle.root().view() else {
        panic!("no date");
    };
    // 2026-11-24T22:57:57.039380
    assert_eq!(moment.wall().unix_micros(), 1_795_561_077_039_380);
    assert_eq!(
        fault(&date(b"\x07\xea\x02\x1e\0\0\0\0\0\0")),
        PickleFault::Date
    );
    // Month with the bit for the second of a repeated hour; year 0.
    assert_eq!(
        fault(&date(b"\x07\xea\x8b\x18\0\0\0\0\0\0")),
        PickleFault::Date
    );
    assert_eq!(fault(&date(b"\0\0\x0b\x18\0\0\0\0\0\0")), PickleFault::Date);
    assert_eq!(
        fault(&whole(b"cdatetime\ndatetime\nC\x0a0123456789N\x86R")),
        PickleFault::Date
    );
}

#[test]
fn the_stack_is_never_left() {
    for body in [
        &b""[..],
        b"NN",
        b"t",
        b"u",
        b"e",
        b"a",
        b"s",
        b"N(a",
        b"(N",
        b"(\x85",
        b"N(\x85",
        b"R",
        b"NR",
        b"]NNs",
        b"}(NNNu",
        b"N(Ne",
        b"q\x00",
        b"\x94",
    ] {
        let fault = fault(&whole(body));
        assert!(
            matches!(
                fault,
                PickleFault::Stack | PickleFault::Container | PickleFault::Type
            ),
            "{body:?}: {fault}"
        );
    }
    for body in [
        &b"h\x00"[..],
        b"Nq\x01",
        b"j\xff\xff\xff\xff",
        b"Nr\xff\xff\xff\xff",
    ] {
        assert_eq!(fault(&whole(body)), PickleFault::Memo, "{body:?}");
    }
}

#[test]
fn a_value_in_itself_harms_nobody() {
    let bytes = whole(b"]q\x00h\x00a");
    let pickle = read(&bytes).unwrap();
    let mut value = pickle.root();
    for _ in 0..1000 {
        let PickleView::List(mut items) = value.view() else {
            panic!("no list");
        };
        value = items.next().unwrap();
    }
}

#[test]
fn depth_harms_nobody() {
    let deep = whole(&[vec![b'('; 1 << 20], vec![b't'; 1 << 20]].concat());
    assert!(read(&deep).is_ok());
}

#[test]
fn one_text_does_not_become_more_bytes_than_the_file_has() {
    let text = "x".repeat(200);
    let mut body = b"c_codecs\nencode\nq\x00\x8c\xc8".to_vec();
    body.extend(text.as_bytes());
    body.extend(b"q\x01");
    for _ in 0..100 {
        body.extend(b"h\x00h\x01\x8c\x06latin1\x86R");
    }
    assert_eq!(
        fault(&whole(&body)),
        PickleFault::Arguments("_codecs.encode")
    );
}

#[test]
fn what_is_cut_short_or_too_long_is_refused() {
    let bytes = whole(
        b"\x95\0\0\0\0\0\0\0\0}(\x8c\x01a\x94C\x01bX\x02\0\0\0hiGAAAAAAAA\x8b\x01\0\0\0\x05Nu",
    );
    assert!(read(&bytes).is_ok());
    for length in 0..bytes.len() {
        assert!(read(&bytes[..length]).is_err(), "{length}");
    }
    assert_eq!(fault(&[&bytes[..], b"N"].concat()), PickleFault::Trailing);
    for start in [&b"N."[..], b"\x80\x01N.", b"\x80\x06N.", b""] {
        assert_eq!(fault(start), PickleFault::Protocol);
    }
}
