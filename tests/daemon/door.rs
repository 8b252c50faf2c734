//! `--web.config.file`: users, TLS, client certificates and headers, and what a flood of strangers does.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};
use support::command;
use support::scraped::{Answer, Scraped, ask_with};
use support::targets::{Behaviour, FakeTargets};
use support::tls::asker::Asker;
use support::tls::{Authority, Pair, Validity};
use support::wait_until;
use tempfile::TempDir;

const CONFIG: &str = "scrape_configs: []\n";
const BOTH: &[&SupportedProtocolVersion] = &[&TLS12, &TLS13];

/// The hash of `a`.
const HASH: &str = "$2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe";
/// The hash of [`ALPHABET`].
const ALPHABET_HASH: &str = "$2a$08$aTsUwsyowQuzRrDqFflhgekJ8d9/7Z3GV3UcgvzQW3J5zMyrTvlz.";
const ALPHABET: &str = "abcdefghijklmnopqrstuvwxyz";

/// A directory with a configuration, a web configuration, and a server's certificate of `authority`.
fn dir(web_config: &str, authority: &Authority) -> Arc<TempDir> {
    let dir = TempDir::with_prefix("scraped-test-").expect("a directory");
    fs::write(dir.path().join("scraped.yml"), CONFIG).expect("writable");
    fs::write(dir.path().join("web.yml"), web_config).expect("writable");
    write_pair(dir.path(), "server", &authority.issue(&["localhost"], Validity::Now));
    fs::write(dir.path().join("ca.pem"), &authority.pem).expect("writable");
    Arc::new(dir)
}

fn write_pair(dir: &Path, name: &str, pair: &Pair) {
    fs::write(dir.join(format!("{name}.key")), &pair.key_pem).expect("writable");
    fs::write(dir.join(format!("{name}.crt")), &pair.cert_pem).expect("writable");
}

fn start(dir: &Arc<TempDir>) -> Scraped {
    listening(Scraped::spawn_in(Arc::clone(dir), &[&argument(dir)]))
}

fn argument(dir: &TempDir) -> String {
    format!("--web.config.file={}", dir.path().join("web.yml").display())
}

fn listening(scraped: Scraped) -> Scraped {
    wait_until("it listens", || {
        assert!(!scraped.has_ended(), "{}", scraped.stderr());
        TcpStream::connect(scraped.address()).is_ok()
    });
    scraped
}

fn authorization(user: &str, password: &str) -> String {
    format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("{user}:{password}")))
}

fn ask(scraped: &Scraped, headers: &str) -> Answer {
    let headers = format!("Host: localhost\r\n{headers}");
    ask_with(scraped.address(), "GET", "/-/healthy", &headers).expect("an answer")
}

#[test]
fn whoever_has_no_password_gets_nothing() {
    let config = format!(
        "basic_auth_users: {{eve: {HASH}, adam: {ALPHABET_HASH}}}\n\
         http_server_config: {{headers: {{X-Frame-Options: sameorigin, Strict-Transport-Security: max-age=1}}}}\n"
    );
    let scraped = start(&dir(&config, &Authority::new("anyone")));
    let status = |headers: &str| ask(&scraped, headers).status;
    for headers in [
        String::new(),
        authorization("eve", "b"),
        authorization("eve", ""),
        authorization("adam", "a"),
        authorization("nobody", "a"),
        authorization("", ""),
        "Authorization: Basic !\r\n".to_owned(),
        "Authorization: Bearer YTph\r\n".to_owned(),
        "Authorization: Basic\r\n".to_owned(),
    ] {
        // The second time by memory.
        assert_eq!([status(&headers), status(&headers)], [401, 401], "{headers}");
    }
    for headers in [authorization("eve", "a"), authorization("adam", ALPHABET)] {
        assert_eq!([status(&headers), status(&headers)], [200, 200], "{headers}");
    }
    assert_eq!(status(&authorization("eve", "a").replace("Basic", "bAsIc")), 200);
    for answer in [ask(&scraped, ""), ask(&scraped, &authorization("eve", "a"))] {
        assert!(answer.head.contains("X-Frame-Options: sameorigin\r\n"), "{}", answer.head);
        assert!(answer.head.contains("Strict-Transport-Security: max-age=1"), "{}", answer.head);
        assert!(!answer.head.contains("DENY") && answer.head.contains("nosniff"), "{}", answer.head);
    }
    let answer = ask(&scraped, "");
    assert_eq!(answer.body, "Unauthorized\n");
    assert!(answer.head.contains("WWW-Authenticate: Basic\r\n"), "{}", answer.head);
    assert!(!scraped.stderr().contains("m0CrhHm10q"), "{}", scraped.stderr());
    assert!(scraped.stop().success());
}

