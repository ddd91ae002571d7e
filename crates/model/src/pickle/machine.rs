//! The stack machine that a pickle is a program for, without the part that calls anything.

use std::collections::HashMap;

use super::{Node, Object, PickleError, Ref, Result};

/// The stack machine.
pub(super) struct Machine<'a> {
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
    /// Executes one pickle: all values it makes, and which of them it stands for.
    pub(super) fn run(bytes: &'a [u8]) -> Result<(Vec<Node>, Ref)> {
        let mut machine = Machine {
            bytes,
            at: 0,
            nodes: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            op_at: 0,
        };
        loop {
            machine.op_at = machine.at;
            let opcode = machine.take(1)?[0];
            if opcode == b'.' {
                let root = machine.pop()?;
                return Ok((machine.nodes, root));
            }
            machine.step(opcode)?;
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
                let global = self.global_lines()?;
                self.push(global);
            }
            0x93 => {
                let pair = self.pop_n(2)?;
                let is_text = |r: &Ref| matches!(self.nodes[*r as usize], Node::Str(_));
                if !pair.iter().all(is_text) {
                    return Err(self.wrong_stack("a module and a name"));
                }
                self.push(Node::Global { module: pair[0], name: pair[1] });
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
                let global = self.global_lines()?;
                let args = self.pop_mark()?;
                let callee = self.alloc(global);
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

    /// A class or function given as two lines.
    fn global_lines(&mut self) -> Result<Node> {
        let [module, name] = [self.line()?.to_owned(), self.line()?.to_owned()];
        Ok(Node::Global { module: self.alloc(Node::Str(module)), name: self.alloc(Node::Str(name)) })
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
        // `Pickle::parse` refuses anything with room for 2^32 instructions.
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
