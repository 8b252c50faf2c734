//! RE2's syntax as Go reads it (`regexp/syntax`), parsed into the tree that the `regex` crate's engine runs.
//!
//! The two dialects differ in both directions: `\d` is ASCII in one and Unicode in the other, `[[a]&&b]` is a set
//! operation or plain text, `a**` an error or not. Reading the pattern by Go's rules and handing over a tree leaves no
//! difference to translate. Errors carry Go's words, which is what people search for.

mod class;

use crate::labels::re2::class::Class;
use regex_syntax::hir::{Capture, Dot, Hir, Look, Repetition};
use std::fmt;

/// Largest count of a repetition, and of the product of nested ones (Go's `maxRepeat`).
const MAX_REPEAT: u32 = 1000;

/// Deepest tree. Go allows 1000; the engine's compiler descends a tree on the stack of its caller.
const MAX_HEIGHT: u32 = 250;

/// A pattern as a tree.
#[derive(Clone, Debug)]
pub(crate) struct Parsed {
    /// The tree.
    pub(crate) hir: Hir,
    /// Names of the groups from group 1 on; empty for a group without a name.
    pub(crate) group_names: Vec<String>,
}

/// Why a text is no pattern, in Go's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    kind: &'static str,
    /// The part that is wrong.
    part: String,
}

impl SyntaxError {
    fn new(kind: &'static str, part: &str) -> Self {
        Self { kind, part: part.to_owned() }
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error parsing regexp: {}: `{}`", self.kind, self.part)
    }
}

/// Parses a whole pattern with the flags of Go's `regexp.Compile`.
pub(crate) fn parse(pattern: &str) -> Result<Parsed, SyntaxError> {
    let mut parser = Parser {
        pattern,
        rest: pattern,
        flags: Flags::default(),
        group_names: Vec::new(),
        groups: vec![OpenGroup::new(Group::Plain, Flags::default())],
    };
    parser.run()
}

#[derive(Clone, Copy, Debug, Default)]
struct Flags {
    /// `i`
    fold_case: bool,
    /// `m`
    multi_line: bool,
    /// `s`
    dot_matches_newline: bool,
    /// `U`
    swap_greed: bool,
}

/// A part of the pattern and what its limits are measured by.
#[derive(Debug)]
struct Node {
    hir: Hir,
    /// Largest product of counts from here down.
    repeats: u32,
    height: u32,
}

impl Node {
    fn leaf(hir: Hir) -> Self {
        Self { hir, repeats: 1, height: 1 }
    }

    fn parent(children: &[Node]) -> (u32, u32) {
        let repeats = children.iter().map(|it| it.repeats).max().unwrap_or(1);
        let height = children.iter().map(|it| it.height).max().unwrap_or(0) + 1;
        (repeats, height)
    }
}

#[derive(Clone, Copy, Debug)]
enum Group {
    Plain,
    Capture(u32),
}

/// What stands between a parenthesis and where the parser is.
#[derive(Debug)]
struct OpenGroup {
    group: Group,
    flags_outside: Flags,
    alternatives: Vec<Node>,
    sequence: Vec<Node>,
}

impl OpenGroup {
    fn new(group: Group, flags_outside: Flags) -> Self {
        Self { group, flags_outside, alternatives: Vec::new(), sequence: Vec::new() }
    }

    fn end_alternative(&mut self) {
        let mut sequence = std::mem::take(&mut self.sequence);
        let node = match sequence.pop() {
            Some(only) if sequence.is_empty() => only,
            Some(last) => {
                sequence.push(last);
                let (repeats, height) = Node::parent(&sequence);
                Node { hir: Hir::concat(sequence.into_iter().map(|it| it.hir).collect()), repeats, height }
            }
            None => Node::leaf(Hir::empty()),
        };
        self.alternatives.push(node);
    }

    fn close(mut self) -> Node {
        self.end_alternative();
        let (repeats, height) = Node::parent(&self.alternatives);
        let hir = Hir::alternation(self.alternatives.into_iter().map(|it| it.hir).collect());
        match self.group {
            Group::Plain => Node { hir, repeats, height },
            Group::Capture(index) => {
                // The engine refuses a name that stands twice, Go does not: names stay with the template.
                let hir = Hir::capture(Capture { index, name: None, sub: Box::new(hir) });
                Node { hir, repeats, height: height + 1 }
            }
        }
    }
}

struct Parser<'p> {
    pattern: &'p str,
    rest: &'p str,
    flags: Flags,
    group_names: Vec<String>,
    /// Never empty; the first one is the whole pattern.
    groups: Vec<OpenGroup>,
}

