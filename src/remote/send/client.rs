//! One request to an endpoint, and what its answer means.
//!
//! Runs on a shard; a client keeps one connection. Which answers are final follows Prometheus'
//! `storage/remote/client.go`; what no one defined, such as a redirect that leads nowhere, means "later", so that
//! nothing is lost to it.

use std::borrow::Cow;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::calendar::http_date;
use crate::clock::Clock;
use crate::config::client::secret::Secret;
use crate::config::remote_write::RemoteWriteConfig;
use crate::http::address::url::Url;
use crate::http::dial::dialer::Turn;
use crate::http::error::{HttpError, HttpErrorKind};
use crate::http::wire::response::Answer;
use crate::http::{Canceller, Headers, HttpClient, USER_AGENT};
use scraped_engine::encode::Message;

/// Headers of every request.
const FIXED_HEADERS: [(&str, &str); 2] = [USER_AGENT, ("Content-Encoding", "snappy")];

/// Of an answer's body so much is shown (Prometheus: `maxErrMsgLen`).
const SHOWN_BODY_BYTES: usize = 512;

/// What an endpoint that took a 2.0 request for one says of it (`storage/remote/stats.go`).
const SAMPLES_WRITTEN_HEADER: &str = "X-Prometheus-Remote-Write-Samples-Written";
const HISTOGRAMS_WRITTEN_HEADER: &str = "X-Prometheus-Remote-Write-Histograms-Written";
const EXEMPLARS_WRITTEN_HEADER: &str = "X-Prometheus-Remote-Write-Exemplars-Written";

