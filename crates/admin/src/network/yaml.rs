//! YAML as netplan uses it: maps, lists and plain texts, each with its line.
//!
//! The parser is the crate `saphyr-parser`; this only builds the tree. What stands there stays text, as
//! netplan reads it: `yes`, `0x5` and `1e3` mean what netplan takes them for.

use std::sync::Arc;

use saphyr_parser::{Event, Parser};

use super::found::Place;

/// Deeper than any configuration; a document that is deeper was not written by a person.
const DEEPEST: usize = 32;

/// A value and where it begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// The file and the line.
    pub place: Place,
    /// What stands there.
    pub value: Value,
}

/// What can stand there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// A text or a number. Nothing at all is an empty one.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A map, in its order. Keys are texts.
    Map(Vec<(String, Node)>),
}

/// Why a text is no YAML of this kind.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{what}")]
pub struct YamlError {
    /// The line, from 1.
    pub line: usize,
    /// What was expected.
    pub what: String,
}

/// Reads the first document of a text; one without any is an empty map.
///
/// # Errors
/// What is no YAML, and what netplan has no use for: keys that are not texts, aliases.
pub fn parse(file: &Arc<str>, text: &str) -> Result<Node, YamlError> {
    // An end that comes too soon is told of the last line, not of one behind it.
    let last = text.lines().count().max(1);
    let mut open: Vec<Open> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| YamlError {
            line: error.marker().line().clamp(1, last),
            what: error.info().to_owned(),
        })?;
        let line = span.start.line().clamp(1, last);
        let wrong = |what: &str| YamlError {
            line,
            what: what.to_owned(),
        };
        if open.len() > DEEPEST {
            return Err(wrong("expected less nesting"));
        }
        let done = match event {
            Event::Scalar(text, ..) => Some(Node {
                place: Place::new(file, line),
                value: Value::Text(text.into_owned()),
            }),
            Event::SequenceStart(..) => {
                open.push(Open::new(Place::new(file, line), Value::List(Vec::new())));
                None
            }
            Event::MappingStart(..) => {
                open.push(Open::new(Place::new(file, line), Value::Map(Vec::new())));
                None
            }
            Event::SequenceEnd | Event::MappingEnd => open.pop().map(|open| open.node),
            Event::Alias(_) => return Err(wrong("expected no alias (*name)")),
            _ => None,
        };
        let Some(node) = done else { continue };
        match open.last_mut() {
            None => return Ok(node),
            Some(parent) => parent
                .take(node)
                .map_err(|()| wrong("expected a text as key"))?,
        }
    }
    Ok(Node {
        place: Place::new(file, 1),
        value: Value::Map(Vec::new()),
    })
}

/// A list or map that is being read.
struct Open {
    node: Node,
    /// The key whose value comes next, and where it stands.
    key: Option<(String, Place)>,
}

impl Open {
    fn new(place: Place, value: Value) -> Self {
        Self {
            node: Node { place, value },
            key: None,
        }
    }

    fn take(&mut self, node: Node) -> Result<(), ()> {
        match (&mut self.node.value, self.key.take(), node.value) {
            (Value::List(list), _, value) => list.push(Node { value, ..node }),
            // A value is looked for where its key is.
            (Value::Map(map), Some((key, place)), value) => map.push((key, Node { place, value })),
            (Value::Map(_), None, Value::Text(key)) => self.key = Some((key, node.place)),
            _ => return Err(()),
        }
        Ok(())
    }
}

impl Node {
    /// The entries of a map; none of anything else.
    pub fn map(&self) -> &[(String, Self)] {
        match &self.value {
            Value::Map(map) => map,
            _ => &[],
        }
    }

    /// The value of a key of a map.
    pub fn get(&self, key: &str) -> Option<&Self> {
        let entry = self.map().iter().find(|(known, _)| known == key);
        entry.map(|(_, node)| node)
    }

    /// The text, or nothing of a list or map.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The texts of a list, each with its place; a single text is a list of one.
    pub fn texts(&self) -> Vec<(&str, &Place)> {
        match &self.value {
            Value::Text(text) => vec![(text, &self.place)],
            Value::List(list) => list
                .iter()
                .filter_map(|node| Some((node.text()?, &node.place)))
                .collect(),
            Value::Map(_) => Vec::new(),
        }
    }

    /// What comes later is added: maps key by key, lists to their end, texts instead (netplan(5)).
    pub fn merge(&mut self, later: Self) {
        match (&mut self.value, later.value) {
            (Value::Map(map), Value::Map(more)) => {
                for (key, node) in more {
                    match map.iter_mut().find(|(known, _)| *known == key) {
                        Some((_, known)) => known.merge(node),
                        None => map.push((key, node)),
                    }
                }
            }
            (Value::List(list), Value::List(more)) => {
                for node in more {
                    if !list.iter().any(|known| known.value == node.value) {
                        list.push(node);
                    }
                }
            }
            (known, value) => {
                *known = value;
                self.place = later.place;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Node, YamlError> {
        parse(&"f".into(), text)
    }

    fn texts(node: &Node) -> Vec<(&str, usize)> {
        let texts = node.texts().into_iter();
        texts.map(|(text, place)| (text, place.line)).collect()
    }

    #[test]
    fn everything_stays_text_and_has_its_line() {
        let node = read("network:\n  a: yes\n  b: [1, 0x2]\n  c:\n    - x\n  d:\n").unwrap();
        let network = node.get("network").unwrap();
        assert_eq!(network.get("a").unwrap().text(), Some("yes"));
        assert_eq!(texts(network.get("b").unwrap()), [("1", 3), ("0x2", 3)]);
        assert_eq!(texts(network.get("c").unwrap()), [("x", 5)]);
        assert_eq!(network.get("d").unwrap().text(), Some(""));
    }

    #[test]
    fn what_comes_later_is_merged() {
        let mut first = read("a: {x: 1, y: 2}\nl: [p]\n").unwrap();
        first.merge(read("a: {y: 3}\nl: [q, p]\n").unwrap());
        assert_eq!(first.get("a").unwrap().get("x").unwrap().text(), Some("1"));
        assert_eq!(first.get("a").unwrap().get("y").unwrap().text(), Some("3"));
        assert_eq!(texts(first.get("l").unwrap()), [("p", 2), ("q", 2)]);
    }

    #[test]
    fn what_is_no_yaml_is_told_with_its_line() {
        assert_eq!(read("a: 1\nb: @\n").unwrap_err().line, 2);
        assert!(read("a: *x\n").is_err());
        assert!(read(&"[".repeat(100)).is_err());
        assert_eq!(read("").unwrap().map(), []);
    }
}
