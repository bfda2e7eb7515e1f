//! Settings put in force at run time.

use std::sync::Arc;

use super::Client;
use crate::secret::Secret;
use crate::settings::client::{SettingChange, SettingError};

impl Client {
    /// Puts a change in force; true when that makes a difference.
    pub(crate) fn change(&mut self, change: SettingChange) -> Result<bool, SettingError> {
        change.check()?;
        match change {
            SettingChange::Value(setting, value) => {
                let differs = setting.value(&self.settings) != value;
                if differs {
                    setting.put(Arc::make_mut(&mut self.settings), value)?;
                }
                Ok(differs)
            }
            SettingChange::Secret(secret) => Ok(self.change_secret(secret)),
        }
    }

    fn change_secret(&mut self, secret: Secret) -> bool {
        if *self.secret == secret {
            return false;
        }
        self.secret_changes += 1;
        if self.added {
            // There is no file that could say otherwise.
            self.configured_secret = secret.digest();
        }
        self.own_secret = secret.digest() != self.configured_secret;
        self.secret = Arc::new(secret);
        true
    }
}