/// How much of a request an endpoint says it has written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Floats.
    pub samples: u64,
    /// Native histograms.
    pub histograms: u64,
    /// Exemplars.
    pub exemplars: u64,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    /// The endpoint has it, or as much of it as it says.
    Accepted {
        /// The status code.
        status: u16,
        /// `None` without a word on it.
        written: Option<Written>,
    },
    /// Not now: the same again after a pause.
    Later {
        /// What happened.
        error: String,
        /// `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// Not like this: the same again would not be taken either.
    Refused {
        /// The status code.
        status: u16,
        /// What the endpoint said.
        error: String,
        /// How much of it was written all the same; `None` without a word on it.
        written: Option<Written>,
    },
    /// The answer is about the endpoint and not about what was sent: the same again when that is mended.
    WrongEndpoint {
        /// What happened, and which key of the configuration to look at.
        error: String,
        /// `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// The endpoint does not speak 2.0.
    OnlyV1 {
        /// What happened.
        error: String,
    },
    /// Cancelled: no one knows whether the endpoint has it.
    Cancelled,
}

impl SendOutcome {
    /// The status of a request that was taken, or what happened; `None` without an answer.
    pub fn answer(&self) -> Option<Result<u16, &str>> {
        match self {
            SendOutcome::Accepted { status, .. } => Some(Ok(*status)),
            SendOutcome::Later { error, .. }
            | SendOutcome::Refused { error, .. }
            | SendOutcome::WrongEndpoint { error, .. }
            | SendOutcome::OnlyV1 { error } => Some(Err(error)),
            SendOutcome::Cancelled => None,
        }
    }
}

/// A connection to an endpoint.
#[derive(Debug)]
pub struct Client {
    http: HttpClient,
    clock: Clock,
    timeout: Duration,
    retry_on_http_429: Option<bool>,
}

impl Client {
    /// A client of an endpoint; nothing is opened yet. Those of one endpoint share `turn`. What the endpoint says of the time
    /// goes to `clock`.
    pub fn new(config: &RemoteWriteConfig, turn: &Turn, clock: &Clock) -> Self {
        // Tenants and keys of APIs, as often as not.
        let private = config
            .headers
            .iter()
            .map(|(name, value)| (Cow::Owned(name.clone()), Secret::new(value.as_str())))
            .collect();
        let headers = Headers { fixed: &FIXED_HEADERS, others: Vec::new(), private };
        // Checked when the configuration was read.
        let url = Url::parse(&config.url).unwrap_or_else(|cause| unreachable!("BUG: not a URL: {cause}"));
        let url = config.userinfo.as_ref().map_or(url.clone(), |userinfo| url.with_userinfo(userinfo));
        let http = match config.round_robin_dns {
            true => HttpClient::in_turn(turn.clone(), url, headers, &config.http_client),
            false => HttpClient::new(url, headers, &config.http_client),
        };
        let (clock, timeout) = (clock.clone(), config.remote_timeout);
        Self { http, clock, timeout, retry_on_http_429: config.queue.retry_on_http_429 }
    }

    /// Ends what runs, from another thread.
    pub fn canceller(&self) -> Canceller {
        self.http.canceller()
    }

    /// Sends a compressed message; `attempt` counts from 0.
    pub fn send(&mut self, message: Message, body: &[u8], attempt: u32) -> SendOutcome {
        let attempt_text = attempt.to_string();
        let mut headers = vec![
            ("Content-Type", message.content_type()),
            ("X-Prometheus-Remote-Write-Version", message.version()),
        ];
        if attempt > 0 {
            headers.push(("Retry-Attempt", &attempt_text));
        }
        match self.http.post(&headers, body, Instant::now() + self.timeout) {
            Err(error) if error.kind == HttpErrorKind::Cancelled => SendOutcome::Cancelled,
            Err(HttpError {
                kind: HttpErrorKind::ProxyRefused { sentence, is_login, retry_after }, ..
            }) => {
                let wrong = if is_login { PROXY_LOGIN } else { PROXY_REFUSED };
                let retry_after = retry_after.and_then(|text| self::retry_after(&text, SystemTime::now()));
                SendOutcome::WrongEndpoint { error: format!("{sentence}; {wrong}"), retry_after }
            }
            Err(error) => SendOutcome::Later { error: error.to_string(), retry_after: None },
            Ok(answer) => {
                self.clock.note_server(|| answer.header("Date"));
                outcome(&answer, message, self.retry_on_http_429)
            }
        }
    }
}

fn outcome(answer: &Answer, message: Message, retry_on_http_429: Option<bool>) -> SendOutcome {
    let status = answer.status();
    let written = written(|name| answer.header(name));
    let retry_after = answer.header("Retry-After").and_then(|text| retry_after(text, SystemTime::now()));
    let body = answer.body.get(..SHOWN_BODY_BYTES).unwrap_or(&answer.body);
    let body = String::from_utf8_lossy(body);
    let body = body.trim_end();
    let reason = answer.reason();
    let space = if reason.is_empty() { "" } else { " " };
    let error = format!("server returned HTTP status {status}{space}{reason}: {body}");
    match status {
        200..=299 if is_html(answer.header("Content-Type").unwrap_or_default(), &answer.body) => {
            let error = format!(
                "server returned HTTP status {status}{space}{reason} with an HTML page, which looks like the login page \
                 of a network and not like remote write: log in there, or look at url of its remote_write entry"
            );
            SendOutcome::WrongEndpoint { error, retry_after }
        }
        200..=299 if message == Message::V2 && written.is_none() => SendOutcome::OnlyV1 {
            error: format!("{status}{space}{reason} without the header {SAMPLES_WRITTEN_HEADER}"),
        },
        200..=299 => SendOutcome::Accepted { status, written },
        415 if message == Message::V2 => SendOutcome::OnlyV1 { error },
        429 if retry_on_http_429 == Some(true) => SendOutcome::Later { error, retry_after },
        429 if retry_on_http_429 == Some(false) => SendOutcome::Refused { status, error, written },
        400..=499 => match what_is_wrong(status) {
            None => SendOutcome::Refused { status, error, written },
            Some(wrong) => SendOutcome::WrongEndpoint { error: format!("{error}; {wrong}"), retry_after },
        },
        500..=599 => SendOutcome::Later { error, retry_after },
        _ => SendOutcome::Later { error, retry_after: None },
    }
}

/// What is wrong with a proxy that wants credentials, or others.
const PROXY_LOGIN: &str = "the proxy does not accept the credentials: look at user and password in proxy_url, or at \
                           proxy_connect_header, of its remote_write entry";

/// What is wrong with one that leads no one there.
const PROXY_REFUSED: &str = "the proxy does not let it through: look at proxy_url, proxy_connect_header and no_proxy of its remote_write entry";

/// What is wrong with the endpoint, and where to look; `None` when it is what was sent. Prometheus drops the samples in
/// each of these cases.
fn what_is_wrong(status: u16) -> Option<&'static str> {
    Some(match status {
        400 | 409 | 413 | 422 => return None,
        401 | 403 => {
            "it does not accept the credentials: look at basic_auth, authorization, oauth2, sigv4 or azuread of its \
             remote_write entry"
        }
        407 => PROXY_LOGIN,
        408 => {
            "it waited too long for the request: the link may be too slow for max_samples_per_send in queue_config of its \
             remote_write entry"
        }
        415 => "it does not take this message: look at protobuf_message and url of its remote_write entry",
        429 => {
            "it wants fewer requests: look at its limits, and at retry_on_http_429 in queue_config of its remote_write \
             entry"
        }
        _ => "nothing takes remote write there: look at url of its remote_write entry",
    })
}

