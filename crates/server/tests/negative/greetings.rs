//! Before TLS: the first line.

use std::io::{Read, Write};

use nightlatch_proto::greeting::GreetingError;
use nightlatch_proto::tls::PeerError;
use nightlatch_server::session::{Deadlines, SessionEnd, SessionStage};

use crate::gate::Gate;
use crate::hostile::{read_record, say};
use crate::{SHORT, meet, patient};

#[tokio::test]
async fn a_malformed_line_gets_not_a_byte() {
    let long = vec![b'1'; 100_003];
    let lines: [&[u8]; 13] = [
        // Of an older client that rehearses: never as a boot.
        b"1 rehearsal\r\n",
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
        assert!(
            matches!(ended, SessionEnd::Greeting(_)),
            "{start:?}: {ended:?}"
        );
        assert_eq!(answer, b"", "{start:?}");
        assert!(gate.calls().is_empty(), "{start:?}");
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
        matches!(ended, SessionEnd::Greeting(GreetingError::TooLong)),
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
            matches!(ended, SessionEnd::Handshake(PeerError::Closed)),
            "{line:?}: {ended:?}"
        );
        assert!(gate.calls().is_empty());
    }
}

#[tokio::test]
async fn a_silent_peer_is_disconnected() {
    let gate = Gate::releasing(b"secret");
    let deadlines = Deadlines {
        greeting: SHORT,
        ..patient()
    };
    let (ended, read) = meet(&gate, deadlines, |mut stream| {
        stream.read(&mut [0]).unwrap()
    })
    .await;
    assert!(
        matches!(ended, SessionEnd::Late(SessionStage::Greeting)),
        "{ended:?}"
    );
    assert_eq!(read, 0);
}

#[tokio::test]
async fn a_peer_that_sends_byte_by_byte_gains_no_time() {
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
    assert!(
        matches!(ended, SessionEnd::Late(SessionStage::Greeting)),
        "{ended:?}"
    );
}

#[tokio::test]
async fn a_peer_that_is_silent_after_the_line_is_disconnected() {
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
    assert!(
        matches!(ended, SessionEnd::Late(SessionStage::Handshake)),
        "{ended:?}"
    );
    assert!(gate.calls().is_empty());
}
