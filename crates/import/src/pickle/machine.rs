//! The stack machine: one opcode after the other, until the value stands alone on the stack.

use nightlatch_core::secret::SecretBuffer;

use super::node::{Node, NodeId, PickleClass, PickleDateTime};
use super::{Pickle, PickleError, PickleFault};

/// The most values that are read. A client has some hundred; a node takes 32 bytes.
const MAX_NODES: usize = 32 << 20;

/// Opcodes, named as in pickletools.
mod opcode {
    pub(super) const MARK: u8 = b'(';
    pub(super) const STOP: u8 = b'.';
    pub(super) const PROTO: u8 = 0x80;
    pub(super) const FRAME: u8 = 0x95;
    pub(super) const NONE: u8 = b'N';
    pub(super) const NEWTRUE: u8 = 0x88;
    pub(super) const NEWFALSE: u8 = 0x89;
    pub(super) const BININT: u8 = b'J';
    pub(super) const BININT1: u8 = b'K';
    pub(super) const BININT2: u8 = b'M';
    pub(super) const LONG1: u8 = 0x8a;
    pub(super) const LONG4: u8 = 0x8b;
    pub(super) const BINFLOAT: u8 = b'G';
    pub(super) const SHORT_BINSTRING: u8 = b'U';
    pub(super) const BINSTRING: u8 = b'T';
    pub(super) const SHORT_BINUNICODE: u8 = 0x8c;
    pub(super) const BINUNICODE: u8 = b'X';
    pub(super) const BINUNICODE8: u8 = 0x8d;
    pub(super) const SHORT_BINBYTES: u8 = b'C';
    pub(super) const BINBYTES: u8 = b'B';
    pub(super) const BINBYTES8: u8 = 0x8e;
    pub(super) const EMPTY_TUPLE: u8 = b')';
    pub(super) const TUPLE: u8 = b't';
    pub(super) const TUPLE1: u8 = 0x85;
    pub(super) const TUPLE2: u8 = 0x86;
    pub(super) const TUPLE3: u8 = 0x87;
    pub(super) const EMPTY_LIST: u8 = b']';
    pub(super) const APPEND: u8 = b'a';
    pub(super) const APPENDS: u8 = b'e';
    pub(super) const EMPTY_DICT: u8 = b'}';
    pub(super) const SETITEM: u8 = b's';
    pub(super) const SETITEMS: u8 = b'u';
    pub(super) const BINPUT: u8 = b'q';
    pub(super) const LONG_BINPUT: u8 = b'r';
    pub(super) const MEMOIZE: u8 = 0x94;
    pub(super) const BINGET: u8 = b'h';
    pub(super) const LONG_BINGET: u8 = b'j';
    pub(super) const GLOBAL: u8 = b'c';
    pub(super) const STACK_GLOBAL: u8 = 0x93;
    pub(super) const REDUCE: u8 = b'R';
    pub(super) const NEWOBJ: u8 = 0x81;
}

/// Values that stand for themselves, made once.
const NONE: NodeId = 0;
const TRUE: NodeId = 1;
const FALSE: NodeId = 2;

/// Reads a pickle of plain data. Never panics, and takes memory in proportion to `bytes`.
pub fn read(bytes: &[u8]) -> Result<Pickle<'_>, PickleError> {
    let mut machine = Unpickler {
        bytes,
        at: 0,
        nodes: vec![Node::None, Node::Bool(true), Node::Bool(false)],
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Vec::new(),
        built: 0,
    };
    let mut at = 0;
    match machine.run(&mut at) {
        Ok(root) => Ok(Pickle {
            nodes: machine.nodes,
            root,
        }),
        Err(fault) => Err(PickleError { at, fault }),
    }
}

struct Unpickler<'p> {
    bytes: &'p [u8],
    /// The next byte to read.
    at: usize,
    nodes: Vec<Node<'p>>,
    stack: Vec<NodeId>,
    /// Height of the stack at each mark.
    marks: Vec<usize>,
    memo: Vec<NodeId>,
    /// Total length of the decoded byte strings. Python writes the text of each anew, so that the total is less than
    /// the file; one text used repeatedly could fill the memory.
    built: usize,
}

impl<'p> Unpickler<'p> {
    /// Runs to the end; `at` is kept at the opcode.
    fn run(&mut self, at: &mut usize) -> Result<NodeId, PickleFault> {
        let start = self.take(2).map_err(|_| PickleFault::Protocol)?;
        if start[0] != opcode::PROTO || !(2..=5).contains(&start[1]) {
            return Err(PickleFault::Protocol);
        }
        loop {
            *at = self.at;
            match self.byte()? {
                opcode::STOP => break,
                opcode => self.step(opcode)?,
            }
        }
        let root = self.pop_value()?;
        if !self.stack.is_empty() || !self.marks.is_empty() {
            return Err(PickleFault::Stack);
        }
        *at = self.at;
        if self.at != self.bytes.len() {
            return Err(PickleFault::Trailing);
        }
        Ok(root)
    }

