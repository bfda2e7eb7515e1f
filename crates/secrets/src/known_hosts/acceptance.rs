//! `--accept-changed-key`: the key that a person has compared with the machine itself.

use std::str::FromStr;

use nightlatch_core::key_id::Fingerprint;
use nightlatch_core::name::{ClientName, shell_word};

/// One machine and the OpenPGP key that it may have now. Bound to the key, as the server could name another key in its
/// next answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Acceptance {
    pub(super) name: ClientName,
    pub(super) openpgp: Fingerprint,
}

impl Acceptance {
    /// The whole option, to be copied into a shell.
    pub(super) fn option(&self) -> String {
        let word = shell_word(&format!("{}={}", self.name, self.openpgp));
        // The value of an option may begin with a dash.
        let word = word.strip_prefix("-- ").unwrap_or(&word);
        format!("--accept-changed-key {word}")
    }
}

impl FromStr for Acceptance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORM: &str = "NAME=FINGERPRINT, with the OpenPGP fingerprint that you have compared with the machine";
        // A name may have an equals sign in it, a fingerprint has none.
        let (name, openpgp) = text
            .rsplit_once('=')
            .ok_or_else(|| format!("expected {FORM}, found {text:?}"))?;
        let name =
            super::machine_name(name).map_err(|error| format!("expected {FORM}: {error}"))?;
        let openpgp = openpgp
            .parse()
            .map_err(|error| format!("expected {FORM}, found {openpgp:?}: {error}"))?;
        Ok(Self { name, openpgp })
    }
}