#[test]
fn a_thread_that_dies_checks_passwords_again() {
    let dir = dir(&format!("basic_auth_users: {{eve: {HASH}}}\n"), &Authority::new("anyone"));
    let fault = ("SCRAPED_FAULT_PANIC", "web-password");
    let scraped = listening(Scraped::spawn_under_in(fault, Arc::clone(&dir), &[&argument(&dir)]));
    let headers = format!("Host: localhost\r\n{}", authorization("eve", "a"));
    let metrics = ask_with(scraped.address(), "GET", "/metrics", &headers).expect("an answer");
    assert_eq!(metrics.status, 200);
    for counted in ["scraped_panics_total", "scraped_thread_restarts_total"] {
        let line = format!("{counted}{{thread=\"web-password\"}} 1\n");
        assert!(metrics.body.contains(&line), "{line}");
    }
}

#[test]
fn tls_carries_every_answer_and_refuses_what_is_not_spoken() {
    let authority = Authority::new("ours");
    let dir = dir("tls_server_config: {cert_file: server.crt, key_file: server.key}\n", &authority);
    let scraped = start(&dir);
    for version in BOTH {
        let asker = Asker { trusts: &authority, shows: None, versions: &[*version] };
        let answer = asker.get(scraped.address(), "/-/healthy", "").expect("an answer");
        assert_eq!((answer.status, answer.body.as_str()), (200, "scraped is Healthy.\n"));
        // Longer than a record, in pieces.
        let answer = asker.get(scraped.address(), "/metrics", "").expect("an answer");
        assert!(answer.body.len() > 10_000 && answer.body.ends_with('\n'), "{}", answer.body.len());
    }
    // Many requests on a connection, all at once, and more of them than a read takes.
    let asker = Asker { trusts: &authority, shows: None, versions: BOTH };
    let mut stream = asker.connect(scraped.address());
    let request = "GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(request.repeat(100).as_bytes()).expect("taken");
    let mut text = String::new();
    while text.matches("scraped is Healthy.\n").count() < 100 {
        let mut chunk = [0; 4096];
        let n_read = stream.read(&mut chunk).expect("more answers");
        assert!(n_read > 0, "closed after {}", text.len());
        text.push_str(std::str::from_utf8(&chunk[..n_read]).expect("text"));
    }
    // Whoever speaks no TLS hears why, as Go's server says it.
    let mut plain = TcpStream::connect(scraped.address()).expect("it listens");
    plain.write_all(request.as_bytes()).expect("taken");
    let mut answer = String::new();
    plain.read_to_string(&mut answer).expect("an answer");
    assert_eq!(answer, "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n");
    assert!(scraped.stderr().contains(&format!("pages at https://{}/targets", scraped.address())));
    // Its own URL for others is by https.
    let own = format!(
        "scrape_configs: [{{job_name: own, static_configs: [{{targets: ['{}']}}]}}]\n",
        scraped.address()
    );
    scraped.write("scraped.yml", &own);
    scraped.signal("HUP");
    wait_until("the target is listed by https", || {
        let answer = asker.get(scraped.address(), "/api/v1/targets", "").expect("an answer");
        answer.body.contains("\"globalUrl\":\"https://")
    });
    assert!(scraped.stop().success());
}

#[test]
fn sub_commands_ask_as_their_file_says() {
    let config = format!(
        "tls_server_config: {{cert_file: server.crt, key_file: server.key}}\nbasic_auth_users: {{eve: {HASH}}}\n"
    );
    let dir = dir(&config, &Authority::new("ours"));
    let scraped = start(&dir);
    let url = format!("--url=https://{}", scraped.address());
    let file = dir.path().join("ask.yml");
    let by = format!("--http.config.file={}", file.display());
    let check = |config: &str, code: i32, words: &str| {
        fs::write(&file, config).expect("writable");
        let asked = command::scraped(&["check", "healthy", &url, &by]);
        let said = format!("{}{}", asked.stdout, asked.stderr);
        assert_eq!((asked.code, said.contains(words)), (Some(code), true), "{config}: {said}");
    };
    let tls = "tls_config: {ca_file: ca.pem, server_name: localhost}\n";
    check("", 1, "signed by unknown authority; name its authority");
    check("tls_config: {ca_file: ca.pem}\n", 1, "x509: ");
    check(tls, 1, "not healthy");
    check(&format!("{tls}basic_auth: {{username: eve, password: a}}\n"), 0, "healthy");
    check(&format!("{tls}basic: {{}}\n"), 1, "ask.yml:2: basic: unknown field");
    assert!(scraped.stop().success());
}

