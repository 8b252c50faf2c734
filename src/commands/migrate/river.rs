//! The language of Alloy's files: blocks with labels, attributes, and expressions as far as a reader without a machine for
//! them can take them apart.

use crate::commands::migrate::cursor::{Cursor, unescaped};

/// `name "label" { … }`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::commands::migrate) struct Block {
    /// With its dots.
    pub(in crate::commands::migrate) name: String,
    pub(in crate::commands::migrate) label: String,
    pub(in crate::commands::migrate) attributes: Vec<(String, Expression)>,
    pub(in crate::commands::migrate) blocks: Vec<Block>,
}

/// What stands behind `=`.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::commands::migrate) enum Expression {
    Text(String),
    /// A number, `true` or `null`.
    Plain(String),
    List(Vec<Expression>),
    Object(Vec<(String, Expression)>),
    /// `discovery.file.a.targets`.
    Reference(String),
    Call(String, Vec<Expression>),
    /// More than that, as it stands there.
    Other(String),
}

impl Block {
    pub(in crate::commands::migrate) fn attribute(&self, name: &str) -> Option<&Expression> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// A text that stands there as it is.
    pub(in crate::commands::migrate) fn text(&self, name: &str) -> Option<&str> {
        match self.attribute(name) {
            Some(Expression::Text(text)) => Some(text),
            _ => None,
        }
    }
}

/// A whole file, as one block without a name.
///
/// # Errors
/// A sentence with a line.
pub(in crate::commands::migrate) fn parse(content: &str) -> Result<Block, String> {
    let mut at = Cursor::new(content, &[("//", "\n"), ("/*", "*/")]);
    let mut root = Block::default();
    body(&mut at, &mut root)?;
    if at.rest.is_empty() { Ok(root) } else { at.fail("unexpected }") }
}

fn eat(at: &mut Cursor<'_>, token: &str) -> bool {
    at.skip();
    at.eat(token)
}

fn require(at: &mut Cursor<'_>, token: &str) -> Result<(), String> {
    if eat(at, token) { Ok(()) } else { at.fail(&format!("expected {token}")) }
}

/// Letters, digits, dots.
fn name(at: &mut Cursor<'_>) -> Result<String, String> {
    at.skip();
    match at.take_until(|c| !(c.is_ascii_alphanumeric() || c == '_' || c == '.')) {
        "" => at.fail("expected a name"),
        name => Ok(name.to_owned()),
    }
}

/// Until its closing brace, or the end of the file.
fn body(at: &mut Cursor<'_>, block: &mut Block) -> Result<(), String> {
    loop {
        at.skip();
        if at.rest.is_empty() || at.rest.starts_with('}') {
            return Ok(());
        }
        let name = name(at)?;
        if eat(at, "=") {
            let value = expression(at)?;
            block.attributes.push((name, value));
            continue;
        }
        let mut inner = Block { name, ..Block::default() };
        at.skip();
        if at.rest.starts_with('"') {
            inner.label = quoted(at)?;
        }
        require(at, "{")?;
        at.inside(|at| body(at, &mut inner))?;
        require(at, "}")?;
        block.blocks.push(inner);
    }
}

fn quoted(at: &mut Cursor<'_>) -> Result<String, String> {
    if at.eat("`") {
        return at.fenced("`", false).map(str::to_owned);
    }
    at.eat("\"");
    at.fenced("\"", true).map(unescaped)
}

fn expression(at: &mut Cursor<'_>) -> Result<Expression, String> {
    at.skip();
    let start = at.rest;
    let value = operand(at)?;
    // On the same line an operator or an index makes more of it.
    let blank = at.rest.trim_start_matches([' ', '\t']);
    let is_more = ["+", "-", "*", "/ ", "%", "==", "!=", "<", ">", "&&", "||", "[", "."];
    if !blank.starts_with("//") && is_more.iter().any(|operator| blank.starts_with(operator)) {
        at.take_until(|c| c == '\n' || c == '}');
        let whole = &start[..start.len() - at.rest.len()];
        return Ok(Expression::Other(whole.trim().trim_end_matches(',').to_owned()));
    }
    Ok(value)
}

fn operand(at: &mut Cursor<'_>) -> Result<Expression, String> {
    if at.rest.starts_with(['"', '`']) {
        return quoted(at).map(Expression::Text);
    }
    if eat(at, "[") {
        return until(at, "]").map(Expression::List);
    }
    if eat(at, "{") {
        let mut fields = Vec::new();
        while !eat(at, "}") {
            let key = if at.rest.starts_with('"') { quoted(at)? } else { name(at)? };
            require(at, "=")?;
            fields.push((key, at.inside(expression)?));
            eat(at, ",");
        }
        return Ok(Expression::Object(fields));
    }
    let sign = if eat(at, "-") { "-" } else { "" };
    if at.rest.starts_with(['!', '(']) {
        return Ok(Expression::Other(at.take_until(|c| c == '\n').trim().to_owned()));
    }
    let name = name(at)?;
    if at.eat("(") {
        return until(at, ")").map(|arguments| Expression::Call(name, arguments));
    }
    let is_plain =
        name.starts_with(|c: char| c.is_ascii_digit()) || ["true", "false", "null"].contains(&name.as_str());
    Ok(if is_plain { Expression::Plain(format!("{sign}{name}")) } else { Expression::Reference(name) })
}

fn until(at: &mut Cursor<'_>, end: &str) -> Result<Vec<Expression>, String> {
    let mut all = Vec::new();
    while !eat(at, end) {
        if at.rest.is_empty() {
            return at.fail(&format!("expected {end}"));
        }
        all.push(at.inside(expression)?);
        eat(at, ",");
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::{Expression, parse};

    #[test]
    fn blocks_and_expressions() {
        let content = "// c\nprometheus.scrape \"a\" {\n targets = concat([{\"__address__\" = \"x:1\", b = `c`}], d.e.f.targets,)\n\
                       n = -1.5 /* x */\n on = true\n w = \"a\\\"\" + env(\"X\")\n tls_config { }\n}\nlogging { level = \"x\" }\n";
        let root = parse(content).expect("a file");
        assert_eq!(root.blocks.len(), 2);
        let scrape = &root.blocks[0];
        assert_eq!((scrape.name.as_str(), scrape.label.as_str()), ("prometheus.scrape", "a"));
        let text = |text: &str| Expression::Text(text.to_owned());
        let object =
            Expression::Object(vec![("__address__".to_owned(), text("x:1")), ("b".to_owned(), text("c"))]);
        let arguments =
            vec![Expression::List(vec![object]), Expression::Reference("d.e.f.targets".to_owned())];
        assert_eq!(scrape.attribute("targets"), Some(&Expression::Call("concat".to_owned(), arguments)));
        assert_eq!(scrape.attribute("n"), Some(&Expression::Plain("-1.5".to_owned())));
        assert_eq!(scrape.attribute("w"), Some(&Expression::Other("\"a\\\"\" + env(\"X\")".to_owned())));
        assert_eq!(scrape.blocks[0].name, "tls_config");
        for (bad, sentence) in [
            ("a {", "line 1: expected }"),
            ("a = \n\"x", "line 2: a text has no end"),
            ("a = [1", "line 1: expected ]"),
            ("}", "line 1: unexpected }"),
            (&format!("a =\n{}", "[".repeat(100_000)), "line 2: more than 50 levels"),
            (&"a {\n".repeat(100_000), "line 51: more than 50 levels"),
        ] {
            assert_eq!(parse(bad).expect_err(bad), sentence);
        }
    }
}
