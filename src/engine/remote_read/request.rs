//! `ReadRequest`: what is asked, and in which form the answer may come.

use crate::labels::Labels;
use crate::labels::selector::{MAX_PATTERN_BYTES, MatchType, Matcher, Selector};
use crate::protobuf::read;
use crate::remote_read::error::RequestError;
use std::ops::RangeInclusive;

/// Largest request, unpacked. One of Prometheus has some hundred bytes.
const MAX_REQUEST_BYTES: usize = 1 << 20;

/// Queries of one request; Prometheus sends one.
const MAX_QUERIES: usize = 100;

/// Matchers of one query.
const MAX_MATCHERS: usize = 1000;

/// What Prometheus' own `series` API says it asks for.
const SERIES_ONLY: &[u8] = b"series";

type Message<'request> = read::Message<'request, Request>;

/// The reader of requests.
#[derive(Clone, Copy, Debug)]
struct Request;

impl read::Reader for Request {
    type Error = RequestError;
}

/// A request.
#[derive(Debug)]
pub struct ReadRequest {
    /// Answered in this order.
    pub queries: Vec<ReadQuery>,
    /// The form of the answer.
    pub answer: AnswerType,
}

/// `ReadRequest.ResponseType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerType {
    /// One message with all samples.
    Samples,
    /// Frames of chunks.
    Chunks,
}

/// One query.
#[derive(Debug)]
pub struct ReadQuery {
    /// Series that it asks for.
    pub selector: Selector,
    /// Milliseconds since the Unix epoch, both ends included.
    pub range_ms: RangeInclusive<i64>,
    /// Whether it asks which series there are, and not for all of their samples.
    pub is_for_series: bool,
}

impl ReadRequest {
    /// Reads the body of a request. Its matchers speak of series as others see them, with these external labels; the
    /// selectors are for series as they are here.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub fn read(body: &[u8], external_labels: &Labels) -> Result<Self, RequestError> {
        let bytes = snap::raw::decompress_len(body).map_err(|_| RequestError::Snappy)?;
        if bytes > MAX_REQUEST_BYTES {
            return Err(RequestError::TooLong { bytes, limit: MAX_REQUEST_BYTES });
        }
        let unpacked = snap::raw::Decoder::new().decompress_vec(body).map_err(|_| RequestError::Snappy)?;
        let mut message = Message::new(&unpacked, "ReadRequest");
        let (mut queries, mut accepted) = (Vec::new(), Vec::new());
        let mut reader = QueryReader { external_labels, pattern_bytes: 0 };
        while let Some(field) = message.field()? {
            match field.number {
                1 if queries.len() == MAX_QUERIES => {
                    return Err(RequestError::TooMany { what: "queries", limit: MAX_QUERIES });
                }
                1 => queries.push(reader.query(field.message("Queries", "Query")?)?),
                2 => match field.integers("AcceptedResponseTypes")? {
                    read::Packed::One(number) => accepted.push(number as i32),
                    read::Packed::Many(mut numbers) => {
                        while !numbers.is_empty() {
                            accepted.push(numbers.varint()? as i32);
                        }
                    }
                },
                _ => {}
            }
        }
        Ok(Self { queries, answer: AnswerType::first_of(accepted)? })
    }
}

impl AnswerType {
    /// The first that there is (`NegotiateResponseType`).
    fn first_of(accepted: Vec<i32>) -> Result<Self, RequestError> {
        let known = |number: &i32| match number {
            0 => Some(Self::Samples),
            1 => Some(Self::Chunks),
            _ => None,
        };
        match accepted.iter().find_map(known) {
            Some(found) => Ok(found),
            None if accepted.is_empty() => Ok(Self::Samples),
            None => Err(RequestError::NoAnswerType(accepted)),
        }
    }
}

/// Reads queries one after the other.
struct QueryReader<'a> {
    external_labels: &'a Labels,
    /// Of all patterns until now.
    pattern_bytes: usize,
}

