//! How a client of the registry looks on the bus.

use nightlatch_bus::client::ClientView;
use nightlatch_bus::names::ClientPath;
use nightlatch_core::client::Client;

/// The client as it stands.
pub(super) fn view(client: &Client) -> ClientView {
    let settings = client.settings();
    let name = client.name().as_str();
    ClientView {
        path: ClientPath::of_name(name),
        name: name.to_owned(),
        key_id: settings.key_id.map(|id| id.to_string()).unwrap_or_default(),
        fingerprint: settings
            .fingerprint
            .map(|print| print.to_string())
            .unwrap_or_default(),
        host: settings.host.clone(),
        checker: settings.checker.as_str().to_owned(),
        enabled: client.is_enabled(),
        expires: client.expires(),
        timeout: settings.timeout,
        extended_timeout: settings.extended_timeout,
        interval: settings.interval,
        checker_running: client.checker_running(),
        last_check: client.last_check().into(),
        last_checked_ok: client.last_checked_ok(),
        created: Some(client.created()),
        last_enabled: client.last_enabled(),
        approval_pending: client.approval_pending(),
        approved_by_default: settings.approved_by_default,
        approval_delay: settings.approval_delay,
        approval_duration: settings.approval_duration,
        last_approval_request: client.last_approval_request(),
        needs_proof: client.needs_proof(),
    }
}
