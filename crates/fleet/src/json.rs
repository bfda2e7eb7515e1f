//! Clients as JSON for programs: the keys of `clients.conf`, durations as in there, times as RFC 3339.

use nightlatch_bus::client::{CheckStatus, ClientView};
use nightlatch_bus::moment;
use nightlatch_console::output::human;
use nightlatch_core::guard::{GuardState, Suspicion};
use nightlatch_core::time::Wall;
use serde::Serialize;

use crate::state::ClientState;

/// One client, as `list --json` and `show --json` have it. Keys may be added, never changed.
#[derive(Serialize)]
pub(crate) struct ClientJson<'c> {
    name: &'c str,
    state: &'static str,
    enabled: bool,
    expires: Option<String>,
    host: &'c str,
    key_id: String,
    fingerprint: &'c str,
    checker: &'c str,
    checker_running: bool,
    /// The exit status, `crashed`, or null before the first check.
    last_check: serde_json::Value,
    last_checked_ok: Option<String>,
    timeout: String,
    extended_timeout: String,
    interval: String,
    /// True while the request of a boot waits.
    approval_pending: bool,
    /// The named secrets that requests wait for.
    waiting_secrets: Vec<&'c str>,
    approved_by_default: bool,
    approval_delay: String,
    approval_duration: String,
    last_approval_request: Option<String>,
    last_enabled: Option<String>,
    created: Option<String>,
    path: &'c str,
    host_key_id: Option<&'c str>,
    /// Null at a server without guards, as a stock one.
    guard_state: Option<&'static str>,
    suspect: Option<&'static str>,
    last_heartbeat: Option<String>,
    leaving_until: Option<String>,
    unaccounted: u32,
    pokeable: bool,
}

impl<'c> From<&'c ClientView> for ClientJson<'c> {
    fn from(client: &'c ClientView) -> Self {
        Self {
            name: &client.name,
            state: ClientState::of(client).word(),
            enabled: client.enabled,
            expires: client.expires.map(time),
            host: &client.host,
            key_id: client.key_id.to_lowercase(),
            fingerprint: &client.fingerprint,
            checker: &client.checker,
            checker_running: client.checker_running,
            last_check: match client.last_check {
                CheckStatus::Never => serde_json::Value::Null,
                CheckStatus::Crashed => "crashed".into(),
                CheckStatus::Exited(status) => status.into(),
            },
            last_checked_ok: client.last_checked_ok.map(time),
            timeout: human::setting(client.timeout),
            extended_timeout: human::setting(client.extended_timeout),
            interval: human::setting(client.interval),
            approval_pending: client.approval_pending,
            waiting_secrets: client
                .guard
                .waiting_secrets
                .split(' ')
                .filter(|it| !it.is_empty())
                .collect(),
            approved_by_default: client.approved_by_default,
            approval_delay: human::setting(client.approval_delay),
            approval_duration: human::setting(client.approval_duration),
            last_approval_request: client.last_approval_request.map(time),
            last_enabled: client.last_enabled.map(time),
            created: client.created.map(time),
            path: client.path.as_str(),
            host_key_id: Some(&*client.guard.host_key_id).filter(|it| !it.is_empty()),
            guard_state: client.guard.state.map(GuardState::as_str),
            suspect: client.guard.suspect.map(Suspicion::as_str),
            last_heartbeat: client.last_heartbeat().map(time),
            leaving_until: client.guard.leaving_until.map(time),
            unaccounted: client.guard.unaccounted,
            pokeable: client.guard.pokeable,
        }
    }
}

/// A point in time as RFC 3339, in UTC, to the microsecond.
pub(crate) fn time(wall: Wall) -> String {
    format!("{}Z", moment::print(Some(wall)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::samples::client;
    use serde_json::json;

    #[test]
    fn boots_and_named_secrets_that_wait_are_told_apart() {
        let mut client = client("web1");
        let waiting = |client: &ClientView| {
            let json = serde_json::to_value(ClientJson::from(client)).unwrap();
            (
                json["approval_pending"].clone(),
                json["waiting_secrets"].clone(),
            )
        };
        assert_eq!(waiting(&client), (json!(false), json!([])));
        client.guard.waiting_secrets = "card.pin tls.key".to_owned();
        assert_eq!(
            waiting(&client),
            (json!(false), json!(["card.pin", "tls.key"]))
        );
        client.guard.waiting_secrets.clear();
        client.approval_pending = true;
        assert_eq!(waiting(&client), (json!(true), json!([])));
    }
}
