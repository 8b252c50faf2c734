//! Parameters of questions, read as Prometheus does (`web/api/v1/api.go: parseTime, parseDuration, parseLimitParam`).

use crate::calendar::{civil_from_days, days_from_civil};
use crate::duration::parse_duration;
use crate::query::TIMEOUT;
use crate::query::error::QueryError;
use crate::web::serve::http::Request;
use scraped_engine::labels::quote::Quoted;
use scraped_engine::labels::selector::parser::parse_metric_selector;
use scraped_engine::labels::selector::{MAX_PATTERN_BYTES, PATTERNS_TOO_LARGE, Selector};
use std::ops::RangeInclusive;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// What is wrong with a request, in Prometheus' words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadParameter(pub(super) String);

impl BadParameter {
    pub(super) fn new(name: &str, why: &str) -> Self {
        Self(format!("invalid parameter {}: {why}", Quoted(name)))
    }
}

impl From<BadParameter> for QueryError {
    fn from(BadParameter(why): BadParameter) -> Self {
        Self::BadParameter(why)
    }
}

/// Milliseconds since the Unix epoch, from seconds or RFC 3339; `None` if the parameter is not given.
pub(super) fn time(request: &Request, name: &str) -> Result<Option<i64>, BadParameter> {
    match request.form_value(name).as_str() {
        "" => Ok(None),
        text => parse_time(text)
            .map(Some)
            .map_err(|why| BadParameter::new(name, &format!("invalid time value for '{name}': {why}"))),
    }
}

/// The range that `start` and `end` leave; `None` if neither is given.
pub(super) fn range(request: &Request) -> Result<Option<RangeInclusive<i64>>, BadParameter> {
    let (start, end) = (time(request, "start")?, time(request, "end")?);
    let is_given = start.is_some() || end.is_some();
    Ok(is_given.then(|| start.unwrap_or(i64::MIN)..=end.unwrap_or(i64::MAX)))
}

/// At most this many results; `None` for any number.
pub(super) fn limit(request: &Request) -> Result<Option<usize>, BadParameter> {
    let text = request.form_value("limit");
    if text.is_empty() {
        return Ok(None);
    }
    // Go's `strconv.Atoi`.
    let digits = text.strip_prefix(['+', '-']).unwrap_or(&text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let limit = text.parse::<i64>().map_err(|_| {
        let why = if is_number { "value out of range" } else { "invalid syntax" };
        BadParameter::new("limit", &format!("strconv.Atoi: parsing {}: {why}", Quoted(&text)))
    })?;
    match usize::try_from(limit) {
        Ok(limit) => Ok(Some(limit).filter(|limit| *limit > 0)),
        Err(_) => Err(BadParameter::new("limit", "limit must be non-negative")),
    }
}

/// Reads selectors; none of them is for every series. For the query thread: patterns take their time.
pub(super) fn selectors(texts: &[String]) -> Result<Vec<Selector>, String> {
    let selectors = any_selectors(texts)?;
    match selectors.iter().any(Selector::selects_all) {
        true => Err("match[] must contain at least one non-empty matcher".to_owned()),
        false => Ok(selectors),
    }
}

/// The same, for every series too.
pub(super) fn any_selectors(texts: &[String]) -> Result<Vec<Selector>, String> {
    let mut pattern_bytes = 0;
    let selector = |text: &String| {
        let selector = parse_metric_selector(text).map_err(|error| error.to_string())?;
        pattern_bytes += selector.pattern_bytes();
        match pattern_bytes > MAX_PATTERN_BYTES {
            true => Err(PATTERNS_TOO_LARGE.to_owned()),
            false => Ok(selector),
        }
    };
    texts.iter().map(selector).collect()
}

/// When a question that came now is given up.
pub(super) fn deadline() -> Instant {
    Instant::now() + TIMEOUT
}

/// Milliseconds since the Unix epoch.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Seconds with a fraction, or RFC 3339, as milliseconds.
pub(in crate::web) fn parse_time(text: &str) -> Result<i64, String> {
    if let Some(seconds) = go_float(text) {
        // Go's steps, one by one, for the sake of the last bit.
        let nanos = ((seconds.fract() * 1000.0).round() / 1000.0 * 1e9) as i64;
        return Ok((seconds.trunc() as i64).saturating_mul(1000).saturating_add(nanos / 1_000_000));
    }
    parse_rfc3339(text).ok_or_else(|| format!("cannot parse {} to a valid timestamp", Quoted(text)))
}

/// Nanoseconds, from seconds with a fraction, perhaps negative, or a duration with units.
pub(super) fn parse_nanos(text: &str) -> Result<i128, String> {
    if let Some(seconds) = go_float(text) {
        let nanos = seconds * 1e9;
        if nanos > i64::MAX as f64 || nanos < i64::MIN as f64 {
            return Err(format!("cannot parse {} to a valid duration. It overflows int64", Quoted(text)));
        }
        return Ok(nanos as i128);
    }
    let duration =
        parse_duration(text).map_err(|_| format!("cannot parse {} to a valid duration", Quoted(text)))?;
    Ok(duration.as_nanos() as i128)
}

/// As Go's `strconv.ParseFloat` reads the numbers that occur.
fn go_float(text: &str) -> Option<f64> {
    scraped_engine::float::parse(text.as_bytes()).ok()
}

fn parse_rfc3339(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| {
        let digits = text.get(range).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
        digits.parse::<i64>().ok()
    };
    let is_at = |at: usize, byte: u8| text.as_bytes().get(at) == Some(&byte);
    if !(is_at(4, b'-') && is_at(7, b'-') && is_at(10, b'T') && is_at(13, b':') && is_at(16, b':')) {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let days = days_from_civil(year, month, day);
    let is_date = civil_from_days(days) == (year, month, day);
    if !is_date || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let rest = text.get(19..)?;
    let (fraction, zone) = match rest.strip_prefix(['.', ',']) {
        Some(rest) => {
            let end = rest.find(|c: char| !c.is_ascii_digit()).filter(|end| *end > 0)?;
            rest.split_at(end)
        }
        None => ("", rest),
    };
    let ms = fraction.bytes().chain(*b"000").take(3).fold(0, |ms, digit| ms * 10 + i64::from(digit - b'0'));
    let offset_minutes = match zone.split_at_checked(1)? {
        ("Z", "") => 0,
        (sign @ ("+" | "-"), offset) => {
            let (hours, minutes) = offset.split_once(':')?;
            let two = |text: &str| {
                let is_two = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
                is_two.then(|| text.parse::<i64>().ok()).flatten()
            };
            let minutes = Some(two(hours)?).filter(|hours| *hours <= 24)? * 60
                + Some(two(minutes)?).filter(|minutes| *minutes < 60)?;
            if sign == "-" { -minutes } else { minutes }
        }
        _ => return None,
    };
    Some((((days * 24 + hour) * 60 + minute - offset_minutes) * 60 + second) * 1000 + ms)
}
