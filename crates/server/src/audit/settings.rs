//! A setting of a client with its value, for the record.

use nightlatch_core::settings::client::ClientSettings;

use crate::words::length;

/// `timeout = 10m`; the key alone when its value is nobody's business, or no longer known.
pub(super) fn value(settings: Option<&ClientSettings>, key: &str) -> String {
    match settings.and_then(|settings| text(settings, key)) {
        Some(value) => format!("{key} = {value}"),
        None => key.to_owned(),
    }
}

fn text(settings: &ClientSettings, key: &str) -> Option<String> {
    let yes = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    Some(match key {
        "key_id" => settings.key_id?.to_string(),
        "fingerprint" => settings.fingerprint?.to_string(),
        "host" => settings.host.clone(),
        "checker" => settings.checker.as_str().to_owned(),
        "timeout" => length(settings.timeout),
        "extended_timeout" => length(settings.extended_timeout),
        "interval" => length(settings.interval),
        "approval_delay" => length(settings.approval_delay),
        "approval_duration" => length(settings.approval_duration),
        "approved_by_default" => yes(settings.approved_by_default),
        "enabled" => yes(settings.enabled),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_its_value_and_a_secret_has_none() {
        let settings = ClientSettings::default();
        for key in [
            "timeout",
            "extended_timeout",
            "interval",
            "approval_delay",
            "host",
            "checker",
        ] {
            assert!(value(Some(&settings), key).starts_with(&format!("{key} = ")));
        }
        assert_eq!(value(Some(&settings), "timeout"), "timeout = 5m");
        assert_eq!(value(Some(&settings), "secret"), "secret");
        assert_eq!(value(None, "timeout"), "timeout");
    }
}
