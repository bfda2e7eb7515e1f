//! Clients for tests.

use nightlatch_bus::client::ClientView;
use nightlatch_bus::names::ClientPath;
use nightlatch_bus::property::{Property, PropertyType, PropertyValue};
use nightlatch_core::guard::GuardState;
use nightlatch_core::time::Wall;

/// The time of the tests: 2026-11-21T23:19:55Z.
pub(crate) const NOW: Wall = Wall::from_unix_micros(1_795_303_195_000_000);

/// An enabled client that needs no approval, with all times of five minutes.
pub(crate) fn client(name: &str) -> ClientView {
    let values = Property::readable().map(|property| {
        let value = match property.kind() {
            PropertyType::Boolean => PropertyValue::Boolean(matches!(
                property,
                Property::Enabled | Property::ApprovedByDefault
            )),
            PropertyType::Milliseconds if property == Property::ApprovalDelay => {
                PropertyValue::Milliseconds(0)
            }
            PropertyType::Milliseconds => PropertyValue::Milliseconds(300_000),
            PropertyType::Status => PropertyValue::Status(0),
            PropertyType::Count => PropertyValue::Count(0),
            PropertyType::Path => PropertyValue::Path(ClientPath::of_name(name)),
            PropertyType::Moment if property == Property::LastApprovalRequest => {
                PropertyValue::Text(String::new())
            }
            PropertyType::Moment if property == Property::Expires => {
                PropertyValue::Text("2026-11-21T23:22:55".to_owned())
            }
            PropertyType::Moment => PropertyValue::Text("2026-11-21T23:17:55".to_owned()),
            PropertyType::Text | PropertyType::Bytes => PropertyValue::Text(name.to_owned()),
        };
        (property, value)
    });
    ClientView::read(ClientPath::of_name(name), values).unwrap()
}

/// The same, at a server that knows its agent.
pub(crate) fn agent(name: &str) -> ClientView {
    let mut view = client(name);
    view.guard.host_key_id = "5a".repeat(32);
    view.guard.state = Some(GuardState::Up);
    view.guard.last_heartbeat = view.last_checked_ok;
    view.guard.pokeable = true;
    view
}
