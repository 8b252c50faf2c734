//! Which headers may be set, and to what.

use crate::config::text::fields::Field;

/// Headers that the scraper sets itself.
pub(in crate::config) const RESERVED_HEADERS: [&str; 18] = [
    "authorization",
    "host",
    "content-encoding",
    "content-length",
    "content-type",
    "user-agent",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "www-authenticate",
    "accept-encoding",
    "x-prometheus-remote-write-version",
    "x-prometheus-remote-read-version",
    "x-prometheus-scrape-timeout-seconds",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-content-sha256",
];

pub(crate) const NOT_A_HEADER_VALUE: &str = "a control character cannot stand in a header";

/// What can be sent as the value of a header.
pub fn is_header_text(text: &str) -> bool {
    !text.bytes().any(|byte| (byte < b' ' && byte != b'\t') || byte == 0x7f)
}

pub(in crate::config) fn header_value(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    if !is_header_text(text.trim_end_matches('\n')) {
        field.mistake(NOT_A_HEADER_VALUE);
        return None;
    }
    if !is_header_text(&text) {
        // Prometheus takes it and fails with every request.
        field.note(format!(
            "{} ends in a line end, so that no request can be sent; write |- in place of |, or the text in one line",
            field.path()
        ));
    }
    Some(text)
}

pub(in crate::config) fn check_header_name(field: &Field<'_>, name: &str) {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        field.mistake(format!("{name:?} is not a valid header name"));
    }
}
