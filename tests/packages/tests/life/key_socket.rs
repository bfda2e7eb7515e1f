//! The key file that is a socket, from the units that the package brings, with a server on the same host. A volume is
//! played by a client that names itself as systemd-cryptsetup does: a container has no device mapper.

use std::io::Read;
use std::os::unix::net::UnixStream;

use nightlatch_packages::system::System;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, connect, socket};

/// crypttab(5): "the source socket address is set to ... NUL RANDOM /cryptsetup/ VOLUME".
fn key_for(volume: &str, system: &System) -> Vec<u8> {
    let stream = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    let name = format!("{:x}/cryptsetup/{volume}", std::process::id());
    bind(
        &stream,
        &SocketAddrUnix::new_abstract_name(name.as_bytes()).unwrap(),
    )
    .unwrap();
    let path = system.file("/run/nightlatch/key");
    connect(&stream, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    let mut key = Vec::new();
    UnixStream::from(stream).read_to_end(&mut key).unwrap();
    key
}

#[test]
#[ignore = "make deb-test builds the packages first"]
fn data_disks_get_their_key_from_the_socket_once_it_is_enabled() {
    let Some(system) = System::booted("bookworm") else {
        return;
    };
    system.install(&["nightlatch-server", "nightlatch-client", "nightlatch"]);
    let state = system.try_run(&["systemctl", "is-enabled", "nightlatch-key.socket"]);
    assert_eq!(String::from_utf8_lossy(&state.stdout), "disabled\n");

    // A cable, so that there is a network to search.
    system.sh("ip link add cable0 type veth peer name cable1
         ip link set cable0 up; ip link set cable1 up
         printf 'correct horse' > /root/password
         nightlatch keygen --no-ssh --name tower --passfile /root/password | nightlatch add");
    system.run(&["systemctl", "enable", "--now", "nightlatch-key.socket"]);
    let mode = system.run(&[
        "stat",
        "-c",
        "%U:%G:%a",
        "/run/nightlatch/key",
        "/run/nightlatch",
    ]);
    assert_eq!(mode, "root:root:600\nroot:root:700\n");
    assert_eq!(key_for("data", &system), b"correct horse");
    assert_eq!(key_for("more", &system), b"correct horse");
    system.run(&[
        "systemd-analyze",
        "security",
        "--no-pager",
        "--threshold=20",
        "nightlatch-key",
    ]);
}
