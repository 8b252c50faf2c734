//! Typed reading of a [`Node`] tree: every wrong type, unknown key and repeated key becomes a mistake, and reading goes on.
//!
//! What was typed as nothing (`key:`) reads as the empty text, 0, false or the empty list, as in Prometheus.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::text::document::Document;
use crate::config::text::node::{Entry, Node, Scalar, Value};
use crate::duration::{parse_duration, parse_size};
use scraped_engine::labels::pattern::{Pattern, PatternError};

/// Keys that differ from a known one by more edits than this get no suggestion.
const MAX_SUGGESTION_EDITS: usize = 2;

/// A value, the path that leads to it, and the document that it stands in.
#[derive(Clone, Debug)]
pub(in crate::config) struct Field<'a> {
    node: &'a Node,
    path: String,
    /// Line of its key, or the nearest one before it.
    line: u32,
    document: &'a Document,
}

impl<'a> Field<'a> {
    /// The root of a document.
    pub(in crate::config) fn root(node: &'a Node, document: &'a Document) -> Self {
        Self { node, path: String::new(), line: node.line, document }
    }

    fn child(&self, path: String, line: u32, node: &'a Node) -> Self {
        Self { node, path, line, document: self.document }
    }

    /// What was typed.
    pub(in crate::config) fn node(&self) -> &'a Node {
        self.node
    }

    pub(in crate::config) fn line(&self) -> u32 {
        self.line
    }

    /// The last part of the path, for sentences.
    pub(in crate::config) fn name(&self) -> &str {
        self.path.rsplit('.').next().unwrap_or(&self.path)
    }

    pub(in crate::config) fn path(&self) -> &str {
        &self.path
    }

    pub(in crate::config) fn mistake(&self, sentence: impl Into<String>) {
        self.document.mistakes().add(self.line, &self.path, sentence.into());
    }

    /// A mistake about something that is not there: the path goes on to `name`.
    pub(in crate::config) fn mistake_below(&self, name: &str, sentence: impl Into<String>) {
        self.document.mistakes().add(self.line, &join(&self.path, name), sentence.into());
    }

    /// For what is right, but without effect or not as it seems.
    pub(in crate::config) fn note(&self, sentence: impl Into<String>) {
        self.document.mistakes().note(sentence.into());
    }

    /// The compiled pattern of a text; fields of one document share it.
    pub(in crate::config) fn pattern(&self, text: &str) -> Result<Arc<Pattern>, PatternError> {
        self.document.pattern(text)
    }

    pub(in crate::config) fn is_null(&self) -> bool {
        self.node.value == Value::Null
    }

    /// Null, or a list without items.
    pub(in crate::config) fn is_empty(&self) -> bool {
        self.is_null() || matches!(&self.node.value, Value::List(list) if list.is_empty())
    }

    fn wrong_kind(&self, wanted: &str) {
        match &self.node.value {
            Value::Scalar(scalar) => {
                let text = &scalar.text;
                let quoted = if scalar.plain { "" } else { " in quotes" };
                self.mistake(format!("expected {wanted}, got {text:?}{quoted}"));
            }
            _ => self.mistake(format!("expected {wanted}, got {}", self.node.kind())),
        }
    }

    fn scalar<T: Default>(&self, wanted: &str, read: impl Fn(&Scalar) -> Option<T>) -> Option<T> {
        let value = match &self.node.value {
            Value::Null => return Some(T::default()),
            Value::Scalar(scalar) => read(scalar),
            Value::List(_) | Value::Map(_) => None,
        };
        if value.is_none() {
            self.wrong_kind(wanted);
        }
        value
    }

    pub(in crate::config) fn text(&self) -> Option<String> {
        self.scalar("a single value", |scalar| Some(scalar.text.clone()))
    }

    /// The path of a file, from the directory of the document; an empty one stays empty.
    pub(in crate::config) fn file(&self) -> Option<PathBuf> {
        Some(self.beside(&self.text()?))
    }

    /// Where `path`, a text of this document, leads.
    pub(in crate::config) fn beside(&self, path: &str) -> PathBuf {
        self.document.join(path)
    }

    /// As [`Field::file`] for a file with a secret, which may be one of the unit's credentials; `None` for an empty path.
    pub(in crate::config) fn secret_file(&self) -> Option<PathBuf> {
        let path = self.text().filter(|path| !path.is_empty())?;
        self.document.join_secret(&path).map_err(|sentence| self.mistake(sentence)).ok()
    }

    pub(in crate::config) fn bool(&self) -> Option<bool> {
        self.scalar("true or false", Scalar::as_bool)
    }

    pub(in crate::config) fn count(&self) -> Option<u64> {
        self.scalar("a whole number that is not negative", Scalar::as_u64)
    }

    pub(in crate::config) fn float(&self) -> Option<f64> {
        self.scalar("a number", Scalar::as_f64)
    }

    pub(in crate::config) fn duration(&self) -> Option<Duration> {
        if self.is_null() {
            return Some(Duration::ZERO);
        }
        parse_duration(&self.text()?).map_err(|error| self.mistake(error.to_string())).ok()
    }

    /// Bytes.
    pub(in crate::config) fn size(&self) -> Option<u64> {
        if self.is_null() {
            return Some(0);
        }
        parse_size(&self.text()?).map_err(|error| self.mistake(error.to_string())).ok()
    }

    /// The items of a list; none for null, a mistake for anything else.
    pub(in crate::config) fn items(&self) -> Vec<Self> {
        match &self.node.value {
            Value::Null => Vec::new(),
            Value::List(list) => {
                // Items that the parser keeps no line of stand at or below the last one that has one.
                let mut line = self.line;
                let item = |(idx, node): (usize, &'a Node)| {
                    line = if node.line > 0 { node.line } else { line };
                    self.child(format!("{}[{idx}]", self.path), if node.line > 0 { line } else { 0 }, node)
                };
                list.iter().enumerate().map(item).collect()
            }
            _ => {
                self.wrong_kind("a list");
                Vec::new()
            }
        }
    }

    /// A list of texts; items of another kind are mistakes and left out.
    pub(in crate::config) fn texts(&self) -> Vec<String> {
        self.items().iter().filter_map(Self::text).collect()
    }

    /// The entries of a mapping with free keys, in order; repeated keys are mistakes.
    pub(in crate::config) fn entries(&self) -> Vec<(&'a str, Self)> {
        let Some(map) = self.map() else { return Vec::new() };
        let mut entries: Vec<(&str, Self)> = Vec::with_capacity(map.len());
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        for entry in map {
            let field = self.entry(entry);
            if seen.insert(&entry.key) {
                entries.push((&entry.key, field));
            } else {
                field.mistake(format!("key {:?} already set in map", entry.key));
            }
        }
        entries
    }

    /// The entries of a mapping with known keys; none with a mistake if it is no mapping.
    pub(in crate::config) fn fields(&self) -> Option<Fields<'a>> {
        let map = self.map()?;
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        for entry in map.iter().filter(|entry| !entry.merged) {
            if !seen.insert(&entry.key) {
                self.entry(entry).mistake("this field is set twice");
            }
        }
        Some(Fields { owner: self.clone(), map, known: Vec::new() })
    }

    /// The value of `name` if this is a mapping that has it, without any report.
    pub(in crate::config) fn get(&self, name: &str) -> Option<Self> {
        self.children().find(|(key, _)| *key == name).map(|(_, field)| field)
    }

    /// The entries if this is a mapping, without any report.
    pub(in crate::config) fn children(&self) -> impl Iterator<Item = (&'a str, Self)> {
        let map: &'a [Entry] = if let Value::Map(map) = &self.node.value { map } else { &[] };
        map.iter().map(|entry| (entry.key.as_str(), self.entry(entry)))
    }

    /// The boolean that a scalar reads as, without any report.
    pub(in crate::config) fn raw_bool(&self) -> Option<bool> {
        if let Value::Scalar(scalar) = &self.node.value { scalar.as_bool() } else { None }
    }

    /// Something else than null, the empty text, the empty list and the empty mapping.
    pub(in crate::config) fn is_given(&self) -> bool {
        match &self.node.value {
            Value::Null => false,
            Value::Scalar(scalar) => !scalar.text.is_empty(),
            Value::List(list) => !list.is_empty(),
            Value::Map(map) => !map.is_empty(),
        }
    }

    fn map(&self) -> Option<&'a [Entry]> {
        match &self.node.value {
            Value::Null => Some(&[]),
            Value::Map(map) => Some(map),
            _ => {
                self.wrong_kind("a mapping");
                None
            }
        }
    }

    fn entry(&self, entry: &'a Entry) -> Self {
        let line = match (entry.line, entry.node.line) {
            (0, 0) => self.line,
            (0, line) => line,
            (line, _) => line,
        };
        self.child(join(&self.path, &entry.key), line, &entry.node)
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// A mapping with known keys; a key that no reader takes is unknown.
#[derive(Debug)]
pub(in crate::config) struct Fields<'a> {
    owner: Field<'a>,
    map: &'a [Entry],
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// The mapping itself.
    pub(in crate::config) fn owner(&self) -> &Field<'a> {
        &self.owner
    }

    /// The value of `name`, null included. Of repeated keys the last counts, as when Prometheus merges mappings.
    pub(in crate::config) fn take(&mut self, name: &'static str) -> Option<Field<'a>> {
        self.known.push(name);
        let entry = self.map.iter().rev().find(|entry| entry.key == name)?;
        Some(self.owner.entry(entry))
    }

    /// The value of `name` for a check across fields; it must be taken as well.
    pub(in crate::config) fn get(&self, name: &str) -> Option<Field<'a>> {
        self.map.iter().rev().find(|entry| entry.key == name).map(|entry| self.owner.entry(entry))
    }

    pub(in crate::config) fn text(&mut self, name: &'static str) -> Option<String> {
        self.take(name)?.text()
    }

    pub(in crate::config) fn file(&mut self, name: &'static str) -> Option<PathBuf> {
        self.take(name)?.file()
    }

    pub(in crate::config) fn secret_file(&mut self, name: &'static str) -> Option<PathBuf> {
        self.take(name)?.secret_file()
    }

    pub(in crate::config) fn bool(&mut self, name: &'static str) -> Option<bool> {
        self.take(name)?.bool()
    }

    pub(in crate::config) fn count(&mut self, name: &'static str) -> Option<u64> {
        self.take(name)?.count()
    }

    pub(in crate::config) fn size(&mut self, name: &'static str) -> Option<u64> {
        self.take(name)?.size()
    }

    pub(in crate::config) fn items(&mut self, name: &'static str) -> Vec<Field<'a>> {
        self.take(name).map(|field| field.items()).unwrap_or_default()
    }

    /// The entries whose key ends in `suffix` and that no reader has taken yet.
    pub(in crate::config) fn ending_in(&self, suffix: &str) -> Vec<(&'a str, Field<'a>)> {
        let is_open =
            |entry: &&'a Entry| entry.key.ends_with(suffix) && !self.known.contains(&entry.key.as_str());
        self.map.iter().filter(is_open).map(|entry| (entry.key.as_str(), self.owner.entry(entry))).collect()
    }

    /// Reports every key that no reader took, but for those that were handled by other means.
    pub(in crate::config) fn finish(self, is_handled: impl Fn(&str) -> bool) {
        for entry in self.map {
            let key = entry.key.as_str();
            if self.known.contains(&key) || is_handled(key) {
                continue;
            }
            let suggestion =
                nearest(key, &self.known).map_or(String::new(), |name| format!("; did you mean {name}?"));
            self.owner.entry(entry).mistake(format!("unknown field{suggestion}"));
        }
    }
}

