//! What a signature is good for, read from the bytes to sign. Pure.
//!
//! A signature over bytes of any other form could be one under anything: it is never made.

use std::fmt;

use nightlatch_core::ssh::wire::{Malformed, WireReader};

/// SSH_MSG_USERAUTH_REQUEST (RFC 4252, 5).
const USERAUTH_REQUEST: u8 = 50;

/// The magic of signatures of `ssh-keygen -Y` (OpenSSH's PROTOCOL.sshsig).
const SSHSIG: &[u8] = b"SSHSIG";

/// The purpose of a signature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// A login by public key (RFC 4252, 7).
    Login {
        /// The identifier of the session.
        session: Vec<u8>,
        /// The user to become.
        user: String,
        /// The server's host key, in a request that is bound to it.
        host_key: Option<Vec<u8>>,
    },
    /// A signature over a file or message in a namespace.
    Message {
        /// The namespace.
        namespace: String,
    },
}

/// The bytes are neither a login nor a message in a namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the bytes to sign are neither a login request nor an SSHSIG message")]
pub struct UnknownPurpose;

impl From<Malformed> for UnknownPurpose {
    fn from(_: Malformed) -> Self {
        Self
    }
}

impl Purpose {
    /// Reads all of the bytes to sign.
    ///
    /// # Errors
    /// When their form is another one, or more follows.
    pub fn parse(data: &[u8]) -> Result<Self, UnknownPurpose> {
        match data.strip_prefix(SSHSIG) {
            Some(rest) => message(rest),
            None => login(data),
        }
    }
}

fn message(rest: &[u8]) -> Result<Purpose, UnknownPurpose> {
    let mut reader = WireReader::new(rest);
    let namespace = text(reader.string()?)?;
    let (_reserved, hash, digest) = (reader.string()?, reader.string()?, reader.string()?);
    reader.end()?;
    let length = match hash {
        b"sha256" => 32,
        b"sha512" => 64,
        _ => return Err(UnknownPurpose),
    };
    match !namespace.is_empty() && digest.len() == length {
        true => Ok(Purpose::Message { namespace }),
        false => Err(UnknownPurpose),
    }
}

fn login(data: &[u8]) -> Result<Purpose, UnknownPurpose> {
    let mut reader = WireReader::new(data);
    let session = reader.string()?.to_vec();
    if session.is_empty() || reader.byte()? != USERAUTH_REQUEST {
        return Err(UnknownPurpose);
    }
    let user = text(reader.string()?)?;
    if reader.string()? != b"ssh-connection" {
        return Err(UnknownPurpose);
    }
    let is_bound = match reader.string()? {
        b"publickey" => false,
        b"publickey-hostbound-v00@openssh.com" => true,
        _ => return Err(UnknownPurpose),
    };
    if reader.byte()? != 1 {
        return Err(UnknownPurpose);
    }
    // With a certificate these are the certificate's; the server checks the signature with the key in it.
    let (_algorithm, _key) = (reader.string()?, reader.string()?);
    let host_key = match is_bound {
        true => Some(reader.string()?.to_vec()),
        false => None,
    };
    reader.end()?;
    Ok(Purpose::Login {
        session,
        user,
        host_key,
    })
}

fn text(bytes: &[u8]) -> Result<String, UnknownPurpose> {
    let text = std::str::from_utf8(bytes).map_err(|_| UnknownPurpose)?;
    Ok(text.to_owned())
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Login { user, .. } => write!(f, "a login as {user:?}"),
            Self::Message { namespace } => write!(f, "a message in the namespace {namespace:?}"),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use nightlatch_core::ssh::wire::put_string;
    use proptest::prelude::*;

    use super::*;

    /// The bytes that a client signs to log in as `user`.
    pub(crate) fn login_request(user: &str, host_key: Option<&[u8]>) -> Vec<u8> {
        let mut data = Vec::new();
        put_string(&mut data, &[5; 32]);
        data.push(USERAUTH_REQUEST);
        put_string(&mut data, user.as_bytes());
        put_string(&mut data, b"ssh-connection");
        let method: &[u8] = match host_key {
            None => b"publickey",
            Some(_) => b"publickey-hostbound-v00@openssh.com",
        };
        put_string(&mut data, method);
        data.push(1);
        put_string(&mut data, b"ssh-ed25519");
        put_string(&mut data, b"key");
        if let Some(host_key) = host_key {
            put_string(&mut data, host_key);
        }
        data
    }

    /// The bytes that `ssh-keygen -Y sign` has signed.
    pub(crate) fn message_in(namespace: &str) -> Vec<u8> {
        let mut data = SSHSIG.to_vec();
        for part in [namespace.as_bytes(), b"", b"sha512", &[3; 64]] {
            put_string(&mut data, part);
        }
        data
    }

    #[test]
    fn logins_and_messages_are_told_apart() {
        let login = |host_key: Option<&[u8]>| Purpose::Login {
            session: vec![5; 32],
            user: "backup".to_owned(),
            host_key: host_key.map(<[u8]>::to_vec),
        };
        for host_key in [None, Some(&b"host"[..])] {
            let data = login_request("backup", host_key);
            assert_eq!(Purpose::parse(&data), Ok(login(host_key)));
        }
        let namespace = "file".to_owned();
        assert_eq!(
            Purpose::parse(&message_in("file")),
            Ok(Purpose::Message { namespace })
        );
    }

    #[test]
    fn whatever_is_cut_off_or_longer_has_no_purpose() {
        for whole in [
            login_request("backup", None),
            login_request("backup", Some(b"host")),
            message_in("file"),
        ] {
            for length in 0..whole.len() {
                assert_eq!(
                    Purpose::parse(&whole[..length]),
                    Err(UnknownPurpose),
                    "{length}"
                );
            }
            let longer = [&whole[..], &[0]].concat();
            assert_eq!(Purpose::parse(&longer), Err(UnknownPurpose));
        }
        assert_eq!(Purpose::parse(&message_in("")), Err(UnknownPurpose));
        // Another service, a request without a signature, and a text.
        let wrong = |from: &[u8], to: &[u8]| {
            let data = login_request("backup", None);
            let at = data
                .windows(from.len())
                .position(|part| part == from)
                .unwrap();
            [&data[..at], to, &data[at + from.len()..]].concat()
        };
        assert!(Purpose::parse(&wrong(b"ssh-connection", b"ssh-connectioX")).is_err());
        assert!(Purpose::parse(&wrong(b"publickey\x01", b"publickey\x00")).is_err());
        assert!(Purpose::parse(b"a text that somebody wants to have signed").is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_are_a_panic(data in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Purpose::parse(&data);
            let _ = Purpose::parse(&[SSHSIG, &data].concat());
        }
    }
}