    fn step(&mut self, opcode: u8) -> Result<(), PickleFault> {
        match opcode {
            opcode::FRAME => {
                // How far the file is to be read at once; here all of it is at hand.
                self.take(8)?;
            }
            opcode::MARK => self.marks.push(self.stack.len()),
            opcode::NONE => self.stack.push(NONE),
            opcode::NEWTRUE => self.stack.push(TRUE),
            opcode::NEWFALSE => self.stack.push(FALSE),
            opcode::BININT | opcode::BININT1 | opcode::BININT2 => self.small_integer(opcode)?,
            opcode::LONG1 | opcode::LONG4 => self.long_integer(opcode)?,
            opcode::BINFLOAT => {
                let value = f64::from_be_bytes(self.array()?);
                self.push(Node::Float(value))?;
            }
            opcode::SHORT_BINSTRING | opcode::BINSTRING => return Err(PickleFault::PythonTwo),
            opcode::SHORT_BINUNICODE | opcode::BINUNICODE | opcode::BINUNICODE8 => {
                let bytes = self.counted(opcode)?;
                let text = std::str::from_utf8(bytes).map_err(|_| PickleFault::Text)?;
                self.push(Node::Text(text))?;
            }
            opcode::SHORT_BINBYTES | opcode::BINBYTES | opcode::BINBYTES8 => {
                let bytes = self.counted(opcode)?;
                self.push(Node::Bytes(bytes))?;
            }
            opcode::EMPTY_TUPLE => self.push(Node::Tuple(Vec::new()))?,
            opcode::EMPTY_LIST => self.push(Node::List(Vec::new()))?,
            opcode::EMPTY_DICT => self.push(Node::Dict(Vec::new()))?,
            opcode::TUPLE1 | opcode::TUPLE2 | opcode::TUPLE3 => {
                let count = usize::from(opcode - opcode::TUPLE1) + 1;
                let items = self.pop_many(count)?;
                self.push(Node::Tuple(items))?;
            }
            opcode::TUPLE => {
                let items = self.pop_to_mark()?;
                self.push(Node::Tuple(items))?;
            }
            opcode::APPEND => {
                let item = self.pop_value()?;
                self.extend(vec![item])?;
            }
            opcode::APPENDS => {
                let items = self.pop_to_mark()?;
                self.extend(items)?;
            }
            opcode::SETITEM => {
                let entry = self.pop_many(2)?;
                self.set_items(&entry)?;
            }
            opcode::SETITEMS => {
                let items = self.pop_to_mark()?;
                self.set_items(&items)?;
            }
            _ => self.refer(opcode)?,
        }
        Ok(())
    }

    /// The opcodes that refer to what was kept, and to types.
    fn refer(&mut self, opcode: u8) -> Result<(), PickleFault> {
        match opcode {
            opcode::BINPUT => {
                let place = self.byte()?.into();
                self.keep(place)
            }
            opcode::LONG_BINPUT => {
                let place = u32::from_le_bytes(self.array()?) as usize;
                self.keep(place)
            }
            opcode::MEMOIZE => self.keep(self.memo.len()),
            opcode::BINGET => {
                let place = self.byte()?.into();
                self.recall(place)
            }
            opcode::LONG_BINGET => {
                let place = u32::from_le_bytes(self.array()?) as usize;
                self.recall(place)
            }
            opcode::GLOBAL => {
                let module = self.line()?;
                let name = self.line()?;
                self.class(module, name)
            }
            opcode::STACK_GLOBAL => {
                let name = self.pop()?;
                let module = self.pop()?;
                let (&Node::Text(module), &Node::Text(name)) = (self.node(module), self.node(name))
                else {
                    return Err(PickleFault::Type);
                };
                self.class(module, name)
            }
            opcode::REDUCE | opcode::NEWOBJ => {
                let arguments = self.pop()?;
                let class = self.pop()?;
                self.make(opcode, class, arguments)
            }
            other => Err(PickleFault::Opcode(other)),
        }
    }

    // What the opcodes do.

    fn small_integer(&mut self, opcode: u8) -> Result<(), PickleFault> {
        let value = match opcode {
            opcode::BININT1 => self.byte()?.into(),
            opcode::BININT2 => u16::from_le_bytes(self.array()?).into(),
            _ => i32::from_le_bytes(self.array()?).into(),
        };
        self.push(Node::Int(value))
    }

