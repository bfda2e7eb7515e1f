//! Clients for tests.

use nightlatch_bus::client::ClientView;
use nightlatch_bus::names::ClientPath;
use nightlatch_bus::property::{Kind, Property, Value};
use nightlatch_core::time::Wall;

/// When the tests are: 2026-11-21T23:19:55Z.
pub(crate) const NOW: Wall = Wall::from_unix_micros(1_795_303_195_000_000);

/// An enabled client that needs no approval, with all times of five minutes.
pub(crate) fn client(name: &str) -> ClientView {
    let values = Property::readable().map(|property| {
        let value = match property.kind() {
            Kind::Boolean => Value::Boolean(matches!(
                property,
                Property::Enabled | Property::ApprovedByDefault
            )),
            Kind::Milliseconds if property == Property::ApprovalDelay => Value::Milliseconds(0),
            Kind::Milliseconds => Value::Milliseconds(300_000),
            Kind::Status => Value::Status(0),
            Kind::Path => Value::Path(ClientPath::of_name(name)),
            Kind::Moment if property == Property::LastApprovalRequest => Value::Text(String::new()),
            Kind::Moment if property == Property::Expires => {
                Value::Text("2026-11-21T23:22:55".to_owned())
            }
            Kind::Moment => Value::Text("2026-11-21T23:17:55".to_owned()),
            Kind::Text | Kind::Bytes => Value::Text(name.to_owned()),
        };
        (property, value)
    });
    ClientView::read(ClientPath::of_name(name), values).unwrap()
}
