//! A name server for tests that need one on a host of its own.
//!
//! usage: `name_server SILENT | NAME=ADDRESS...`
//!
//! Listens at 127.0.0.1, port 53, and says `listening` on standard error. Answers each question for a NAME with all
//! of its addresses of the family that is asked for, or reads questions and answers none. Ends when killed.
#![forbid(unsafe_code)]

use std::io;
use std::net::{IpAddr, UdpSocket};
use std::process::ExitCode;

/// Length of a header (RFC 1035, 4.1.1).
const HEADER: usize = 12;

/// An answer, recursion available, without an error.
const ANSWER: u16 = 0x8180;

/// Types of records.
const A: u16 = 1;
const AAAA: u16 = 28;

type HostNames = Vec<(String, IpAddr)>;

fn main() -> ExitCode {
    let names: HostNames = std::env::args()
        .skip(1)
        .filter_map(|word| {
            let (name, address) = word.split_once('=')?;
            Some((name.to_owned(), address.parse().ok()?))
        })
        .collect();
    match serve(&names) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("name_server: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Without names it answers nothing.
fn serve(names: &HostNames) -> io::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:53")?;
    eprintln!("listening");
    let mut buffer = [0; 512];
    loop {
        let (length, client) = socket.recv_from(&mut buffer)?;
        if let Some(answer) = answer(&buffer[..length], names).filter(|_| !names.is_empty()) {
            socket.send_to(&answer, client)?;
        }
    }
}

fn answer(message: &[u8], names: &HostNames) -> Option<Vec<u8>> {
    let (name, after) = question(message)?;
    let kind = u16::from_be_bytes(message.get(after..after + 2)?.try_into().ok()?);
    let records: Vec<Vec<u8>> = names
        .iter()
        .filter(|(known, _)| known.eq_ignore_ascii_case(&name))
        .filter_map(|(_, address)| match (address, kind) {
            (IpAddr::V4(v4), A) => Some(v4.octets().to_vec()),
            (IpAddr::V6(v6), AAAA) => Some(v6.octets().to_vec()),
            _ => None,
        })
        .collect();
    let count = u16::try_from(records.len()).ok()?;
    let mut answer = message.get(..2)?.to_vec();
    for field in [ANSWER, 1, count, 0, 0] {
        answer.extend(field.to_be_bytes());
    }
    answer.extend(message.get(HEADER..after + 4)?);
    for record in records {
        // The name is that of the question; the class is IN; nobody keeps it.
        answer.extend([0xc0, 12]);
        answer.extend(kind.to_be_bytes());
        answer.extend([0, 1, 0, 0, 0, 0]);
        answer.extend(u16::try_from(record.len()).ok()?.to_be_bytes());
        answer.extend(record);
    }
    Some(answer)
}

/// The name that is asked for, and where in the message it ends.
fn question(message: &[u8]) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    let mut at = HEADER;
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        let label = message.get(at..at + length)?;
        labels.push(String::from_utf8_lossy(label).into_owned());
        at += length;
    }
}