    /// Two's complement, little-endian, of any length; none at all is zero.
    fn long_integer(&mut self, opcode: u8) -> Result<(), PickleFault> {
        let length = match opcode {
            opcode::LONG1 => self.byte()?.into(),
            // A length below zero is none, and too long as a length without a sign.
            _ => u32::from_le_bytes(self.array()?) as usize,
        };
        let bytes = self.take(length)?;
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut whole = [if negative { 0xff } else { 0 }; 8];
        whole
            .get_mut(..bytes.len())
            .ok_or(PickleFault::Number)?
            .copy_from_slice(bytes);
        self.push(Node::Int(i64::from_le_bytes(whole)))
    }

    fn extend(&mut self, items: Vec<NodeId>) -> Result<(), PickleFault> {
        match self.top()? {
            Node::List(list) => list.extend(items),
            _ => return Err(PickleFault::Container),
        }
        Ok(())
    }

    fn set_items(&mut self, items: &[NodeId]) -> Result<(), PickleFault> {
        let Node::Dict(entries) = self.top()? else {
            return Err(PickleFault::Container);
        };
        let (pairs, rest) = items.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(PickleFault::Container);
        }
        entries.extend(pairs.iter().map(|[key, value]| (*key, *value)));
        Ok(())
    }

    /// Keeps the value on top of the stack. Python numbers what it keeps one after the other.
    fn keep(&mut self, place: usize) -> Result<(), PickleFault> {
        let id = *self.stack.last().ok_or(PickleFault::Stack)?;
        if place == self.memo.len() {
            self.memo.push(id);
        } else {
            *self.memo.get_mut(place).ok_or(PickleFault::Memo)? = id;
        }
        Ok(())
    }

    fn recall(&mut self, place: usize) -> Result<(), PickleFault> {
        let id = *self.memo.get(place).ok_or(PickleFault::Memo)?;
        self.stack.push(id);
        Ok(())
    }

    fn class(&mut self, module: &str, name: &str) -> Result<(), PickleFault> {
        match PickleClass::named(module, name) {
            Some(class) => self.push(Node::Class(class)),
            None => Err(PickleFault::Name(shown(module, name))),
        }
    }

    /// Makes a value of a type. The types of D-Bus are made by NEWOBJ, all others by REDUCE.
    fn make(&mut self, opcode: u8, class: NodeId, arguments: NodeId) -> Result<(), PickleFault> {
        let (&Node::Class(class), Node::Tuple(arguments)) =
            (self.node(class), self.node(arguments))
        else {
            return Err(PickleFault::Type);
        };
        let arguments: Vec<&Node<'p>> = arguments.iter().map(|id| self.node(*id)).collect();
        let made = if opcode == opcode::NEWOBJ {
            of_dbus(class, &arguments)
        } else {
            plain(class, &arguments)?
        };
        let node = made.ok_or(PickleFault::Arguments(class.name()))?;
        if let Node::Built(bytes) = &node {
            self.built += bytes.len();
            if self.built > self.bytes.len() {
                return Err(PickleFault::Arguments(class.name()));
            }
        }
        self.push(node)
    }

    // The stack.

    fn node(&self, id: NodeId) -> &Node<'p> {
        &self.nodes[id as usize]
    }

    fn push(&mut self, node: Node<'p>) -> Result<(), PickleFault> {
        if self.nodes.len() >= MAX_NODES {
            return Err(PickleFault::TooMany { limit: MAX_NODES });
        }
        self.stack.push(self.nodes.len() as NodeId);
        self.nodes.push(node);
        Ok(())
    }

    /// The lowest place of the stack that may be taken from: what lies below a mark is out of reach.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<NodeId, PickleFault> {
        if self.stack.len() <= self.floor() {
            return Err(PickleFault::Stack);
        }
        self.stack.pop().ok_or(PickleFault::Stack)
    }

    fn pop_value(&mut self) -> Result<NodeId, PickleFault> {
        let id = self.pop()?;
        self.value(id)
    }

    fn pop_many(&mut self, count: usize) -> Result<Vec<NodeId>, PickleFault> {
        let from = self
            .stack
            .len()
            .checked_sub(count)
            .ok_or(PickleFault::Stack)?;
        if from < self.floor() {
            return Err(PickleFault::Stack);
        }
        self.split_off(from)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<NodeId>, PickleFault> {
        let mark = self.marks.pop().ok_or(PickleFault::Stack)?;
        self.split_off(mark)
    }

    fn split_off(&mut self, from: usize) -> Result<Vec<NodeId>, PickleFault> {
        let items: Vec<NodeId> = self.stack.drain(from..).collect();
        items.iter().try_for_each(|id| self.value(*id).map(drop))?;
        Ok(items)
    }

    /// A type is no value.
    fn value(&self, id: NodeId) -> Result<NodeId, PickleFault> {
        match self.node(id) {
            Node::Class(_) => Err(PickleFault::Type),
            _ => Ok(id),
        }
    }

    fn top(&mut self) -> Result<&mut Node<'p>, PickleFault> {
        if self.stack.len() <= self.floor() {
            return Err(PickleFault::Stack);
        }
        let id = *self.stack.last().ok_or(PickleFault::Stack)?;
        Ok(&mut self.nodes[id as usize])
    }

    // The file.

    fn take(&mut self, count: usize) -> Result<&'p [u8], PickleFault> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..count).ok_or(PickleFault::Truncated)?;
        self.at += count;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, PickleFault> {
        self.array().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PickleFault> {
        self.take(N)?.try_into().map_err(|_| PickleFault::Truncated)
    }

    /// Bytes after their count, which is as long as the opcode says.
    fn counted(&mut self, opcode: u8) -> Result<&'p [u8], PickleFault> {
        let count = match opcode {
            opcode::SHORT_BINUNICODE | opcode::SHORT_BINBYTES => self.byte()?.into(),
            opcode::BINUNICODE | opcode::BINBYTES => u32::from_le_bytes(self.array()?).into(),
            _ => u64::from_le_bytes(self.array()?),
        };
        self.take(usize::try_from(count).map_err(|_| PickleFault::Truncated)?)
    }

    /// Text up to the end of its line.
    fn line(&mut self) -> Result<&'p str, PickleFault> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|byte| *byte == b'\n');
        let line = self.take(length.ok_or(PickleFault::Truncated)?)?;
        self.take(1)?;
        std::str::from_utf8(line).map_err(|_| PickleFault::Text)
    }
}

