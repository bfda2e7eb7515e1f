//! One setting at run time: from key and text to type, by the same rules as the file, but for the
//! interpolation, which belongs to files.

use super::section::{checker, host, interval, length};
use crate::client::setting::Setting;
use crate::settings::{Problem, value};

/// The keys of what can be set at run time as text. The secret is set as bytes.
pub const RUN_TIME_KEYS: [&str; 8] = [
    "approval_delay",
    "approval_duration",
    "approved_by_default",
    "checker",
    "extended_timeout",
    "host",
    "interval",
    "timeout",
];

/// Reads the new value of `key`; `None` when it is none of [`RUN_TIME_KEYS`].
pub fn setting(key: &str, text: &str) -> Option<Result<Setting, Problem>> {
    let setting = match key {
        "approval_delay" => length(text).map(Setting::ApprovalDelay),
        "approval_duration" => length(text).map(Setting::ApprovalDuration),
        "approved_by_default" => value::boolean(text).map(Setting::ApprovedByDefault),
        "checker" => checker(text).map(Setting::Checker),
        "extended_timeout" => length(text).map(Setting::ExtendedTimeout),
        "host" => host(text).map(Setting::Host),
        "interval" => interval(text).map(Setting::Interval),
        "timeout" => length(text).map(Setting::Timeout),
        _ => return None,
    };
    Some(setting)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn every_key_is_read() {
        let text = |key: &str| match key {
            "approved_by_default" => "no",
            "checker" => "fping -q -- %(host)s",
            "host" => "foo.example",
            _ => "10m",
        };
        for key in RUN_TIME_KEYS {
            assert!(matches!(setting(key, text(key)), Some(Ok(_))), "{key}");
        }
        let ten = Duration::from_secs(600);
        assert_eq!(setting("timeout", "PT10M"), Some(Ok(Setting::Timeout(ten))));
    }

    #[test]
    fn what_the_file_refuses_is_refused() {
        for (key, text) in [
            ("timeout", "10"),
            ("interval", "0s"),
            ("approved_by_default", "maybe"),
            ("checker", "fping %(hots)s"),
            ("host", "a\0b"),
        ] {
            assert!(matches!(setting(key, text), Some(Err(_))), "{key}");
        }
        assert_eq!(setting("timout", "10m"), None);
        assert_eq!(setting("secret", "YWJj"), None);
    }
}
