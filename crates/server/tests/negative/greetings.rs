//! Before TLS: the first line.

use std::io::{Read, Write};

use nightlatch_proto::greeting::{BootNonce, GreetingError, GreetingOptions};
use nightlatch_proto::priority::Priority;
use nightlatch_proto::tls::{BootTls, PeerError, ServerTls};
use nightlatch_server::session::{Deadlines, Ended, Sessions, Stage};

use crate::gate::{Gate, TERMS};
use crate::hostile::{key, read_record, say};
use crate::{SHORT, meet, meet_with, patient};

#[tokio::test]
async fn a_line_that_is_none_gets_not_a_byte() {
    let long = vec![b'1'; 100_003];
    let lines: [&[u8]; 12] = [
        b"2\r\n",
        b"1.0\r\n",
        b"abc\n",
        b"\n",
        b"\r\n",
        b"",
        b" ",
        b"0_1\n",
        b"1 \xff\xfe\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n",
        &long,
    ];
    for line in lines {
        let gate = Gate::releasing(b"secret");
        let owned = line.to_vec();
        let (ended, answer) = meet(&gate, patient(), move |stream| say(&stream, &owned)).await;
        let start = &line[..line.len().min(20)];
        assert!(matches!(ended, Ended::Greeting(_)), "{start:?}: {ended:?}");
        assert_eq!(answer, b"", "{start:?}");
        assert!(gate.heard().is_empty(), "{start:?}");
    }
}

#[tokio::test]
async fn a_line_without_end_is_not_read_to_its_end() {
    let gate = Gate::releasing(b"secret");
    // It keeps its side open and would go on for ever.
    let (ended, ()) = meet(&gate, patient(), |mut stream| {
        while stream.write_all(&[b' '; 1000]).is_ok() {}
    })
    .await;
    assert!(
        matches!(ended, Ended::Greeting(GreetingError::TooLong)),
        "{ended:?}"
    );
}

#[tokio::test]
async fn versions_that_mandos_serves_get_as_far_as_tls() {
    let lines: [&[u8]; 7] = [
        b"1\r\n",
        b"0\n",
        b"-5 foo bar\r\n",
        b"+1\n",
        b"  1 extra words\n",
        b"1\rX",
        // Its end is the end of the stream.
        b"1",
    ];
    for line in lines {
        let gate = Gate::releasing(b"secret");
        let owned = line.to_vec();
        let (ended, answer) = meet(&gate, patient(), move |stream| say(&stream, &owned)).await;
        assert_eq!(answer.first(), Some(&22), "{line:?}: a handshake record");
        assert!(
            matches!(ended, Ended::Handshake(PeerError::Closed)),
            "{line:?}: {ended:?}"
        );
        assert!(gate.heard().is_empty());
    }
}

#[tokio::test]
async fn who_says_nothing_is_not_waited_for() {
    let gate = Gate::releasing(b"secret");
    let deadlines = Deadlines {
        greeting: SHORT,
        ..patient()
    };
    let (ended, read) = meet(&gate, deadlines, |mut stream| {
        stream.read(&mut [0]).unwrap()
    })
    .await;
    assert!(matches!(ended, Ended::Late(Stage::Greeting)), "{ended:?}");
    assert_eq!(read, 0);
}

#[tokio::test]
async fn who_speaks_a_byte_at_a_time_gains_no_time() {
    let gate = Gate::releasing(b"secret");
    let deadlines = Deadlines {
        greeting: SHORT,
        ..patient()
    };
    let (ended, ()) = meet(&gate, deadlines, |mut stream| {
        // Each wait for an answer that does not come is the pause between two bytes.
        stream.set_read_timeout(Some(SHORT / 5)).unwrap();
        while stream.write_all(b" ").is_ok() && stream.read(&mut [0]).is_err() {}
    })
    .await;
    assert!(matches!(ended, Ended::Late(Stage::Greeting)), "{ended:?}");
}

#[tokio::test]
async fn who_falls_silent_after_the_line_is_not_waited_for() {
    let gate = Gate::releasing(b"secret");
    let deadlines = Deadlines {
        handshake: SHORT,
        ..patient()
    };
    let (ended, ()) = meet(&gate, deadlines, |mut stream| {
        stream.write_all(b"1\r\n").unwrap();
        read_record(&mut stream);
        let _ = stream.read_to_end(&mut Vec::new());
    })
    .await;
    assert!(matches!(ended, Ended::Late(Stage::Handshake)), "{ended:?}");
    assert!(gate.heard().is_empty());
}

#[tokio::test]
async fn the_words_of_the_line_reach_the_gatekeeper() {
    let gate = Gate::releasing(b"secret");
    let words = GreetingOptions {
        rehearsal: true,
        boot: Some(BootNonce::from_bytes([7; 16])),
    };
    let said = words.clone();
    let machine = key();
    let id = machine.key_id();
    // Nobody rehearses with a server that has no key.
    let tls = ServerTls::new(Some(&key()), &Priority::default()).unwrap();
    let sessions = Sessions::new(gate.clone(), &tls, patient());
    let (ended, fetched) = meet_with(&sessions, move |mut stream| {
        let boot = BootTls::new(machine, vec![], &Priority::default()).unwrap();
        boot.with_options(said).fetch(&mut stream, 1000).unwrap()
    })
    .await;
    assert!(matches!(ended, Ended::Delivered), "{ended:?}");
    assert_eq!(fetched.payload.expose(), b"secret");
    assert_eq!(fetched.terms, Some(TERMS));
    let (who, peer) = gate.first();
    assert_eq!(who, id);
    assert_eq!(peer.words, words);
    assert!(peer.address.ip().is_loopback());
}