#[test]
fn versions_ciphers_and_curves_are_those_of_the_file() {
    let authority = Authority::new("ours");
    let check = |more: &str, version: &'static SupportedProtocolVersion, is_good: bool| {
        let config = format!("tls_server_config: {{cert_file: server.crt, key_file: server.key, {more}}}\n");
        let scraped = start(&dir(&config, &authority));
        let asker = Asker { trusts: &authority, shows: None, versions: &[version] };
        let answer = asker.get(scraped.address(), "/-/healthy", "");
        assert_eq!(answer.is_ok(), is_good, "{more}: {answer:?}");
    };
    check("min_version: TLS13", &TLS12, false);
    check("min_version: TLS13", &TLS13, true);
    check("max_version: TLS12", &TLS12, true);
    check("max_version: TLS12", &TLS13, false);
    // Certificates of these tests have keys of P-256.
    check("cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]", &TLS12, true);
    check("cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]", &TLS12, false);
    check("cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]", &TLS13, true);
    check("curve_preferences: [CurveP384]", &TLS13, true);
    check("curve_preferences: [CurveP521]", &TLS13, false);
}

#[test]
fn clients_show_the_certificates_that_are_asked_for() {
    let authority = Authority::new("ours");
    let stranger = Authority::new("a stranger");
    let known = authority.issue(&["box.example", "10.0.0.7"], Validity::Now);
    let expired = authority.issue(&["box.example"], Validity::Past);
    let unknown = stranger.issue(&["box.example"], Validity::Now);
    let clients = [None, Some(&known), Some(&expired), Some(&unknown)];
    let check = |more: &str, want: [bool; 4]| {
        let config = format!("tls_server_config: {{cert_file: server.crt, key_file: server.key, {more}}}\n");
        let scraped = start(&dir(&config, &authority));
        let found = clients.map(|shows| {
            [&TLS12, &TLS13].map(|version| {
                let asker = Asker { trusts: &authority, shows, versions: &[version] };
                asker.get(scraped.address(), "/-/healthy", "").is_ok()
            })
        });
        assert_eq!(found, want.map(|is_good| [is_good; 2]), "{more}");
    };
    check("client_auth_type: NoClientCert", [true; 4]);
    check("client_auth_type: RequestClientCert", [true; 4]);
    check("client_auth_type: RequireAnyClientCert", [false, true, true, true]);
    check("client_auth_type: VerifyClientCertIfGiven, client_ca_file: ca.pem", [true, true, false, false]);
    let verified = "client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem";
    check(verified, [false, true, false, false]);
    check(&format!("{verified}, client_allowed_sans: [10.0.0.7]"), [false, true, false, false]);
    check(&format!("{verified}, client_allowed_sans: [other, box.example]"), [false, true, false, false]);
    check(&format!("{verified}, client_allowed_sans: [other]"), [false; 4]);
}

#[test]
fn a_change_is_taken_over_if_it_is_good() {
    let authority = Authority::new("ours");
    let users = |hash: &str| {
        format!(
            "tls_server_config: {{cert_file: server.crt, key_file: server.key}}\nbasic_auth_users: {{eve: {hash}}}\n"
        )
    };
    let dir = dir(&users(HASH), &authority);
    let scraped = start(&dir);
    let status = |trusts: &Authority, password: &str| {
        let asker = Asker { trusts, shows: None, versions: BOTH };
        asker.get(scraped.address(), "/-/healthy", &authorization("eve", password)).map(|it| it.status)
    };
    assert_eq!(status(&authority, "a"), Ok(200));
    scraped.write("web.yml", &users(ALPHABET_HASH));
    wait_until("the new password", || status(&authority, ALPHABET) == Ok(200));
    assert_eq!(status(&authority, "a"), Ok(401));
    // None of these replaces it, and each is complained of once.
    let no_tls = format!("basic_auth_users: {{eve: {HASH}}}\n");
    for (broken, complaint) in [
        ("basic_auth_users: {eve: x}", "hashedSecret too short"),
        (users(HASH).replace("server.key", "no.key").as_str(), "no such file or directory"),
        (no_tls.as_str(), "by a restart alone"),
    ] {
        scraped.write("web.yml", broken);
        wait_until(complaint, || {
            assert_eq!(status(&authority, ALPHABET), Ok(200));
            scraped.stderr().contains(complaint)
        });
        assert_eq!(status(&authority, ALPHABET), Ok(200));
        assert_eq!(scraped.stderr().matches(complaint).count(), 1, "{}", scraped.stderr());
    }
    // Another certificate, of another authority, without a change of the file that names it.
    scraped.write("web.yml", &users(ALPHABET_HASH));
    let successor = Authority::new("the next one");
    write_pair(dir.path(), "server", &successor.issue(&["localhost"], Validity::Now));
    wait_until("the new certificate", || status(&successor, ALPHABET) == Ok(200));
    assert!(scraped.stop().success());
}

