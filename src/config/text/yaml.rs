//! YAML and JSON text → [`Node`]: the only file that knows serde_yaml, but for `locate.rs`.
//!
//! serde_yaml gives every scalar a type and forgets how it was typed, and it names a line only in errors. So a document
//! is walked twice: once for its shape, and once with every scalar asked for as a text, which then points into the source
//! and says line and quoting. The few lines that are left are found on demand (`locate.rs`).
//!
//! Everything is bounded: size, depth, and what aliases may unfold to.

use std::cell::Cell;
use std::fmt::{self, Formatter};

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, IgnoredAny, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};

use crate::config::text::encoding::without_mark;
use crate::config::text::node::{Entry, Node, Scalar, Value, YamlError};

/// Larger texts are refused: a configuration with a hundred thousand targets has about 8 MiB.
pub const MAX_TEXT_BYTES: usize = 16 << 20;

/// Values that aliases may add to any document, about 100 bytes each; without aliases there is at most one a byte.
const MIN_ALIASED_NODES: usize = 200_000;

/// What each byte of the text adds to that: thirty rules shared by a thousand jobs count a thousand times.
const ALIASED_NODES_PER_BYTE: usize = 20;

/// What aliases may add at most.
const MAX_ALIASED_NODES: usize = 2_000_000;

/// Open brackets in the raw text. The scanner's time is bytes times this depth; serde_yaml itself stops at 128 levels.
const MAX_OPEN_BRACKETS: usize = 1000;

/// Reads the first document of `text`, as Prometheus does; an empty text is [`Value::Null`].
///
/// # Errors
///
/// A syntax error, or a limit of this program: size, depth, number of values.
pub fn parse(text: &str) -> Result<Node, YamlError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    check_size(text)?;
    let source = Source::new(text);
    let n_left = Cell::new(text.len() + max_aliased_nodes(text));
    let mut result = Ok(Shape::Null);
    if let Some(document) = serde_yaml::Deserializer::from_str(text).next() {
        result = ShapeSeed { n_left: &n_left }.deserialize(document);
    }
    let shape = result.map_err(|error| source.explain(&error))?;
    match serde_yaml::Deserializer::from_str(text).next() {
        None => Ok(Node { value: Value::Null, line: 0 }),
        Some(document) => NodeSeed { shape: &shape, source: &source }
            .deserialize(document)
            .map_err(|error| source.explain(&error)),
    }
}

/// As [`parse`], for bytes that may not be text at all.
///
/// # Errors
///
/// Those of [`parse`], and bytes that are not UTF-8.
pub fn parse_bytes(bytes: &[u8]) -> Result<Node, YamlError> {
    parse(text_of(bytes)?)
}

fn max_aliased_nodes(text: &str) -> usize {
    (MIN_ALIASED_NODES + text.len() * ALIASED_NODES_PER_BYTE).min(MAX_ALIASED_NODES)
}

/// The text of `bytes`, without a byte order mark.
///
/// # Errors
///
/// UTF-16, or the first byte that is not UTF-8, with its line.
pub fn text_of(bytes: &[u8]) -> Result<&str, YamlError> {
    let bytes = without_mark(bytes)
        .map_err(|utf16| YamlError { line: 1, sentence: format!("not UTF-8 text: {utf16}") })?;
    std::str::from_utf8(bytes).map_err(|error| {
        let n_breaks = bytes.iter().take(error.valid_up_to()).filter(|byte| **byte == b'\n').count();
        YamlError {
            line: line_number(n_breaks),
            sentence: "not UTF-8 text; save the file as UTF-8".to_owned(),
        }
    })
}

fn check_size(text: &str) -> Result<(), YamlError> {
    if text.len() > MAX_TEXT_BYTES {
        let sentence = format!("{} bytes are too much for one file (limit: {MAX_TEXT_BYTES})", text.len());
        return Err(YamlError { line: 0, sentence });
    }
    let mut n_open = 0usize;
    for (offset, byte) in text.bytes().enumerate() {
        match byte {
            b'[' | b'{' => n_open += 1,
            b']' | b'}' => n_open = n_open.saturating_sub(1),
            _ => continue,
        }
        if n_open > MAX_OPEN_BRACKETS {
            let line = line_number(text.bytes().take(offset).filter(|byte| *byte == b'\n').count());
            let sentence = format!("brackets are nested too deeply (limit: {MAX_OPEN_BRACKETS})");
            return Err(YamlError { line, sentence });
        }
    }
    Ok(())
}

fn line_number(n_breaks_before: usize) -> u32 {
    u32::try_from(n_breaks_before).unwrap_or(u32::MAX - 1) + 1
}

/// The text and where its lines begin.
struct Source<'de> {
    text: &'de str,
    line_ends: Vec<usize>,
}

