//! The sections of the model as the registry gets them.

use std::time::Duration;

use super::events::Knob;
use super::model::Section;
use super::world::config;
use crate::secret::Secret;
use crate::settings::client::ClientConfig;
use crate::settings::client::{Setting, SettingChange};

fn secret(number: u8) -> Secret {
    Secret::new(vec![number; 4])
}

pub(super) fn configured(files: &[Option<Section>]) -> Vec<ClientConfig> {
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

pub(super) fn turn(section: &mut Section, knob: Knob) {
    match knob {
        Knob::Timeout(value) => section.timeout = value,
        Knob::Extended(value) => section.extended = value,
        Knob::Delay(value) => section.delay = value,
        Knob::Duration(value) => section.duration = value,
        Knob::Default(value) => section.default = value,
        Knob::Secret(value) => section.secret = value,
    }
}

pub(super) fn setting(knob: Knob) -> SettingChange {
    match knob {
        Knob::Timeout(value) => Setting::Timeout.to(Duration::from_millis(value)),
        Knob::Extended(value) => Setting::ExtendedTimeout.to(Duration::from_millis(value)),
        Knob::Delay(value) => Setting::ApprovalDelay.to(Duration::from_millis(value)),
        Knob::Duration(value) => Setting::ApprovalDuration.to(Duration::from_millis(value)),
        Knob::Default(value) => Setting::ApprovedByDefault.to(value),
        Knob::Secret(value) => SettingChange::Secret(secret(value)),
    }
}
