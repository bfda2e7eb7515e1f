//! The values in a pickle and how they are looked at.

use std::slice;

use nightlatch_core::calendar;
use nightlatch_core::secret::Secret;
use nightlatch_core::time::Wall;

use super::{Pickle, PickleValue};

/// A node by its number.
pub(super) type NodeId = u32;

/// One node. What it holds are numbers of other nodes.
pub(super) enum Node<'p> {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'p str),
    Bytes(&'p [u8]),
    /// Bytes that had to be put together: they may be secret.
    Built(Secret),
    Tuple(Vec<NodeId>),
    List(Vec<NodeId>),
    /// In the order in which they were set; a later value for a key replaces an earlier one.
    Dict(Vec<(NodeId, NodeId)>),
    DateTime(PickleDateTime),
    /// A span of time in microseconds.
    TimeDelta(i128),
    /// Not a value, but a type to make one of.
    Class(PickleClass),
}

/// A value to look at.
#[derive(Clone)]
pub enum PickleView<'a> {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'a str),
    /// Bytes, which may be secret.
    Bytes(&'a [u8]),
    Tuple(Items<'a>),
    List(Items<'a>),
    Dict(Entries<'a>),
    /// A date and time without a zone.
    DateTime(PickleDateTime),
    /// A span of time, in microseconds; may be negative.
    TimeDelta(i128),
}

impl<'a> PickleValue<'a> {
    /// The value as a type of Rust.
    pub fn view(self) -> PickleView<'a> {
        match &self.pickle.nodes[self.id as usize] {
            // The machine lets no type stand where a value must be.
            Node::None | Node::Class(_) => PickleView::None,
            Node::Bool(value) => PickleView::Bool(*value),
            Node::Int(value) => PickleView::Int(*value),
            Node::Float(value) => PickleView::Float(*value),
            Node::Text(text) => PickleView::Text(text),
            Node::Bytes(bytes) => PickleView::Bytes(bytes),
            Node::Built(bytes) => PickleView::Bytes(bytes.expose()),
            Node::Tuple(ids) => PickleView::Tuple(self.items(ids)),
            Node::List(ids) => PickleView::List(self.items(ids)),
            Node::Dict(entries) => PickleView::Dict(Entries {
                pickle: self.pickle,
                entries: entries.iter(),
            }),
            Node::DateTime(date) => PickleView::DateTime(*date),
            Node::TimeDelta(micros) => PickleView::TimeDelta(*micros),
        }
    }

    fn items(self, ids: &'a [NodeId]) -> Items<'a> {
        Items {
            pickle: self.pickle,
            ids: ids.iter(),
        }
    }
}

/// The values in a tuple or list, in order.
#[derive(Clone)]
pub struct Items<'a> {
    pickle: &'a Pickle<'a>,
    ids: slice::Iter<'a, NodeId>,
}

impl<'a> Iterator for Items<'a> {
    type Item = PickleValue<'a>;

    fn next(&mut self) -> Option<PickleValue<'a>> {
        let id = *self.ids.next()?;
        Some(PickleValue {
            pickle: self.pickle,
            id,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.ids.size_hint()
    }
}

impl ExactSizeIterator for Items<'_> {}

/// The keys of a dictionary with their values, in the order in which they were set.
#[derive(Clone)]
pub struct Entries<'a> {
    pickle: &'a Pickle<'a>,
    entries: slice::Iter<'a, (NodeId, NodeId)>,
}

impl<'a> Iterator for Entries<'a> {
    type Item = (PickleValue<'a>, PickleValue<'a>);

    fn next(&mut self) -> Option<(PickleValue<'a>, PickleValue<'a>)> {
        let (key, value) = *self.entries.next()?;
        let pickle = self.pickle;
        Some((
            PickleValue { pickle, id: key },
            PickleValue { pickle, id: value },
        ))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.entries.size_hint()
    }
}

impl ExactSizeIterator for Entries<'_> {}

/// A `datetime.datetime` without a time zone: the ten bytes of its pickle, and the moment they stand
/// for when they are read as UTC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PickleDateTime {
    bytes: [u8; 10],
    wall: Wall,
}

impl PickleDateTime {
    /// Reads year (two bytes), month, day, hour, minute, second and microseconds (three bytes),
    /// big-endian; `None` when there is no such time, or it is the second of a repeated hour (`fold`).
    pub(super) fn new(bytes: &[u8]) -> Option<Self> {
        let bytes: [u8; 10] = bytes.try_into().ok()?;
        let [century, year, month, day, hour, minute, second, a, b, c] = bytes;
        let year = u16::from_be_bytes([century, year]);
        let date = calendar::DateTime {
            year: year.into(),
            month,
            day,
            hour,
            minute,
            second,
            micros: u32::from_be_bytes([0, a, b, c]),
        };
        // The years that Python has.
        let wall = date.to_wall().filter(|_| (1..=9999).contains(&year))?;
        Some(Self { bytes, wall })
    }

    /// The ten bytes.
    pub fn as_bytes(&self) -> &[u8; 10] {
        &self.bytes
    }

    /// The moment, as UTC.
    pub fn wall(&self) -> Wall {
        self.wall
    }
}

/// The types that a pickle may name. None of them does anything when it is made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum PickleClass {
    /// Protocol 2 writes bytes as text with the encoding `latin1`.
    Encode,
    /// Protocol 2 writes empty bytes as a call of `bytes` without arguments.
    Bytes,
    DateTime,
    TimeDelta,
    /// A subclass of `int` that stands for a truth value.
    DbusBoolean,
    /// A subclass of `int`.
    DbusInteger,
    /// A subclass of `str`.
    DbusText,
}

impl PickleClass {
    /// The type that Python calls `module.name`.
    pub(super) fn named(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("_codecs", "encode") => Self::Encode,
            // Protocol 2 writes the names of Python 2.
            ("__builtin__" | "builtins", "bytes") => Self::Bytes,
            ("datetime", "datetime") => Self::DateTime,
            ("datetime", "timedelta") => Self::TimeDelta,
            ("dbus", "Boolean") => Self::DbusBoolean,
            ("dbus", "Int16" | "Int32" | "Int64" | "UInt16" | "UInt32" | "UInt64" | "Byte") => {
                Self::DbusInteger
            }
            ("dbus", "String" | "ObjectPath") => Self::DbusText,
            _ => return None,
        })
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Encode => "_codecs.encode",
            Self::Bytes => "bytes",
            Self::DateTime => "datetime.datetime",
            Self::TimeDelta => "datetime.timedelta",
            Self::DbusBoolean => "dbus.Boolean",
            Self::DbusInteger => "a D-Bus integer",
            Self::DbusText => "a D-Bus text",
        }
    }
}