impl<'de> Source<'de> {
    fn new(text: &'de str) -> Self {
        Self { text, line_ends: memchr::memchr_iter(b'\n', text.as_bytes()).collect() }
    }

    /// Where a text that was borrowed from the source begins in it.
    fn offset(&self, part: &str) -> Option<usize> {
        let offset = (part.as_ptr() as usize).checked_sub(self.text.as_ptr() as usize)?;
        (offset + part.len() <= self.text.len()).then_some(offset)
    }

    fn line(&self, part: &str) -> u32 {
        self.offset(part).map_or(0, |offset| self.line_at(offset))
    }

    fn line_at(&self, offset: usize) -> u32 {
        line_number(self.line_ends.partition_point(|end| *end < offset))
    }

    fn is_quoted(&self, part: &str) -> bool {
        let Some(offset) = self.offset(part) else { return true };
        let bytes = self.text.as_bytes();
        let before = offset.checked_sub(1).and_then(|before| bytes.get(before));
        matches!(before, Some(b'"' | b'\'')) && bytes.get(offset + part.len()) == before
    }

    /// Tagged as base64, which serde_yaml does not report.
    fn is_binary(&self, part: &str) -> bool {
        let before = self.offset(part).and_then(|offset| self.text.get(..offset)).unwrap_or_default();
        let before = before.strip_suffix(['"', '\'']).unwrap_or(before).trim_end_matches([' ', '\t']);
        before.ends_with("!!binary")
    }

    fn explain(&self, error: &serde_yaml::Error) -> YamlError {
        let mut line = error.location().and_then(|location| u32::try_from(location.line()).ok()).unwrap_or(0);
        let mut message = error.to_string();
        // The reader below the scanner knows only the byte.
        if let Some((text, position)) = message.split_once(" at position ") {
            if let Ok(offset) = position.parse() {
                line = self.line_at(offset);
            }
            message = text.to_owned();
        }
        let sentence = match message.split(" at line ").next().unwrap_or(&message) {
            text if text.contains("recursion limit exceeded") => {
                "nested too deeply (limit: 128 levels)".to_owned()
            }
            text if text.contains("repetition limit exceeded") || text.contains(TOO_MANY) => {
                let limit = max_aliased_nodes(self.text);
                format!("too many values once its aliases are unfolded (limit: {limit})")
            }
            text => match text.rsplit_once(OURS) {
                Some((_, ours)) => ours.to_owned(),
                None => format!("not valid YAML: {text}"),
            },
        };
        YamlError { line, sentence }
    }
}

/// Marks our own sentences inside serde_yaml's errors, which may put a path before them.
const OURS: &str = "\u{1}";
const TOO_MANY: &str = "\u{1}too many values";

/// What a document is made of; scalars only say whether they had another type than text.
enum Shape {
    Null,
    /// A boolean or a number, so it was typed without quotes.
    Typed,
    Text,
    List(Vec<Shape>),
    Map(Vec<(Shape, Shape)>),
}

struct ShapeSeed<'a> {
    n_left: &'a Cell<usize>,
}

