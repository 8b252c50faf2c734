//! `--web.config.file`: the same files given to a real Prometheus, which verdict it has on each, and what it answers whom.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};
use std::net::TcpStream;
use support::command;
use support::peers::{Peer, promtool};
use support::scraped::{Answer, Scraped, ask_with};
use support::tls::asker::Asker;
use support::tls::{Authority, Pair, Validity};
use support::wait_until;
use tempfile::TempDir;

/// The hash of `a`.
const HASH: &str = "$2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe";

/// Headers that are compared.
const HEADERS: [&str; 4] =
    ["www-authenticate", "x-frame-options", "strict-transport-security", "x-xss-protection"];

struct Certificates {
    authority: Authority,
    known: Pair,
    unknown: Pair,
}

impl Certificates {
    fn new() -> Self {
        let authority = Authority::new("ours");
        let known = authority.issue(&["box.example"], Validity::Now);
        let unknown = Authority::new("a stranger").issue(&["box.example"], Validity::Now);
        Self { authority, known, unknown }
    }

    /// A directory with everything that a web configuration may name.
    fn dir(&self) -> Arc<TempDir> {
        let dir = TempDir::with_prefix("scraped-test-").expect("a directory");
        let server = self.authority.issue(&["localhost"], Validity::Now);
        for (name, content) in [
            ("scraped.yml", "scrape_configs: []\n"),
            ("server.crt", &server.cert_pem),
            ("server.key", &server.key_pem),
            ("client_selfsigned.pem", &self.authority.pem),
            ("client2_selfsigned.pem", &self.authority.pem),
        ] {
            fs::write(dir.path().join(name), content).expect("writable");
        }
        Arc::new(dir)
    }
}

fn authorization(user: &str, password: &str) -> String {
    format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("{user}:{password}")))
}

/// What is compared of an answer.
fn compared(answer: &Answer) -> (u16, Vec<String>, Option<String>) {
    // Go writes names in a case of its own.
    let lines = answer.head.lines().filter_map(|line| line.split_once(": "));
    let lines = lines.map(|(name, value)| (name.to_ascii_lowercase(), value));
    let compared = lines.filter(|(name, _)| HEADERS.contains(&name.as_str()));
    let mut headers: Vec<String> = compared.map(|(name, value)| format!("{name}: {value}")).collect();
    headers.sort();
    let body = (answer.status != 200).then(|| answer.body.clone());
    (answer.status, headers, body)
}

/// Starts both on a web configuration, and compares what each request of `ask` comes to.
fn compare(certificates: &Certificates, web_config: &str, ask: &dyn Fn(&str) -> Vec<String>) {
    let dir = certificates.dir();
    let file = dir.path().join("web.yml");
    fs::write(&file, web_config).expect("writable");
    let peer = Peer::locked_agent(&dir.path().join("scraped.yml"), &dir.path().join("peer"), &file);
    let scraped = Scraped::spawn_in(Arc::clone(&dir), &[&format!("--web.config.file={}", file.display())]);
    wait_until("it listens", || {
        assert!(!scraped.has_ended(), "{}", scraped.stderr());
        TcpStream::connect(scraped.address()).is_ok()
    });
    let (theirs, ours) = (ask(peer.address()), ask(scraped.address()));
    assert_eq!(ours, theirs, "{web_config}: ours, and theirs");
}

#[test]
fn users_are_let_in_and_refused_alike() {
    let certificates = Certificates::new();
    let requests = [
        String::new(),
        authorization("eve", "a"),
        authorization("eve", "b"),
        authorization("adam", "a"),
        authorization("eve", "a").replace("Basic", "BASIC"),
        authorization("eve", "a").replace("Basic ", "Basic  "),
        "Authorization: Basic ZXZlOmE\r\n".to_owned(),
        "Authorization: Bearer ZXZlOmE=\r\n".to_owned(),
    ];
    let ask = |address: &str| {
        let of = |headers: &String| {
            let headers = format!("Host: localhost\r\n{headers}");
            let answer = ask_with(address, "GET", "/-/healthy", &headers).expect("an answer");
            format!("{headers}: {:?}", compared(&answer))
        };
        requests.iter().map(of).collect()
    };
    let web_config = format!(
        "basic_auth_users: {{eve: {HASH}}}\n\
         http_server_config: {{headers: {{X-Frame-Options: deny, Strict-Transport-Security: max-age=1, X-XSS-Protection: 1}}}}\n"
    );
    compare(&certificates, &web_config, &ask);
}

