//! Python pickles read as data.
//!
//! A pickle is a program for a small stack machine: opcodes push values, build lists and
//! dictionaries from them, remember values in a memo and, in Python, look up classes and call
//! them. This reader runs the part of the machine that builds data and stops there: a class or
//! function is an inert name (`Node::Global`), and calling one records the call
//! (`Node::Object`) without making it. Nothing in a file can execute.
//!
//! Every value lives in one arena and refers to others by index, so a memo entry used a thousand
//! times is stored once, a value may contain itself, and dropping a list nested a million deep is
//! dropping a `Vec`. Each opcode adds a few nodes at most and every length is checked against the
//! bytes left, so memory stays within a constant factor of the file.
//!
//! Protocols 0 to 5 are read, without extension codes and out-of-band buffers, which neither
//! `torch.save` nor `pickle.dump` to a file writes.
//!
//! ```
//! use microtome_model::pickle::Pickle;
//! // pickle.dumps({"n_layer": 3}, protocol=2)
//! let bytes = b"\x80\x02}X\x07\x00\x00\x00n_layerK\x03s.";
//! let pickle = Pickle::parse(bytes)?;
//! assert_eq!(pickle.root().get("n_layer").and_then(|v| v.as_int()), Some(3));
//! # Ok::<(), microtome_model::pickle::PickleError>(())
//! ```

mod machine;

use machine::Machine;

/// Far above the pickle of any checkpoint, whose numbers lie outside it; bounds what a hostile one
/// can make a reader hold.
pub const MAX_BYTES: usize = 16 << 20;

/// Why bytes are not a pickle this reader can follow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PickleError {
    /// The bytes end inside an instruction or before the closing one.
    #[error("ends early at byte {at}: {needed} more bytes needed, {left} left")]
    Truncated {
        /// Offset where the missing bytes should start.
        at: usize,
        /// Bytes the instruction asks for.
        needed: u64,
        /// Bytes there are.
        left: usize,
    },
    /// More bytes than this reader takes.
    #[error("has {bytes} bytes, more than {MAX_BYTES}")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// An instruction no protocol has, or one this reader leaves out.
    #[error("has an unsupported instruction 0x{opcode:02x} at byte {at}")]
    Opcode {
        /// The instruction.
        opcode: u8,
        /// Its offset.
        at: usize,
    },
    /// An instruction finds fewer or other values on the stack than it works on.
    #[error("has an instruction at byte {at} that expects {expected}")]
    Stack {
        /// Offset of the instruction.
        at: usize,
        /// What it needs.
        expected: &'static str,
    },
    /// Text, a number or a line that cannot be read as what it should be.
    #[error("has a malformed {what} at byte {at}")]
    Malformed {
        /// Offset of the instruction.
        at: usize,
        /// What it should have been.
        what: &'static str,
    },
    /// A reference to a memo entry that was never stored.
    #[error("uses memo entry {key} at byte {at}, which was never stored")]
    Memo {
        /// Offset of the instruction.
        at: usize,
        /// The entry.
        key: u64,
    },
}

type Result<T> = std::result::Result<T, PickleError>;
type Ref = u32;

/// One value of a pickle; values inside it are indices into the same arena.
#[derive(Debug, Clone, PartialEq)]
enum Node {
    None,
    Bool(bool),
    Int(i64),
    /// An integer that does not fit 64 bits; its value is not kept.
    HugeInt,
    Float(f64),
    Str(String),
    Bytes(Vec<u8>),
    Tuple(Vec<Ref>),
    List(Vec<Ref>),
    /// Sets and frozen sets.
    Set(Vec<Ref>),
    Dict(Vec<(Ref, Ref)>),
    /// A class or function by name, never looked up.
    Global {
        module: Ref,
        name: Ref,
    },
    /// A call that Python would make here, with what is put into its result afterwards.
    Object(Box<Object>),
    /// A reference to something outside the pickle, such as a tensor's storage.
    Persistent(Ref),
}

#[derive(Debug, Clone, PartialEq)]
struct Object {
    callee: Ref,
    args: Ref,
    state: Option<Ref>,
    items: Vec<(Ref, Ref)>,
    elements: Vec<Ref>,
}

/// A parsed pickle, owner of all its values.
#[derive(Debug, Clone)]
pub struct Pickle {
    nodes: Vec<Node>,
    root: Ref,
}

/// A value inside a [`Pickle`].
#[derive(Clone, Copy)]
pub struct Value<'a> {
    pickle: &'a Pickle,
    at: Ref,
}

impl Pickle {
    /// Reads one pickle from the start of `bytes`; bytes after its end are not looked at.
    ///
    /// # Errors
    /// [`PickleError`], whatever the bytes are.
    pub fn parse(bytes: &[u8]) -> Result<Pickle> {
        if bytes.len() > MAX_BYTES {
            return Err(PickleError::TooLarge { bytes: bytes.len() });
        }
        let (nodes, root) = Machine::run(bytes)?;
        Ok(Pickle { nodes, root })
    }

