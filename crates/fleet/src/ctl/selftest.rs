//! `--check`: tests that this program reads back the clients that it prints.

use std::time::Duration;

use nightlatch_bus::client::ClientView;
use nightlatch_bus::names::ClientPath;
use nightlatch_bus::property::{Property, PropertyType, PropertyValue};
use nightlatch_console::failure::Failure;
use nightlatch_console::output;
use nightlatch_core::duration;

use super::{FAILED, json, table};

/// Makes a client, prints it in every form, and reads durations. The error is a sentence about the first difference.
pub(super) fn run() -> Result<u8, Failure> {
    let client = ClientView::read(ClientPath::of_name("check"), sample())
        .map_err(|error| broken("a client cannot be read").because(error))?;
    if !client.values().eq(sample()) {
        return Err(broken("a client is not what was read"));
    }
    let table = table::table(&[&client], &table::ALL);
    if table.lines().count() != 2 || !table.contains(" 1T00:00:00 ") {
        return Err(broken("the table is wrong"));
    }
    let read: Result<serde_json::Value, _> = serde_json::from_str(&json::dump(&[&client]));
    let read = read.map_err(|error| broken("the JSON is wrong").because(error))?;
    if read[client.name.as_str()]["Timeout"] != 86_400_000 {
        return Err(broken("the JSON is not what was printed"));
    }
    if duration::parse("1d") != Ok(Duration::from_secs(86_400)) {
        return Err(broken("durations are not read"));
    }
    output::print("OK\n").map(|()| 0)
}

/// A value for every property, in the order of the table.
fn sample() -> impl Iterator<Item = (Property, PropertyValue)> {
    Property::readable().map(|property| {
        let value = match property.kind() {
            PropertyType::Boolean => PropertyValue::Boolean(true),
            PropertyType::Milliseconds => PropertyValue::Milliseconds(86_400_000),
            PropertyType::Status => PropertyValue::Status(0),
            PropertyType::Count => PropertyValue::Count(0),
            PropertyType::Path => PropertyValue::Path(ClientPath::of_name("check")),
            PropertyType::Moment => PropertyValue::Text("2026-11-21T23:19:55.400000".to_owned()),
            PropertyType::Text | PropertyType::Bytes => PropertyValue::Text("check".to_owned()),
        };
        (property, value)
    })
}

fn broken(what: &str) -> Failure {
    Failure::new(FAILED, what)
}
