//! Python pickles read as data.
//!
//! A pickle is a program for a small stack machine: opcodes push values, build lists and
//! dictionaries from them, remember values in a memo and, in Python, look up classes and call
//! them. This reader runs the part of the machine that builds data and stops there: a class or
//! function is an inert name ([`Node::Global`]), and calling one records the call
//! ([`Node::Object`]) without making it. Nothing in a file can execute.
//!
//! Every value lives in one arena and refers to others by index, so a memo entry used a thousand
//! times is stored once, a value may contain itself, and dropping a list nested a million deep is
//! dropping a `Vec`. Each opcode adds at most one node and every length is checked against the
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

use std::collections::HashMap;

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
    /// An instruction no protocol has, or one this reader leaves out.
    #[error("unsupported instruction 0x{opcode:02x} at byte {at}")]
    Opcode {
        /// The instruction.
        opcode: u8,
        /// Its offset.
        at: usize,
    },
    /// An instruction finds fewer or other values on the stack than it works on.
    #[error("instruction at byte {at} expects {expected}")]
    Stack {
        /// Offset of the instruction.
        at: usize,
        /// What it needs.
        expected: &'static str,
    },
    /// Text, a number or a line that cannot be read as what it should be.
    #[error("malformed {what} at byte {at}")]
    Malformed {
        /// Offset of the instruction.
        at: usize,
        /// What it should have been.
        what: &'static str,
    },
    /// A reference to a memo entry that was never stored.
    #[error("memo entry {key} at byte {at} was never stored")]
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
        module: String,
        name: String,
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
        let mut machine = Machine::new(bytes);
        let root = machine.run()?;
        Ok(Pickle { nodes: machine.nodes, root })
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
            Node::Global { module, name } => Some((module, name)),
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

/// The stack machine.
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    stack: Vec<Ref>,
    /// Stack heights where a MARK was pushed.
    marks: Vec<usize>,
    memo: HashMap<u64, Ref>,
    /// Offset of the instruction being executed.
    op_at: usize,
}

