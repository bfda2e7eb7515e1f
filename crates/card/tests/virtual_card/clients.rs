//! Many clients, and those that do not read or do not end what they began.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::thread;

use super::apdus::ED25519;
use super::world::World;

/// The message that asks for the keys.
const LIST: [u8; 5] = [0, 0, 0, 1, 11];

fn list(client: &mut UnixStream) -> Vec<u8> {
    client.write_all(&LIST).unwrap();
    let mut length = [0; 4];
    client.read_exact(&mut length).unwrap();
    let mut keys = vec![0; u32::from_be_bytes(length) as usize];
    client.read_exact(&mut keys).unwrap();
    keys
}

#[test]
fn two_hundred_clients_are_served_beside_some_that_hang() {
    let Some(world) = World::unlocked(ED25519) else {
        return;
    };
    let connect = || UnixStream::connect(world.path("agent")).unwrap();
    // Half a frame, and one that asks again and again and never reads.
    let mut half = connect();
    half.write_all(&[0, 0, 1]).unwrap();
    let deaf = connect();
    deaf.set_nonblocking(true).unwrap();
    while (&deaf).write_all(&LIST.repeat(100)).is_ok() {}
    let mut clients: Vec<UnixStream> = (0..200).map(|_| connect()).collect();
    for client in &mut clients {
        assert_eq!(list(client)[..5], [12, 0, 0, 0, 1]);
    }
    // It also writes the public key, which all of them read.
    assert!(world.sign("first").status.success());
    thread::scope(|scope| {
        for number in 0..8 {
            let world = &world;
            scope.spawn(move || {
                let name = format!("text{number}");
                let signed = world.sign(&name);
                assert!(signed.status.success(), "{signed:?}");
            });
        }
    });
    // Still there.
    assert_eq!(list(&mut clients[0])[0], 12);
}

#[test]
fn an_idle_client_is_kept_and_one_in_the_middle_of_a_frame_is_not() {
    let Some(world) = World::with_agent(ED25519) else {
        return;
    };
    let mut idle = UnixStream::connect(world.path("agent")).unwrap();
    assert_eq!(list(&mut idle)[0], 12);
    let mut half = UnixStream::connect(world.path("agent")).unwrap();
    half.write_all(&LIST[..4]).unwrap();
    // The agent closes it after the time for a frame, which has also passed for the other then.
    assert_eq!(half.read(&mut [0]).unwrap(), 0);
    assert_eq!(list(&mut idle)[0], 12);
}

#[test]
fn frames_that_are_no_messages_end_their_own_client_only() {
    let Some(world) = World::with_agent(ED25519) else {
        return;
    };
    for bytes in [
        &[0, 0, 0, 0][..],
        &[0xff, 0xff, 0xff, 0xff, 1],
        &[0, 1, 0, 1, 11],
        &[0, 0, 0, 2, 13, 0],
        &[0, 0, 0, 5, 13, 0xff, 0xff, 0xff, 0xff],
    ] {
        let mut client = UnixStream::connect(world.path("agent")).unwrap();
        client.write_all(bytes).unwrap();
        let mut rest = Vec::new();
        // The end may come as an error, as it has unread bytes.
        let _ = client.read_to_end(&mut rest);
        assert_eq!(rest, [0; 0], "{bytes:?}");
    }
    let mut client = UnixStream::connect(world.path("agent")).unwrap();
    assert_eq!(list(&mut client)[0], 12);
}