impl QueryReader<'_> {
    fn query(&mut self, mut message: Message<'_>) -> Result<ReadQuery, RequestError> {
        let (mut start_ms, mut end_ms, mut is_for_series) = (0, 0, false);
        let mut matchers = Vec::new();
        while let Some(field) = message.field()? {
            match field.number {
                1 => start_ms = field.integer("StartTimestampMs")? as i64,
                2 => end_ms = field.integer("EndTimestampMs")? as i64,
                3 if matchers.len() == MAX_MATCHERS => {
                    return Err(RequestError::TooMany { what: "matchers", limit: MAX_MATCHERS });
                }
                3 => matchers.push(self.matcher(field.message("Matchers", "LabelMatcher")?)?),
                4 => is_for_series = function(field.message("Hints", "ReadHints")?)? == SERIES_ONLY,
                _ => {}
            }
        }
        Ok(ReadQuery { selector: Selector::of(matchers), range_ms: start_ms..=end_ms, is_for_series })
    }

    fn matcher(&mut self, mut message: Message<'_>) -> Result<Matcher, RequestError> {
        let (mut number, mut name, mut value): (u64, &[u8], &[u8]) = (0, b"", b"");
        while let Some(field) = message.field()? {
            match field.number {
                1 => number = field.integer("Type")?,
                2 => name = field.bytes("Name")?,
                3 => value = field.bytes("Value")?,
                _ => {}
            }
        }
        let match_type = match number {
            0 => MatchType::Equal,
            1 => MatchType::NotEqual,
            2 => MatchType::Like,
            3 => MatchType::NotLike,
            _ => return Err(RequestError::UnknownMatcher),
        };
        let text = |bytes| std::str::from_utf8(bytes).map_err(|_| RequestError::NotUtf8);
        let (name, value) = (text(name)?, text(value)?);
        // The reader sees this value at each series without one of its own. Prometheus takes care of that for equality alone
        // (`filterExtLabelsFromMatchers`).
        let matcher = Matcher::new(match_type, name, value)?.with_absent(self.external_labels.get(name));
        self.pattern_bytes += matcher.pattern_bytes();
        if self.pattern_bytes > MAX_PATTERN_BYTES {
            return Err(RequestError::PatternsTooLarge);
        }
        Ok(matcher)
    }
}