/// Whether an answer is a page for people. An empty one is not, whatever type it claims to have.
fn is_html(content_type: &str, body: &[u8]) -> bool {
    const STARTS: [&str; 4] = ["<!doctype html", "<html", "<head", "<script"];
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii();
    let content_type = content_type.split(';').next().unwrap_or_default().trim();
    let claims =
        ["text/html", "application/xhtml+xml"].iter().any(|it| content_type.eq_ignore_ascii_case(it));
    let starts =
        |start: &str| body.get(..start.len()).is_some_and(|body| body.eq_ignore_ascii_case(start.as_bytes()));
    (claims && !body.is_empty()) || STARTS.iter().any(|start| starts(start))
}

/// One header is enough to be believed; one that is missing, or no number, means zero.
fn written<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Option<Written> {
    let names = [SAMPLES_WRITTEN_HEADER, HISTOGRAMS_WRITTEN_HEADER, EXEMPLARS_WRITTEN_HEADER];
    let values = names.map(|name| header(name).filter(|text| !text.is_empty()));
    if values.iter().all(Option::is_none) {
        return None;
    }
    let [samples, histograms, exemplars] =
        values.map(|text| text.and_then(|text| text.trim().parse().ok()).unwrap_or_default());
    Some(Written { samples, histograms, exemplars })
}

/// `Retry-After`: seconds, or a date in the format of RFC 9110 that all senders use.
fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(u64::from(seconds)));
    }
    let then_s = http_date(text)?;
    let now_s = now.duration_since(UNIX_EPOCH).ok()?.as_secs();
    then_s.checked_sub(now_s).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::{Written, is_html, retry_after, what_is_wrong, written};
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn dates_and_seconds_are_understood() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_700);
        let check = |text: &str, seconds: Option<u64>| {
            assert_eq!(retry_after(text, now), seconds.map(Duration::from_secs), "{text}");
        };
        check("7", Some(7));
        check(" 0 ", Some(0));
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(77));
        check("Sun, 06 Nov 1993 08:49:37 GMT", None);
        check("-1", None);
    }

    #[test]
    fn a_page_for_people_is_no_acknowledgement() {
        for (content_type, body) in [
            ("text/html", "Login"),
            ("Text/HTML; charset=utf-8", "\n<p>Welcome</p>"),
            ("", "<!DOCTYPE html><title>Hotel</title>"),
            ("text/plain", "\u{feff} <HTML lang=en>"),
            ("application/octet-stream", "<script>location='/login'</script>"),
        ] {
            assert!(is_html(content_type, body.as_bytes()), "{content_type:?} {body:?}");
        }
        for (content_type, body) in [
            ("text/html; charset=utf-8", ""),
            ("text/html", " \r\n"),
            ("", ""),
            ("application/json", "{\"status\":\"success\"}"),
            ("text/plain; charset=utf-8", "OK"),
            ("application/xml", "<ok/>"),
        ] {
            assert!(!is_html(content_type, body.as_bytes()), "{content_type:?} {body:?}");
        }
    }

    #[test]
    fn an_endpoint_that_is_wrong_is_not_a_sample_that_is_wrong() {
        for (status, key) in [
            (401, "basic_auth"),
            (403, "authorization"),
            (404, "url"),
            (405, "url"),
            (407, "proxy_url"),
            (408, "max_samples_per_send"),
            (410, "url"),
            (415, "protobuf_message"),
            (429, "retry_on_http_429"),
        ] {
            assert!(what_is_wrong(status).is_some_and(|wrong| wrong.contains(key)), "{status}");
        }
        for status in [400, 409, 413, 422] {
            assert_eq!(what_is_wrong(status), None, "{status}");
        }
    }

    #[test]
    fn one_header_confirms_what_was_written() {
        let check = |headers: &[(&str, &str)], expected: Option<(u64, u64, u64)>| {
            let found = written(|name| {
                let name = name.strip_prefix("X-Prometheus-Remote-Write-").unwrap();
                headers.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
            });
            let expected =
                expected.map(|(samples, histograms, exemplars)| Written { samples, histograms, exemplars });
            assert_eq!(found, expected, "{headers:?}");
        };
        check(&[], None);
        check(&[("Samples-Written", "")], None);
        check(&[("Samples-Written", "7")], Some((7, 0, 0)));
        check(&[("Histograms-Written", "2"), ("Exemplars-Written", "3")], Some((0, 2, 3)));
        check(&[("Samples-Written", "many")], Some((0, 0, 0)));
        check(&[("Samples-Written", "-1"), ("Exemplars-Written", "1")], Some((0, 0, 1)));
    }
}
