//! A checker from this machine's SSH host key: whoever answers with that key is this machine.

use std::process::{Command, Stdio};

/// The kinds of host key asked for, in the order of mandos-keygen(8).
const KINDS: [&str; 3] = ["ecdsa-sha2-nistp256", "ed25519", "rsa"];

/// The host under which this machine's own SSH server answers; ssh-keyscan(1) puts it before the key.
const HOST: &str = "localhost";

/// A host key as ssh-keyscan(1) shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct HostKey {
    /// What to give to `ssh-keyscan -t`.
    pub(crate) kind: &'static str,
    /// `TYPE BASE64`.
    pub(crate) key: String,
}

/// The first host key of an SSH server on this machine, or none.
pub(crate) fn host_key() -> Option<HostKey> {
    KINDS.into_iter().find_map(|kind| {
        let output = Command::new("ssh-keyscan")
            .args(["-t", kind, HOST])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        let key = read(&String::from_utf8(output.stdout).ok()?)?;
        Some(HostKey { kind, key })
    })
}

/// `TYPE BASE64` from the answer of ssh-keyscan(1): only letters that mean nothing to a shell or to
/// the configuration file.
fn read(answer: &str) -> Option<String> {
    let line = answer.lines().find(|line| !line.starts_with('#'))?;
    let key = line.strip_prefix(HOST)?.strip_prefix(' ')?;
    let (kind, base64) = key.split_once(' ')?;
    let word = |text: &str, more: &[u8]| {
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
    };
    (word(kind, b"-@.") && word(base64, b"+/=")).then(|| key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_key_line_is_taken() {
        let answer = "# localhost:22 SSH-2.0-OpenSSH_9.2\nlocalhost ssh-ed25519 AAAAC3+/=\n";
        assert_eq!(read(answer).as_deref(), Some("ssh-ed25519 AAAAC3+/="));
        for odd in [
            "",
            "other ssh-ed25519 AAAA",
            "localhost ssh-ed25519",
            "localhost ssh-ed25519 AA%(x)s",
            "localhost ssh-ed25519 AA BB",
        ] {
            assert_eq!(read(odd), None, "{odd}");
        }
    }
}
