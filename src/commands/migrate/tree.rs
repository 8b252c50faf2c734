//! Trees of what was typed, taken apart and put together again.

use crate::config::text::node::{Entry, Node, Scalar, Value};

/// A text, quoted where it would be read as something else.
pub(in crate::commands::migrate) fn text(text: impl Into<String>) -> Node {
    Node { value: Value::Scalar(Scalar { text: text.into(), plain: false }), line: 0 }
}

/// `true`, `10`, `15s`: printed as it is.
pub(in crate::commands::migrate) fn plain(text: impl ToString) -> Node {
    Node { value: Value::Scalar(Scalar { text: text.to_string(), plain: true }), line: 0 }
}

/// A list.
pub(in crate::commands::migrate) fn list(items: impl IntoIterator<Item = Node>) -> Node {
    Node { value: Value::List(items.into_iter().collect()), line: 0 }
}

/// A list of texts.
pub(in crate::commands::migrate) fn texts<T: Into<String>>(items: impl IntoIterator<Item = T>) -> Node {
    list(items.into_iter().map(text))
}

/// A mapping, in this order.
pub(in crate::commands::migrate) fn map<'a>(entries: impl IntoIterator<Item = (&'a str, Node)>) -> Node {
    let mut node = Node { value: Value::Map(Vec::new()), line: 0 };
    entries.into_iter().for_each(|(key, value)| put(&mut node, key, value));
    node
}

/// Sets a key of a mapping, where it stood or at the end.
pub(in crate::commands::migrate) fn put(node: &mut Node, key: &str, value: Node) {
    let Value::Map(entries) = &mut node.value else {
        *node = map([(key, value)]);
        return;
    };
    match entries.iter_mut().find(|entry| entry.key == key) {
        Some(entry) => entry.node = value,
        None => entries.push(Entry { key: key.to_owned(), line: 0, merged: false, node: value }),
    }
}

/// The same at keys within keys.
pub(in crate::commands::migrate) fn put_at(node: &mut Node, keys: &[&str], value: Node) {
    match keys {
        [] => {}
        [key] => put(node, key, value),
        [key, rest @ ..] => {
            let mut inner = take(node, key).unwrap_or_else(|| map([]));
            put_at(&mut inner, rest, value);
            put(node, key, inner);
        }
    }
}

/// Adds an item to the list at a key.
pub(in crate::commands::migrate) fn push(node: &mut Node, key: &str, item: Node) {
    let mut all = take(node, key).map(into_items).unwrap_or_default();
    all.push(item);
    put(node, key, list(all));
}

/// The value at a key; nothing is none.
pub(in crate::commands::migrate) fn get<'a>(node: &'a Node, key: &str) -> Option<&'a Node> {
    let Value::Map(entries) = &node.value else { return None };
    let found = entries.iter().rev().find(|entry| entry.key == key)?;
    (found.node.value != Value::Null).then_some(&found.node)
}

/// The same at keys within keys.
pub(in crate::commands::migrate) fn at<'a>(node: &'a Node, keys: &[&str]) -> Option<&'a Node> {
    keys.iter().try_fold(node, |node, key| get(node, key))
}

/// Removes a key and gives its value; nothing is none.
pub(in crate::commands::migrate) fn take(node: &mut Node, key: &str) -> Option<Node> {
    let Value::Map(entries) = &mut node.value else { return None };
    let idx = entries.iter().position(|entry| entry.key == key)?;
    Some(entries.remove(idx).node).filter(|node| node.value != Value::Null)
}

/// The text of a single value.
pub(in crate::commands::migrate) fn as_text(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Scalar(scalar) => Some(&scalar.text),
        _ => None,
    }
}

/// The text at a key.
pub(in crate::commands::migrate) fn text_at<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    get(node, key).and_then(as_text)
}

/// Whether `true` stands at a key.
pub(in crate::commands::migrate) fn is_true(node: &Node, key: &str) -> bool {
    text_at(node, key) == Some("true")
}

/// The entries of a mapping.
pub(in crate::commands::migrate) fn entries(node: &Node) -> impl Iterator<Item = (&str, &Node)> {
    let entries = match &node.value {
        Value::Map(entries) => entries.as_slice(),
        _ => &[],
    };
    entries.iter().map(|entry| (entry.key.as_str(), &entry.node))
}

/// The items of a list; a single value is a list of one.
pub(in crate::commands::migrate) fn items(node: &Node) -> &[Node] {
    match &node.value {
        Value::List(items) => items,
        Value::Null => &[],
        _ => std::slice::from_ref(node),
    }
}

/// The same, owned.
pub(in crate::commands::migrate) fn into_items(node: Node) -> Vec<Node> {
    match node.value {
        Value::List(items) => items,
        Value::Null => Vec::new(),
        _ => vec![node],
    }
}

/// The texts of a list.
pub(in crate::commands::migrate) fn texts_of(node: &Node) -> Vec<String> {
    items(node).iter().filter_map(as_text).map(str::to_owned).collect()
}

/// Changes each node of a tree, the inner ones first.
pub(in crate::commands::migrate) fn each(node: &mut Node, change: &mut dyn FnMut(&mut Node)) {
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| each(item, change)),
        Value::Map(entries) => entries.iter_mut().for_each(|entry| each(&mut entry.node, change)),
        Value::Scalar(_) | Value::Null => {}
    }
    change(node);
}

/// Removes what stands at `scrape_configs[0].relabel_configs[1]`, or else the nearest thing around it; which that was.
pub(in crate::commands::migrate) fn remove(root: &mut Node, path: &str) -> Option<String> {
    let mut path = path;
    while !path.is_empty() {
        if remove_at(root, path).is_some() {
            return Some(path.to_owned());
        }
        path = &path[..path.rfind(['.', '[']).unwrap_or(0)];
    }
    None
}

fn remove_at(node: &mut Node, path: &str) -> Option<Node> {
    let path = path.strip_prefix('.').unwrap_or(path);
    if let Some(rest) = path.strip_prefix('[') {
        let (idx, rest) = rest.split_once(']')?;
        let Value::List(items) = &mut node.value else { return None };
        let idx: usize = idx.parse().ok().filter(|idx| *idx < items.len())?;
        return if rest.is_empty() { Some(items.remove(idx)) } else { remove_at(&mut items[idx], rest) };
    }
    let end = path.find(['.', '[']).unwrap_or(path.len());
    let Value::Map(entries) = &mut node.value else { return None };
    let idx = entries.iter().position(|entry| entry.key == path[..end])?;
    match &path[end..] {
        "" => Some(entries.remove(idx).node),
        rest => remove_at(&mut entries[idx].node, rest),
    }
}
