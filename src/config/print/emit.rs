//! YAML text in the style of Go's yaml.v2, so that a printed configuration can be compared with Prometheus' own.
//!
//! After `encode.go` (what is quoted) and `emitterc.go` (how it is written) of go-yaml 2.4. Knows no configuration.

use scraped_engine::sorting::sort_by;
use std::cmp::Ordering;

use crate::config::text::node::{Node, Scalar, Value};

/// Lines are folded at the first space after this column (`best_width`).
const BEST_WIDTH: usize = 80;

/// What can be written.
#[derive(Clone, Debug)]
pub(in crate::config) enum Yaml {
    /// Quoted if it would be read as something else.
    Text(String),
    /// `true`, `10`: written as it is.
    Raw(String),
    /// One item a line.
    List(Vec<Yaml>),
    /// `[a, b]`; an empty one is `null`.
    Flow(Vec<String>),
    /// In this order.
    Map(Vec<(String, Yaml)>),
}

impl Yaml {
    pub(in crate::config) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub(in crate::config) fn raw(value: impl ToString) -> Self {
        Self::Raw(value.to_string())
    }

    /// What was typed, as it was.
    pub(in crate::config) fn of(node: &Node) -> Self {
        match &node.value {
            Value::Null => Self::raw("null"),
            Value::Scalar(scalar) if scalar.plain => Self::raw(&scalar.text),
            Value::Scalar(scalar) => Self::text(&scalar.text),
            Value::List(items) => Self::List(items.iter().map(Self::of).collect()),
            Value::Map(entries) => {
                Self::Map(entries.iter().map(|entry| (entry.key.clone(), Self::of(&entry.node))).collect())
            }
        }
    }

    /// A mapping whose keys are data: sorted as yaml.v2 sorts them.
    pub(in crate::config) fn sorted(mut entries: Vec<(String, Yaml)>) -> Self {
        sort_by(&mut entries, |(a, _), (b, _)| natural_order(a, b));
        Self::Map(entries)
    }
}

/// The text of a document; nothing but `{}` for an empty mapping.
pub(in crate::config) fn emit(root: &Yaml) -> String {
    let mut emitter = Emitter { out: String::new() };
    match root {
        Yaml::Map(entries) if !entries.is_empty() => emitter.map(entries, 0),
        other => {
            emitter.value(other, 0);
            emitter.out = emitter.out.trim_start().to_owned();
        }
    }
    emitter.out
}

struct Emitter {
    out: String,
}

/// Where a scalar stands: what may be written plain there differs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Context {
    Block,
    Flow,
    Key,
}

impl Emitter {
    fn map(&mut self, entries: &[(String, Yaml)], indent: usize) {
        for (idx, (key, value)) in entries.iter().enumerate() {
            if idx > 0 {
                self.indent(indent);
            }
            self.scalar(key, Context::Key, indent);
            self.out.push(':');
            self.value(value, indent);
        }
    }

    /// What follows a colon, the line break at its end included.
    fn value(&mut self, value: &Yaml, indent: usize) {
        match value {
            Yaml::Map(entries) if !entries.is_empty() => {
                self.out.push('\n');
                self.indent(indent + 2);
                self.map(entries, indent + 2);
            }
            Yaml::List(items) if !items.is_empty() => {
                self.out.push('\n');
                for item in items {
                    self.indent(indent);
                    self.out.push('-');
                    self.item(item, indent);
                }
            }
            leaf => self.leaf(leaf, indent),
        }
    }

    fn item(&mut self, item: &Yaml, indent: usize) {
        match item {
            Yaml::Map(entries) if !entries.is_empty() => {
                self.out.push(' ');
                self.map(entries, indent + 2);
            }
            leaf => self.leaf(leaf, indent),
        }
    }

    fn leaf(&mut self, leaf: &Yaml, indent: usize) {
        self.out.push(' ');
        match leaf {
            Yaml::Text(text) => self.scalar(text, Context::Block, indent + 2),
            Yaml::Raw(text) => self.out.push_str(text),
            Yaml::Flow(items) => self.flow(items, indent + 2),
            Yaml::List(_) => self.out.push_str("[]"),
            Yaml::Map(_) => self.out.push_str("{}"),
        }
        // A block text ends its own last line.
        if !self.out.ends_with('\n') {
            self.out.push('\n');
        }
    }

