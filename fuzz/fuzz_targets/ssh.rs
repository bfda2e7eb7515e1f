//! No bytes from an SSH server prove a host key whose private half it lacks, in any pieces, and memory stays bounded;
//! any text of a host key is refused or printed as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightlatch_core::ssh::{HostKey, endpoint};
use nightlatch_proto::ssh::{HostKeyProof, ProofProgress};

const KEYS: [&str; 2] = [
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB",
    "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBGsX0fLhLEJH+Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT+NC4v4af5uO5+tKfA+eFivOM1drMV7Oy7ZAaDe/UfU=",
];

fuzz_target!(|input: (&[u8], usize, bool, &str)| {
    let (bytes, piece, other, text) = input;
    if let Ok(key) = text.parse::<HostKey>() {
        assert_eq!(key.to_string().parse::<HostKey>().as_ref(), Ok(&key));
        assert!(key.public_key().is_ok());
    }
    let _ = endpoint(text);
    let key: HostKey = KEYS[usize::from(other)].parse().expect("a valid key");
    let (mut proof, _) = HostKeyProof::begin(&key);
    for part in bytes.chunks(piece.max(1)) {
        match proof.receive(part) {
            Ok(ProofProgress::Continue { send }) => assert!(send.len() < 8192),
            Ok(ProofProgress::Proved(_)) => panic!("proved"),
            Err(_) => break,
        }
    }
});
