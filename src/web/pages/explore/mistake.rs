//! Which series an expression names, or why it names none: in sentences, with the place marked.

use crate::query::Found;
use crate::query::expression::{At, Expression, ExpressionError, Vector};
use crate::web::pages::{cut, escape};
use scraped_engine::labels::selector::Selector;
use scraped_engine::labels::selector::error::ParseError;

/// What is longer before and behind a mistake is cut.
const MAX_CONTEXT_BYTES: usize = 1500;

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    /// 400 for what is no PromQL, 422 for what is more than a selector.
    pub(super) status: u16,
    /// Sentences, as HTML.
    pub(super) html: String,
}

/// What was found, or why nothing was looked for.
impl<T: Found> Found for Result<T, Mistake> {
    fn memory_bytes(&self) -> usize {
        self.as_ref().map_or_else(|mistake| mistake.html.len(), Found::memory_bytes)
    }
}

impl Mistake {
    /// A sentence about the question, which is text.
    pub(super) fn new(status: u16, sentence: &str) -> Self {
        Self { status, html: format!("<p class=down>{}</p>", escape(sentence)) }
    }

    fn at_its_place(expr: &str, error: &ParseError) -> Self {
        let (before, behind) = expr.split_at_checked(error.offset()).unwrap_or((expr, ""));
        let (marked, rest) = match behind.chars().next() {
            Some(c) => behind.split_at(c.len_utf8()),
            None => ("\u{2424}", ""),
        };
        let mut mistake = Self::new(400, error.reason());
        mistake.html.push_str(&format!(
            "<pre>{}<mark>{}</mark>{}</pre>",
            escape(&cut(before, MAX_CONTEXT_BYTES)),
            escape(marked),
            escape(&cut(rest, MAX_CONTEXT_BYTES))
        ));
        mistake
    }

    fn of_engine(base: &str) -> Self {
        let mut mistake =
            Self::new(422, "Functions and operators need PromQL's engine, which an agent has not.");
        mistake.html.push_str(&format!(
            "<p>Type a selector, or let a Prometheus read this box: with <code>{}/api/v1/read</code> in its remote_read it \
             answers all of PromQL over what is here.</p>",
            escape(base)
        ));
        mistake
    }
}

/// The series that an expression names, where the pages begin with `base`. For the query thread: patterns take their time, and
/// brackets their stack.
///
/// # Errors
/// What is wrong with it.
pub(super) fn selector_of(expr: &str, base: &str) -> Result<Selector, Mistake> {
    match Expression::parse(expr) {
        Ok(Expression::Vector(Vector { selector, offset_ms: 0, at: None::<At> })) => Ok(selector),
        Ok(Expression::Vector(_) | Expression::Range { .. }) => {
            let sentence = "The page has a range and an end of its own: leave out [...], offset and @.";
            Err(Mistake::new(422, sentence))
        }
        Ok(Expression::Number(_) | Expression::Text(_)) => {
            Err(Mistake::new(422, "This names no series: type the name of a metric, or a selector."))
        }
        Err(ExpressionError::Mistake(error)) => Err(Mistake::at_its_place(expr, &error)),
        Err(ExpressionError::NeedsEngine) => Err(Mistake::of_engine(base)),
    }
}
