//! The key file that is a socket, from the units that the package brings, with a server on the same host. A volume is
//! played by a client that names itself as systemd-cryptsetup does: a container has no device mapper.

use std::io::Read;
use std::os::unix::net::UnixStream;

use nightlatch_packages::system::TestSystem;

/// crypttab(5): "the source socket address is set to ... NUL RANDOM /cryptsetup/ VOLUME".
const ASK: &str = r#"
    socket(S, AF_UNIX, SOCK_STREAM, 0) or die $!;
    bind(S, pack_sockaddr_un("\0$$/cryptsetup/$ARGV[0]")) or die $!;
    connect(S, pack_sockaddr_un("/run/nightlatch/key")) or die $!;
    local $/;
    print <S>;
"#;

/// In Perl, which every Debian system has.
fn key_for(volume: &str, system: &TestSystem) -> String {
    system.run(&["timeout", "60", "perl", "-MSocket", "-e", ASK, volume])
}

#[test]
#[ignore = "make deb-test builds the packages first"]
fn data_disks_get_their_key_from_the_socket_once_it_is_enabled() {
    let Some(system) = TestSystem::booted("bookworm") else {
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
    assert_eq!(key_for("data", &system), "correct horse");
    let process = || {
        let shown = system.run(&["systemctl", "show", "--property=MainPID", "nightlatch-key"]);
        assert_ne!(shown, "MainPID=0\n");
        shown
    };
    let first = process();
    // This test is outside the system's PID namespace, so root there cannot identify it.
    let mut stranger = UnixStream::connect(system.file("/run/nightlatch/key")).unwrap();
    let mut key = Vec::new();
    stranger.read_to_end(&mut key).unwrap();
    assert_eq!(key, b"");
    assert_eq!(key_for("more", &system), "correct horse");
    assert_eq!(process(), first, "the stranger ended it");
    system.run(&[
        "systemd-analyze",
        "security",
        "--no-pager",
        "--threshold=20",
        "nightlatch-key",
    ]);
}
