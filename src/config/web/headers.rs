//! `http_server_config.headers`: the few headers that every answer may carry, and what they may say.

use crate::config::client::header::{NOT_A_HEADER_VALUE, is_header_text};
use crate::config::text::fields::Field;

/// Each with the values that it may have; none: any.
const ALLOWED: [(&str, &[&str]); 5] = [
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
    ("Content-Security-Policy", &[]),
];

/// Reads the section; the words of a refusal are exporter-toolkit's.
pub(super) fn read_headers(field: &Field<'_>) -> Vec<(&'static str, String)> {
    let mut headers = Vec::new();
    for (name, field) in field.entries() {
        let Some((name, values)) = ALLOWED.iter().find(|(allowed, _)| *allowed == name) else {
            let names = ALLOWED.map(|(name, _)| name).join(", ");
            field.mistake(format!("HTTP header {name:?} can not be configured; those that can are {names}"));
            continue;
        };
        let Some(value) = field.text() else { continue };
        if !values.is_empty() && !values.contains(&value.as_str()) {
            let values: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
            let values = values.join(" ");
            field.mistake(format!(
                "invalid value for {name}. Expected one of: [{values}], but got: {value:?}"
            ));
        } else if !is_header_text(&value) {
            field.mistake(NOT_A_HEADER_VALUE);
        } else {
            headers.push((*name, value));
        }
    }
    headers
}
