//! Which texts an API server of Kubernetes takes for a selector of labels or of fields, with its words for the others.
//!
//! After `pkg/labels/selector.go` and `pkg/fields/selector.go` of k8s.io/apimachinery. Nothing is matched here: the
//! server does that, it is handed the text.

use scraped_engine::sorting::sort;

/// Longest name of a label, and longest value.
const MAX_NAME_BYTES: usize = 63;

/// Longest prefix of a label's name.
const MAX_PREFIX_BYTES: usize = 253;

/// Operators of a field selector, in the order in which they are looked for.
const FIELD_OPERATORS: [&str; 3] = ["!=", "==", "="];

/// One condition of a field selector, as typed.
#[derive(Clone, Copy, Debug)]
struct Term<'a> {
    field: &'a str,
    operator: &'static str,
    value: &'a str,
}

impl<'a> Term<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        text.char_indices().find_map(|(idx, _)| {
            let rest = &text[idx..];
            let operator = FIELD_OPERATORS.into_iter().find(|operator| rest.starts_with(operator))?;
            Some(Self { field: &text[..idx], operator, value: &rest[operator.len()..] })
        })
    }
}

/// Whether `selector` leaves only one value for `field`.
pub(in crate::config) fn fixes_field(selector: &str, field: &str) -> bool {
    let terms = split_terms(selector).into_iter().filter_map(Term::parse);
    terms.filter(|term| term.operator != "!=").any(|term| term.field == field)
}

/// Go's `fields.ParseSelector`.
pub(in crate::config) fn check_field_selector(selector: &str) -> Result<(), String> {
    let mut parts = split_terms(selector);
    sort(&mut parts);
    for part in parts.into_iter().filter(|part| !part.is_empty()) {
        let term = Term::parse(part)
            .ok_or_else(|| format!("invalid selector: '{selector}'; can't understand '{part}'"))?;
        check_field_value(term.value)?;
    }
    Ok(())
}

/// At commas that no backslash stands before.
fn split_terms(selector: &str) -> Vec<&str> {
    let (mut terms, mut start, mut is_escaped) = (Vec::new(), 0, false);
    for (idx, byte) in selector.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b',' => {
                terms.push(&selector[start..idx]);
                start = idx + 1;
            }
            _ => {}
        }
    }
    terms.push(&selector[start..]);
    terms
}

