//! Any lines as addresses of targets, of listeners and as URLs, as typed and as a redirect's `Location`: what is asked is
//! the host and the port that were named, or nothing.

#![cfg_attr(fuzzing, no_main)]

use scraped::http::address::url::Url;
use scraped::names::listen::listen_addresses;
use scraped::scrape::targets::target_url::{TargetUrl, local_part};
use scraped::web::site::ExternalUrl;
use std::net::IpAddr;

pub(crate) fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let base = Url::parse("http://user:password@box:9100/a/b?x=1").expect("a URL");
    for line in text.lines().take(16) {
        check_target(line);
        check_listener(line);
        for url in [Url::parse(line), base.join(line)] {
            match url {
                Ok(url) => check_url(&url),
                Err(words) => assert!(!words.is_empty(), "a refusal says why"),
            }
        }
        // With one too, so that what is behind it is looked at each time.
        if let Ok(url) = Url::parse(&format!("http://{line}")) {
            check_url(&url);
        }
        if let Ok(external) = ExternalUrl::parse(line) {
            assert!(external.path.is_empty() || external.path.starts_with('/'), "{external:?}");
        }
    }
}

/// A target's address: the port is the digits behind the last colon.
fn check_target(address: &str) {
    let Ok(url) = Url::of_parts("http", address, "/metrics") else { return };
    check_port(address, url.site().port_or(80).ok(), 80);
    if local_part(address).is_none() {
        let shown = TargetUrl::build("http", address, "/metrics", &[], std::iter::empty());
        assert_eq!(shown.to_string(), url.to_string(), "what the API shows is what is asked");
    }
    check_url(&url);
}

/// `port` is what is used of `address`, `default` where none is named; `None` if it was refused.
fn check_port(address: &str, port: Option<u16>, default: u16) {
    let behind_literal = address.rsplit(']').next().unwrap_or_default();
    let Some((_, digits)) = behind_literal.rsplit_once(':') else {
        return assert_eq!(port, Some(default), "{address:?}");
    };
    assert!(digits.bytes().all(|byte| byte.is_ascii_digit()), "{address:?} names no port");
    let number = digits.bytes().try_fold(0_u32, |number, digit| {
        let number = number * 10 + u32::from(digit - b'0');
        u16::try_from(number).map(u32::from).ok()
    });
    let named = if digits.is_empty() { Some(u32::from(default)) } else { number };
    assert_eq!(port.map(u32::from), named, "{address:?}");
}

/// Where a name would not have to be looked up.
fn check_listener(text: &str) {
    let host = text.rsplit_once(':').map_or("", |(host, _)| host);
    let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if !literal.is_empty() && literal.parse::<IpAddr>().is_err() {
        return;
    }
    let Ok(found) = listen_addresses(text) else { return };
    assert_eq!(found.len(), 1, "{text:?}");
    for address in found {
        check_port(text, Some(address.port()), 0);
        assert!(literal.is_empty() || literal.parse() == Ok(address.ip()), "{text:?}");
    }
}

/// What is printed reads back as the same, and what a request says of it is one line.
fn check_url(url: &Url) {
    let site = url.site();
    assert!(!site.key().is_empty() && site.key().bytes().all(|byte| byte.is_ascii_graphic()));
    assert!(!site.header().contains(['\r', '\n']), "{url}");
    let shown = url.to_string();
    // A password, or a parameter that is named like one.
    if shown.contains("***") || shown.contains("=xxxxx") || site.is_empty() {
        return;
    }
    match Url::parse(&shown) {
        Ok(again) => {
            assert_eq!(again.to_string(), shown);
            assert_eq!(again.site(), site, "{shown:?}");
        }
        Err(words) => panic!("{shown:?} does not read back: {words}"),
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
