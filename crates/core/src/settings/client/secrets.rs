//! The named secrets of a section, `secret.NAME`, and their policies, `policy.NAME` (docs/decisions/0173).

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::Arc;

use crate::ini::is_space;
use crate::sealed_secret::SealedSecret;
use crate::secret_name::SecretName;
use crate::suggest;

/// The keys as the manual has them: any name of a secret stands in the place of `NAME`.
pub(super) const SECRET_KEY: &str = "secret.NAME";
pub(super) const POLICY_KEY: &str = "policy.NAME";

/// The start of the key of a named secret.
pub(super) const SECRET: &str = "secret.";

/// The start of the key of a policy.
pub(super) const POLICY: &str = "policy.";

/// The only word of a policy.
const APPROVAL: &str = "approval";

/// The named secrets of one section.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ConfiguredSecrets {
    /// Those with a value in the section. Each is for the section's `host_key_id`, and has the name of its key.
    pub sealed: BTreeMap<SecretName, Arc<SealedSecret>>,
    /// Policies, also of secrets that are put at run time.
    pub policies: BTreeMap<SecretName, SecretPolicy>,
}

impl ConfiguredSecrets {
    /// True when the section says that each request for this secret needs a person.
    pub fn needs_approval(&self, name: &SecretName) -> bool {
        self.policies.get(name).is_some_and(|it| it.approval)
    }

    /// The names of the secrets that another section gives another value, or none, in order.
    pub(crate) fn changed_names(&self, other: &Self) -> Vec<SecretName> {
        let names: BTreeSet<_> = self.sealed.keys().chain(other.sealed.keys()).collect();
        let differs = |name: &&SecretName| self.sealed.get(*name) != other.sealed.get(*name);
        names.into_iter().filter(differs).cloned().collect()
    }

    /// True when the section says nothing about named secrets.
    pub fn is_empty(&self) -> bool {
        self.sealed.is_empty() && self.policies.is_empty()
    }
}

/// The conditions on the release of a named secret, beside those of its client.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SecretPolicy {
    /// Each request waits for a person.
    pub approval: bool,
}

impl FromStr for SecretPolicy {
    type Err = UnknownPolicy;

    /// Words with commas or spaces between them.
    fn from_str(text: &str) -> Result<Self, UnknownPolicy> {
        let mut policy = Self::default();
        let words = text.split(|c: char| c == ',' || is_space(c));
        for word in words.filter(|word| !word.is_empty()) {
            match word {
                APPROVAL => policy.approval = true,
                other => return Err(UnknownPolicy(other.to_owned())),
            }
        }
        Ok(policy)
    }
}

/// A word that is no policy.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected {APPROVAL:?}, found {0:?}{advice}", advice = advice(.0))]
pub struct UnknownPolicy(String);

fn advice(word: &str) -> String {
    let meant = suggest::nearest(&word.to_lowercase(), [APPROVAL]);
    meant.map_or_else(String::new, |meant| format!("; did you mean {meant}?"))
}

/// True for a key of a named secret or of a policy, right or wrong.
pub(super) fn is_key(key: &str) -> bool {
    key.starts_with(SECRET) || key.starts_with(POLICY)
}