impl<'de> DeserializeSeed<'de> for ShapeSeed<'_> {
    type Value = Shape;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Shape, D::Error> {
        match self.n_left.get().checked_sub(1) {
            None => return Err(D::Error::custom(TOO_MANY)),
            Some(n_left) => self.n_left.set(n_left),
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ShapeSeed<'_> {
    type Value = Shape;

    fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Shape, E> {
        Ok(Shape::Null)
    }

    /// A text without any document.
    fn visit_none<E>(self) -> Result<Shape, E> {
        Ok(Shape::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Shape, E> {
        Ok(Shape::Typed)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Shape, E> {
        Ok(Shape::Typed)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Shape, E> {
        Ok(Shape::Typed)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Shape, E> {
        Ok(Shape::Typed)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Shape, E> {
        Ok(Shape::Typed)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Shape, E> {
        Ok(Shape::Typed)
    }

    fn visit_str<E>(self, _: &str) -> Result<Shape, E> {
        Ok(Shape::Text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Shape, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(ShapeSeed { n_left: self.n_left })? {
            list.push(item);
        }
        Ok(Shape::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Shape, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key_seed(ShapeSeed { n_left: self.n_left })? {
            map.push((key, entries.next_value_seed(ShapeSeed { n_left: self.n_left })?));
        }
        Ok(Shape::Map(map))
    }

    /// A local tag, `!env x`: Go's yaml.v2 ignores it, and so do we.
    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<Shape, A::Error> {
        let (IgnoredAny, inner) = access.variant()?;
        inner.newtype_variant_seed(self)
    }
}

/// Reads what has this shape once more, keeping texts and lines.
#[derive(Clone, Copy)]
struct NodeSeed<'a, 'de> {
    shape: &'a Shape,
    source: &'a Source<'de>,
}

impl<'a, 'de> NodeSeed<'a, 'de> {
    fn of(self, shape: &'a Shape) -> Self {
        Self { shape, source: self.source }
    }

    fn scalar(self, text: &str, line: u32, quoted: bool) -> Node {
        let plain = matches!(self.shape, Shape::Typed) || !quoted;
        Node { value: Value::Scalar(Scalar { text: text.to_owned(), plain }), line }
    }
}

impl<'de> DeserializeSeed<'de> for NodeSeed<'_, 'de> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        match self.shape {
            Shape::Null => deserializer.deserialize_any(self),
            Shape::Typed | Shape::Text => deserializer.deserialize_str(self),
            Shape::List(_) => deserializer.deserialize_seq(self),
            Shape::Map(_) => deserializer.deserialize_map(self),
        }
    }
}

impl<'de> Visitor<'de> for NodeSeed<'_, 'de> {
    type Value = Node;

    fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("the same document again")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node { value: Value::Null, line: 0 })
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node { value: Value::Null, line: 0 })
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Node, E> {
        if self.source.is_binary(text) {
            return Err(ours("!!binary values are not supported; write the text itself"));
        }
        Ok(self.scalar(text, self.source.line(text), self.source.is_quoted(text)))
    }

    /// A text with escapes, a block, or one that goes over several lines: nothing in the source to point at.
    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(self.scalar(text, 0, true))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let Shape::List(shapes) = self.shape else { return Err(changed()) };
        let mut list = Vec::with_capacity(shapes.len());
        for shape in shapes {
            list.push(items.next_element_seed(self.of(shape))?.ok_or_else(changed)?);
        }
        let line = list.first().map_or(0, |node| node.line);
        Ok(Node { value: Value::List(list), line })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let Shape::Map(shapes) = self.shape else { return Err(changed()) };
        let mut map = Vec::with_capacity(shapes.len());
        let mut first_line = 0;
        for (key_shape, value_shape) in shapes {
            let key = entries.next_key_seed(self.of(key_shape))?.ok_or_else(changed)?;
            let node = entries.next_value_seed(self.of(value_shape))?;
            if first_line == 0 {
                first_line = key.line;
            }
            let (text, plain) = match key.value {
                Value::Scalar(scalar) => (scalar.text, scalar.plain),
                Value::Null => (String::new(), false),
                Value::List(_) | Value::Map(_) => return Err(ours("a key must be a single value")),
            };
            match text == "<<" && plain {
                true => merge(&mut map, node)?,
                false => map.push(Entry { key: text, line: key.line, merged: false, node }),
            }
        }
        Ok(Node { value: Value::Map(map), line: first_line })
    }
}

fn changed<E: Error>() -> E {
    ours("the document changed while it was read")
}

fn ours<E: Error>(sentence: &str) -> E {
    E::custom(format_args!("{OURS}{sentence}"))
}

/// Adds the entries of `node`, the value of a `<<` key; the first of a list of mappings wins, so it goes last.
fn merge<E: Error>(map: &mut Vec<Entry>, node: Node) -> Result<(), E> {
    let mut add = |node: Node| match node.value {
        Value::Map(entries) => {
            map.extend(entries.into_iter().map(|entry| Entry { merged: true, ..entry }));
            Ok(())
        }
        _ => Err(ours("map merge requires map or sequence of maps as the value")),
    };
    match node.value {
        Value::List(list) => list.into_iter().rev().try_for_each(add),
        _ => add(node),
    }
}

#[cfg(test)]
mod tests {
    use super::{parse, parse_bytes};
    use crate::config::text::node::{Node, Value};
    use std::fmt::Write;

    /// `text@line`, quoted texts in quotes.
    fn render(node: &Node, out: &mut String) {
        match &node.value {
            Value::Null => write!(out, "null@{}", node.line).unwrap(),
            Value::Scalar(scalar) if scalar.plain => write!(out, "{}@{}", scalar.text, node.line).unwrap(),
            Value::Scalar(scalar) => write!(out, "{:?}@{}", scalar.text, node.line).unwrap(),
            Value::List(list) => {
                out.push('[');
                for (idx, item) in list.iter().enumerate() {
                    out.push_str(if idx > 0 { " " } else { "" });
                    render(item, out);
                }
                out.push(']');
            }
            Value::Map(map) => {
                out.push('{');
                for (idx, entry) in map.iter().enumerate() {
                    out.push_str(if idx > 0 { " " } else { "" });
                    write!(out, "{}{}@{}: ", if entry.merged { "<<" } else { "" }, entry.key, entry.line)
                        .unwrap();
                    render(&entry.node, out);
                }
                out.push('}');
            }
        }
    }

    fn check(text: &str, want: &str) {
        let got = match parse(text) {
            Ok(node) => {
                let mut out = String::new();
                render(&node, &mut out);
                out
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(got, want, "{text:?}");
    }

    #[test]
    fn scalars_keep_their_text_and_quoting() {
        check("", "null@0");
        check("# only a comment\n", "null@0");
        check("1.10", "1.10@1");
        check(
            "a: 0x1F\nb: True\nc: yes\nd: 'yes'\ne: \"12\"\n",
            "{a@1: 0x1F@1 b@2: True@2 c@3: yes@3 d@4: \"yes\"@4 e@5: \"12\"@5}",
        );
        check("a: ~\nb:\nc: null\nd: 'null'\n", "{a@1: null@0 b@2: null@0 c@3: null@0 d@4: \"null\"@4}");
        check("a: \"x\\ty\"\nb: |\n  1\nc: >\n  2\n", "{a@1: \"x\\ty\"@0 b@2: \"1\\n\"@0 c@4: \"2\\n\"@0}");
        check("a: ''\nb: x # y\n", "{a@1: \"\"@1 b@2: x@2}");
        check("\u{feff}a: b\nc: d\n", "{a@1: b@1 c@2: d@2}");
        check("\u{feff}---\n- a\n- b\n", "[a@2 b@3]");
        check("\u{feff}# c\na: \u{feff}b\n", "{a@2: \u{feff}b@2}");
        check("a: !!str 5\nb: !local 6\nc: &x 7\nd: *x\n", "{a@1: 5@1 b@2: 6@2 c@3: 7@3 d@4: 7@3}");
        check("{\"a\":1,\"b\":[\"c\", null]}", "{a@1: 1@1 b@1: [\"c\"@1 null@0]}");
        check("- a\n-\n- - b\n", "[a@1 null@0 [b@3]]");
        check("a: 1\n---\nb: [\n", "{a@1: 1@1}");
        check("a: b\r\nc: d # e\r\n", "{a@1: b@1 c@2: d@2}");
        check("1: a\ntrue: b\n", "{1@1: a@1 true@2: b@2}");
    }

    #[test]
    fn merge_keys_are_unfolded() {
        check(
            "x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}\n",
            "{x@1: {a@1: 1@1 b@1: 2@1} y@2: {<<a@1: 1@1 <<b@1: 2@1 b@2: 3@2}}",
        );
        check("a: {<<: [{b: 1}, {c: 2}]}\n", "{a@1: {<<c@1: 2@1 <<b@1: 1@1}}");
        check("a: {'<<': 1}\n", "{a@1: {<<@1: 1@1}}");
        check("a: {<<: 1}\n", "line 1: map merge requires map or sequence of maps as the value");
    }

    #[test]
    fn what_is_not_yaml() {
        check("a: [1, 2\nb: 3\n", "line 2: not valid YAML: did not find expected ',' or ']'");
        check("a:\n\tb: 1\n", "line 2: not valid YAML: found character that cannot start any token");
        check("a: *x\n", "line 1: not valid YAML: unknown anchor");
        check("a: 'x\n", "line 2: not valid YAML: found unexpected end of stream");
        check("a: b: c\n", "line 1: not valid YAML: mapping values are not allowed in this context");
        check("? [a]\n: b\n", "line 1: a key must be a single value");
        check("b: c\n\na: \u{1}\n", "line 3: not valid YAML: control characters are not allowed");
    }

    #[test]
    fn hostile_documents_are_bounded() {
        let deep = "[".repeat(200) + &"]".repeat(200);
        check(&deep, "line 1: nested too deeply (limit: 128 levels)");
        check(&"[".repeat(100_000), "line 1: brackets are nested too deeply (limit: 1000)");
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..10 {
            let previous = format!("*a{}", level - 1);
            writeln!(bomb, "a{level}: &a{level} [{}]", vec![previous; 10].join(", ")).unwrap();
        }
        let limit = 200_000 + 20 * bomb.len();
        check(&bomb, &format!("too many values once its aliases are unfolded (limit: {limit})"));
        check("a: &a [*a]\n", "line 1: nested too deeply (limit: 128 levels)");
        check("a: &a {<<: *a}\n", "line 1: nested too deeply (limit: 128 levels)");
    }

    #[test]
    fn bytes_that_are_no_text() {
        assert_eq!(
            parse_bytes(b"a: 1\nb: \xff\n").unwrap_err().to_string(),
            "line 2: not UTF-8 text; save the file as UTF-8"
        );
        for utf16 in [&b"\xff\xfea\0:\0"[..], b"\xfe\xff\0a\0:", b"a\0:\0 \0b\0"] {
            let error = parse_bytes(utf16).unwrap_err().to_string();
            assert_eq!(error, "line 1: not UTF-8 text: it is UTF-16; save it as UTF-8");
        }
    }
}
