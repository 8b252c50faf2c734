//! TOML as far as configurations of Telegraf use it, as a tree: tables, arrays of tables, dotted keys, texts of each kind.

use crate::commands::migrate::cursor::{Cursor, MAX_DEPTH, unescaped};
use crate::commands::migrate::tree::{get, list, map, plain, put, text};
use crate::config::text::node::{Node, Value};

/// A whole file.
///
/// # Errors
/// A sentence with a line.
pub(in crate::commands::migrate) fn parse(content: &str) -> Result<Node, String> {
    let mut at = Cursor::new(content, &[("#", "\n")]);
    let mut root = map([]);
    let mut path: Vec<String> = Vec::new();
    loop {
        at.skip();
        if at.rest.is_empty() {
            return Ok(root);
        }
        if at.eat("[[") {
            path = keys(&mut at)?;
            require(&mut at, "]]")?;
            append(&mut root, &path);
        } else if at.eat("[") {
            path = keys(&mut at)?;
            require(&mut at, "]")?;
            table(&mut root, &path);
        } else {
            let (keys, value) = entry(&mut at)?;
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

fn require(at: &mut Cursor<'_>, token: &str) -> Result<(), String> {
    at.skip_blanks();
    if at.eat(token) { Ok(()) } else { at.fail(&format!("expected {token:?}")) }
}

/// `a.b = 1`.
fn entry(at: &mut Cursor<'_>) -> Result<(Vec<String>, Node), String> {
    let keys = keys(at)?;
    require(at, "=")?;
    Ok((keys, value(at)?))
}

/// `a.b."c d"`.
fn keys(at: &mut Cursor<'_>) -> Result<Vec<String>, String> {
    let mut keys = Vec::new();
    loop {
        at.skip_blanks();
        if at.rest.starts_with(['"', '\'']) {
            keys.push(quoted(at)?);
        } else {
            match at.take_until(|c| !(c.is_ascii_alphanumeric() || c == '_' || c == '-')) {
                "" => return at.fail("expected a key"),
                key => keys.push(key.to_owned()),
            }
        }
        at.skip_blanks();
        if !at.eat(".") {
            return Ok(keys);
        }
        if keys.len() == MAX_DEPTH {
            return at.too_deep();
        }
    }
}

fn quoted(at: &mut Cursor<'_>) -> Result<String, String> {
    for (fence, has_escapes) in [("\"\"\"", true), ("'''", false), ("\"", true), ("'", false)] {
        if !at.eat(fence) {
            continue;
        }
        let inner = at.fenced(fence, has_escapes)?;
        let inner = if fence.len() == 3 { inner.strip_prefix('\n').unwrap_or(inner) } else { inner };
        return Ok(if has_escapes { unescaped(inner) } else { inner.to_owned() });
    }
    at.fail("expected a text")
}

fn value(at: &mut Cursor<'_>) -> Result<Node, String> {
    at.skip_blanks();
    if at.rest.starts_with(['"', '\'']) {
        return quoted(at).map(text);
    }
    if at.eat("[") {
        let mut all = Vec::new();
        loop {
            at.skip();
            if at.eat("]") {
                return Ok(list(all));
            }
            all.push(at.inside(value)?);
            at.skip();
            at.eat(",");
        }
    }
    if at.eat("{") {
        let mut node = map([]);
        loop {
            at.skip();
            if at.eat("}") {
                return Ok(node);
            }
            let (keys, value) = at.inside(entry)?;
            set(&mut node, &keys, value);
            at.skip();
            at.eat(",");
        }
    }
    match at.take_until(|c| [',', ']', '}', '#', '\n', '\r'].contains(&c)).trim() {
        "" => at.fail("expected a value"),
        word => Ok(plain(word)),
    }
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
