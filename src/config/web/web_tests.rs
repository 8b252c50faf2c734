use super::parse;
use crate::config::client::secret::Source;
use crate::config::client::tls::TlsVersion;
use crate::config::web::server_tls::{ClientAuth, Curve};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Every mistake, without the name of the file.
fn mistakes(text: &str) -> Vec<String> {
    match parse(Path::new("/etc/web.yml"), text.as_bytes()) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.to_string().lines().map(|line| line.replace("/etc/web.yml:", "")).collect(),
    }
}

#[test]
fn everything_that_can_be_set() {
    let text = "\
tls_server_config:
  cert_file: server.crt
  key: a key
  client_ca_file: /etc/ca.pem
  client_auth_type: RequireAndVerifyClientCert
  client_allowed_sans: [box, 10.0.0.1]
  min_version: TLS12
  max_version: TLS12
  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA]
  prefer_server_cipher_suites: false
  curve_preferences: [CurveP521, X25519]
http_server_config:
  http2: true
  headers: {X-Frame-Options: sameorigin, X-XSS-Protection: 1}
basic_auth_users:
  eve: $2y$10$qRTBuFoULoYNA7AQ/F3ck.trZBPyjV64.oA4ZsSBCIWvXuvQlQTuu
rate_limit: {interval: 1s, burst: 3}
";
    let config = parse(Path::new("/etc/web.yml"), text.as_bytes()).unwrap();
    let tls = config.tls.unwrap();
    assert_eq!(tls.identity.cert, Source::File(PathBuf::from("/etc/server.crt")));
    assert!(matches!(tls.identity.key, Source::Inline(_)));
    assert_eq!(tls.client_auth, ClientAuth::RequireAndVerifyClientCert);
    assert_eq!(tls.client_allowed_sans.unwrap(), ["box", "10.0.0.1"]);
    assert_eq!((tls.min_version, tls.max_version), (TlsVersion::Tls12, TlsVersion::Tls12));
    assert_eq!(tls.cipher_suites, ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]);
    assert!(!tls.prefer_server_cipher_suites);
    assert_eq!(tls.curves, [Curve::P521, Curve::X25519]);
    let headers = [("X-Frame-Options", "sameorigin".to_owned()), ("X-XSS-Protection", "1".to_owned())];
    assert_eq!(config.headers, headers);
    assert_eq!(config.users[0].0, "eve");
    let limit = config.rate_limit.unwrap();
    assert_eq!((limit.interval, limit.burst), (Duration::from_secs(1), 3));
    assert_eq!(config.notes.len(), 1, "{:?}", config.notes);
}

#[test]
fn what_asks_for_nothing_is_an_open_server() {
    for text in [
        "",
        "tls_server_config:\n",
        "tls_server_config: {min_version: TLS13}\n",
        "rate_limit: {interval: 0}\n",
    ] {
        let config = parse(Path::new("web.yml"), text.as_bytes()).unwrap();
        assert!(config.tls.is_none() && config.users.is_empty() && config.rate_limit.is_none(), "{text}");
    }
}

#[test]
fn mistakes_have_the_words_of_exporter_toolkit() {
    let check = |text: &str, want: &[&str]| {
        let found = mistakes(text);
        assert_eq!(found.len(), want.len(), "{text}: {found:?}");
        for (found, want) in found.iter().zip(want) {
            assert!(found.contains(want), "{text}: {found}");
        }
    };
    let tls = |more: &str| format!("tls_server_config: {{cert_file: a, key_file: b, {more}}}\n");
    check("tls_server_config: {key_file: a}", &["missing one of cert or cert_file"]);
    check("tls_server_config: {cert_file: a, key: \"\"}", &["missing one of key or key_file"]);
    check(
        "tls_server_config: {client_auth_type: x}",
        &["invalid ClientAuth: x", "missing one of cert or", "missing one of key or"],
    );
    check(&tls("client_ca: c"), &["client CA's have been configured without a Client Auth Policy"]);
    check(&tls("min_version: TLS111"), &["unknown TLS version: \"TLS111\""]);
    check(&tls("min_version: TLS11"), &["TLS11 is not built in; built in are TLS12 and TLS13"]);
    check(&tls("max_version: TLS10"), &["TLS10 is not built in"]);
    check(&tls("min_version: TLS13, max_version: TLS12"), &["no client could connect"]);
    check(&tls("cipher_suites: [TLS_X]"), &["unknown cipher: TLS_X"]);
    check(
        &tls("cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA]"),
        &["built in are TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, "],
    );
    check(
        &tls("max_version: TLS12, cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]"),
        &["TLSConfig.CipherSuites is missing an HTTP/2-required AES_128_GCM_SHA256 cipher"],
    );
    check(&tls("curve_preferences: [CurveP257]"), &["unknown curve: CurveP257"]);
    check(&tls("cert_filse: x"), &["unknown field; did you mean cert_file?"]);
    check(
        "http_server_config: {headers: {Content-Type: foo}}",
        &["HTTP header \"Content-Type\" can not be configured"],
    );
    check(
        "http_server_config: {headers: {X-Frame-Options: foo}}",
        &["invalid value for X-Frame-Options. Expected one of: [\"deny\" \"sameorigin\"], but got: \"foo\""],
    );
    check("basic_auth_users: {john: doe}", &["hashedSecret too short to be a bcrypted password"]);
    check("nonsense", &["expected a mapping"]);
}