/// The function or aggregation that the samples are for.
fn function(mut message: Message<'_>) -> Result<&[u8], RequestError> {
    let mut function: &[u8] = b"";
    while let Some(field) = message.field()? {
        if field.number == 2 {
            function = field.bytes("Func")?;
        }
    }
    Ok(function)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protobuf::write::{push_bytes, push_number, tag};
    use crate::protobuf::{BYTES, VARINT};

    fn matcher(number: u64, name: &str, value: &str) -> Vec<u8> {
        let mut out = Vec::new();
        push_number(&mut out, tag(1, VARINT), number);
        push_bytes(&mut out, tag(2, BYTES), name.as_bytes());
        push_bytes(&mut out, tag(3, BYTES), value.as_bytes());
        out
    }

    fn query(matchers: &[Vec<u8>], function: &str) -> Vec<u8> {
        let mut out = Vec::new();
        push_number(&mut out, tag(1, VARINT), 1000);
        push_number(&mut out, tag(2, VARINT), 2000);
        matchers.iter().for_each(|matcher| push_bytes(&mut out, tag(3, BYTES), matcher));
        let mut hints = Vec::new();
        push_number(&mut hints, tag(1, VARINT), 15_000);
        push_bytes(&mut hints, tag(2, BYTES), function.as_bytes());
        push_bytes(&mut out, tag(4, BYTES), &hints);
        out
    }

    fn request(queries: &[Vec<u8>], accepted: &[u64]) -> Vec<u8> {
        let mut out = Vec::new();
        queries.iter().for_each(|query| push_bytes(&mut out, tag(1, BYTES), query));
        // Not packed: zeros are written.
        accepted.iter().for_each(|number| out.extend([tag(2, VARINT), *number as u8]));
        out
    }

    fn read(message: &[u8]) -> Result<ReadRequest, RequestError> {
        let block = snap::raw::Encoder::new().compress_vec(message).unwrap();
        ReadRequest::read(&block, &Labels::from_pairs([("site", "box")]))
    }

    #[test]
    fn a_request_is_read_as_it_was_written() {
        let up = query(&[matcher(0, "__name__", "up"), matcher(2, "job", "a.*")], "rate");
        let asked = read(&request(&[up, query(&[matcher(1, "x", "y")], "series")], &[1, 0])).unwrap();
        assert_eq!(asked.answer, AnswerType::Chunks);
        let [up, series] = &asked.queries[..] else { panic!("{asked:?}") };
        assert_eq!((&up.range_ms, up.is_for_series, series.is_for_series), (&(1000..=2000), false, true));
        let matches = |query: &ReadQuery, labels: &[(&str, &'static str)]| {
            query.selector.matches(|name| labels.iter().find(|(it, _)| *it == name).map_or("", |it| it.1))
        };
        assert!(matches(up, &[("__name__", "up"), ("job", "abc")]));
        assert!(!matches(up, &[("__name__", "up"), ("job", "b")]));
        assert!(matches(series, &[]) && !matches(series, &[("x", "y")]));
    }

    #[test]
    fn matchers_are_for_series_as_the_reader_sees_them() {
        let check = |matcher: Vec<u8>, site: &'static str, want: bool| {
            let asked = read(&request(&[query(&[matcher], "")], &[])).unwrap();
            assert_eq!(asked.queries[0].selector.matches(|_| site), want, "{site:?}");
        };
        check(matcher(0, "site", "box"), "", true);
        check(matcher(0, "site", "box"), "box", true);
        check(matcher(0, "site", "other"), "", false);
        check(matcher(0, "site", "other"), "other", true);
        check(matcher(0, "site", ""), "", false);
        check(matcher(1, "site", ""), "", true);
        check(matcher(1, "site", "box"), "", false);
        check(matcher(2, "site", "box|other"), "", true);
        check(matcher(3, "site", "b.*"), "", false);
        check(matcher(3, "site", "b.*"), "other", true);
    }

    #[test]
    fn the_first_answer_that_there_is_is_taken() {
        let check = |accepted: &[u64], want| assert_eq!(read(&request(&[], accepted)).unwrap().answer, want);
        check(&[], AnswerType::Samples);
        check(&[0, 1], AnswerType::Samples);
        check(&[7, 1, 0], AnswerType::Chunks);
        let refused = read(&request(&[], &[7])).unwrap_err().to_string();
        assert!(
            refused.ends_with("types: [7]; supported: map[SAMPLES:{} STREAMED_XOR_CHUNKS:{}]"),
            "{refused}"
        );
    }

    #[test]
    fn what_is_wrong_is_said_and_costs_little() {
        let check = |refused: Result<ReadRequest, RequestError>, want: &str| {
            assert_eq!(refused.unwrap_err().to_string(), want);
        };
        check(ReadRequest::read(b"not snappy", &Labels::default()), "snappy: corrupt input");
        let long = [0xff, 0xff, 0xff, 0x7f, 0];
        check(
            ReadRequest::read(&long, &Labels::default()),
            "snappy: decoded length 268435455 exceeds limit 1048576",
        );
        check(read(&[0xff]), "unexpected EOF");
        check(read(&[8, 1]), "proto: wrong wireType = 0 for field Queries");
        check(read(&request(&[query(&[matcher(4, "a", "b")], "")], &[])), "invalid matcher type");
        check(
            read(&request(&[query(&[matcher(2, "a", "(")], "")], &[])),
            "error parsing regexp: missing closing ): `(`",
        );
        check(
            read(&request(&vec![Vec::new(); MAX_QUERIES + 1], &[])),
            "more than 100 queries in a request (limit: 100)",
        );
        check(
            read(&request(&[query(&vec![matcher(0, "a", ""); MAX_MATCHERS + 1], "")], &[])),
            "more than 1000 matchers in a request (limit: 1000)",
        );
        check(
            read(&request(&[query(&vec![matcher(2, "a", "\\pL{200}"); 900], "")], &[])),
            crate::labels::selector::PATTERNS_TOO_LARGE,
        );
    }
}