impl<'p> Parser<'p> {
    fn run(&mut self) -> Result<Parsed, SyntaxError> {
        // The repetition just before, if there is one: Go refuses `a**`.
        let mut last_repeat: Option<&'p str> = None;
        while let Some(c) = self.rest.chars().next() {
            let before = self.rest;
            let mut repeat = None;
            match c {
                '(' if before.starts_with("(?") => self.perl_group()?,
                '(' => {
                    self.rest = &before[1..];
                    self.open_capture("");
                }
                ')' => self.close_group()?,
                '*' | '+' | '?' | '{' => match self.counts(c)? {
                    Some((min, max)) => {
                        self.repeat(min, max, before, last_repeat)?;
                        repeat = Some(before);
                    }
                    None => self.take_literal(c),
                },
                '|' => {
                    self.rest = &before[1..];
                    self.open_group().end_alternative();
                }
                '[' => {
                    let (class, rest) = class::bracketed(before, self.flags.fold_case)?;
                    self.rest = rest;
                    self.push(class.into_hir())?;
                }
                '\\' => self.escape()?,
                '^' | '$' | '.' => {
                    self.rest = &before[1..];
                    self.push(self.symbol(c))?;
                }
                c => self.take_literal(c),
            }
            last_repeat = repeat;
        }

        let whole = self.groups.pop();
        match whole {
            Some(whole) if self.groups.is_empty() => {
                let node = self.check_height(whole.close())?;
                Ok(Parsed { hir: node.hir, group_names: std::mem::take(&mut self.group_names) })
            }
            _ => Err(SyntaxError::new("missing closing )", self.pattern)),
        }
    }

    fn symbol(&self, c: char) -> Hir {
        match c {
            '^' if self.flags.multi_line => Hir::look(Look::StartLF),
            '^' => Hir::look(Look::Start),
            '$' if self.flags.multi_line => Hir::look(Look::EndLF),
            '$' => Hir::look(Look::End),
            _ if self.flags.dot_matches_newline => Hir::dot(Dot::AnyChar),
            _ => Hir::dot(Dot::AnyCharExceptLF),
        }
    }

    fn take_literal(&mut self, c: char) {
        self.rest = &self.rest[c.len_utf8()..];
        self.literal(u32::from(c));
    }

    /// `code_point` may be a surrogate, which no text holds.
    fn literal(&mut self, code_point: u32) {
        let hir = match char::from_u32(code_point) {
            Some(c) if !self.flags.fold_case => {
                let mut bytes = [0; 4];
                Hir::literal(c.encode_utf8(&mut bytes).as_bytes())
            }
            _ => Class::of(code_point, code_point, self.flags.fold_case).into_hir(),
        };
        self.open_group().sequence.push(Node::leaf(hir));
    }

    fn push(&mut self, hir: Hir) -> Result<(), SyntaxError> {
        let node = self.check_height(Node::leaf(hir))?;
        self.open_group().sequence.push(node);
        Ok(())
    }

    fn open_group(&mut self) -> &mut OpenGroup {
        if self.groups.is_empty() {
            self.groups.push(OpenGroup::new(Group::Plain, Flags::default()));
        }
        let last = self.groups.len() - 1;
        &mut self.groups[last]
    }

    fn open_capture(&mut self, name: &str) {
        self.group_names.push(name.to_owned());
        // A pattern with 2^32 groups does not fit into memory.
        let index = u32::try_from(self.group_names.len()).unwrap_or(u32::MAX);
        self.groups.push(OpenGroup::new(Group::Capture(index), self.flags));
    }

    fn close_group(&mut self) -> Result<(), SyntaxError> {
        let closed = match self.groups.pop() {
            Some(closed) if !self.groups.is_empty() => closed,
            _ => return Err(SyntaxError::new("unexpected )", self.pattern)),
        };
        self.rest = &self.rest[1..];
        self.flags = closed.flags_outside;
        let node = self.check_height(closed.close())?;
        self.open_group().sequence.push(node);
        Ok(())
    }

    fn check_height(&self, node: Node) -> Result<Node, SyntaxError> {
        if node.height > MAX_HEIGHT || self.groups.len() > MAX_HEIGHT as usize {
            return Err(SyntaxError::new("expression nests too deeply", self.pattern));
        }
        Ok(node)
    }

    /// Reads a repetition operator; `None` for a brace that is none and therefore plain text.
    fn counts(&mut self, c: char) -> Result<Option<(u32, Option<u32>)>, SyntaxError> {
        let before = self.rest;
        let counts = match c {
            '*' => (0, None),
            '+' => (1, None),
            '?' => (0, Some(1)),
            _ => {
                let Some(braces) = Braces::read(before) else { return Ok(None) };
                self.rest = braces.rest;
                return match (braces.min, braces.max) {
                    (Some(min), None) if min <= MAX_REPEAT => Ok(Some((min, None))),
                    (Some(min), Some(Some(max))) if min <= max && max <= MAX_REPEAT => {
                        Ok(Some((min, Some(max))))
                    }
                    _ => Err(SyntaxError::new("invalid repeat count", until(before, braces.rest))),
                };
            }
        };
        self.rest = &before[1..];
        Ok(Some(counts))
    }