fn nearest(key: &str, known: &[&'static str]) -> Option<&'static str> {
    // A short key is within two edits of anything.
    let max_edits = MAX_SUGGESTION_EDITS.min(key.len() / 3);
    let distances = known.iter().map(|name| (edit_distance(key, name), *name));
    distances.filter(|(distance, _)| *distance <= max_edits).min().map(|(_, name)| name)
}

/// Levenshtein's, over bytes.
fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a_byte) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, b_byte) in row.iter_mut().skip(1).zip(b.bytes()) {
            let here = (diagonal + usize::from(a_byte != b_byte)).min(left + 1).min(*cell + 1);
            diagonal = *cell;
            *cell = here;
            left = here;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(a.len())
}

/// For what Prometheus reads and an agent has no use for.
pub(in crate::config) fn note_no_effect(field: &Field<'_>) {
    if !field.is_null() {
        field.note(format!("{} has no effect in an agent", field.path()));
    }
}

#[cfg(test)]
mod tests {
    use super::{Field, edit_distance};
    use crate::config::text::document::Document;
    use crate::config::text::yaml::parse;
    use std::path::{Path, PathBuf};

    /// Reads a fixed set of fields and renders all mistakes.
    fn check(text: &str, want: &[&str]) {
        let node = parse(text).unwrap();
        let document = Document::new(Path::new("f"));
        let root = Field::root(&node, &document);
        if let Some(mut fields) = root.fields() {
            fields.bool("flag");
            fields.count("count");
            if let Some(duration) = fields.take("duration") {
                duration.duration();
            }
            fields.size("size");
            fields.text("text");
            for item in fields.items("list") {
                item.text();
            }
            if let Some(free) = fields.take("free") {
                free.entries().iter().for_each(|(_, field)| drop(field.text()));
            }
            fields.finish(|_| false);
        }
        let (list, _) = document.into_parts();
        let got: Vec<String> = list.iter().map(|mistake| mistake.to_string()).collect();
        assert_eq!(got, want, "{text:?}");
    }

