//! Conversion of the model's sections to the registry's types.

use std::time::Duration;

use super::events::SettingChange;
use super::model::ModelSection;
use super::world::config;
use crate::secret::Secret;
use crate::settings::client::ClientConfig;
use crate::settings::client::Setting;

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

pub(super) fn change_section(section: &mut ModelSection, setting_change: SettingChange) {
    match setting_change {
        SettingChange::Timeout(value) => section.timeout = value,
        SettingChange::Extended(value) => section.extended = value,
        SettingChange::Delay(value) => section.delay = value,
        SettingChange::Duration(value) => section.duration = value,
        SettingChange::Default(value) => section.default = value,
        SettingChange::Secret(value) => section.secret = value,
    }
}

pub(super) fn setting(setting_change: SettingChange) -> Setting {
    match setting_change {
        SettingChange::Timeout(value) => Setting::Timeout(Duration::from_millis(value)),
        SettingChange::Extended(value) => Setting::ExtendedTimeout(Duration::from_millis(value)),
        SettingChange::Delay(value) => Setting::ApprovalDelay(Duration::from_millis(value)),
        SettingChange::Duration(value) => Setting::ApprovalDuration(Duration::from_millis(value)),
        SettingChange::Default(value) => Setting::ApprovedByDefault(value),
        SettingChange::Secret(value) => Setting::Secret(secret(value)),
    }
}
