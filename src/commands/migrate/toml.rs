//! TOML as far as configurations of Telegraf use it, as a tree: tables, arrays of tables, dotted keys, texts of each kind.

use crate::commands::migrate::MAX_DEPTH;
use crate::commands::migrate::tree::{get, list, map, plain, put, text};
use crate::config::text::node::{Node, Value};

/// A whole file.
///
/// # Errors
/// A sentence with a line.
pub(in crate::commands::migrate) fn parse(content: &str) -> Result<Node, String> {
    let mut parser = Parser { rest: content, whole: content, depth: 0 };
    let mut root = map([]);
    let mut path: Vec<String> = Vec::new();
    loop {
        parser.skip_lines();
        if parser.rest.is_empty() {
            return Ok(root);
        }
        if parser.eat("[[") {
            path = parser.keys()?;
            parser.require("]]")?;
            append(&mut root, &path);
        } else if parser.eat("[") {
            path = parser.keys()?;
            parser.require("]")?;
            table(&mut root, &path);
        } else {
            let keys = parser.keys()?;
            parser.require("=")?;
            let value = parser.value()?;
            set(table(&mut root, &path), &keys, value);
        }
    }
}

/// The table at a path; of an array of tables the last one.
fn table<'a>(node: &'a mut Node, path: &[String]) -> &'a mut Node {
    let Some((key, rest)) = path.split_first() else { return node };
    table(last(slot(node, key)), rest)
}

fn append(node: &mut Node, path: &[String]) {
    let Some((key, before)) = path.split_last() else { return };
    let slot = slot(table(node, before), key);
    match &mut slot.value {
        Value::List(items) => items.push(map([])),
        _ => *slot = list([map([])]),
    }
}

fn set(node: &mut Node, keys: &[String], value: Node) {
    let Some((key, before)) = keys.split_last() else { return };
    put(table(node, before), key, value);
}

/// The value at a key; an empty table if there is none.
fn slot<'a>(node: &'a mut Node, key: &str) -> &'a mut Node {
    if get(node, key).is_none() {
        put(node, key, map([]));
    }
    match &mut node.value {
        Value::Map(entries) => {
            let idx = entries.iter().position(|entry| entry.key == key).unwrap_or(0);
            &mut entries[idx].node
        }
        _ => unreachable!("BUG: a key was put into it"),
    }
}

fn last(node: &mut Node) -> &mut Node {
    if matches!(&node.value, Value::List(items) if !items.is_empty()) {
        match &mut node.value {
            Value::List(items) => {
                let idx = items.len() - 1;
                return &mut items[idx];
            }
            _ => unreachable!("BUG: it is a list"),
        }
    }
    node
}

struct Parser<'a> {
    rest: &'a str,
    whole: &'a str,
    /// Lists and tables around what is read.
    depth: usize,
}

