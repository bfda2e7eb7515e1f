//! Python's pickle format, protocols 2 to 5, as far as it holds plain data (the opcodes: pickletools in
//! Python's library; PEP 307, 3154 and 574).
//!
//! A pickle is a program for a stack machine that may call anything. This one calls nothing: names are
//! looked up in one table of plain types, and every other name refuses the file. All nodes lie in one
//! list and refer to each other by number, so a file takes memory in proportion to its length, and
//! neither depth nor cycles matter.

mod machine;
mod node;

pub use machine::read;
pub use node::{Entries, Items, PickleDateTime, PickleView};

use node::{Node, NodeId};

/// The values of a pickle.
pub struct Pickle<'p> {
    nodes: Vec<Node<'p>>,
    root: NodeId,
}

impl Pickle<'_> {
    /// The value that was pickled.
    pub fn root(&self) -> PickleValue<'_> {
        PickleValue {
            pickle: self,
            id: self.root,
        }
    }
}

/// One value in a pickle. Values refer to each other, perhaps in circles: look at them as deep as you
/// know them to go.
#[derive(Clone, Copy)]
pub struct PickleValue<'a> {
    pickle: &'a Pickle<'a>,
    id: NodeId,
}

/// The fault of a pickle, and its position.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("byte {at}: {fault}")]
pub struct PickleError {
    /// The offset of the opcode, from 0.
    pub at: usize,
    /// The fault itself.
    pub fault: PickleFault,
}

/// The faults of a pickle. None shows a value, which may be a secret.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PickleFault {
    /// The end comes too early.
    #[error("the file is cut short")]
    Truncated,
    /// There is more after the end.
    #[error("expected the end of the file")]
    Trailing,
    /// It does not begin as a pickle does.
    #[error("expected a pickle of protocol 2 to 5")]
    Protocol,
    /// An opcode that plain data does not need, or none at all.
    #[error("expected plain data, found the opcode {0:#04x}")]
    Opcode(u8),
    /// Text of Python 2.
    #[error("expected a file of Python 3, found text as Python 2 writes it")]
    PythonTwo,
    /// Something to be called or made that is no plain data.
    #[error("expected plain data, but the file asks for {0}")]
    Name(String),
    /// A type that is called with something else than its pickle has.
    #[error("{0} is made from something else than expected")]
    Arguments(&'static str),
    /// A type where a value must be, or a value where a type must be.
    #[error("a type stands where a value must be, or the other way round")]
    Type,
    /// The opcode takes more from the stack than there is.
    #[error("values are missing before it")]
    Stack,
    /// A value that was never kept is asked for, or one is kept out of order.
    #[error("it refers to a value that is not there")]
    Memo,
    /// Values are added to what holds none, or a dictionary gets a key without a value.
    #[error("values are added where they do not fit")]
    Container,
    /// Text that is no UTF-8.
    #[error("text is no UTF-8")]
    Text,
    /// An integer of more than 64 bits.
    #[error("a number has more than 64 bits")]
    Number,
    /// A date that does not exist, or has a time zone.
    #[error("a date does not exist, or has a time zone")]
    Date,
    /// More values than any state of a server has.
    #[error("there are more than {limit} values in it")]
    TooMany {
        /// The most values that are read.
        limit: usize,
    },
}

#[cfg(test)]
mod tests;
