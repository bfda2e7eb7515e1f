//! Stands in for Plymouth's daemon, as the user that starts it: prints every request, acknowledges it, and answers a
//! question. Started as root it leaves a file, which must never happen.
//!
//! usage: `impostor FILE [silent]`; a silent one does not answer questions
#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

fn main() -> std::io::Result<()> {
    let file = std::env::args_os().nth(1).unwrap_or_default();
    if rustix::process::geteuid().is_root() {
        std::fs::write(file, "run as root")?;
    }
    let address = SocketAddr::from_abstract_name(b"/org/freedesktop/plymouthd")?;
    let listener = UnixListener::bind_addr(&address)?;
    let silent = std::env::args().nth(2).is_some();
    let mut waiting = Vec::new();
    eprintln!("ready");
    loop {
        let (mut stream, _) = listener.accept()?;
        let mut said = [0; 512];
        let count = stream.read(&mut said).unwrap_or(0);
        let Some(kind) = said[..count].first() else {
            continue;
        };
        eprintln!("told {}", char::from(*kind));
        if silent && *kind == b'*' {
            waiting.push(stream);
            continue;
        }
        let answer: &[u8] = match kind {
            b'*' => b"\x02\x03\0\0\0bad",
            _ => b"\x06",
        };
        let _ = stream.write_all(answer);
    }
}