    fn flow(&mut self, items: &[String], indent: usize) {
        self.out.push('[');
        for (idx, item) in items.iter().enumerate() {
            if idx > 0 {
                self.out.push(',');
                match self.column() > BEST_WIDTH {
                    true => self.new_line(indent),
                    false => self.out.push(' '),
                }
            }
            // A name that was typed as nothing; in quotes it would be refused.
            match item.is_empty() {
                true => self.out.push_str("null"),
                false => self.scalar(item, Context::Flow, indent),
            }
        }
        self.out.push(']');
    }

    fn scalar(&mut self, text: &str, context: Context, indent: usize) {
        let analysis = Analysis::of(text);
        // As a key it would be a merge, which yaml.v2 does not look out for.
        let must_quote = needs_quotes(text) || (text == "<<" && context == Context::Key);
        let multiline = text.contains('\n');
        let plain_allowed = match context {
            Context::Flow => analysis.flow_plain,
            Context::Block | Context::Key => analysis.block_plain,
        };
        if multiline {
            if analysis.block_text && context == Context::Block {
                self.literal(text, indent);
            } else {
                self.double_quoted(text, context, indent);
            }
        } else if must_quote {
            self.double_quoted(text, context, indent);
        } else if plain_allowed {
            self.words(text, context, indent, "");
        } else if analysis.single_quoted {
            self.words(text, context, indent, "'");
        } else {
            self.double_quoted(text, context, indent);
        }
    }

    /// Plain or single-quoted: folded at single spaces once the line is full.
    fn words(&mut self, text: &str, context: Context, indent: usize, quote: &str) {
        self.out.push_str(quote);
        let characters: Vec<char> = text.chars().collect();
        let mut after_space = false;
        for (idx, character) in characters.iter().copied().enumerate() {
            let next_is_space = characters.get(idx + 1) == Some(&' ');
            let inside = quote.is_empty() || (idx > 0 && idx + 1 < characters.len());
            let full = context != Context::Key && self.column() > BEST_WIDTH;
            if character == ' ' && full && inside && !after_space && !next_is_space {
                self.new_line(indent);
            } else {
                if character == '\'' && !quote.is_empty() {
                    self.out.push('\'');
                }
                self.out.push(character);
            }
            after_space = character == ' ';
        }
        self.out.push_str(quote);
    }

    fn double_quoted(&mut self, text: &str, context: Context, indent: usize) {
        self.out.push('"');
        let characters: Vec<char> = text.chars().collect();
        let mut after_space = false;
        for (idx, character) in characters.iter().copied().enumerate() {
            if is_printable(character) && !matches!(character, '\n' | '"' | '\\') {
                let inside = idx > 0 && idx + 1 < characters.len();
                let full = context != Context::Key && self.column() > BEST_WIDTH;
                if character == ' ' && full && inside && !after_space {
                    self.new_line(indent);
                    if characters.get(idx + 1) == Some(&' ') {
                        self.out.push('\\');
                    }
                } else {
                    self.out.push(character);
                }
                after_space = character == ' ';
            } else {
                self.escape(character);
                after_space = false;
            }
        }
        self.out.push('"');
    }

    fn escape(&mut self, character: char) {
        self.out.push('\\');
        let short = match character {
            '\0' => '0',
            '\u{7}' => 'a',
            '\u{8}' => 'b',
            '\t' => 't',
            '\n' => 'n',
            '\u{b}' => 'v',
            '\u{c}' => 'f',
            '\r' => 'r',
            '\u{1b}' => 'e',
            '"' => '"',
            '\\' => '\\',
            '\u{85}' => 'N',
            '\u{a0}' => '_',
            '\u{2028}' => 'L',
            '\u{2029}' => 'P',
            other => {
                let code = u32::from(other);
                self.out.push_str(&match code {
                    0..=0xff => format!("x{code:02X}"),
                    0x100..=0xffff => format!("u{code:04X}"),
                    _ => format!("U{code:08X}"),
                });
                return;
            }
        };
        self.out.push(short);
    }

