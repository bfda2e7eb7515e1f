//! This machine's SSH host key, for a checker: who signs with that key is this machine.

use std::process::{Command, Stdio};

use nightlatch_core::ssh::HostKey;

/// The kinds of host key asked for, in the order of mandos-keygen(8).
const KINDS: [&str; 3] = ["ecdsa-sha2-nistp256", "ed25519", "rsa"];

/// The host under which this machine's own SSH server answers; ssh-keyscan(1) puts it before the key.
const HOST: &str = "localhost";

/// The first host key of an SSH server on this machine, or none.
pub(crate) fn host_key() -> Option<HostKey> {
    KINDS.into_iter().find_map(|kind| {
        let output = Command::new("ssh-keyscan")
            .args(["-t", kind, HOST])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        read(&String::from_utf8(output.stdout).ok()?)
    })
}

/// The key in an answer of ssh-keyscan(1).
fn read(answer: &str) -> Option<HostKey> {
    let line = answer.lines().find(|line| !line.starts_with('#'))?;
    line.strip_prefix(HOST)?.strip_prefix(' ')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB";

    #[test]
    fn only_a_key_of_this_machine_is_taken() {
        let answer = format!("# localhost:22 SSH-2.0-OpenSSH_9.2\nlocalhost {KEY}\n");
        assert_eq!(read(&answer).unwrap().to_string(), KEY);
        for odd in [
            String::new(),
            format!("other {KEY}"),
            "localhost ssh-ed25519".to_owned(),
            "localhost ssh-ed25519 AA%(x)s".to_owned(),
            "localhost ssh-ed25519 AAAAC3+/=".to_owned(),
        ] {
            assert_eq!(read(&odd), None, "{odd}");
        }
    }
}
