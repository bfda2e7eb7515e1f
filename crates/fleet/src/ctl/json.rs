//! The JSON of mandos-ctl, byte for byte: that of Python's `json` with an indent of four spaces.

use std::fmt::Write;

use nightlatch_bus::client::ClientView;
use nightlatch_bus::property::PropertyValue;

use super::table::ALL;

/// One object, keyed by the names of the clients.
pub(super) fn dump(clients: &[&ClientView]) -> String {
    if clients.is_empty() {
        return "{}\n".to_owned();
    }
    let clients = clients.iter().map(|client| {
        let properties = ALL.iter().filter_map(|property| {
            let value = value(&client.value(*property)?);
            Some(format!("        {}: {value}", quoted(property.name())))
        });
        let properties: Vec<String> = properties.collect();
        let name = quoted(&client.name);
        format!("    {name}: {{\n{}\n    }}", properties.join(",\n"))
    });
    let clients: Vec<String> = clients.collect();
    format!("{{\n{}\n}}\n", clients.join(",\n"))
}

fn value(value: &PropertyValue) -> String {
    match value {
        PropertyValue::Boolean(value) => value.to_string(),
        PropertyValue::Milliseconds(value) => value.to_string(),
        PropertyValue::Status(value) => value.to_string(),
        PropertyValue::Count(value) => value.to_string(),
        PropertyValue::Text(text) => quoted(text),
        PropertyValue::Path(path) => quoted(path.as_str()),
    }
}

/// A string in ASCII alone: others as UTF-16 in `\uXXXX`.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            ' '..='~' => quoted.push(character),
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    // Writing to a string cannot fail.
                    let _ = write!(quoted, "\\u{unit:04x}");
                }
            }
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_those_of_python() {
        assert_eq!(
            quoted("a\"b\\c/\n\u{1}\u{7f}é😀"),
            "\"a\\\"b\\\\c/\\n\\u0001\\u007f\\u00e9\\ud83d\\ude00\""
        );
    }

    #[test]
    fn without_clients_it_is_an_empty_object() {
        assert_eq!(dump(&[]), "{}\n");
    }
}