fn check_field_value(value: &str) -> Result<(), String> {
    let mut chars = value.chars();
    while let Some(character) = chars.next() {
        match character {
            '\\' => match chars.next() {
                Some('\\' | ',' | '=') => {}
                other => {
                    let escaped = other.map(String::from).unwrap_or_default();
                    return Err(format!("invalid field selector: invalid escape sequence: \\{escaped}"));
                }
            },
            ',' | '=' => {
                return Err(format!("invalid field selector: unescaped character in value: {character}"));
            }
            _ => {}
        }
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    End,
    /// `=`, `!=`, `(` and the like.
    Symbol(&'a str),
    /// Names and values, `in` and `notin` among them.
    Word(&'a str),
}

impl<'a> Token<'a> {
    fn text(self) -> &'a str {
        match self {
            Self::End => "",
            Self::Symbol(text) | Self::Word(text) => text,
        }
    }

    fn ends_requirement(self) -> bool {
        matches!(self, Token::End | Token::Symbol(","))
    }
}

/// Go's `labels.Parse`.
pub(in crate::config) fn check_label_selector(selector: &str) -> Result<(), String> {
    let mut tokens = Tokens { rest: selector };
    loop {
        match tokens.peek() {
            Token::End => return Ok(()),
            Token::Word(_) | Token::Symbol("!") => {}
            other => {
                return Err(format!("found '{}', expected: !, identifier, or 'end of string'", other.text()));
            }
        }
        requirement(&mut tokens).map_err(|cause| format!("unable to parse requirement: {cause}"))?;
        match tokens.next() {
            Token::End => return Ok(()),
            Token::Symbol(",") => match tokens.peek() {
                Token::Word(_) | Token::Symbol("!") => {}
                other => return Err(format!("found '{}', expected: identifier after ','", other.text())),
            },
            other => {
                return Err(format!("found '{}', expected: ',' or 'end of string'", other.text()));
            }
        }
    }
}

fn requirement(tokens: &mut Tokens<'_>) -> Result<(), String> {
    let mut key = tokens.next();
    let is_negated = key == Token::Symbol("!");
    if is_negated {
        key = tokens.next();
    }
    let Token::Word(key) = key else {
        return Err(format!("found '{}', expected: identifier", key.text()));
    };
    check_label_name(key)?;
    if is_negated || tokens.peek().ends_requirement() {
        return Ok(());
    }
    match tokens.next() {
        Token::Word("in" | "notin") => values(tokens),
        Token::Symbol(operator @ ("=" | "==" | "!=" | ">" | "<")) => {
            let value = match tokens.peek() {
                token if token.ends_requirement() => "",
                _ => match tokens.next() {
                    Token::Word(value) => value,
                    other => return Err(format!("found '{}', expected: identifier", other.text())),
                },
            };
            if matches!(operator, ">" | "<") && value.parse::<i64>().is_err() {
                return Err(format!("{value:?}: for 'Gt', 'Lt' operators, the value must be an integer"));
            }
            check_label_value(value)
        }
        other => Err(format!("found '{}', expected: in, notin, =, ==, !=, gt, lt", other.text())),
    }
}

/// `(a,b)`; what is missing between commas is the empty value.
fn values(tokens: &mut Tokens<'_>) -> Result<(), String> {
    match tokens.next() {
        Token::Symbol("(") => {}
        other => return Err(format!("found '{}' expected: '('", other.text())),
    }
    let mut wants_comma = false;
    loop {
        match tokens.next() {
            Token::Symbol(")") => return Ok(()),
            Token::Symbol(",") => wants_comma = false,
            Token::Word(value) if !wants_comma => {
                check_label_value(value)?;
                wants_comma = true;
            }
            other if wants_comma => return Err(format!("found '{}', expected: ',' or ')'", other.text())),
            other => return Err(format!("found '{}', expected: ',', ')' or identifier", other.text())),
        }
    }
}

struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Tokens<'a> {
    fn peek(&self) -> Token<'a> {
        Tokens { rest: self.rest }.next()
    }

    fn next(&mut self) -> Token<'a> {
        let rest = self.rest.trim_start_matches(is_blank);
        let n_bytes = match rest.as_bytes() {
            [] => {
                self.rest = rest;
                return Token::End;
            }
            [b'=' | b'!', b'=', ..] => 2,
            [b'=' | b'!' | b'(' | b')' | b',' | b'<' | b'>', ..] => 1,
            _ => {
                let end = rest.find(|c| is_blank(c) || "=!(),<>".contains(c)).unwrap_or(rest.len());
                let (word, rest) = rest.split_at(end);
                self.rest = rest;
                return Token::Word(word);
            }
        };
        let (symbol, rest) = rest.split_at(n_bytes);
        self.rest = rest;
        Token::Symbol(symbol)
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// `validation.IsQualifiedName`: a name, or a DNS name, a slash and a name.
fn check_label_name(key: &str) -> Result<(), String> {
    let (prefix, name) = match key.split_once('/') {
        None => (None, key),
        Some((prefix, name)) => (Some(prefix), name),
    };
    let is_dns_label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty() && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    let is_good = prefix
        .is_none_or(|prefix| prefix.len() <= MAX_PREFIX_BYTES && prefix.split('.').all(is_dns_label))
        && !name.is_empty()
        && is_name(name);
    if is_good { Ok(()) } else { Err(format!("Invalid value: {key:?}: not a qualified name of a label")) }
}

/// `validation.IsValidLabelValue`.
fn check_label_value(value: &str) -> Result<(), String> {
    let is_good = value.is_empty() || is_name(value);
    if is_good { Ok(()) } else { Err(format!("Invalid value: {value:?}: not a valid label value")) }
}

/// Letters, digits, `-_.`, of which the first and the last are letters or digits.
fn is_name(text: &str) -> bool {
    let is_edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= MAX_NAME_BYTES
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
        && is_edge(bytes.first())
        && is_edge(bytes.last())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_selectors() {
        for good in [
            "",
            ",",
            "a=b",
            "a==b",
            "a!=b",
            "metadata.name=x,status.phase!=Running",
            "a=",
            "a=b\\,c",
            "a=\\\\",
        ] {
            assert_eq!(check_field_selector(good), Ok(()), "{good}");
        }
        let check = |bad: &str, want: &str| assert_eq!(check_field_selector(bad), Err(want.to_owned()));
        check(
            "metadata.status-Running",
            "invalid selector: 'metadata.status-Running'; can't understand 'metadata.status-Running'",
        );
        check("z,a=b,c", "invalid selector: 'z,a=b,c'; can't understand 'c'");
        check("a=b=c", "invalid field selector: unescaped character in value: =");
        check("a=b\\c", "invalid field selector: invalid escape sequence: \\c");
        check("a=b\\", "invalid field selector: invalid escape sequence: \\");
    }

    #[test]
    fn fields_that_are_fixed() {
        for (selector, want) in [
            ("spec.nodeName=a", true),
            ("status.phase=Running,spec.nodeName==a", true),
            ("spec.nodeName=", true),
            ("spec.nodeName!=a", false),
            ("status.phase=spec.nodeName", false),
            ("", false),
        ] {
            assert_eq!(fixes_field(selector, "spec.nodeName"), want, "{selector}");
        }
    }

    #[test]
    fn label_selectors() {
        for good in [
            "",
            " ",
            "foo",
            "!foo",
            "foo=bar",
            "foo == bar , x!=y",
            "foo=",
            "foo in (bar,baz)",
            "x in (foo,,baz),y,z notin ()",
            "in in (in,notin)",
            "a>1,b<2",
            "app.kubernetes.io/name=x",
            "x in (,)",
        ] {
            assert_eq!(check_label_selector(good), Ok(()), "{good}");
        }
        let check = |bad: &str, want: &str| assert_eq!(check_label_selector(bad), Err(want.to_owned()));
        check(",a", "found ',', expected: !, identifier, or 'end of string'");
        check("a,", "found '', expected: identifier after ','");
        check("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt");
        check("!a=b", "found '=', expected: ',' or 'end of string'");
        check("a in b", "unable to parse requirement: found 'b' expected: '('");
        check("a in (b c)", "unable to parse requirement: found 'c', expected: ',' or ')'");
        check("a in (b", "unable to parse requirement: found '', expected: ',' or ')'");
        check("a in (=)", "unable to parse requirement: found '=', expected: ',', ')' or identifier");
        check("a===b", "unable to parse requirement: found '=', expected: identifier");
        check(
            "a>b",
            "unable to parse requirement: \"b\": for 'Gt', 'Lt' operators, the value must be an integer",
        );
        check("-a", "unable to parse requirement: Invalid value: \"-a\": not a qualified name of a label");
        check("a=b/c", "unable to parse requirement: Invalid value: \"b/c\": not a valid label value");
        for bad in ["a/b/c", "/a", "A.b/c", "a/", "!", "a=-", &"a".repeat(64)] {
            assert!(check_label_selector(bad).is_err(), "{bad}");
        }
    }
}