#[test]
fn a_broken_file_stops_the_start() {
    let dir = dir("tls_server_config: {cert_file: server.crt, key_file: no.key}\n", &Authority::new("ours"));
    let file = dir.path().join("web.yml");
    let scraped = Scraped::spawn_in(Arc::clone(&dir), &[&format!("--web.config.file={}", file.display())]);
    wait_until("it has ended", || scraped.has_ended());
    let want = format!("{}: failed to read the key: unable to read file", file.display());
    assert!(scraped.stderr().contains(&want), "{}", scraped.stderr());
    let finished = command::scraped(&["check", "web-config", &file.display().to_string()]);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stdout.starts_with(&want), "{finished:?}");
    fs::write(&file, format!("basic_auth_users: {{eve: {HASH}}}\n")).expect("writable");
    let finished = command::scraped(&["check", "web-config", &file.display().to_string()]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(finished.stdout, format!("{}: good: no TLS, 1 user, 0 headers\n", file.display()));
}

#[test]
fn too_many_requests_are_turned_away() {
    let config = "rate_limit: {interval: 1h, burst: 2}\n";
    let scraped = start(&dir(config, &Authority::new("anyone")));
    let statuses = [(); 4].map(|()| ask(&scraped, "").status);
    assert_eq!(statuses, [200, 200, 429, 429]);
}

#[test]
fn an_open_door_is_said_to_be_open() {
    let authority = Authority::new("ours");
    let tls = "tls_server_config: {cert_file: server.crt, key_file: server.key}\n";
    let users = format!("basic_auth_users: {{eve: {HASH}}}\n");
    let check = |config: &str, want: &str| {
        let dir = dir(config, &authority);
        let file = argument(&dir);
        let port = support::scraped::free_address().rsplit(':').next().expect("a port").to_owned();
        let scraped = Scraped::spawn_in(dir, &[&file, &format!("--web.listen-address=0.0.0.0:{port}")]);
        wait_until("it listens", || TcpStream::connect(scraped.address()).is_ok());
        let stderr = scraped.stderr();
        for sentence in ["the web server has no password", "there are users and no TLS"] {
            assert_eq!(stderr.contains(sentence), sentence == want, "{config}: {stderr}");
        }
    };
    check("", "the web server has no password");
    check(tls, "the web server has no password");
    check(&users, "there are users and no TLS");
    check(&format!("{tls}{users}"), "");
}

#[test]
fn strangers_keep_no_one_out_and_delay_no_scrape() {
    let authority = Authority::new("ours");
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Counter);
    // A check takes a good part of a second.
    let slow = ALPHABET_HASH.replace("$08$", "$12$");
    let config = format!(
        "tls_server_config: {{cert_file: server.crt, key_file: server.key}}\n\
         basic_auth_users: {{eve: {HASH}, adam: {slow}}}\n"
    );
    let dir = dir(&config, &authority);
    let jobs = format!(
        "scrape_configs:\n- job_name: a\n  scrape_interval: 1s\n  static_configs: [{{targets: [\"{}\"]}}]\n",
        targets.address()
    );
    fs::write(dir.path().join("scraped.yml"), jobs).expect("writable");
    let scraped = start(&dir);
    let eve = authorization("eve", "a");
    let asker = Asker { trusts: &authority, shows: None, versions: BOTH };
    let healthy = || asker.get(scraped.address(), "/-/healthy", &eve).map(|answer| answer.status);
    assert_eq!(healthy(), Ok(200));
    // Some say nothing, some begin a handshake and stop.
    let mut slow_clients: Vec<TcpStream> = Vec::new();
    for client_idx in 0..500 {
        let mut stream = TcpStream::connect(scraped.address()).expect("it listens");
        if client_idx % 2 == 0 {
            stream.write_all(b"\x16\x03\x01\x02").expect("taken");
        }
        slow_clients.push(stream);
    }
    let is_over = AtomicBool::new(false);
    let n_scrapes = || targets.n_requests("/metrics");
    std::thread::scope(|scope| {
        for flooder in 0..4 {
            let (is_over, scraped, authority) = (&is_over, &scraped, &authority);
            scope.spawn(move || {
                let asker = Asker { trusts: authority, shows: None, versions: BOTH };
                for number in 0.. {
                    if is_over.load(Ordering::SeqCst) {
                        break;
                    }
                    let wrong = authorization("adam", &format!("{flooder} {number}"));
                    let answer = asker.get(scraped.address(), "/metrics", &wrong);
                    assert!(!answer.is_ok_and(|answer| answer.status == 200));
                }
            });
        }
        let before = n_scrapes();
        wait_until("five more scrapes", || {
            assert_eq!(healthy(), Ok(200));
            n_scrapes() >= before + 5
        });
        is_over.store(true, Ordering::SeqCst);
    });
    assert!(scraped.stop().success());
}
