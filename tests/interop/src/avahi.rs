//! A real avahi-daemon on a host of its own, and what `avahi-browse` finds there.

use std::process::Command;

use tempfile::TempDir;

use crate::dbus::Bus;
use crate::netns::NetnsHost;
use crate::process::RunningProgram;
use crate::programs::peer;

/// A running Avahi with a bus of its own. Ended on drop, without a goodbye to the network.
#[derive(Debug)]
pub struct Avahi {
    daemon: RunningProgram,
    _folder: TempDir,
}

/// A service as `avahi-browse` resolved it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Resolved {
    /// The service's name.
    pub name: String,
    /// An address of its host.
    pub address: String,
    /// Its TCP port.
    pub port: String,
}

impl Avahi {
    /// Starts it on `host` and waits until it may be asked. `bus` is where it is reached.
    pub fn start(host: &NetnsHost, bus: &Bus) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("avahi-daemon.conf");
        let text = format!(
            "[server]\nhost-name={}\nuse-ipv4=yes\nuse-ipv6=yes\nenable-dbus=yes\n\
             [wide-area]\nenable-wide-area=no\n\
             [publish]\npublish-hinfo=no\npublish-workstation=no\n",
            host.name()
        );
        std::fs::write(&file, text).unwrap();
        // Its run-time folder cannot be configured: it gets a /run of its own. It wants its package's
        // user and group even where it stays root: where there are none, it sees files that have them.
        let script = r#"set -e
            mount -t tmpfs none /run
            for file in passwd group; do
                getent $file avahi >/dev/null && continue
                { cat /etc/$file; echo "avahi:x:65533:65533::/:/usr/sbin/nologin"; } >"$2/$file"
                mount --bind "$2/$file" /etc/$file
            done
            exec "$0" --no-drop-root --no-chroot --no-rlimits -f "$1""#;
        let mut command = host.command("unshare");
        command
            .args(["-m", "sh", "-c", script])
            .arg(peer("usr/sbin/avahi-daemon"))
            .arg(&file)
            .arg(folder.path())
            .env("DBUS_SYSTEM_BUS_ADDRESS", bus.address());
        let daemon = RunningProgram::start("avahi-daemon", &mut command).of_a_peer();
        daemon.wait_for("that it is ready", |line| {
            line.contains("Server startup complete").then_some(())
        });
        Self {
            daemon,
            _folder: folder,
        }
    }

    /// The daemon itself.
    pub fn running(&self) -> &RunningProgram {
        &self.daemon
    }

    /// Ends it as an administrator does: with its goodbyes.
    pub fn terminate(self) {
        self.daemon.terminate();
    }
}

/// Waits until an `avahi-browse` on `host` has resolved `name`.
pub fn resolve(host: &NetnsHost, bus: &Bus, name: &str) -> Resolved {
    let mut browse = browser(host, bus);
    browse.args(["-c", "exec \"$0\" -rp _mandos._tcp >&2"]);
    browse.arg(peer("usr/bin/avahi-browse"));
    let running = RunningProgram::start("avahi-browse", &mut browse);
    running.wait_for("the service", |line| {
        read(line).filter(|found| found.name == name)
    })
}

/// Every server that Avahi on `host` knows now.
pub fn all(host: &NetnsHost, bus: &Bus) -> Vec<Resolved> {
    let mut browse = browser(host, bus);
    browse.args(["-c", "exec \"$0\" -rpt _mandos._tcp"]);
    browse.arg(peer("usr/bin/avahi-browse"));
    let output = browse.output().unwrap();
    let mut found: Vec<Resolved> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(read)
        .collect();
    found.sort();
    found
}

fn browser(host: &NetnsHost, bus: &Bus) -> Command {
    let mut command = host.command("sh");
    command.env("DBUS_SYSTEM_BUS_ADDRESS", bus.address());
    command
}

/// `=;IF;IPv6;NAME;TYPE;local;HOST;ADDRESS;PORT;TEXT`, with other bytes than letters and digits as
/// three decimal digits after a backslash (avahi-browse(1), option `-p`).
fn read(line: &str) -> Option<Resolved> {
    let fields: Vec<&str> = line.strip_prefix("=;")?.split(';').collect();
    let [_, _, name, _, _, _, address, port, ..] = fields[..] else {
        return None;
    };
    Some(Resolved {
        name: unescape(name),
        address: address.to_owned(),
        port: port.to_owned(),
    })
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after
            .get(..3)
            .and_then(|code| std::str::from_utf8(code).ok());
        let code = code.and_then(|code| code.parse::<u8>().ok());
        match code.filter(|_| *first == b'\\') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_avahi_browse_is_read() {
        let line = r"=;va;IPv6;Mandos\032\0352;_mandos._tcp;local;vm.local;fe80::1;4711;";
        let read = read(line).unwrap();
        assert_eq!(read.name, "Mandos #2");
        assert_eq!(
            (read.address.as_str(), read.port.as_str()),
            ("fe80::1", "4711")
        );
    }
}
