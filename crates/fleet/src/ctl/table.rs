//! The table of mandos-ctl, byte for byte.

use std::time::Duration;

use nightlatch_bus::client::ClientView;
use nightlatch_bus::property::{Property, PropertyValue};

/// The columns without `--verbose`.
pub(super) const SHORT: &[Property] = &[
    Property::Name,
    Property::Enabled,
    Property::Timeout,
    Property::LastCheckedOK,
];

/// The columns with `--verbose`, and the keys of the JSON.
pub(super) const ALL: [Property; 20] = [
    Property::Name,
    Property::Enabled,
    Property::Timeout,
    Property::LastCheckedOK,
    Property::Created,
    Property::Interval,
    Property::Host,
    Property::KeyID,
    Property::Fingerprint,
    Property::CheckerRunning,
    Property::LastEnabled,
    Property::ApprovalPending,
    Property::ApprovedByDefault,
    Property::LastApprovalRequest,
    Property::ApprovalDelay,
    Property::ApprovalDuration,
    Property::Checker,
    Property::ExtendedTimeout,
    Property::Expires,
    Property::LastCheckerStatus,
];

/// The header and a row for each client: columns as wide as their widest value, one space between them,
/// padding at the end too.
pub(super) fn table(clients: &[&ClientView], columns: &[Property]) -> String {
    let header = columns.iter().map(|column| header(*column).to_owned());
    let mut rows = vec![header.collect::<Vec<String>>()];
    for client in clients {
        let cells = columns.iter().map(|column| cell(client, *column));
        rows.push(cells.collect());
    }
    let mut widths = vec![0; columns.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
            if index > 0 {
                text.push(' ');
            }
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', width - cell.chars().count()));
        }
        text.push('\n');
    }
    text
}

fn header(property: Property) -> &'static str {
    match property {
        Property::LastCheckedOK => "Last Successful Check",
        Property::KeyID => "Key ID",
        Property::CheckerRunning => "Check Is Running",
        Property::LastEnabled => "Last Enabled",
        Property::ApprovalPending => "Approval Is Pending",
        Property::ApprovedByDefault => "Approved By Default",
        Property::LastApprovalRequest => "Last Approval Request",
        Property::ApprovalDelay => "Approval Delay",
        Property::ApprovalDuration => "Approval Duration",
        Property::ExtendedTimeout => "Extended Timeout",
        Property::LastCheckerStatus => "Last Checker Status",
        other => other.name(),
    }
}

fn cell(client: &ClientView, property: Property) -> String {
    match client.value(property) {
        Some(PropertyValue::Boolean(true)) => "Yes".to_owned(),
        Some(PropertyValue::Boolean(false)) => "No".to_owned(),
        Some(PropertyValue::Milliseconds(millis)) => length(Duration::from_millis(millis)),
        Some(PropertyValue::Text(text)) => text,
        Some(PropertyValue::Status(number)) => number.to_string(),
        Some(PropertyValue::Count(count)) => count.to_string(),
        Some(PropertyValue::Path(path)) => path.to_string(),
        None => String::new(),
    }
}

/// `00:05:00`, `1T02:00:00` for a day and two hours; parts of a second are left out.
pub(super) fn length(length: Duration) -> String {
    let seconds = length.as_secs();
    let days = match seconds / 86_400 {
        0 => String::new(),
        days => format!("{days}T"),
    };
    let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
    format!("{days}{hours:02}:{minutes:02}:{:02}", seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_those_of_mandos_ctl() {
        let seconds = |seconds| length(Duration::from_secs(seconds));
        assert_eq!(seconds(300), "00:05:00");
        assert_eq!(seconds(26 * 3600), "1T02:00:00");
        assert_eq!(length(Duration::from_millis(1999)), "00:00:01");
    }

    #[test]
    fn without_clients_the_header_stands_alone() {
        assert_eq!(
            table(&[], SHORT),
            "Name Enabled Timeout Last Successful Check\n"
        );
    }
}