#[test]
fn clients_are_let_in_and_refused_alike() {
    let certificates = Certificates::new();
    let Certificates { authority, known, unknown } = &certificates;
    let ask = |address: &str| {
        let mut answers = Vec::new();
        for (name, shows) in [("none", None), ("known", Some(known)), ("unknown", Some(unknown))] {
            let versions: [&'static SupportedProtocolVersion; 2] = [&TLS12, &TLS13];
            for version in versions {
                let asker = Asker { trusts: authority, shows, versions: &[version] };
                let answer = asker.get(address, "/-/healthy", "");
                let words = answer.map_or("refused".to_owned(), |answer| answer.status.to_string());
                answers.push(format!("{name}, {:?}: {words}", version.version));
            }
        }
        let plain = ask_with(address, "GET", "/-/healthy", "Host: localhost\r\n");
        answers.push(format!("{:?}", plain.map(|answer| (answer.status, answer.body))));
        answers
    };
    let server = "cert_file: server.crt, key_file: server.key";
    let verified = "client_ca_file: client_selfsigned.pem, client_auth_type: RequireAndVerifyClientCert";
    for more in [
        "",
        "min_version: TLS13",
        "max_version: TLS12",
        "cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]",
        "curve_preferences: [CurveP384]",
        "client_auth_type: RequestClientCert",
        "client_auth_type: RequireAnyClientCert",
        "client_ca_file: client_selfsigned.pem, client_auth_type: VerifyClientCertIfGiven",
        verified,
        &format!("{verified}, client_allowed_sans: [box.example]"),
        &format!("{verified}, client_allowed_sans: [other.example]"),
        "client_auth_type: RequestClientCert, client_allowed_sans: [box.example]",
        "client_ca_file: client_selfsigned.pem, client_auth_type: VerifyClientCertIfGiven, client_allowed_sans: [box.example]",
        "client_allowed_sans: [box.example]",
    ] {
        compare(&certificates, &format!("tls_server_config: {{{server}, {more}}}\n"), &ask);
    }
}

/// Files of which each program may think otherwise, and why.
const DIFFER: [&str; 3] = [
    // TLS 1.0 and 1.1, and suites of theirs alone, are not built in here.
    "min_version: TLS10",
    "cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA]",
    // A check would take hours.
    "$2y$31$",
];

#[test]
fn files_have_the_same_verdicts() {
    let certificates = Certificates::new();
    let dir = certificates.dir();
    let server = "cert_file: server.crt, key_file: server.key";
    let tls = |more: &str| format!("tls_server_config: {{{more}}}\n");
    let with = |more: &str| tls(&format!("{server}, {more}"));
    let salt = &HASH[7..];
    let files = [
        // What exporter-toolkit's own files are about, one after another.
        String::new(),
        "hWkNKCp3fvIx3jKnsaBI\nTuEjdwNS8A2vYdFbiKqr\n".to_owned(),
        tls("cert_filse: server.crt"),
        tls("cert_file: \"\", key_file: server.key"),
        tls("cert: \"\", key_file: server.key"),
        tls("cert_file: server.crt, key_file: \"\""),
        tls("cert_file: server.crt, key: \"\""),
        tls("cert_file: \"\", key_file: \"\", client_auth_type: x"),
        tls("cert_file: somefile, key_file: server.key"),
        tls("cert_file: server.crt, key_file: somefile"),
        tls("cert_file: somefile, key_file: somefile"),
        with("client_ca_file: /dev/null"),
        with("client_ca_file: somefile"),
        with("client_ca_file: somefile, client_auth_type: RequireAndVerifyClientCert"),
        with("client_auth_type: RequireAndVerifyClientCert"),
        with("client_auth_type: VerifyClientCertIfGiven"),
        with("client_auth_type: RequireAnyClientCert"),
        with("client_auth_type: requireanyclientcert"),
        with("client_ca_file: client2_selfsigned.pem, client_auth_type: RequireAndVerifyClientCert, client_allowed_sans: [bad]"),
        with("cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA2048]"),
        with("curve_preferences: [CurveP257]"),
        with("min_version: TLS111"),
        with("cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, TLS_AES_128_GCM_SHA256]"),
        with("cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384], max_version: TLS12") + "http_server_config: {http2: false}\n",
        with("curve_preferences: [CurveP256, CurveP384, CurveP521, X25519]"),
        with("prefer_server_cipher_suites: false, min_version: TLS12, max_version: TLS12"),
        format!("basic_auth_users: {{eve: {HASH}}}\n"),
        "basic_auth_users: {john: doe}\n".to_owned(),
        "http_server_config: {headers: {X-Content-Type-Options: sniff}}\n".to_owned(),
        "http_server_config: {headers: {Content-Type: foo}}\n".to_owned(),
        "http_server_config: {headers: {X-Frame-Options: foo}}\n".to_owned(),
        "http_server_config: {headers: {X-XSS-Protection: 1, Content-Security-Policy: \"default-src 'self'\"}}\n".to_owned(),
        // And more.
        tls(""),
        tls("min_version: TLS13"),
        tls("cert_file: server.key, key_file: server.crt"),
        tls("cert_file: client_selfsigned.pem, key_file: server.key"),
        with("max_version: TLS13, min_version: TLS13"),
        with("client_allowed_sans: []"),
        with("min_version: TLS10"),
        with("cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA]"),
        "http_server_config: {http2: maybe}\n".to_owned(),
        "http_server_config: {headers: {x-frame-options: deny}}\n".to_owned(),
        "tls_server_config: []\n".to_owned(),
        "basic_auth_users: [eve]\n".to_owned(),
        format!("basic_auth_users: {{eve: $2y$3${salt}}}\n"),
        format!("basic_auth_users: {{eve: $2y$03${salt}}}\n"),
        format!("basic_auth_users: {{eve: $2y$32${salt}}}\n"),
        format!("basic_auth_users: {{eve: $2y$31${salt}}}\n"),
        format!("basic_auth_users: {{eve: $3y$10${salt}}}\n"),
        format!("basic_auth_users: {{eve: $2y$10${salt}, eve: $2y$10${salt}}}\n"),
    ];
    let mut wrong = Vec::new();
    for (idx, text) in files.iter().enumerate() {
        let file = dir.path().join(format!("web{idx}.yml"));
        fs::write(&file, text).expect("writable");
        let (theirs, ours) = (their_complaint(&file), our_complaint(&file));
        let may_differ = DIFFER.iter().any(|part| text.contains(part));
        if theirs.is_some() != ours.is_some() && !(may_differ && theirs.is_none()) {
            wrong.push(format!("{text}promtool: {theirs:?}\nscraped: {ours:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn their_complaint(file: &Path) -> Option<String> {
    let output = promtool().args(["check", "web-config"]).arg(file).output().expect("promtool runs");
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

fn our_complaint(file: &Path) -> Option<String> {
    let finished = command::scraped(&["check", "web-config", &file.display().to_string()]);
    (finished.code != Some(0)).then_some(finished.stdout)
}
