//! PromQL as far as a log answers it: a selector, perhaps of a range, moved in time; numbers and texts.
//!
//! Everything else of the language is recognised, so that it is known what is no PromQL and what needs an engine.

use crate::duration::parse_duration;
use scraped_engine::labels::quote::Quoted;
use scraped_engine::labels::selector::Selector;
use scraped_engine::labels::selector::error::ParseError;
use scraped_engine::labels::selector::lexer::{Kind, Lexer, Token, number};
use scraped_engine::labels::selector::parser::{checked_selector, end, is_metric_name};

/// Brackets within brackets, and the like; what is deeper is not looked at. Each level takes some kilobytes of stack.
const MAX_DEPTH: usize = 12;

/// What is asked.
#[derive(Debug)]
pub enum Expression {
    /// The newest samples of series.
    Vector(Vector),
    /// All samples of series within a time.
    Range {
        /// The series.
        vector: Vector,
        /// How long, in milliseconds.
        range_ms: i64,
    },
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
}

/// Series, and how far from the asked time their samples are.
#[derive(Debug)]
pub struct Vector {
    /// Which series.
    pub selector: Selector,
    /// Milliseconds back; forth if negative.
    pub offset_ms: i64,
    /// The time that counts instead of the asked one.
    pub at: Option<At>,
}

/// A time that does not move with the steps of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Milliseconds since the Unix epoch.
    Time(i64),
    /// The first step.
    Start,
    /// The last step.
    End,
}

/// Why an expression is not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpressionError {
    /// It is no PromQL.
    Mistake(ParseError),
    /// Functions, operators, aggregations and the like.
    NeedsEngine,
}

impl From<ParseError> for ExpressionError {
    fn from(error: ParseError) -> Self {
        Self::Mistake(error)
    }
}

/// What a part of an expression is.
enum Node {
    Known {
        expression: Expression,
        is_in_parens: bool,
    },
    /// Needs an engine.
    Other,
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// See [`ExpressionError`].
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        let mut parser = Parser { lexer: Lexer::new(text), depth: 0 };
        if parser.lexer.peek()?.kind == Kind::End {
            return Err(ParseError::new(text, 0, "no expression found in input").into());
        }
        let node = parser.binary(0)?;
        end(&mut parser.lexer)?;
        match node {
            Node::Known { expression, .. } => Ok(expression),
            Node::Other => Err(ExpressionError::NeedsEngine),
        }
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    depth: usize,
}

impl<'a> Parser<'a> {
    /// Operands of operators that bind at least so strongly.
    fn binary(&mut self, least_strength: u8) -> Result<Node, ExpressionError> {
        let mut left = self.unary()?;
        loop {
            let operator = self.lexer.peek()?;
            let Some(strength) = strength(operator).filter(|strength| *strength >= least_strength) else {
                return Ok(left);
            };
            self.lexer.advance()?;
            let has_modifier = self.modifiers()?;
            // Powers are taken from right to left.
            self.descend()?;
            let right = self.binary(if operator.text == "^" { strength } else { strength + 1 })?;
            self.depth -= 1;
            left = match (known_number(&left), known_number(&right)) {
                (Some(left), Some(right)) if !has_modifier => match computed(operator.text, left, right) {
                    Some(number) => Node::of(Expression::Number(number)),
                    None if is_comparison(operator.text) => {
                        let reason = "comparisons between scalars must use BOOL modifier";
                        return Err(self.lexer.error_at(operator.start, reason).into());
                    }
                    None => Node::Other,
                },
                _ => Node::Other,
            };
        }
    }

    /// `bool`, `on (…)`, `group_left (…)` behind an operator; whether there are any.
    fn modifiers(&mut self) -> Result<bool, ExpressionError> {
        let mut has_any = self.take_word("bool")?;
        if self.take_word("on")? || self.take_word("ignoring")? {
            has_any = true;
            self.grouping()?;
            let has_group = self.take_word("group_left")? || self.take_word("group_right")?;
            if has_group && self.lexer.peek()?.kind == Kind::LeftParen {
                self.grouping()?;
            }
        }
        Ok(has_any)
    }