    /// The value the pickle stands for.
    pub fn root(&self) -> Value<'_> {
        Value { pickle: self, at: self.root }
    }
}

impl<'a> Value<'a> {
    fn node(self) -> &'a Node {
        &self.pickle.nodes[self.at as usize]
    }

    fn at(self, at: Ref) -> Value<'a> {
        Value { pickle: self.pickle, at }
    }

    /// The integer, if this is one that fits 64 bits.
    pub fn as_int(self) -> Option<i64> {
        match self.node() {
            Node::Int(i) => Some(*i),
            _ => None,
        }
    }

    /// The integer as a size, if this is one and not negative.
    pub fn as_usize(self) -> Option<usize> {
        self.as_int().and_then(|i| usize::try_from(i).ok())
    }

    /// The number, if this is an integer or a float.
    pub fn as_f64(self) -> Option<f64> {
        match self.node() {
            Node::Float(x) => Some(*x),
            Node::Int(i) => Some(*i as f64),
            _ => None,
        }
    }

    /// The truth value, if this is `True` or `False`.
    pub fn as_bool(self) -> Option<bool> {
        match self.node() {
            Node::Bool(b) => Some(*b),
            _ => None,
        }
    }

    /// The text, if this is a string.
    pub fn as_str(self) -> Option<&'a str> {
        match self.node() {
            Node::Str(s) => Some(s),
            _ => None,
        }
    }

    /// The bytes, if this is a bytes object.
    pub fn as_bytes(self) -> Option<&'a [u8]> {
        match self.node() {
            Node::Bytes(b) => Some(b),
            _ => None,
        }
    }

    /// Whether this is `None`.
    pub fn is_none(self) -> bool {
        matches!(self.node(), Node::None)
    }

    /// Module and name, if this is a class or function.
    pub fn as_global(self) -> Option<(&'a str, &'a str)> {
        match self.node() {
            Node::Global { module, name } => Some((self.at(*module).as_str()?, self.at(*name).as_str()?)),
            _ => None,
        }
    }

    /// The values inside a list, tuple or set.
    pub fn elements(self) -> Option<Vec<Value<'a>>> {
        match self.node() {
            Node::List(refs) | Node::Tuple(refs) | Node::Set(refs) => {
                Some(refs.iter().map(|&r| self.at(r)).collect())
            }
            _ => None,
        }
    }

    /// Keys and values of a dict or `OrderedDict`, in the order of the file.
    pub fn entries(self) -> Option<Vec<(Value<'a>, Value<'a>)>> {
        let pairs = match self.node() {
            Node::Dict(pairs) => pairs,
            Node::Object(object) if self.at(object.callee).is_dict_class() => {
                // Python 2 passed the items to the constructor; Python 3 sets them afterwards.
                if object.items.is_empty() {
                    return self.at(object.args).elements()?.first().map_or(Some(vec![]), |items| {
                        items.elements()?.into_iter().map(Value::as_pair).collect()
                    });
                }
                &object.items
            }
            _ => return None,
        };
        Some(pairs.iter().map(|&(k, v)| (self.at(k), self.at(v))).collect())
    }

    /// The value under a string key of a dict; the last one if the key was set twice.
    pub fn get(self, key: &str) -> Option<Value<'a>> {
        let entries = self.entries()?;
        entries.into_iter().rev().find(|(k, _)| k.as_str() == Some(key)).map(|(_, v)| v)
    }

    /// Callee and arguments, if this is the result of a call.
    pub fn as_call(self) -> Option<(Value<'a>, Vec<Value<'a>>)> {
        match self.node() {
            Node::Object(object) => Some((self.at(object.callee), self.at(object.args).elements()?)),
            _ => None,
        }
    }

    /// What a persistent reference refers to.
    pub fn as_persistent(self) -> Option<Value<'a>> {
        match self.node() {
            Node::Persistent(id) => Some(self.at(*id)),
            _ => None,
        }
    }

    /// What kind of value this is, for messages.
    pub fn kind(self) -> &'static str {
        match self.node() {
            Node::None => "None",
            Node::Bool(_) => "a bool",
            Node::Int(_) | Node::HugeInt => "an int",
            Node::Float(_) => "a float",
            Node::Str(_) => "a string",
            Node::Bytes(_) => "bytes",
            Node::Tuple(_) => "a tuple",
            Node::List(_) => "a list",
            Node::Set(_) => "a set",
            Node::Dict(_) => "a dict",
            Node::Global { .. } => "a class or function",
            Node::Object(_) => "an object",
            Node::Persistent(_) => "a storage",
        }
    }

    fn is_dict_class(self) -> bool {
        self.as_global().is_some_and(|(module, name)| {
            module == "collections" && matches!(name, "OrderedDict" | "defaultdict")
        })
    }

    fn as_pair(self) -> Option<(Value<'a>, Value<'a>)> {
        match self.elements()?.as_slice() {
            [key, value] => Some((*key, *value)),
            _ => None,
        }
    }
}