    fn literal(&mut self, text: &str, indent: usize) {
        self.out.push('|');
        if text.starts_with([' ', '\n']) {
            self.out.push('2');
        }
        if !text.ends_with('\n') {
            self.out.push('-');
        } else if text == "\n" || text.ends_with("\n\n") {
            self.out.push('+');
        }
        self.out.push('\n');
        let mut lines: Vec<&str> = text.split('\n').collect();
        if text.ends_with('\n') {
            lines.pop();
        }
        for line in lines {
            if !line.is_empty() {
                self.indent(indent);
            }
            self.out.push_str(line);
            self.out.push('\n');
        }
    }

    fn new_line(&mut self, indent: usize) {
        self.out.push('\n');
        self.indent(indent);
    }

    fn indent(&mut self, indent: usize) {
        self.out.extend(std::iter::repeat_n(' ', indent));
    }

    fn column(&self) -> usize {
        let line = self.out.rsplit('\n').next().unwrap_or_default();
        line.chars().count()
    }
}

/// What yaml.v2 would read as something else than a text, or what other readers would (sexagesimal numbers).
fn needs_quotes(text: &str) -> bool {
    Scalar { text: text.to_owned(), plain: true }.needs_quotes() || is_base60_float(text)
}

/// `12:30`: a number in YAML 1.1.
fn is_base60_float(text: &str) -> bool {
    let magnitude = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (whole, fraction) = magnitude.split_once('.').unwrap_or((magnitude, ""));
    let digits_or_underscores = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let mut parts = whole.split(':');
    let first = parts.next().unwrap_or_default();
    let mut n_sixtieths = 0;
    let all_sixtieths = parts.all(|part| {
        n_sixtieths += 1;
        matches!(part.as_bytes(), [b'0'..=b'9'] | [b'0'..=b'5', b'0'..=b'9'])
    });
    first.starts_with(|c: char| c.is_ascii_digit())
        && digits_or_underscores(first)
        && digits_or_underscores(fraction)
        && n_sixtieths > 0
        && all_sixtieths
}

/// `yaml_emitter_analyze_scalar`: in which styles a text can be written.
struct Analysis {
    block_plain: bool,
    flow_plain: bool,
    single_quoted: bool,
    block_text: bool,
}

impl Analysis {
    fn of(text: &str) -> Self {
        if text.is_empty() {
            return Self { block_plain: true, flow_plain: false, single_quoted: true, block_text: false };
        }
        let document_mark = text.starts_with("---") || text.starts_with("...");
        let (mut block_indicator, mut flow_indicator) = (document_mark, document_mark);
        let (mut special, mut space_then_break, mut break_then_space) = (false, false, false);
        let mut previous = None;
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            let blank_follows = characters.peek().is_none_or(|next| matches!(next, ' ' | '\t'));
            let (block, flow) = match (character, previous) {
                (
                    '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@'
                    | '`',
                    None,
                ) => (true, true),
                ('?' | ':', None) => (blank_follows, true),
                ('-', None) => (blank_follows, blank_follows),
                (',' | '?' | '[' | ']' | '{' | '}', Some(_)) => (false, true),
                (':', Some(_)) => (blank_follows, true),
                ('#', Some(before)) => {
                    let blank_before =
                        matches!(before, ' ' | '\t' | '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}');
                    (blank_before, blank_before)
                }
                _ => (false, false),
            };
            block_indicator |= block;
            flow_indicator |= flow;
            special |= !is_printable(character);
            break_then_space |= character == ' ' && previous == Some('\n');
            space_then_break |= character == '\n' && previous == Some(' ');
            previous = Some(character);
        }
        let edges = text.starts_with([' ', '\n']) || text.ends_with([' ', '\n']);
        let no_style = space_then_break || special;
        let plain = !edges && !break_then_space && !no_style && !text.contains('\n');
        Self {
            block_plain: plain && !block_indicator,
            flow_plain: plain && !flow_indicator,
            single_quoted: !break_then_space && !no_style,
            block_text: !text.ends_with(' ') && !no_style,
        }
    }
}