impl<'a> Parser<'a> {
    fn fail<T>(&self, what: &str) -> Result<T, String> {
        let n_read = self.whole.len() - self.rest.len();
        Err(format!("line {}: {what}", 1 + self.whole[..n_read].matches('\n').count()))
    }

    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    /// Line ends and comments, too.
    fn skip_lines(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            if !self.rest.starts_with('#') {
                return;
            }
            self.rest = self.rest.split_once('\n').map_or("", |(_, rest)| rest);
        }
    }

    fn eat(&mut self, token: &str) -> bool {
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn require(&mut self, token: &str) -> Result<(), String> {
        self.skip_blanks();
        if self.eat(token) { Ok(()) } else { self.fail(&format!("expected {token:?}")) }
    }

    /// Reads what stands inside of something.
    fn inside<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, String>) -> Result<T, String> {
        if self.depth == MAX_DEPTH {
            return self.fail(&format!("more than {MAX_DEPTH} levels"));
        }
        self.depth += 1;
        let done = read(self);
        self.depth -= 1;
        done
    }

    /// `a.b."c d"`.
    fn keys(&mut self) -> Result<Vec<String>, String> {
        let mut keys = Vec::new();
        loop {
            self.skip_blanks();
            if self.rest.starts_with(['"', '\'']) {
                keys.push(self.quoted()?);
            } else {
                let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
                let end = self.rest.find(|c| !is_bare(c)).unwrap_or(self.rest.len());
                if end == 0 {
                    return self.fail("expected a key");
                }
                let (key, rest) = self.rest.split_at(end);
                self.rest = rest;
                keys.push(key.to_owned());
            }
            self.skip_blanks();
            if !self.eat(".") {
                return Ok(keys);
            }
            if keys.len() == MAX_DEPTH {
                return self.fail(&format!("more than {MAX_DEPTH} levels"));
            }
        }
    }

    fn quoted(&mut self) -> Result<String, String> {
        for (fence, has_escapes) in [("\"\"\"", true), ("'''", false), ("\"", true), ("'", false)] {
            if !self.eat(fence) {
                continue;
            }
            let mut end = 0;
            loop {
                let left = &self.rest[end..];
                match left.chars().next() {
                    None => return self.fail("a text has no end"),
                    Some(_) if left.starts_with(fence) => break,
                    Some('\\') if has_escapes => {
                        end += 1 + left[1..].chars().next().map_or(0, char::len_utf8)
                    }
                    Some(character) => end += character.len_utf8(),
                }
            }
            let (inner, rest) = self.rest.split_at(end);
            self.rest = &rest[fence.len()..];
            let inner = if fence.len() == 3 { inner.strip_prefix('\n').unwrap_or(inner) } else { inner };
            return Ok(if has_escapes { unescaped(inner) } else { inner.to_owned() });
        }
        self.fail("expected a text")
    }

    fn value(&mut self) -> Result<Node, String> {
        self.skip_blanks();
        if self.rest.starts_with(['"', '\'']) {
            return self.quoted().map(text);
        }
        if self.eat("[") {
            let mut all = Vec::new();
            loop {
                self.skip_lines();
                if self.eat("]") {
                    return Ok(list(all));
                }
                all.push(self.inside(Self::value)?);
                self.skip_lines();
                self.eat(",");
            }
        }
        if self.eat("{") {
            let mut node = map([]);
            loop {
                self.skip_lines();
                if self.eat("}") {
                    return Ok(node);
                }
                let keys = self.keys()?;
                self.require("=")?;
                let value = self.inside(Self::value)?;
                set(&mut node, &keys, value);
                self.skip_lines();
                self.eat(",");
            }
        }
        let end = self.rest.find([',', ']', '}', '#', '\n', '\r']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        match word.trim() {
            "" => self.fail("expected a value"),
            word => Ok(plain(word)),
        }
    }
}

fn unescaped(inner: &str) -> String {
    let mut out = String::new();
    let mut chars = inner.chars();
    while let Some(character) = chars.next() {
        match (character, character == '\\') {
            (_, false) => out.push(character),
            _ => match chars.next() {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some(other) => out.push(other),
                None => {}
            },
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::config::printed;

    #[test]
    fn what_telegraf_has() {
        let content = "a = 1 # x\n[global_tags]\n  \"d c\" = 'q\\'\n[[inputs.x]]\n  urls = [\n 'a', # c\n \"b\\\"\",\n ]\n\
                       [inputs.x.tags]\n t = \"\"\"\nm\"\"\"\n[[inputs.x]]\n on = true\n h = {a.b = 1, c = []}\n";
        let want = "a: 1\nglobal_tags:\n  d c: q\\\ninputs:\n  x:\n  - urls:\n    - a\n    - b\"\n    tags:\n      t: m\n  \
                    - \"on\": true\n    h:\n      a:\n        b: 1\n      c: []\n";
        assert_eq!(printed(&parse(content).expect("TOML")), want);
        for (bad, sentence) in [
            ("a = 1\n[b", "line 2: expected \"]\""),
            ("a = \"x", "line 1: a text has no end"),
            ("= 1", "line 1: expected a key"),
            ("\n\na =\n", "line 3: expected a value"),
            (&format!("a = {}", "[".repeat(100_000)), "line 1: more than 50 levels"),
            (&format!("a = {}", "{b = ".repeat(100_000)), "line 1: more than 50 levels"),
            (&format!("[{}", "a.".repeat(100_000)), "line 1: more than 50 levels"),
        ] {
            assert_eq!(parse(bad).expect_err(bad), sentence);
        }
    }
}
