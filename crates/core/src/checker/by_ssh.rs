//! A checker by ssh(1) that succeeds only after ssh has verified the signature of the pinned key.
//!
//! For sections that a stock Mandos server reads too. The command is built and recognised here.
//!
//! The exit status of ssh is the same for a wrong host key and for a refused login. So one message of its log decides:
//! that of its function `kex_input_newkeys`, which ssh runs only after it has verified the signature. The other side
//! cannot forge this message: with `LogLevel=QUIET` ssh prints no other message, neither its own nor a banner or final
//! message of the other side, and with `-F none` no file of the host changes that. `LogVerbose` and
//! `KnownHostsCommand` need OpenSSH 8.5.

use crate::ssh::{HostKey, HostKeyKind};

/// Name of the key in place of the host's name.
const ALIAS: &str = "pinned";

/// Builds the command. `key` is `TYPE BASE64` and `host` the machine, or references to them in a file.
pub fn by_ssh(kind: HostKeyKind, key: &str, host: &str) -> String {
    let algorithms = kind.algorithms().join(",");
    format!(
        "ssh -F none -aTx -l nightlatch -o BatchMode=yes -o CheckHostIP=no -o ConnectTimeout=10 \
         -o GlobalKnownHostsFile=/dev/null -o HostKeyAlgorithms={algorithms} -o HostKeyAlias={ALIAS} \
         -o IdentityAgent=none -o IdentityFile=none -o 'KnownHostsCommand=/bin/echo {ALIAS} {key}' \
         -o LogLevel=QUIET -o 'LogVerbose=*kex_input_newkeys*' -o PreferredAuthentications=none \
         -o StrictHostKeyChecking=yes -o UserKnownHostsFile=/dev/null -- {host} true 2>&1 >/dev/null \
         </dev/null | grep --fixed-strings --quiet 'SSH2_MSG_NEWKEYS received'"
    )
}

/// True when `text` is such a command for one key, on any port (`-p PORT` before the host).
pub(super) fn is_by_ssh(text: &str) -> bool {
    let marker = format!("KnownHostsCommand=/bin/echo {ALIAS} ");
    let Some((_, rest)) = text.split_once(&marker) else {
        return false;
    };
    let Some((key, _)) = rest.split_once('\'') else {
        return false;
    };
    let Ok(key) = key.parse::<HostKey>() else {
        return false;
    };
    let expected = by_ssh(key.kind(), &key.to_string(), "%(host)s");
    without_port(text) == expected
}

fn without_port(text: &str) -> String {
    let Some((before, after)) = text.split_once(" -- ") else {
        return text.to_owned();
    };
    let before = match before.rsplit_once(" -p ") {
        Some((start, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
            start
        }
        _ => before,
    };
    format!("{before} -- {after}")
}