    fn unary(&mut self) -> Result<Node, ExpressionError> {
        let token = self.lexer.peek()?;
        if token.kind != Kind::Operator || !matches!(token.text, "+" | "-") {
            return self.primary();
        }
        self.lexer.advance()?;
        self.descend()?;
        // As strong as a product.
        let operand = self.binary(STRENGTH_OF_PRODUCT)?;
        self.depth -= 1;
        Ok(match known_number(&operand) {
            Some(number) if token.text == "-" => Node::of(Expression::Number(-number)),
            Some(number) => Node::of(Expression::Number(number)),
            None => Node::Other,
        })
    }

    fn primary(&mut self) -> Result<Node, ExpressionError> {
        let token = self.lexer.peek()?;
        let node = match token.kind {
            Kind::Number => {
                self.lexer.advance()?;
                Node::of(Expression::Number(number(token.text).unwrap_or(f64::NAN)))
            }
            Kind::Duration => {
                self.lexer.advance()?;
                Node::of(Expression::Number(self.duration_ms(token)? as f64 / 1000.0))
            }
            Kind::String => {
                self.lexer.advance()?;
                Node::of(Expression::Text(self.lexer.unquoted(token)?))
            }
            Kind::LeftParen => {
                self.lexer.advance()?;
                self.descend()?;
                let inside = self.binary(0)?;
                self.depth -= 1;
                if self.lexer.take(Kind::RightParen)?.is_none() {
                    return Err(self.lexer.unexpected("", "").into());
                }
                match inside {
                    Node::Known { expression, .. } => Node::Known { expression, is_in_parens: true },
                    Node::Other => Node::Other,
                }
            }
            _ if is_metric_name(token) || token.kind == Kind::LeftBrace => self.selector_or_call(token)?,
            _ => return Err(self.lexer.unexpected("", "").into()),
        };
        self.behind(token.start, node)
    }

    fn selector_or_call(&mut self, first: Token<'a>) -> Result<Node, ExpressionError> {
        let mut ahead = self.lexer.clone();
        ahead.advance()?;
        let second = ahead.peek()?;
        let is_call = second.kind == Kind::LeftParen;
        let is_grouped = second.kind == Kind::Keyword
            && ["by", "without"].iter().any(|word| second.text.eq_ignore_ascii_case(word));
        match first.kind {
            Kind::Identifier if is_call => {
                self.lexer.advance()?;
                self.arguments()?;
                Ok(Node::Other)
            }
            Kind::Aggregator if is_call || is_grouped => {
                self.lexer.advance()?;
                let is_grouped_before = self.aggregate_grouping()?;
                self.arguments()?;
                if !is_grouped_before {
                    self.aggregate_grouping()?;
                }
                Ok(Node::Other)
            }
            _ => {
                let selector = checked_selector(&mut self.lexer)?;
                Ok(Node::of(Expression::Vector(Vector { selector, offset_ms: 0, at: None })))
            }
        }
    }

    /// `by (…)` or `without (…)`; whether it is there.
    fn aggregate_grouping(&mut self) -> Result<bool, ExpressionError> {
        let is_there = self.take_word("by")? || self.take_word("without")?;
        if is_there {
            self.grouping()?;
        }
        Ok(is_there)
    }

    fn arguments(&mut self) -> Result<(), ExpressionError> {
        if self.lexer.take(Kind::LeftParen)?.is_none() {
            return Err(self.lexer.unexpected("aggregation", "").into());
        }
        if self.lexer.take(Kind::RightParen)?.is_some() {
            return Ok(());
        }
        self.descend()?;
        loop {
            self.binary(0)?;
            if self.lexer.take(Kind::RightParen)?.is_some() {
                self.depth -= 1;
                return Ok(());
            }
            let Some(comma) = self.lexer.take(Kind::Comma)? else {
                return Err(self.lexer.unexpected("", "").into());
            };
            if self.lexer.peek()?.kind == Kind::RightParen {
                let reason = "trailing commas not allowed in function call args";
                return Err(self.lexer.error_at(comma.start, reason).into());
            }
        }
    }

