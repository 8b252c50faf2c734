//! Start times of OpenMetrics: the `_created` line of a counter, histogram or summary, which stands somewhere behind
//! its samples (`model/textparse/openmetricsparse.go`: `StartTimestamp`).
//!
//! Only used where start times are asked for. Prometheus looks ahead again from every sample; what was seen is kept
//! here, so that a family without such lines is not read once for each of its samples.

use crate::exposition::openmetrics::lexer::OpenMetricsLexer;
use crate::exposition::text::unquote;
use crate::exposition::token::Token;
use crate::metric_type::MetricType;

const CREATED_SUFFIX: &[u8] = b"_created";

/// A `_created` line.
#[derive(Clone, Copy, Debug)]
pub(in crate::exposition) struct CreatedLine<'page> {
    pub(in crate::exposition) series_text: &'page [u8],
    pub(in crate::exposition) start_time_ms: i64,
}

/// What looking ahead has shown.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::exposition) struct Ahead<'page> {
    /// Samples that end before this position have nothing nearer before them.
    pub(in crate::exposition) until: usize,
    /// `None`: their family ends without one.
    pub(in crate::exposition) line: Option<CreatedLine<'page>>,
    /// The line that belonged to the sample asked about last: those of its series behind it have it too.
    pub(in crate::exposition) last: Option<CreatedLine<'page>>,
}

/// Whether families of this type have such lines.
pub(in crate::exposition) fn has_start_time(metric_type: MetricType) -> bool {
    matches!(metric_type, MetricType::Counter | MetricType::Histogram | MetricType::Summary)
}

/// Whether the series of a text is named as these lines are.
pub(in crate::exposition) fn is_created(series_text: &[u8]) -> bool {
    name_of(series_text).ends_with(CREATED_SUFFIX)
}

/// Whether a sample belongs to a `_created` series: the name begins with the family's, which is `name_len` long, and
/// the labels are the same but for bounds.
pub(in crate::exposition) fn belongs(
    sample_text: &[u8],
    name_len: usize,
    created_text: &[u8],
    metric_type: MetricType,
) -> bool {
    let bound: &[u8] = match metric_type {
        MetricType::Histogram => b"le",
        MetricType::Summary => b"quantile",
        _ => b"",
    };
    let family = name_of(sample_text).get(..name_len);
    let labels = |text| Labels::of(text).filter(move |(name, _)| *name != bound);
    family.is_some()
        && family == name_of(created_text).strip_suffix(CREATED_SUFFIX)
        && labels(sample_text).eq(labels(created_text))
}

/// As spelled, without quotes.
fn name_of(series_text: &[u8]) -> &[u8] {
    let mut lexer = OpenMetricsLexer::new(series_text);
    if lexer.next_token() == Token::MName {
        return lexer.token();
    }
    let mut name: &[u8] = b"";
    loop {
        match lexer.next_token() {
            Token::QString => name = unquote(lexer.token()),
            // That was a label's.
            Token::Equal => name = b"",
            Token::Comma | Token::BraceClose if !name.is_empty() => return name,
            Token::Comma | Token::LName | Token::LValue => {}
            _ => return b"",
        }
    }
}

/// Names and values of a series text, as spelled.
struct Labels<'text> {
    lexer: OpenMetricsLexer<'text>,
}

impl<'text> Labels<'text> {
    fn of(series_text: &'text [u8]) -> Self {
        Self { lexer: OpenMetricsLexer::new(series_text) }
    }
}

impl<'text> Iterator for Labels<'text> {
    type Item = (&'text [u8], &'text [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let mut name: &[u8] = b"";
        loop {
            match self.lexer.next_token() {
                Token::LName | Token::QString => name = unquote(self.lexer.token()),
                Token::LValue => return Some((name, unquote(self.lexer.token()))),
                Token::MName | Token::BraceOpen | Token::Equal | Token::Comma => {}
                _ => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_belong_to_the_samples_of_their_family() {
        let check = |sample: &str, name_len, created: &str, metric_type, want| {
            let got = belongs(sample.as_bytes(), name_len, created.as_bytes(), metric_type);
            assert_eq!(got, want, "{sample} {created}");
        };
        check("a_total", 1, "a_created", MetricType::Counter, true);
        check("a_total{b=\"c\"}", 1, "a_created{b=\"c\"}", MetricType::Counter, true);
        check("a_total{b=\"c\"}", 1, "a_created", MetricType::Counter, false);
        check("a_total{le=\"c\"}", 1, "a_created", MetricType::Counter, false);
        check("a_bucket{x=\"y\",le=\"1\"}", 1, "a_created{x=\"y\"}", MetricType::Histogram, true);
        check("a{quantile=\"1\"}", 1, "a_created", MetricType::Summary, true);
        check("ab_total", 1, "ab_created", MetricType::Counter, false);
        check("a", 5, "a_created", MetricType::Counter, false);
        check("{\"a.b_total\",x=\"y\"}", 3, "{x=\"y\",\"a.b_created\"}", MetricType::Counter, true);
        check("{\"x\"=\"y\",\"a.b_total\"}", 3, "{\"a.b_created\",x=\"y\"}", MetricType::Counter, true);
    }
}
