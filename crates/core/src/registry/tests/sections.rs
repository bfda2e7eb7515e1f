//! Conversion of the model's sections to the registry's types.

use std::time::Duration;

use super::events::RandomSetting;
use super::model::ModelSection;
use super::world::config;
use crate::secret::Secret;
use crate::settings::client::{ClientConfig, Setting, SettingChange};

fn secret(number: u8) -> Secret {
    Secret::new(vec![number; 4])
}

pub(super) fn configured(files: &[Option<ModelSection>]) -> Vec<ClientConfig> {
    let mut configs = Vec::new();
    for (number, section) in (0..).zip(files) {
        let Some(section) = section else { continue };
        let mut config = config(number);
        let it = &mut config.settings;
        it.interval = Duration::from_millis(1_000);
        it.enabled = section.enabled;
        it.timeout = Duration::from_millis(section.timeout);
        it.extended_timeout = Duration::from_millis(section.extended);
        it.approval_delay = Duration::from_millis(section.delay);
        it.approval_duration = Duration::from_millis(section.duration);
        it.approved_by_default = section.default;
        config.secret = secret(section.secret);
        configs.push(config);
    }
    configs
}

pub(super) fn change_section(section: &mut ModelSection, random: RandomSetting) {
    match random {
        RandomSetting::Timeout(value) => section.timeout = value,
        RandomSetting::Extended(value) => section.extended = value,
        RandomSetting::Delay(value) => section.delay = value,
        RandomSetting::Duration(value) => section.duration = value,
        RandomSetting::Default(value) => section.default = value,
        RandomSetting::Secret(value) => section.secret = value,
    }
}

pub(super) fn setting(random: RandomSetting) -> SettingChange {
    match random {
        RandomSetting::Timeout(value) => Setting::Timeout.to(Duration::from_millis(value)),
        RandomSetting::Extended(value) => Setting::ExtendedTimeout.to(Duration::from_millis(value)),
        RandomSetting::Delay(value) => Setting::ApprovalDelay.to(Duration::from_millis(value)),
        RandomSetting::Duration(value) => {
            Setting::ApprovalDuration.to(Duration::from_millis(value))
        }
        RandomSetting::Default(value) => Setting::ApprovedByDefault.to(value),
        RandomSetting::Secret(value) => SettingChange::Secret(secret(value)),
    }
}