    /// A list of labels in parentheses.
    fn grouping(&mut self) -> Result<(), ExpressionError> {
        if self.lexer.take(Kind::LeftParen)?.is_none() {
            return Err(self.lexer.unexpected("grouping opts", r#""(""#).into());
        }
        loop {
            let token = self.lexer.peek()?;
            if token.kind == Kind::RightParen {
                self.lexer.advance()?;
                return Ok(());
            }
            let is_label = is_metric_name(token)
                || matches!(token.kind, Kind::Keyword | Kind::String)
                || token.text.eq_ignore_ascii_case("atan2");
            if !is_label {
                return Err(self.lexer.unexpected("grouping opts", "label").into());
            }
            self.lexer.advance()?;
            if self.lexer.take(Kind::Comma)?.is_none() && self.lexer.peek()?.kind != Kind::RightParen {
                return Err(self.lexer.unexpected("grouping opts", r#""," or ")""#).into());
            }
        }
    }

    /// `[…]`, `offset` and `@` behind an expression.
    fn behind(&mut self, start: usize, mut node: Node) -> Result<Node, ExpressionError> {
        loop {
            let token = self.lexer.peek()?;
            node = match token.kind {
                Kind::LeftBracket => self.brackets(token, node)?,
                Kind::Keyword if token.text.eq_ignore_ascii_case("offset") => {
                    self.lexer.advance()?;
                    self.offset(start, node)?
                }
                Kind::At => {
                    self.lexer.advance()?;
                    self.at(start, node)?
                }
                _ => return Ok(node),
            };
        }
    }

    fn brackets(&mut self, bracket: Token<'a>, node: Node) -> Result<Node, ExpressionError> {
        self.lexer.advance()?;
        let range_ms = self.positive_duration("subquery selector", "number or duration")?;
        if self.lexer.take(Kind::Colon)?.is_some() {
            if self.lexer.peek()?.kind != Kind::RightBracket {
                self.positive_duration("subquery selector", r#"number or duration or "]""#)?;
            }
            if self.lexer.take(Kind::RightBracket)?.is_none() {
                return Err(self.lexer.unexpected("subquery selector", r#""]""#).into());
            }
            return Ok(Node::Other);
        }
        if self.lexer.take(Kind::RightBracket)?.is_none() {
            return Err(self.lexer.unexpected("subquery or range", r#"":" or "]""#).into());
        }
        let mistake = match node {
            Node::Known { expression: Expression::Vector(vector), is_in_parens: false } => match vector {
                Vector { offset_ms: 0, at: None, .. } => {
                    return Ok(Node::of(Expression::Range { vector, range_ms }));
                }
                Vector { offset_ms: 0, .. } => "no @ modifiers allowed before range",
                _ => "no offset modifiers allowed before range",
            },
            _ => "ranges only allowed for vector selectors",
        };
        Err(self.lexer.error_at(bracket.start, mistake).into())
    }

    fn positive_duration(&mut self, context: &str, expected: &str) -> Result<i64, ExpressionError> {
        let token = self.lexer.peek()?;
        let Some(ms) = self.number_or_duration()? else {
            return Err(self.lexer.unexpected(context, expected).into());
        };
        if ms <= 0 {
            return Err(self.lexer.error_at(token.start, "duration must be greater than 0").into());
        }
        Ok(ms)
    }

    fn offset(&mut self, start: usize, node: Node) -> Result<Node, ExpressionError> {
        let sign = self.sign()?;
        let Some(ms) = self.number_or_duration()? else {
            return Err(self.lexer.unexpected("offset", "number or duration").into());
        };
        self.with_vector(start, node, "offset modifier", |vector| {
            if vector.offset_ms != 0 {
                return Err("offset may not be set multiple times");
            }
            vector.offset_ms = sign * ms;
            Ok(())
        })
    }

    fn at(&mut self, start: usize, node: Node) -> Result<Node, ExpressionError> {
        let token = self.lexer.peek()?;
        let at = if token.kind == Kind::Preprocessor {
            self.lexer.advance()?;
            if self.lexer.take(Kind::LeftParen)?.is_none() || self.lexer.take(Kind::RightParen)?.is_none() {
                return Err(self.lexer.unexpected("", "").into());
            }
            if token.text.eq_ignore_ascii_case("start") { At::Start } else { At::End }
        } else {
            let sign = self.sign()?;
            let Some(ms) = self.number_or_duration()? else {
                return Err(self.lexer.unexpected("@", "timestamp").into());
            };
            if ms == i64::MAX || ms == i64::MIN {
                let reason = "timestamp out of bounds for @ modifier";
                return Err(self.lexer.error_at(token.start, reason).into());
            }
            At::Time(sign * ms)
        };
        self.with_vector(start, node, "@ modifier", |vector| {
            if vector.at.replace(at).is_some() {
                return Err("@ <timestamp> may not be set multiple times");
            }
            Ok(())
        })
    }

    /// Changes the selector of an expression that has one and begins at `start`.
    fn with_vector(
        &mut self,
        start: usize,
        mut node: Node,
        what: &str,
        change: impl FnOnce(&mut Vector) -> Result<(), &'static str>,
    ) -> Result<Node, ExpressionError> {
        let changed = match &mut node {
            Node::Known {
                expression: Expression::Vector(vector) | Expression::Range { vector, .. },
                is_in_parens: false,
            } => change(vector).map_err(str::to_owned),
            Node::Known { .. } => Err(format!(
                "{what} must be preceded by an instant vector selector or range vector selector or a subquery"
            )),
            Node::Other => Ok(()),
        };
        changed.map_err(|reason| self.lexer.error_at(start, reason))?;
        Ok(node)
    }

    fn sign(&mut self) -> Result<i64, ExpressionError> {
        let token = self.lexer.peek()?;
        if token.kind == Kind::Operator && matches!(token.text, "+" | "-") {
            self.lexer.advance()?;
        }
        Ok(if token.text == "-" { -1 } else { 1 })
    }

    /// Milliseconds; `None` if neither a number nor a duration is next.
    fn number_or_duration(&mut self) -> Result<Option<i64>, ExpressionError> {
        if let Some(token) = self.lexer.take(Kind::Number)? {
            let seconds = number(token.text).unwrap_or(f64::NAN);
            return Ok(Some((seconds * 1000.0).round() as i64));
        }
        match self.lexer.take(Kind::Duration)? {
            Some(token) => self.duration_ms(token).map(Some),
            None => Ok(None),
        }
    }

    fn duration_ms(&self, token: Token<'a>) -> Result<i64, ExpressionError> {
        let duration = parse_duration(token.text).map_err(|_| {
            let reason = format!("not a valid duration string: {}", Quoted(token.text));
            self.lexer.error_at(token.start, reason)
        })?;
        Ok(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
    }

    fn take_word(&mut self, word: &str) -> Result<bool, ExpressionError> {
        let token = self.lexer.peek()?;
        let is_it = token.kind == Kind::Keyword && token.text.eq_ignore_ascii_case(word);
        if is_it {
            self.lexer.advance()?;
        }
        Ok(is_it)
    }

    fn descend(&mut self) -> Result<(), ExpressionError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(ExpressionError::NeedsEngine) } else { Ok(()) }
    }
}

impl Node {
    fn of(expression: Expression) -> Self {
        Self::Known { expression, is_in_parens: false }
    }
}

const STRENGTH_OF_PRODUCT: u8 = 5;

/// How strongly an operator binds; `None` for what is none.
fn strength(token: Token<'_>) -> Option<u8> {
    if token.kind == Kind::NotEqual {
        return Some(3);
    }
    if token.kind != Kind::Operator {
        return None;
    }
    Some(match token.text {
        "^" => 6,
        "*" | "/" | "%" => STRENGTH_OF_PRODUCT,
        "+" | "-" => 4,
        text if is_comparison(text) => 3,
        text if text.eq_ignore_ascii_case("atan2") => STRENGTH_OF_PRODUCT,
        text if text.eq_ignore_ascii_case("or") => 1,
        _ => 2,
    })
}

fn is_comparison(operator: &str) -> bool {
    matches!(operator, "==" | "!=" | "<" | "<=" | ">" | ">=")
}

fn known_number(node: &Node) -> Option<f64> {
    match node {
        Node::Known { expression: Expression::Number(number), .. } => Some(*number),
        _ => None,
    }
}

/// `None` for what is no arithmetic.
fn computed(operator: &str, left: f64, right: f64) -> Option<f64> {
    match operator {
        "+" => Some(left + right),
        "-" => Some(left - right),
        "*" => Some(left * right),
        "/" => Some(left / right),
        "%" => Some(left % right),
        "^" => Some(left.powf(right)),
        _ => None,
    }
}

#[cfg(test)]
#[path = "expression_tests.rs"]
mod tests;
