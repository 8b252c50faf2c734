//! What is asked for on the page: a selector and a range of time. Parameters are those of Prometheus' page `/graph`, so that
//! its links lead here, too.

use crate::duration::{format_duration, parse_duration};
use crate::percent::encoded;
use crate::web::api::query::params::parse_time;
use crate::web::serve::http::Request;
use std::ops::RangeInclusive;
use std::time::Duration;

/// What the form offers.
pub(super) const RANGES: [&str; 6] = ["15m", "1h", "6h", "1d", "7d", "30d"];
const USUAL_RANGE: Duration = Duration::from_secs(60 * 60);
/// A chart of less has no columns.
const LEAST_RANGE: Duration = Duration::from_secs(1);
/// Ten years are for ever.
const LONGEST_RANGE: Duration = Duration::from_secs(10 * 365 * 86_400);
/// From 1970 to the end of the year 9999.
const TIMES_MS: RangeInclusive<i64> = 0..=253_402_300_799_999;

/// A selector over a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// As typed, without blanks around it.
    pub(super) expr: String,
    pub(super) range: Duration,
    /// The end in milliseconds since the Unix epoch; `None`: now.
    pub(super) end_ms: Option<i64>,
}

impl Question {
    /// Reads the parameters; with those that cannot be read left out, and a sentence about them.
    pub(super) fn of(request: &Request) -> (Self, Option<String>) {
        let mut mistake = None;
        let range = match request.query_value("g0.range_input").trim() {
            "" => USUAL_RANGE,
            text => {
                parse_duration(text).map(|it| it.clamp(LEAST_RANGE, LONGEST_RANGE)).unwrap_or_else(|error| {
                    mistake = Some(format!("range: {error}"));
                    USUAL_RANGE
                })
            }
        };
        let end_ms = match request.query_value("g0.end_input").trim() {
            "" => None,
            text => match parse_end(text) {
                Some(end_ms) => Some(end_ms),
                None => {
                    mistake =
                        Some(format!("end: {text:?} is no time; write it as 2026-01-31 12:30:00 (UTC)"));
                    None
                }
            },
        };
        (Self { expr: request.query_value("g0.expr").trim().to_owned(), range, end_ms }, mistake)
    }

    pub(super) fn range_ms(&self, now_ms: i64) -> RangeInclusive<i64> {
        let end_ms = self.end_ms.unwrap_or(now_ms);
        end_ms - self.length_ms()..=end_ms
    }

    pub(super) fn length_ms(&self) -> i64 {
        i64::try_from(self.range.as_millis()).unwrap_or(i64::MAX)
    }

    /// Of the form, and of its links.
    pub(super) fn range_text(&self) -> String {
        format_duration(self.range)
    }

    /// `2026-01-31 12:30:00`; empty for now.
    pub(super) fn end_text(&self) -> String {
        self.end_ms.map(time_text).unwrap_or_default()
    }

    /// The link that shows this, behind the site's base.
    pub(super) fn link(&self) -> String {
        let mut link = format!("/graph?g0.expr={}&g0.range_input={}", encoded(&self.expr), self.range_text());
        if self.end_ms.is_some() {
            link.push_str(&format!("&g0.end_input={}", encoded(&self.end_text())));
        }
        link
    }
}

/// The link that shows a selector over the usual range, behind the site's base.
pub(in crate::web::pages) fn link_to(expr: &str) -> String {
    Question { expr: expr.to_owned(), range: USUAL_RANGE, end_ms: None }.link()
}

/// A time in UTC, in whole seconds.
pub(super) fn time_text(ts_ms: i64) -> String {
    let text = crate::calendar::rfc3339_ms(ts_ms);
    text.split('.').next().unwrap_or_default().replace('T', " ")
}

/// `2026-01-31`, with or without a time of day, with or without a zone (UTC is meant then); or seconds since the epoch.
fn parse_end(text: &str) -> Option<i64> {
    let time = text.replacen(' ', "T", 1);
    let whole = match time.len() {
        10 => format!("{time}T00:00:00Z"),
        16 => format!("{time}:00Z"),
        19 => format!("{time}Z"),
        _ => time,
    };
    parse_time(text).or_else(|_| parse_time(&whole)).ok().filter(|ts_ms| TIMES_MS.contains(ts_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(query: &str) -> (Question, Option<String>) {
        Question::of(&Request { query: query.to_owned(), ..Request::default() })
    }

    #[test]
    fn links_of_prometheus_are_understood_and_come_back() {
        let query = "g0.expr=%20up%7Bjob%3D%22a%20b%22%7D&g0.tab=0&g0.range_input=2h30m&g0.end_input=2026-01-02%2003%3A04%3A05";
        let (question, mistake) = asked(query);
        assert_eq!(mistake, None);
        let want = Question {
            expr: "up{job=\"a b\"}".to_owned(),
            range: Duration::from_secs(9000),
            end_ms: Some(1_767_323_045_000),
        };
        assert_eq!(question, want);
        assert_eq!(question.range_ms(0), 1_767_314_045_000..=1_767_323_045_000);
        let link = question.link();
        let (path, query) = link.split_once('?').unwrap();
        assert_eq!((path, asked(query)), ("/graph", (want, None)));
        assert_eq!(asked(""), (Question { expr: String::new(), range: USUAL_RANGE, end_ms: None }, None));
    }

    #[test]
    fn ends_are_read_as_people_write_them() {
        for text in [
            "2026-01-02 00:00:00",
            "2026-01-02",
            "2026-01-02T00:00",
            "2026-01-02T00:00:00.000Z",
            "1767312000",
            "1767312000.0",
        ] {
            assert_eq!(parse_end(text), Some(1_767_312_000_000), "{text}");
        }
        for text in ["yesterday", "2026-02-30", "-1e300", "1e300", "2026-01-02 25:00", "é026-01-02", "12:30"]
        {
            assert_eq!(parse_end(text), None, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let (question, mistake) = asked("g0.expr=up&g0.range_input=soon&g0.end_input=");
        assert_eq!(question.range, USUAL_RANGE);
        assert!(mistake.is_some_and(|it| it.starts_with("range: ")), "{question:?}");
        assert!(asked("g0.end_input=never").1.is_some_and(|it| it.starts_with("end: \"never\"")));
        assert_eq!(asked("g0.range_input=0").0.range, LEAST_RANGE);
        assert_eq!(asked("g0.range_input=200y").0.range, LONGEST_RANGE);
        assert_eq!(asked("g0.end_input=0&g0.range_input=1h").0.range_ms(7), -3_600_000..=0);
    }
}
