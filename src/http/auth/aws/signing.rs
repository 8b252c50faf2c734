//! Signatures of Amazon's cloud, version 4: over method, path, query, some headers and the body of a request.
//!
//! After `aws/signer/v4` of Amazon's SDK for Go, which Prometheus signs with. Opens no connection and reads no clock.

use std::fmt::Write;

use ring::digest::{SHA256, digest};
use ring::hmac::{HMAC_SHA256, Key, sign as hmac};
use scraped_engine::sorting::sort;

use crate::calendar::civil_from_days;
use crate::config::client::secret::Secret;
use crate::http::address::escape::{escape, escape_query};
use crate::http::address::path::cleaned;
use crate::percent;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Headers that proxies may change are not signed.
const UNSIGNED_HEADERS: [&str; 1] = ["user-agent"];

/// What is signed of a request.
#[derive(Clone, Debug)]
pub struct Unsigned<'a> {
    /// `POST`.
    pub method: &'a str,
    /// As `Host` has it.
    pub host: &'a str,
    /// Already escaped.
    pub path_and_query: &'a str,
    /// In any order; `Host` and `Content-Length` are not among them.
    pub headers: &'a [(&'a str, &'a str)],
    /// As it is sent.
    pub body: &'a [u8],
}

/// Who signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// Its name.
    pub access_key: String,
    /// What it signs with.
    pub secret_key: Secret,
    /// Of keys that are good for a while.
    pub session_token: Option<Secret>,
}

/// Where and when a signature counts.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// `eu-central-1`.
    pub region: &'a str,
    /// `aps`.
    pub service: &'a str,
    /// Seconds since the epoch.
    pub at_s: i64,
}

/// The header lines that a request needs more, name and value.
pub fn signed(request: &Unsigned<'_>, keys: &Keys, scope: &Scope<'_>) -> Vec<(&'static str, Secret)> {
    let (day, time) = day_and_time(scope.at_s);
    let mut headers: Vec<(String, String)> = request
        .headers
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), without_excess_spaces(value)))
        .filter(|(name, _)| !UNSIGNED_HEADERS.contains(&name.as_str()))
        .collect();
    headers.push(("host".to_owned(), request.host.to_owned()));
    headers.push(("x-amz-date".to_owned(), time.clone()));
    if !request.body.is_empty() {
        headers.push(("content-length".to_owned(), request.body.len().to_string()));
    }
    if let Some(token) = &keys.session_token {
        headers.push(("x-amz-security-token".to_owned(), token.expose().to_owned()));
    }
    sort(&mut headers);
    let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(";");
    let (path, query) = request.path_and_query.split_once('?').unwrap_or((request.path_and_query, ""));
    let mut canonical = format!("{}\n{}\n{}\n", request.method, canonical_path(path), canonical_query(query));
    for (name, value) in &headers {
        // Writing to a string cannot fail.
        let _ = writeln!(canonical, "{name}:{value}");
    }
    let _ = write!(canonical, "\n{names}\n{}", hex(digest(&SHA256, request.body).as_ref()));
    let place = format!("{day}/{}/{}/aws4_request", scope.region, scope.service);
    let hash = hex(digest(&SHA256, canonical.as_bytes()).as_ref());
    let text = format!("{ALGORITHM}\n{time}\n{place}\n{hash}");
    let signature = hex(&chained(keys, [&day, scope.region, scope.service, "aws4_request", &text]));
    let line = format!(
        "{ALGORITHM} Credential={}/{place}, SignedHeaders={names}, Signature={signature}",
        keys.access_key
    );
    let mut lines = vec![("Authorization", Secret::new(line)), ("X-Amz-Date", Secret::new(time))];
    lines.extend(keys.session_token.clone().map(|token| ("X-Amz-Security-Token", token)));
    lines
}

/// Each part is signed with the signature of the one before.
fn chained(keys: &Keys, parts: [&str; 5]) -> Vec<u8> {
    let first = format!("AWS4{}", keys.secret_key.expose()).into_bytes();
    parts
        .into_iter()
        .fold(first, |key, part| hmac(&Key::new(HMAC_SHA256, &key), part.as_bytes()).as_ref().to_vec())
}