impl<'a> Machine<'a> {
    fn new(bytes: &'a [u8]) -> Machine<'a> {
        Machine {
            bytes,
            at: 0,
            nodes: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            op_at: 0,
        }
    }

    fn run(&mut self) -> Result<Ref> {
        loop {
            self.op_at = self.at;
            let opcode = self.take(1)?[0];
            if opcode == b'.' {
                return self.pop();
            }
            self.step(opcode)?;
        }
    }

    fn step(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            0x80 => drop(self.take(1)?), // PROTO
            0x95 => drop(self.take(8)?), // FRAME
            b'(' => self.marks.push(self.stack.len()),
            b'0' => self.pop_or_mark()?,
            b'1' => drop(self.pop_mark()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'N' => self.push(Node::None),
            0x88 => self.push(Node::Bool(true)),
            0x89 => self.push(Node::Bool(false)),
            b'J' | b'K' | b'M' | b'I' | b'L' | 0x8a | 0x8b | b'G' | b'F' => self.number(opcode)?,
            b'X' | 0x8c | 0x8d | b'V' | b'S' | b'T' | b'U' | b'B' | b'C' | 0x8e => {
                self.text(opcode)?;
            }
            b')' => self.push(Node::Tuple(vec![])),
            b']' => self.push(Node::List(vec![])),
            b'}' => self.push(Node::Dict(vec![])),
            0x8f => self.push(Node::Set(vec![])),
            0x85..=0x87 => {
                let refs = self.pop_n(usize::from(opcode - 0x84))?;
                self.push(Node::Tuple(refs));
            }
            b't' | b'l' | 0x91 => {
                let refs = self.pop_mark()?;
                self.push(match opcode {
                    b't' => Node::Tuple(refs),
                    b'l' => Node::List(refs),
                    _ => Node::Set(refs),
                });
            }
            b'd' => {
                let pairs = self.pop_mark_pairs()?;
                self.push(Node::Dict(pairs));
            }
            b'a' | b'e' | 0x90 => {
                let refs = if opcode == b'a' { self.pop_n(1)? } else { self.pop_mark()? };
                self.extend(refs)?;
            }
            b's' => {
                let pair = self.pop_n(2)?;
                self.set_items(vec![(pair[0], pair[1])])?;
            }
            b'u' => {
                let pairs = self.pop_mark_pairs()?;
                self.set_items(pairs)?;
            }
            b'p' | b'q' | b'r' | 0x94 | b'g' | b'h' | b'j' => self.memo(opcode)?,
            b'c' | 0x93 | b'R' | 0x81 | 0x92 | b'b' | b'i' | b'o' | b'P' | b'Q' => {
                self.object(opcode)?;
            }
            _ => return Err(PickleError::Opcode { opcode, at: self.op_at }),
        }
        Ok(())
    }

    fn number(&mut self, opcode: u8) -> Result<()> {
        let node = match opcode {
            b'J' => Node::Int(i64::from(i32::from_le_bytes(self.array()?))),
            b'K' => Node::Int(i64::from(self.array::<1>()?[0])),
            b'M' => Node::Int(i64::from(u16::from_le_bytes(self.array()?))),
            0x8a => {
                let n = self.array::<1>()?[0];
                long(self.take(u64::from(n))?)
            }
            0x8b => {
                let n = u32::from_le_bytes(self.array()?);
                long(self.take(u64::from(n))?)
            }
            b'I' => match self.line()? {
                "00" => Node::Bool(false),
                "01" => Node::Bool(true),
                digits => Node::Int(digits.parse().map_err(|_| self.malformed("integer"))?),
            },
            b'L' => {
                let digits = self.line()?;
                let digits = digits.strip_suffix('L').unwrap_or(digits);
                match digits.parse() {
                    Ok(i) => Node::Int(i),
                    Err(_) if is_decimal(digits) => Node::HugeInt,
                    Err(_) => return Err(self.malformed("integer")),
                }
            }
            b'G' => Node::Float(f64::from_be_bytes(self.array()?)),
            _ => Node::Float(self.line()?.parse().map_err(|_| self.malformed("float"))?),
        };
        self.push(node);
        Ok(())
    }

    fn text(&mut self, opcode: u8) -> Result<()> {
        let bytes = match opcode {
            b'V' => return self.push_text(|line| unescape(line, false)),
            b'S' => return self.push_text(|line| unescape(unquote(line)?, true)),
            0x8c | b'U' | b'C' => {
                let n = self.array::<1>()?[0];
                self.take(u64::from(n))?
            }
            b'X' | b'T' | b'B' => {
                let n = u32::from_le_bytes(self.array()?);
                self.take(u64::from(n))?
            }
            _ => {
                let n = u64::from_le_bytes(self.array()?);
                self.take(n)?
            }
        };
        let is_text = matches!(opcode, b'X' | 0x8c | 0x8d);
        let node = match (std::str::from_utf8(bytes), opcode) {
            (Ok(s), b'X' | 0x8c | 0x8d | b'T' | b'U') => Node::Str(s.to_owned()),
            (Err(_), _) if is_text => return Err(self.malformed("UTF-8 text")),
            _ => Node::Bytes(bytes.to_vec()),
        };
        self.push(node);
        Ok(())
    }

    /// A line that stands for text, its bytes being Latin-1.
    fn push_text(&mut self, decode: impl Fn(&str) -> Option<String>) -> Result<()> {
        let line: String = self.line_bytes()?.iter().map(|&b| char::from(b)).collect();
        let text = decode(&line).ok_or_else(|| self.malformed("text"))?;
        self.push(Node::Str(text));
        Ok(())
    }

    fn memo(&mut self, opcode: u8) -> Result<()> {
        let key = match opcode {
            b'p' | b'g' => {
                let line = self.line()?;
                line.parse().map_err(|_| self.malformed("memo key"))?
            }
            b'q' | b'h' => u64::from(self.array::<1>()?[0]),
            b'r' | b'j' => u64::from(u32::from_le_bytes(self.array()?)),
            _ => self.memo.len() as u64,
        };
        if matches!(opcode, b'g' | b'h' | b'j') {
            let value = self.memo.get(&key).copied();
            self.stack.push(value.ok_or(PickleError::Memo { at: self.op_at, key })?);
        } else {
            let top = self.top()?;
            self.memo.insert(key, top);
        }
        Ok(())
    }

    fn object(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            b'c' => {
                let module = self.line()?.to_owned();
                let name = self.line()?.to_owned();
                self.push(Node::Global { module, name });
            }
            0x93 => {
                let pair = self.pop_n(2)?;
                let text = |r: Ref| match &self.nodes[r as usize] {
                    Node::Str(s) if s.len() <= MAX_NAME => Some(s.clone()),
                    _ => None,
                };
                let (Some(module), Some(name)) = (text(pair[0]), text(pair[1])) else {
                    return Err(self.wrong_stack("a module and a name"));
                };
                self.push(Node::Global { module, name });
            }
            b'R' | 0x81 => {
                let pair = self.pop_n(2)?;
                self.push_call(pair[0], pair[1]);
            }
            0x92 => {
                let triple = self.pop_n(3)?;
                self.push_call(triple[0], triple[1]);
            }
            b'i' => {
                let module = self.line()?.to_owned();
                let name = self.line()?.to_owned();
                let args = self.pop_mark()?;
                let callee = self.alloc(Node::Global { module, name });
                let args = self.alloc(Node::Tuple(args));
                self.push_call(callee, args);
            }
            b'o' => {
                let mut args = self.pop_mark()?;
                if args.is_empty() {
                    return Err(self.wrong_stack("a class after the mark"));
                }
                let callee = args.remove(0);
                let args = self.alloc(Node::Tuple(args));
                self.push_call(callee, args);
            }
            b'b' => {
                let state = self.pop()?;
                let top = self.top()?;
                // State given to a plain container (an OrderedDict's `_metadata`) is not data here.
                if let Node::Object(object) = &mut self.nodes[top as usize] {
                    object.state = Some(state);
                }
            }
            b'P' => {
                let line = self.line()?.to_owned();
                let id = self.alloc(Node::Str(line));
                self.push(Node::Persistent(id));
            }
            _ => {
                let id = self.pop()?;
                self.push(Node::Persistent(id));
            }
        }
        Ok(())
    }

