//! Names whose values are secrets wherever they stand: headers, parameters of URLs.

/// What stands in place of a secret, as in Prometheus.
pub const SECRET_TOKEN: &str = "<secret>";

/// What names of parameters have in them whose values must not be seen.
pub(crate) const SECRET_NAMES: [&str; 9] =
    ["apikey", "api_key", "api-key", "access_key", "token", "secret", "passw", "credential", "signature"];

/// And these, as a whole.
pub(crate) const WHOLE_SECRET_NAMES: [&str; 6] = ["key", "pwd", "pass", "sig", "authorization", "cookie"];

pub(crate) fn is_secret_name(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    SECRET_NAMES.iter().any(|part| lower.contains(part)) || WHOLE_SECRET_NAMES.contains(&lower.as_str())
}

/// The value of a header or a parameter as it is printed.
pub(in crate::config) fn shown_value<'a>(name: &str, value: &'a str) -> &'a str {
    if is_secret_name(name) && !value.is_empty() { SECRET_TOKEN } else { value }
}

/// A URL, or a part of one, with `xxxxx` for the values of parameters that are named like secrets.
pub fn without_secret_parameters(url: &str) -> String {
    let Some((before, query)) = url.split_once('?') else { return url.to_owned() };
    let shown = |parameter: &str| match parameter.split_once('=') {
        Some((name, value)) if !value.is_empty() => {
            if is_secret_name(name) {
                format!("{name}=xxxxx")
            } else {
                parameter.to_owned()
            }
        }
        _ => parameter.to_owned(),
    };
    format!("{before}?{}", query.split('&').map(shown).collect::<Vec<_>>().join("&"))
}