/// A value of one of Python's own types; `None` when it is not made like that.
fn plain<'p>(class: PickleClass, arguments: &[&Node<'p>]) -> Result<Option<Node<'p>>, PickleFault> {
    Ok(Some(match (class, arguments) {
        (PickleClass::Encode, [Node::Text(text), Node::Text("latin1")]) => match encode(text) {
            Some(node) => node,
            None => return Ok(None),
        },
        (PickleClass::Bytes, []) => Node::Bytes(b""),
        // A second argument is a time zone.
        (PickleClass::DateTime, [_, _]) => return Err(PickleFault::Date),
        (PickleClass::DateTime, [Node::Bytes(bytes)]) => date(bytes)?,
        (PickleClass::DateTime, [Node::Built(bytes)]) => date(bytes.expose())?,
        (PickleClass::TimeDelta, [Node::Int(days), Node::Int(seconds), Node::Int(micros)]) => {
            let seconds = i128::from(*days) * 86_400 + i128::from(*seconds);
            Node::TimeDelta(seconds * 1_000_000 + i128::from(*micros))
        }
        _ => return Ok(None),
    }))
}

fn date<'p>(bytes: &[u8]) -> Result<Node<'p>, PickleFault> {
    PickleDateTime::new(bytes)
        .map(Node::DateTime)
        .ok_or(PickleFault::Date)
}

/// Each character becomes the byte of its number; `None` when one has no such byte.
fn encode<'p>(text: &str) -> Option<Node<'p>> {
    let mut bytes = SecretBuffer::default();
    for character in text.chars() {
        bytes.append(&[u8::try_from(character).ok()?]);
    }
    Some(Node::Built(bytes.finish()))
}

/// A value of a D-Bus type, which is its plain value; `None` when it is not made like that.
fn of_dbus<'p>(class: PickleClass, arguments: &[&Node<'p>]) -> Option<Node<'p>> {
    match (class, arguments) {
        (PickleClass::DbusBoolean, [Node::Int(value)]) => Some(Node::Bool(*value != 0)),
        (PickleClass::DbusInteger, [Node::Int(value)]) => Some(Node::Int(*value)),
        (PickleClass::DbusText, [Node::Text(text)]) => Some(Node::Text(text)),
        _ => None,
    }
}

/// A name for people: as much of it as helps.
fn shown(module: &str, name: &str) -> String {
    let short = |text: &str| -> String {
        let start: String = text.chars().take(60).collect();
        start.escape_debug().to_string()
    };
    format!("{}.{}", short(module), short(name))
}