    fn push_call(&mut self, callee: Ref, args: Ref) {
        let (items, elements) = (vec![], vec![]);
        self.push(Node::Object(Box::new(Object { callee, args, state: None, items, elements })));
    }

    fn extend(&mut self, refs: Vec<Ref>) -> Result<()> {
        let top = self.top()?;
        match &mut self.nodes[top as usize] {
            Node::List(list) | Node::Set(list) => list.extend(refs),
            Node::Object(object) => object.elements.extend(refs),
            _ => return Err(self.wrong_stack("a list or set to add to")),
        }
        Ok(())
    }

    fn set_items(&mut self, pairs: Vec<(Ref, Ref)>) -> Result<()> {
        let top = self.top()?;
        match &mut self.nodes[top as usize] {
            Node::Dict(dict) => dict.extend(pairs),
            Node::Object(object) => object.items.extend(pairs),
            _ => return Err(self.wrong_stack("a dict to set items of")),
        }
        Ok(())
    }

    fn alloc(&mut self, node: Node) -> Ref {
        self.nodes.push(node);
        // Callers cap files far below 2^32 instructions (`archive::MAX_PICKLE_BYTES`).
        (self.nodes.len() - 1) as Ref
    }

    fn push(&mut self, node: Node) {
        let at = self.alloc(node);
        self.stack.push(at);
    }

    /// How many values lie above the last mark: no instruction may reach below it.
    fn available(&self) -> usize {
        self.stack.len() - self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<Ref> {
        match self.stack.last() {
            Some(&top) if self.available() > 0 => Ok(top),
            _ => Err(self.wrong_stack("a value on the stack")),
        }
    }

    fn pop(&mut self) -> Result<Ref> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_n(&mut self, n: usize) -> Result<Vec<Ref>> {
        if self.available() < n {
            return Err(self.wrong_stack("more values on the stack"));
        }
        Ok(self.stack.split_off(self.stack.len() - n))
    }

    fn pop_mark(&mut self) -> Result<Vec<Ref>> {
        match self.marks.pop() {
            Some(height) => Ok(self.stack.split_off(height)),
            None => Err(self.wrong_stack("a mark")),
        }
    }

    fn pop_mark_pairs(&mut self) -> Result<Vec<(Ref, Ref)>> {
        let refs = self.pop_mark()?;
        let (pairs, rest) = refs.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(self.wrong_stack("a value for every key"));
        }
        Ok(pairs.iter().map(|&[k, v]| (k, v)).collect())
    }

