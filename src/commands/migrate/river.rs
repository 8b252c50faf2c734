//! The language of Alloy's files: blocks with labels, attributes, and expressions as far as a reader without a machine for
//! them can take them apart.

use crate::commands::migrate::MAX_DEPTH;

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
    let mut parser = Parser { rest: content, whole: content, depth: 0 };
    let mut root = Block::default();
    parser.body(&mut root)?;
    if parser.rest.is_empty() { Ok(root) } else { parser.fail("unexpected }") }
}

struct Parser<'a> {
    rest: &'a str,
    whole: &'a str,
    /// Blocks, lists and objects around what is read.
    depth: usize,
}

impl Parser<'_> {
    fn fail<T>(&self, what: &str) -> Result<T, String> {
        let n_read = self.whole.len() - self.rest.len();
        Err(format!("line {}: {what}", 1 + self.whole[..n_read].matches('\n').count()))
    }

    /// Line ends and comments, too.
    fn skip(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            let end = match self.rest {
                rest if rest.starts_with("//") => "\n",
                rest if rest.starts_with("/*") => "*/",
                _ => return,
            };
            self.rest = self.rest.split_once(end).map_or("", |(_, rest)| rest);
        }
    }

    fn eat(&mut self, token: &str) -> bool {
        self.skip();
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn require(&mut self, token: &str) -> Result<(), String> {
        if self.eat(token) { Ok(()) } else { self.fail(&format!("expected {token}")) }
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

    /// Letters, digits, dots.
    fn name(&mut self) -> Result<String, String> {
        self.skip();
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        if end == 0 {
            return self.fail("expected a name");
        }
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        Ok(name.to_owned())
    }

    /// Until its closing brace, or the end of the file.
    fn body(&mut self, block: &mut Block) -> Result<(), String> {
        loop {
            self.skip();
            if self.rest.is_empty() || self.rest.starts_with('}') {
                return Ok(());
            }
            let name = self.name()?;
            if self.eat("=") {
                let value = self.expression()?;
                block.attributes.push((name, value));
                continue;
            }
            let mut inner = Block { name, ..Block::default() };
            self.skip();
            if self.rest.starts_with('"') {
                inner.label = self.quoted()?;
            }
            self.require("{")?;
            self.inside(|parser| parser.body(&mut inner))?;
            self.require("}")?;
            block.blocks.push(inner);
        }
    }

    fn quoted(&mut self) -> Result<String, String> {
        if let Some(rest) = self.rest.strip_prefix('`') {
            let Some((text, rest)) = rest.split_once('`') else { return self.fail("a text has no end") };
            self.rest = rest;
            return Ok(text.to_owned());
        }
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((idx, character)) = chars.next() {
            match character {
                '"' => {
                    self.rest = &self.rest[idx + 1..];
                    return Ok(text);
                }
                '\\' => match chars.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, 't')) => text.push('\t'),
                    Some((_, other)) => text.push(other),
                    None => break,
                },
                other => text.push(other),
            }
        }
        self.fail("a text has no end")
    }

    fn expression(&mut self) -> Result<Expression, String> {
        self.skip();
        let start = self.rest;
        let value = self.operand()?;
        // On the same line an operator or an index makes more of it.
        let blank = self.rest.trim_start_matches([' ', '\t']);
        let is_more = ["+", "-", "*", "/ ", "%", "==", "!=", "<", ">", "&&", "||", "[", "."];
        if !blank.starts_with("//") && is_more.iter().any(|operator| blank.starts_with(operator)) {
            let end = self.rest.find(['\n', '}']).unwrap_or(self.rest.len());
            self.rest = &self.rest[end..];
            let whole = &start[..start.len() - self.rest.len()];
            return Ok(Expression::Other(whole.trim().trim_end_matches(',').to_owned()));
        }
        Ok(value)
    }

    fn operand(&mut self) -> Result<Expression, String> {
        if self.rest.starts_with(['"', '`']) {
            return self.quoted().map(Expression::Text);
        }
        if self.eat("[") {
            return self.until("]").map(Expression::List);
        }
        if self.eat("{") {
            let mut fields = Vec::new();
            while !self.eat("}") {
                let key = if self.rest.starts_with('"') { self.quoted()? } else { self.name()? };
                self.require("=")?;
                fields.push((key, self.inside(Self::expression)?));
                self.eat(",");
            }
            return Ok(Expression::Object(fields));
        }
        let sign = if self.eat("-") { "-" } else { "" };
        if self.rest.starts_with(['!', '(']) {
            let end = self.rest.find('\n').unwrap_or(self.rest.len());
            let (other, rest) = self.rest.split_at(end);
            self.rest = rest;
            return Ok(Expression::Other(other.trim().to_owned()));
        }
        let name = self.name()?;
        if self.rest.starts_with('(') {
            self.eat("(");
            return self.until(")").map(|arguments| Expression::Call(name, arguments));
        }
        let is_plain = name.starts_with(|c: char| c.is_ascii_digit())
            || ["true", "false", "null"].contains(&name.as_str());
        Ok(if is_plain { Expression::Plain(format!("{sign}{name}")) } else { Expression::Reference(name) })
    }

    fn until(&mut self, end: &str) -> Result<Vec<Expression>, String> {
        let mut all = Vec::new();
        while !self.eat(end) {
            if self.rest.is_empty() {
                return self.fail(&format!("expected {end}"));
            }
            all.push(self.inside(Self::expression)?);
            self.eat(",");
        }
        Ok(all)
    }
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
