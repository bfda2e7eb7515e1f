//! Whether a sealed secret that a server gave is believed: its author, its header, its age.

use nightlatch_core::key_id::{Fingerprint, KeyId};
use nightlatch_core::sealed_secret::SealedSecret;
use nightlatch_core::secret::Secret;
use nightlatch_core::secret_name::SecretName;
use nightlatch_core::secret_rejection::RejectionReason;
use nightlatch_core::time::Wall;
use nightlatch_openpgp::{AdminKeys, OpenFault, OpenedSecret, SecretKey};
use nightlatch_proto::tls::NamedSecret;

use super::serials::{Advance, Seen, SerialFault, Serials};

/// The keys that open sealed secrets on this machine.
pub(super) struct Opener<'a> {
    /// The host's OpenPGP key.
    pub(super) host: &'a SecretKey,
    /// The pinned admin keys.
    pub(super) admins: &'a AdminKeys,
}

/// The header that a sealed secret must have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected<'a> {
    /// The id of this machine's host key.
    pub(super) host: KeyId,
    /// The name under which it was asked for.
    pub(super) name: &'a SecretName,
}

/// A value that may be handed out: its serial is remembered.
#[derive(Debug)]
pub(super) struct JudgedSecret {
    pub(super) value: Secret,
    pub(super) serial: u64,
    /// The admin key that has signed it.
    pub(super) signer: Fingerprint,
}

/// A reason not to hand a secret out.
#[derive(Debug, thiserror::Error)]
pub(super) enum JudgeFault {
    /// The server's fault.
    #[error("{reason}")]
    Rejected {
        reason: RejectionReason,
        #[source]
        source: Option<OpenFault>,
    },
    /// This machine's fault.
    #[error(transparent)]
    State(#[from] SerialFault),
}

impl From<RejectionReason> for JudgeFault {
    fn from(reason: RejectionReason) -> Self {
        let source = None;
        Self::Rejected { reason, source }
    }
}

impl From<OpenFault> for JudgeFault {
    fn from(fault: OpenFault) -> Self {
        let reason = match fault {
            OpenFault::Forged(_) => RejectionReason::Forged,
            OpenFault::Swapped => RejectionReason::Swapped,
            OpenFault::Message(_) | OpenFault::Plaintext(_) => RejectionReason::Malformed,
        };
        let source = Some(fault);
        Self::Rejected { reason, source }
    }
}

/// Judges what a server gave. The serial is on the disk when this returns a value.
pub(super) fn judge(
    given: NamedSecret,
    expected: Expected<'_>,
    opener: &Opener<'_>,
    serials: &Serials,
    now: Wall,
) -> Result<JudgedSecret, JudgeFault> {
    let sealed = SealedSecret::from_bytes(given.payload).map_err(|_| RejectionReason::Malformed)?;
    let OpenedSecret {
        header,
        value,
        signer,
        digest,
    } = nightlatch_openpgp::open(&sealed, opener.host, opener.admins, now)?;
    let fits = header.host == expected.host && header.name == *expected.name;
    if !fits || header.serial != given.serial {
        return Err(RejectionReason::Swapped.into());
    }
    let seen = Seen {
        serial: header.serial,
        digest: *digest.as_bytes(),
    };
    match serials.advance(expected.name, seen, !header.is_expired(now))? {
        Advance::Newest => Ok(JudgedSecret {
            value,
            serial: header.serial,
            signer,
        }),
        Advance::RolledBack => Err(RejectionReason::RolledBack.into()),
        Advance::Unwanted => Err(RejectionReason::Expired.into()),
    }
}