/// yaml.v2's `is_printable`: nothing outside the basic plane is. Unlike there, the two rare line breaks are not either,
/// since they are only safe as escapes.
fn is_printable(character: char) -> bool {
    matches!(character, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}')
        && !matches!(character, '\u{2028}' | '\u{2029}' | '\u{feff}')
}

/// yaml.v2's `keyList.Less`: letters after everything else, digits by their number.
fn natural_order(a: &str, b: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let Some(start) = a.iter().zip(&b).position(|(x, y)| x != y) else { return a.len().cmp(&b.len()) };
    let (first_a, first_b) = (a[start], b[start]);
    match (first_a.is_alphabetic(), first_b.is_alphabetic()) {
        (true, true) => return first_a.cmp(&first_b),
        (false, true) => return Ordering::Less,
        (true, false) => return Ordering::Greater,
        (false, false) => {}
    }
    let number_goes_on = (first_a == '0' || first_b == '0')
        && a[..start].iter().rev().take_while(|c| c.is_ascii_digit()).any(|c| *c != '0');
    let number = |characters: &[char]| {
        let digits = characters[start..].iter().map_while(|c| c.to_digit(10));
        digits.fold((u64::from(number_goes_on), 0), |(number, len), digit| {
            (number.wrapping_mul(10).wrapping_add(u64::from(digit)), len + 1)
        })
    };
    number(&a).cmp(&number(&b)).then(first_a.cmp(&first_b))
}

#[cfg(test)]
mod tests {
    use super::{Yaml, emit};

    fn check(text: &str, want: &str) {
        let root = Yaml::Map(vec![("k".to_owned(), Yaml::text(text))]);
        assert_eq!(emit(&root), format!("k: {want}\n"), "{text:?}");
    }

    /// What go-yaml 2.4 wrote for these.
    #[test]
    fn scalars_are_quoted_as_go_quotes_them() {
        check("a b", "a b");
        check("", r#""""#);
        check("1e3", r#""1e3""#);
        check("12:30", r#""12:30""#);
        check("y", r#""y""#);
        check("2020-01-01", r#""2020-01-01""#);
        check("[::1]:80", "'[::1]:80'");
        check("a: b #c", "'a: b #c'");
        check("it's @x", "it's @x");
        check("'x", "'''x'");
        check("  lead", "'  lead'");
        check("é\t\"x", "\"é\\t\\\"x\"");
        check("😀", "\"\\U0001F600\"");
        check("(.*)\nfoo", "|-\n  (.*)\n  foo");
        check("a\n", "|\n  a");
        check(" a \nb", r#"" a \nb""#);
        check("-", "'-'");
        check("-a", "-a");
        check("localhost:9090", "localhost:9090");
        check("$1", "$1");
        check(";", ";");
        check("%x", "'%x'");
        check("<<", "<<");
        check("\u{2028}", r#""\L""#);
    }

    #[test]
    fn structure() {
        let root = Yaml::Map(vec![
            (
                "list".to_owned(),
                Yaml::List(vec![Yaml::text("a"), Yaml::Map(vec![("x".to_owned(), Yaml::raw(1))])]),
            ),
            ("empty".to_owned(), Yaml::List(Vec::new())),
            ("flow".to_owned(), Yaml::Flow(vec!["a".to_owned(), "b,c".to_owned(), "".to_owned()])),
            ("<<".to_owned(), Yaml::raw(2)),
            ("break".to_owned(), Yaml::text("\n")),
        ]);
        assert_eq!(
            emit(&root),
            "list:\n- a\n- x: 1\nempty: []\nflow: [a, 'b,c', null]\n\"<<\": 2\nbreak: |2+\n\n"
        );
        assert_eq!(emit(&Yaml::Map(Vec::new())), "{}\n");
    }

    #[test]
    fn keys_are_sorted_as_go_sorts_them() {
        let keys = ["01", "b10", "b9", "a", "_x", "B", "1", "a1", "a-b"];
        let entries = keys.iter().map(|key| ((*key).to_owned(), Yaml::raw(0))).collect();
        let Yaml::Map(sorted) = Yaml::sorted(entries) else { panic!() };
        let sorted: Vec<&str> = sorted.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(sorted, ["_x", "1", "01", "B", "a", "a-b", "a1", "b9", "b10"]);
    }
}