    #[test]
    fn good_values() {
        check(
            "flag: yes\ncount: 0x10\nduration: 1m\nsize: 1KB\ntext: 1.10\nlist: [1, a]\nfree: {a: b}\n",
            &[],
        );
        check("flag:\ncount:\nduration:\nsize:\ntext:\nlist:\nfree:\n", &[]);
        check("a: &a {flag: true}\n", &["f:1: a: unknown field"]);
        check("<<: {flag: true}\nflag: false\n", &[]);
    }

    #[test]
    fn every_mistake_is_reported() {
        check(
            "flag: maybe\ncount: '1'\nduration: 15x\nsize: 10\ntext: [a]\nlist: {a: b}\nfree: [a]\ncuont: 1\nq: 1\n",
            &[
                "f:1: flag: expected true or false, got \"maybe\"",
                "f:2: count: expected a whole number that is not negative, got \"1\" in quotes",
                "f:3: duration: unknown unit \"x\" in duration \"15x\"",
                "f:4: size: a size needs a unit, as in 10MB: \"10\"",
                "f:5: text: expected a single value, got a list",
                "f:6: list: expected a list, got a mapping",
                "f:7: free: expected a mapping, got a list",
                "f:8: cuont: unknown field",
                "f:9: q: unknown field",
            ],
        );
        check("durration: 1s\n", &["f:1: durration: unknown field; did you mean duration?"]);
        check("flag: true\ntext: a\nflag: false\n", &["f:3: flag: this field is set twice"]);
        check("free:\n  a: 1\n  b: 2\n  a: 3\n", &["f:4: free.a: key \"a\" already set in map"]);
        check("[a]\n", &["f:1: expected a mapping, got a list"]);
        check("text\n", &["f:1: expected a mapping, got \"text\""]);
    }

    #[test]
    fn files_are_those_beside_the_document() {
        let node = parse("a: x/../y\nb: /y\nc: ''\nd:\ne: [y]\n").unwrap();
        let document = Document::new(Path::new("etc/f"));
        let fields: Vec<Field<'_>> =
            Field::root(&node, &document).children().map(|(_, field)| field).collect();
        let files: Vec<Option<PathBuf>> = fields.iter().map(Field::file).collect();
        let secret_files: Vec<Option<PathBuf>> = fields.iter().map(Field::secret_file).collect();
        let path = |path: &str| Some(PathBuf::from(path));
        assert_eq!(files, [path("etc/y"), path("/y"), path(""), path(""), None]);
        assert_eq!(secret_files, [path("etc/y"), path("/y"), None, None, None]);
        assert_eq!(document.into_parts().0.len(), 2, "a list is no path, each time it is read");
    }

    #[test]
    fn distances() {
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("abc", ""), 3);
        assert_eq!(edit_distance("scrape_intervall", "scrape_interval"), 1);
    }
}