    fn pop_or_mark(&mut self) -> Result<()> {
        if self.available() == 0 && self.marks.pop().is_some() {
            return Ok(());
        }
        self.pop().map(drop)
    }

    fn take(&mut self, n: u64) -> Result<&'a [u8]> {
        let left = self.bytes.len() - self.at;
        match usize::try_from(n) {
            Ok(n) if n <= left => {
                let bytes = &self.bytes[self.at..self.at + n];
                self.at += n;
                Ok(bytes)
            }
            _ => Err(PickleError::Truncated { at: self.at, needed: n, left }),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64)?);
        Ok(array)
    }

    /// A line of a text instruction, without its newline.
    fn line(&mut self) -> Result<&'a str> {
        let line = self.line_bytes()?;
        std::str::from_utf8(line).map_err(|_| self.malformed("line"))
    }

    fn line_bytes(&mut self) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let Some(end) = rest.iter().position(|&b| b == b'\n') else {
            let left = rest.len();
            return Err(PickleError::Truncated { at: self.at, needed: left as u64 + 1, left });
        };
        self.at += end + 1;
        let line = &rest[..end];
        Ok(line.strip_suffix(b"\r").unwrap_or(line))
    }

    fn malformed(&self, what: &'static str) -> PickleError {
        PickleError::Malformed { at: self.op_at, what }
    }

    fn wrong_stack(&self, expected: &'static str) -> PickleError {
        PickleError::Stack { at: self.op_at, expected }
    }
}

/// Longest module or class name taken from the stack: the same two strings can be named by every
/// further byte of a file, so their copies must be short.
const MAX_NAME: usize = 200;

/// Little-endian two's complement of any length, the LONG instructions' integer.
fn long(bytes: &[u8]) -> Node {
    let Some(&last) = bytes.last() else {
        return Node::Int(0);
    };
    let fill = if last & 0x80 == 0 { 0x00 } else { 0xff };
    let (low, high) = bytes.split_at(bytes.len().min(8));
    let mut word = [fill; 8];
    word[..low.len()].copy_from_slice(low);
    let value = i64::from_le_bytes(word);
    let sign_kept = (value < 0) == (fill == 0xff);
    if sign_kept && high.iter().all(|&b| b == fill) { Node::Int(value) } else { Node::HugeInt }
}

fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

fn unquote(text: &str) -> Option<&str> {
    let inner = |quote| text.strip_prefix(quote)?.strip_suffix(quote);
    inner('\'').or_else(|| inner('"'))
}

/// Undoes Python's backslash escapes: only `\u` and `\U` in protocol-0 unicode, also those of
/// `repr` in protocol-0 byte strings.
fn unescape(text: &str, repr: bool) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let code = |chars: &mut std::str::Chars, digits: usize| {
            let hex: String = chars.take(digits).collect();
            if hex.len() != digits {
                return None;
            }
            char::from_u32(u32::from_str_radix(&hex, 16).ok()?)
        };
        match chars.next() {
            Some('u') => out.push(code(&mut chars, 4)?),
            Some('U') => out.push(code(&mut chars, 8)?),
            Some('x') if repr => out.push(code(&mut chars, 2)?),
            Some('n') if repr => out.push('\n'),
            Some('r') if repr => out.push('\r'),
            Some('t') if repr => out.push('\t'),
            Some(c @ ('\\' | '\'' | '"')) if repr => out.push(c),
            Some(other) => {
                out.push('\\');
                out.push(other);
            }
            None => out.push('\\'),
        }
    }
    Some(out)
}