    fn repeat(
        &mut self,
        min: u32,
        max: Option<u32>,
        before: &'p str,
        last_repeat: Option<&'p str>,
    ) -> Result<(), SyntaxError> {
        let mut greedy = !self.flags.swap_greed;
        if let Some(rest) = self.rest.strip_prefix('?') {
            self.rest = rest;
            greedy = !greedy;
        }
        if let Some(last_repeat) = last_repeat {
            let part = until(last_repeat, self.rest);
            return Err(SyntaxError::new("invalid nested repetition operator", part));
        }
        let part = until(before, self.rest);
        let Some(sub) = self.open_group().sequence.pop() else {
            return Err(SyntaxError::new("missing argument to repetition operator", part));
        };
        let is_counted = before.starts_with('{');
        let repeats = match max {
            Some(0) => 1,
            _ if is_counted => max.unwrap_or(min).max(1).saturating_mul(sub.repeats),
            _ => sub.repeats,
        };
        if repeats > MAX_REPEAT {
            return Err(SyntaxError::new("invalid repeat count", part));
        }
        let height = sub.height + 1;
        let hir = Hir::repetition(Repetition { min, max, greedy, sub: Box::new(sub.hir) });
        let node = self.check_height(Node { hir, repeats, height })?;
        self.open_group().sequence.push(node);
        Ok(())
    }

    fn escape(&mut self) -> Result<(), SyntaxError> {
        let before = self.rest;
        if let Some(quoted) = before.strip_prefix("\\Q") {
            let (text, rest) = quoted.split_once("\\E").unwrap_or((quoted, ""));
            self.rest = rest;
            for c in text.chars() {
                self.literal(u32::from(c));
            }
            return Ok(());
        }
        let look = match before.as_bytes().get(1) {
            Some(b'A') => Some(Look::Start),
            Some(b'z') => Some(Look::End),
            Some(b'b') => Some(Look::WordAscii),
            Some(b'B') => Some(Look::WordAsciiNegate),
            _ => None,
        };
        if let Some(look) = look {
            self.rest = &before[2..];
            return self.push(Hir::look(look));
        }
        if let Some((class, rest)) = class::escaped(before, self.flags.fold_case)? {
            self.rest = rest;
            return self.push(class.into_hir());
        }
        let (code_point, rest) = class::escaped_char(before)?;
        self.rest = rest;
        self.literal(code_point);
        Ok(())
    }

    /// `(?P<name>`, `(?<name>`, `(?flags)`, `(?flags:`.
    fn perl_group(&mut self) -> Result<(), SyntaxError> {
        let before = self.rest;
        let named = before
            .strip_prefix("(?P<")
            .or_else(|| before.strip_prefix("(?<"))
            .filter(|named| !named.is_empty());
        if let Some(named) = named {
            let Some((name, rest)) = named.split_once('>') else {
                return Err(SyntaxError::new("invalid named capture", before));
            };
            let is_valid =
                !name.is_empty() && name.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_');
            if !is_valid {
                return Err(SyntaxError::new("invalid named capture", until(before, rest)));
            }
            self.rest = rest;
            self.open_capture(name);
            return Ok(());
        }

        let mut flags = self.flags;
        let mut value = true;
        let mut saw_flag = false;
        let mut chars = before[2..].chars();
        loop {
            match chars.next() {
                Some('i') => flags.fold_case = value,
                Some('m') => flags.multi_line = value,
                Some('s') => flags.dot_matches_newline = value,
                Some('U') => flags.swap_greed = value,
                Some('-') if value => {
                    value = false;
                    saw_flag = false;
                    continue;
                }
                Some(end @ (':' | ')')) if value || saw_flag => {
                    self.rest = chars.as_str();
                    if end == ':' {
                        self.groups.push(OpenGroup::new(Group::Plain, self.flags));
                    }
                    self.flags = flags;
                    return Ok(());
                }
                _ => {
                    let part = until(before, chars.as_str());
                    return Err(SyntaxError::new("invalid or unsupported Perl syntax", part));
                }
            }
            saw_flag = true;
        }
    }
}

/// `{n}`, `{n,}` or `{n,m}`.
struct Braces<'p> {
    /// `None`: too large to be a count.
    min: Option<u32>,
    /// `None`: without an upper bound.
    max: Option<Option<u32>>,
    rest: &'p str,
}

impl<'p> Braces<'p> {
    fn read(text: &'p str) -> Option<Self> {
        let (min, rest) = read_count(text.strip_prefix('{')?)?;
        let (max, rest) = match rest.strip_prefix(',') {
            None => (Some(min), rest),
            Some(rest) if rest.starts_with('}') => (None, rest),
            Some(rest) => {
                let (max, rest) = read_count(rest)?;
                (Some(max), rest)
            }
        };
        Some(Self { min, max, rest: rest.strip_prefix('}')? })
    }
}

/// A decimal number without leading zeros; the inner `None` when it is larger than any count.
fn read_count(text: &str) -> Option<(Option<u32>, &str)> {
    let digits_len = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at(digits_len);
    if digits.is_empty() || (digits.len() > 1 && digits.starts_with('0')) {
        return None;
    }
    Some((digits.parse().ok(), rest))
}

/// The part of `text` in front of its tail `rest`.
fn until<'p>(text: &'p str, rest: &str) -> &'p str {
    &text[..text.len() - rest.len()]
}

#[cfg(test)]
#[path = "re2_tests.rs"]
mod tests;