/// `20150830` and `20150830T123600Z`.
fn day_and_time(at_s: i64) -> (String, String) {
    let (year, month, day) = civil_from_days(at_s.div_euclid(86_400));
    let second = at_s.rem_euclid(86_400);
    let date = format!("{year:04}{month:02}{day:02}");
    let time = format!("{date}T{:02}{:02}{:02}Z", second / 3600, second / 60 % 60, second % 60);
    (date, time)
}

/// Escaped once more, as all services but one want it; a path of nothing is the root.
fn canonical_path(path: &str) -> String {
    let mut canonical = String::new();
    escape(&mut canonical, cleaned(path).as_bytes(), |byte| byte == b'/');
    canonical
}

/// Sorted by name, then by value.
fn canonical_query(query: &str) -> String {
    let decoded = |text: &str| percent::decoded(&text.replace('+', " "));
    let escaped = |text: &str| {
        let mut out = String::new();
        escape_query(&mut out, &String::from_utf8_lossy(&decoded(text)));
        out.replace('+', "%20")
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut pairs: Vec<(String, String)> =
        pairs.map(|(name, value)| (escaped(name), escaped(value))).collect();
    sort(&mut pairs);
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

fn without_excess_spaces(value: &str) -> String {
    value.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Amazon's test suite and its documentation: request → signature.
    const VECTORS: &str = include_str!("../../../../tests/data/remote/sigv4_vectors.txt");

    fn keys(session_token: Option<&str>) -> Keys {
        Keys {
            access_key: "AKIDEXAMPLE".to_owned(),
            secret_key: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            session_token: session_token.map(Secret::new),
        }
    }

    #[test]
    fn vectors_of_amazon() {
        let at_s = 1_440_938_160;
        assert_eq!(day_and_time(at_s), ("20150830".to_owned(), "20150830T123600Z".to_owned()));
        let mut n_checked = 0;
        for line in VECTORS.lines().filter(|line| !line.starts_with('#')) {
            let columns: Vec<&str> = line.split(" | ").collect();
            let [name, service, host, method, path, headers, signature] = columns[..] else {
                panic!("{line}");
            };
            let headers: Vec<(&str, &str)> =
                headers.split(" ;; ").filter_map(|header| header.split_once(": ")).collect();
            let request = Unsigned { method, host, path_and_query: path, headers: &headers, body: b"" };
            let scope = Scope { region: "us-east-1", service, at_s };
            let lines = signed(&request, &keys(None), &scope);
            assert!(lines[0].1.expose().ends_with(&format!("Signature={signature}")), "{name}: {lines:?}");
            n_checked += 1;
        }
        assert!(n_checked >= 6, "{n_checked}");
    }

    #[test]
    fn a_session_has_a_token_more() {
        let request = Unsigned {
            method: "POST",
            host: "h",
            path_and_query: "",
            headers: &[("User-Agent", "x")],
            body: b"b",
        };
        let scope = Scope { region: "r", service: "aps", at_s: 0 };
        let lines = signed(&request, &keys(Some("token")), &scope);
        let names: Vec<&str> = lines.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["Authorization", "X-Amz-Date", "X-Amz-Security-Token"]);
        let names = "SignedHeaders=content-length;host;x-amz-date;x-amz-security-token,";
        assert!(lines[0].1.expose().contains(names), "{}", lines[0].1.expose());
    }

    #[test]
    fn paths_and_queries_have_one_form() {
        for (path, want) in [
            ("", "/"),
            ("/", "/"),
            ("/a//b/./c/../d/", "/a/b/d/"),
            ("/a%20b/ü", "/a%2520b/%C3%BC"),
            ("/../..", "/"),
        ] {
            assert_eq!(canonical_path(path), want, "{path}");
        }
        assert_eq!(canonical_query("b=2&a=x+y&a=%2F&c"), "a=%2F&a=x%20y&b=2&c=");
    }
}
