//! Settings put in force at run time.

use std::sync::Arc;

use super::Client;
use crate::settings::client::Setting;

impl Client {
    /// Puts `setting` in force; says whether anything changed.
    pub(crate) fn set(&mut self, setting: Setting) -> bool {
        let old = Arc::clone(&self.settings);
        let settings = Arc::make_mut(&mut self.settings);
        match setting {
            Setting::Host(value) => settings.host = value,
            Setting::Checker(value) => settings.checker = value,
            Setting::Timeout(value) => settings.timeout = value,
            Setting::ExtendedTimeout(value) => settings.extended_timeout = value,
            Setting::Interval(value) => settings.interval = value,
            Setting::ApprovalDelay(value) => settings.approval_delay = value,
            Setting::ApprovalDuration(value) => settings.approval_duration = value,
            Setting::ApprovedByDefault(value) => settings.approved_by_default = value,
            Setting::Secret(value) => {
                if *self.secret == value {
                    return false;
                }
                self.secret_changes += 1;
                if self.added {
                    // There is no file that could say otherwise.
                    self.configured_secret = value.digest();
                }
                self.own_secret = value.digest() != self.configured_secret;
                self.secret = Arc::new(value);
                return true;
            }
        }
        *self.settings != *old
    }
}
