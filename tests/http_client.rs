//! The HTTP client's settings over real sockets: TLS, client certificates, credentials, headers, redirects, posts.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot be set up has to fail")]

mod support;
mod tls_support;

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::version::{TLS12, TLS13};
use scraped::config::http_client::HttpClientConfig;
use scraped::http::response::Answer;
use scraped::http::url::Url;
use scraped::http::{Headers, HttpClient};
use support::{PATIENCE, wait_until};
use tempfile::TempDir;
use tls_support::endpoint::{Endpoint, Reply, Request, redirect, reply, server_tls};
use tls_support::{Authority, Pair, Validity};

/// What must never be printed.
const SECRET: &str = "hunter2";

/// A timeout that a hung server is cut off at; the test waits for it.
const SHORT: Duration = Duration::from_millis(300);

/// A directory with files, and settings that name them.
struct Setup {
    dir: TempDir,
}

impl Setup {
    fn new(files: &[(&str, &str)]) -> Self {
        let setup = Self { dir: TempDir::with_prefix("scraped-test-").expect("a directory") };
        for (name, content) in files {
            setup.write(name, content);
        }
        setup
    }

    /// Writes in place: what is half there may be seen.
    fn write(&self, name: &str, content: &str) {
        fs::write(self.dir.path().join(name), content).expect("writable");
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.dir.path().join(name)).expect("there");
    }

    /// The settings as the configuration says them; `yaml` is the inside of a flow mapping.
    fn config(&self, yaml: &str) -> Arc<HttpClientConfig> {
        let text = format!("scrape_configs: [{{job_name: j, {yaml}}}]\n");
        self.write("scraped.yml", &text);
        let config = scraped::config::load(&self.dir.path().join("scraped.yml"))
            .unwrap_or_else(|errors| panic!("{errors}"));
        assert!(!config.to_yaml().contains(SECRET), "{}", config.to_yaml());
        assert!(!format!("{config:?}").contains(SECRET), "{config:?}");
        Arc::clone(&config.scrape_configs[0].http_client)
    }

    fn client(&self, url: &str, yaml: &str) -> HttpClient {
        let headers = Headers { fixed: &[("User-Agent", "test")], others: Vec::new() };
        HttpClient::new(Url::parse(url).expect("a URL"), headers, &self.config(yaml))
    }
}

/// Status and body, or the error as text.
fn get(client: &mut HttpClient, timeout: Duration) -> Result<(u16, String), String> {
    let words = |error: scraped::http::error::HttpError| {
        let text = error.to_string();
        assert!(!text.contains(SECRET) && !format!("{error:?}").contains(SECRET), "{error:?}");
        text
    };
    let mut response = client.get(Instant::now() + timeout).map_err(words)?;
    let mut body = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match response.read(&mut piece).map_err(words)? {
            0 => break,
            n_read => body.extend_from_slice(&piece[..n_read]),
        }
    }
    Ok((response.status(), String::from_utf8_lossy(&body).into_owned()))
}

fn post(client: &mut HttpClient, body: &[u8], timeout: Duration) -> Result<Answer, String> {
    client
        .post(&[("Content-Type", "application/x-protobuf")], body, Instant::now() + timeout)
        .map_err(|error| error.to_string())
}

fn ok() -> Result<(u16, String), String> {
    Ok((200, "ok".to_owned()))
}

/// The error of one GET, without the URL in front.
fn error_of(client: &mut HttpClient) -> String {
    let error = get(client, PATIENCE).expect_err("no answer");
    let prefix = format!("Get \"{}\": ", client.url());
    error.strip_prefix(&prefix).unwrap_or_else(|| panic!("{error}")).to_owned()
}

const BOTH: [&rustls::SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

const UNKNOWN: &str = "tls: failed to verify certificate: x509: certificate signed by unknown authority";

#[test]
fn a_known_authority_is_enough_and_the_connection_is_kept() {
    let authority = Authority::new("good");
    let pair = authority.issue(&["localhost", "127.0.0.1"], Validity::Now);
    let setup = Setup::new(&[("ca.pem", &authority.pem)]);
    let inline = format!("tls_config: {{ca: {:?}}}", authority.pem);
    let long_page = "a line that is longer than it has to be\n".repeat(50_000);
    for versions in [&BOTH[..], &BOTH[..1], &BOTH[1..]] {
        let endpoint = Endpoint::tls(server_tls(&pair, None, versions));
        for (host, yaml) in [("localhost", "tls_config: {ca_file: ca.pem}"), ("127.0.0.1", &inline)] {
            let n_before = endpoint.n_connections();
            let mut client = setup.client(&format!("https://{}/x", endpoint.at(host)), yaml);
            for _ in 0..5 {
                assert_eq!(get(&mut client, PATIENCE), ok());
            }
            let page = long_page.clone();
            endpoint.answer(move |_| reply(200, "", &page));
            let (_, body) = get(&mut client, PATIENCE).expect("an answer");
            assert!(body == long_page, "{} bytes", body.len());
            endpoint.answer(|_| reply(200, "", "ok"));
            assert_eq!(get(&mut client, PATIENCE), ok());
            assert_eq!(endpoint.n_connections(), n_before + 1);
            assert_eq!(endpoint.last().values("Host"), [endpoint.at(host)]);
            // A peer that says farewell, or just goes, while the connection idles.
            endpoint.close_connections();
            assert_eq!(get(&mut client, PATIENCE), ok());
            endpoint.answer(|_| Reply::Close(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec()));
            assert_eq!(get(&mut client, PATIENCE), ok());
            assert_eq!(get(&mut client, PATIENCE), ok());
            // The end of a body without a length is only believed if the peer said that it is one.
            endpoint.answer(|_| Reply::Close(b"HTTP/1.1 200 OK\r\n\r\nok".to_vec()));
            assert_eq!(get(&mut client, PATIENCE), ok());
            endpoint.answer(|_| reply(200, "", "ok"));
        }
    }
}

#[test]
fn whoever_cannot_be_verified_is_refused_in_gos_words() {
    let good = Authority::new("good");
    let setup = Setup::new(&[("ca.pem", &good.pem)]);
    let name_of = |names: &[&str], validity| good.issue(names, validity);
    let other = Authority::new("other");
    let expired =
        "tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time ";
    for (pair, host, want) in [
        (other.issue(&["localhost"], Validity::Now), "localhost", UNKNOWN),
        (Pair::self_signed(&["localhost"], Validity::Now), "localhost", UNKNOWN),
        (name_of(&["localhost"], Validity::Past), "localhost", expired),
        (name_of(&["localhost"], Validity::Future), "localhost", expired),
        (
            name_of(&["a.example", "*.b.example"], Validity::Now),
            "localhost",
            "tls: failed to verify certificate: x509: certificate is valid for a.example, *.b.example, not localhost",
        ),
        (
            name_of(&["127.0.0.2"], Validity::Now),
            "127.0.0.1",
            "tls: failed to verify certificate: x509: certificate is valid for 127.0.0.2, not 127.0.0.1",
        ),
        (
            name_of(&["localhost"], Validity::Now),
            "127.0.0.1",
            "tls: failed to verify certificate: x509: cannot validate certificate for 127.0.0.1 because it doesn't \
             contain any IP SANs",
        ),
    ] {
        let endpoint = Endpoint::tls(server_tls(&pair, None, &BOTH));
        let url = format!("https://{}/", endpoint.at(host));
        let error = error_of(&mut setup.client(&url, "tls_config: {ca_file: ca.pem}"));
        assert!(error.starts_with(want), "{error}");
        assert_eq!(endpoint.requests().len(), 0, "nothing is said to a stranger");
        let mut careless = setup.client(&url, "tls_config: {insecure_skip_verify: true}");
        assert_eq!(get(&mut careless, PATIENCE), ok(), "{want}");
    }
    // The certificate's name is given, whatever the address is.
    let endpoint = Endpoint::tls(server_tls(&name_of(&["box.example"], Validity::Now), None, &BOTH));
    let url = format!("https://{}/", endpoint.at("127.0.0.1"));
    let named = "tls_config: {ca_file: ca.pem, server_name: box.example}";
    assert_eq!(get(&mut setup.client(&url, named), PATIENCE), ok());
    let error = error_of(&mut setup.client(&url, "tls_config: {ca_file: ca.pem, server_name: 'not a name'}"));
    assert_eq!(error, "tls: \"not a name\" is not a name that a server can have");
}

#[test]
fn the_systems_authorities_are_used_by_default() {
    let endpoint =
        Endpoint::tls(server_tls(&Authority::new("none").issue(&["localhost"], Validity::Now), None, &BOTH));
    let url = format!("https://{}/", endpoint.at("localhost"));
    let error = error_of(&mut Setup::new(&[]).client(&url, "scheme: https"));
    assert!(error == UNKNOWN || error.starts_with("tls: no certificates of authorities found"), "{error}");
}

#[test]
fn a_certificate_that_is_its_own_authority_is_accepted_by_name() {
    let pair = Pair::self_signed(&["localhost"], Validity::Now);
    let others = Pair::self_signed(&["localhost"], Validity::Now);
    let endpoint = Endpoint::tls(server_tls(&pair, None, &BOTH));
    let setup = Setup::new(&[("own.pem", &pair.cert_pem), ("others.pem", &others.cert_pem)]);
    let url = format!("https://{}/", endpoint.at("localhost"));
    assert_eq!(get(&mut setup.client(&url, "tls_config: {ca_file: own.pem}"), PATIENCE), ok());
    let error = error_of(&mut setup.client(&url, "tls_config: {ca_file: others.pem}"));
    assert!(error.starts_with("tls: failed to verify certificate: x509: "), "{error}");
    // Its name and its dates count all the same.
    let by_address = format!("https://{}/", endpoint.at("127.0.0.1"));
    let error = error_of(&mut setup.client(&by_address, "tls_config: {ca_file: own.pem}"));
    assert!(error.contains("x509: cannot validate certificate for 127.0.0.1"), "{error}");
    let expired = Pair::self_signed(&["localhost"], Validity::Past);
    setup.write("expired.pem", &expired.cert_pem);
    endpoint.set_tls(server_tls(&expired, None, &BOTH));
    let error = error_of(&mut setup.client(&url, "tls_config: {ca_file: expired.pem}"));
    assert!(error.contains("x509: certificate has expired"), "{error}");
}

#[test]
fn a_server_that_wants_a_certificate_gets_it_or_says_so() {
    let (servers, clients, strangers) =
        (Authority::new("servers"), Authority::new("clients"), Authority::new("strangers"));
    let pair = servers.issue(&["localhost"], Validity::Now);
    let client = clients.issue(&["client"], Validity::Now);
    let stranger = strangers.issue(&["stranger"], Validity::Now);
    let setup = Setup::new(&[
        ("ca.pem", &servers.pem),
        ("client.pem", &client.cert_pem),
        ("client.key", &client.key_pem),
        ("stranger.pem", &stranger.cert_pem),
        ("stranger.key", &stranger.key_pem),
    ]);
    for versions in [&BOTH[..1], &BOTH[1..]] {
        let endpoint = Endpoint::tls(server_tls(&pair, Some(&clients), versions));
        let url = format!("https://{}/", endpoint.at("localhost"));
        let present = "tls_config: {ca_file: ca.pem, cert_file: client.pem, key_file: client.key}";
        assert_eq!(get(&mut setup.client(&url, present), PATIENCE), ok());
        assert_eq!(endpoint.last().client.as_deref(), Some(&*client.cert));
        let missing = error_of(&mut setup.client(&url, "tls_config: {ca_file: ca.pem}"));
        // TLS 1.2 has no word for it but "handshake failure".
        let wants = ["remote error: tls: certificate required", "remote error: tls: handshake failure"];
        assert!(wants.contains(&missing.as_str()), "{missing}");
        let strange = "tls_config: {ca_file: ca.pem, cert_file: stranger.pem, key_file: stranger.key}";
        let error = error_of(&mut setup.client(&url, strange));
        assert_eq!(error, "remote error: tls: unknown certificate authority");
        // A post learns it as well, however much it has to say.
        let error = post(&mut setup.client(&url, strange), &vec![0; 1 << 20], PATIENCE).expect_err("refused");
        assert_eq!(error, format!("Post {url:?}: remote error: tls: unknown certificate authority"));
        assert_eq!(endpoint.requests().len(), 1);
    }
}

#[test]
fn rotated_certificates_are_taken_up_without_a_restart() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let clients = Authority::new("clients");
    let (first, second) = (clients.issue(&["one"], Validity::Now), clients.issue(&["two"], Validity::Now));
    let setup = Setup::new(&[("ca.pem", &old.pem), ("c.pem", &first.cert_pem), ("c.key", &first.key_pem)]);
    let tls = |authority: &Authority| {
        server_tls(&authority.issue(&["localhost"], Validity::Now), Some(&clients), &BOTH)
    };
    let endpoint = Endpoint::tls(tls(&old));
    let url = format!("https://{}/", endpoint.at("localhost"));
    let mut client = setup.client(&url, "tls_config: {ca_file: ca.pem, cert_file: c.pem, key_file: c.key}");
    assert_eq!(get(&mut client, PATIENCE), ok());
    assert_eq!(endpoint.last().client.as_deref(), Some(&*first.cert));

    // The certificate is there before its key, and the key is half written for a while: the old pair serves on.
    let wait_for_a_look = || thread::sleep(Duration::from_millis(1100));
    setup.write("c.pem", &second.cert_pem);
    wait_for_a_look();
    assert_eq!(get(&mut client, PATIENCE), ok());
    setup.write("c.key", &second.key_pem[..second.key_pem.len() / 2]);
    wait_for_a_look();
    assert_eq!(get(&mut client, PATIENCE), ok());
    assert_eq!(endpoint.last().client.as_deref(), Some(&*first.cert));
    setup.write("c.key", &second.key_pem);
    wait_until("the new pair is shown", || {
        assert_eq!(get(&mut client, PATIENCE), ok());
        endpoint.last().client.as_deref() == Some(&*second.cert)
    });

    // The server moves to another authority; the client learns of it by its file.
    endpoint.set_tls(tls(&new));
    endpoint.close_connections();
    assert_eq!(error_of(&mut client), UNKNOWN);
    setup.write("ca.pem", &new.pem);
    wait_until("the new authority is known", || get(&mut client, PATIENCE) == ok());
    // Files that are gone take nothing away.
    for name in ["ca.pem", "c.pem", "c.key"] {
        setup.remove(name);
    }
    wait_for_a_look();
    endpoint.close_connections();
    assert_eq!(get(&mut client, PATIENCE), ok());
}

#[test]
fn files_that_cannot_be_used_are_errors_that_name_them() {
    let authority = Authority::new("good");
    let (one, two) = (authority.issue(&["a"], Validity::Now), authority.issue(&["b"], Validity::Now));
    let setup = Setup::new(&[
        ("ca.pem", &authority.pem),
        ("one.pem", &one.cert_pem),
        ("two.key", &two.key_pem),
        ("garbage", &format!("-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n")),
        ("cut.key", &one.key_pem[..100]),
        ("bad-der.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        ("lines", &format!("a\n{SECRET}\n")),
    ]);
    let dir = setup.dir.path().display().to_string();
    let no_cert = "tls: failed to find any PEM data in certificate input";
    let no_key = "tls: failed to find any PEM data in key input";
    let mismatch = "tls: private key does not match public key";
    let lines = "holds more than one line, or a control character, which cannot stand in a header";
    for (yaml, want) in [
        (
            "tls_config: {ca_file: none.pem}".to_owned(),
            "unable to use specified CA cert: unable to read file DIR/none.pem: no such file or directory"
                .to_owned(),
        ),
        (
            "tls_config: {ca_file: garbage}".to_owned(),
            "unable to use specified CA cert: DIR/garbage: holds no certificate".to_owned(),
        ),
        (
            "tls_config: {ca: nonsense}".to_owned(),
            "unable to use specified CA cert: the one in the configuration holds no certificate".to_owned(),
        ),
        (
            "tls_config: {ca_file: ca.pem, cert_file: one.pem, key_file: two.key}".to_owned(),
            format!(
                "unable to use specified client cert (file DIR/one.pem) & key (file DIR/two.key): {mismatch}"
            ),
        ),
        (
            "tls_config: {ca_file: ca.pem, cert_file: garbage, key_file: two.key}".to_owned(),
            format!("unable to use specified client cert: DIR/garbage: {no_cert}"),
        ),
        (
            "tls_config: {ca_file: ca.pem, cert_file: one.pem, key_file: garbage}".to_owned(),
            "unable to use specified client".to_owned(),
        ),
        (
            "tls_config: {ca_file: ca.pem, cert_file: one.pem, key_file: cut.key}".to_owned(),
            format!("unable to use specified client key: DIR/cut.key: {no_key}"),
        ),
        (
            format!("tls_config: {{ca_file: ca.pem, cert_file: one.pem, key: {SECRET}}}"),
            format!("unable to use specified client key: the one in the configuration {no_key}"),
        ),
        (
            "tls_config: {ca_file: ca.pem, cert_file: bad-der.pem, key_file: two.key}".to_owned(),
            "unable to use specified client cert (file DIR/bad-der.pem) & key (file DIR/two.key): "
                .to_owned(),
        ),
        (
            "authorization: {credentials_file: lines}, tls_config: {insecure_skip_verify: true}".to_owned(),
            format!("unable to read authorization credentials: DIR/lines: {lines}"),
        ),
        (
            "basic_auth: {username: a, password_file: /dev/zero}, tls_config: {insecure_skip_verify: true}"
                .to_owned(),
            "unable to read basic auth password: unable to read file /dev/zero: not a regular file"
                .to_owned(),
        ),
        (
            "http_headers: {A: {files: [none]}}, tls_config: {insecure_skip_verify: true}".to_owned(),
            "unable to read headers file: unable to read file DIR/none: no such file or directory".to_owned(),
        ),
    ] {
        let mut client = setup.client("https://localhost:1/", &yaml);
        for _ in 0..2 {
            let error = error_of(&mut client);
            assert!(error.starts_with(&want.replace("DIR", &dir)), "{yaml}: {error}");
            assert!(!format!("{client:?}").contains(SECRET), "{client:?}");
        }
    }
}

#[test]
fn strange_peers_are_errors() {
    let authority = Authority::new("good");
    let setup = Setup::new(&[("ca.pem", &authority.pem)]);
    let tls = "tls_config: {ca_file: ca.pem}";
    let plain = Endpoint::plain(|_| reply(200, "", "ok"));
    // A client's hello has no empty line: the plain server waits for more of it.
    let hung = setup.client(&format!("https://{}/", plain.at("localhost")), tls);
    let mut hung = hung;
    let error = get(&mut hung, SHORT).expect_err("no answer");
    assert!(error.ends_with(": context deadline exceeded (while shaking hands for TLS)"), "{error}");
    let canceller = hung.canceller();
    thread::scope(|scope| {
        let running = scope.spawn(|| get(&mut hung, 10 * PATIENCE));
        thread::sleep(Duration::from_millis(100));
        canceller.cancel();
        let error = running.join().expect("no panic").expect_err("cancelled");
        assert!(error.ends_with(": context canceled"), "{error}");
    });
    // Versions.
    let pair = authority.issue(&["localhost"], Validity::Now);
    let endpoint = Endpoint::tls(server_tls(&pair, None, &BOTH[..1]));
    let url = format!("https://{}/", endpoint.at("localhost"));
    let newest = "tls_config: {ca_file: ca.pem, min_version: TLS13}";
    let error = error_of(&mut setup.client(&url, newest));
    assert_eq!(error, "remote error: tls: protocol version not supported");
    assert_eq!(
        get(&mut setup.client(&url, "tls_config: {ca_file: ca.pem, max_version: TLS12}"), PATIENCE),
        ok()
    );
    // Without TLS to a server that has it.
    let without = format!("http://{}/", endpoint.at("localhost"));
    get(&mut setup.client(&without, "scheme: http"), PATIENCE).expect_err("nonsense");
    // Bytes of every kind instead of a handshake, and a handshake that was damaged on its way.
    for nonsense in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        b"\x16\x03\x03\xff\xff",
        b"\x16\x03\x03\x00\x04\x02\x00\x00\x00",
        b"\x15\x03\x03\x00\x02\x02\x28",
        b"\x15\x03\x03\x00\x02\x01\x00",
        b"",
    ] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let thread = thread::Builder::new().name("nonsense".to_owned());
        let thread = thread.spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut hello = [0; 64];
            let _ = std::io::Read::read(&mut stream, &mut hello);
            let _ = std::io::Write::write_all(&mut stream, nonsense);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            while std::io::Read::read(&mut stream, &mut hello).is_ok_and(|n_read| n_read > 0) {}
        });
        let error = error_of(&mut setup.client(&format!("https://localhost:{}/", address.port()), tls));
        let wants = match nonsense.first() {
            Some(b'H') => "http: server gave HTTP response to HTTPS client",
            Some(b'S') => "tls: first record does not look like a TLS handshake",
            Some(0x15) if nonsense.ends_with(b"\x28") => "remote error: tls: handshake failure",
            None => "EOF",
            _ => "",
        };
        assert!(error.starts_with(wants), "{error}");
        thread.expect("a thread").join().expect("no panic");
    }
}

#[test]
fn credentials_are_sent_once_and_re_read() {
    let setup = Setup::new(&[("token", "one\n"), ("password", "secret"), ("key", "k1")]);
    let endpoint = Endpoint::plain(|_| reply(200, "", "ok"));
    let url = format!("http://{}/", endpoint.at("localhost"));
    let sent = |yaml: &str, name: &str| {
        assert_eq!(get(&mut setup.client(&url, yaml), PATIENCE), ok());
        endpoint.last().values(name)
    };
    let basic = "Basic cHJvbWV0aGV1czpodW50ZXIy";
    assert_eq!(sent("basic_auth: {username: prometheus, password: hunter2}", "Authorization"), [basic]);
    assert_eq!(sent("basic_auth: {}", "Authorization"), ["Basic Og=="]);
    assert_eq!(sent("bearer_token: hunter2", "Authorization"), ["Bearer hunter2"]);
    assert_eq!(sent("bearer_token_file: token", "Authorization"), ["Bearer one"]);
    assert_eq!(
        sent("authorization: {type: Token, credentials: hunter2}", "Authorization"),
        ["Token hunter2"]
    );
    assert_eq!(sent("scheme: http", "Authorization"), [""; 0]);
    let headers = "http_headers: {x-tenant: {values: [a, b], secrets: [hunter2], files: [key]}}";
    assert_eq!(sent(headers, "X-Tenant"), ["a", "b", "hunter2", "k1"]);
    // Credentials in the URL, as some write them, are credentials too.
    let with_user = format!("http://prometheus:{SECRET}@{}/", endpoint.at("localhost"));
    let mut client = setup.client(&with_user, "scheme: http");
    assert_eq!(get(&mut client, PATIENCE), ok());
    assert_eq!(endpoint.last().values("Authorization"), [basic]);
    assert_eq!(endpoint.last().values("Host"), [endpoint.at("localhost")]);
    assert_eq!(client.url().to_string(), format!("http://prometheus:***@{}/", endpoint.at("localhost")));

    // Files that change while one client asks again and again, on one connection.
    let mut client = setup.client(&url, "basic_auth: {username_file: token, password_file: password}");
    let n_before = endpoint.n_connections();
    let mut wait_for = |line: &str| {
        wait_until(line, || {
            assert_eq!(get(&mut client, PATIENCE), ok());
            endpoint.last().values("Authorization") == [line]
        });
    };
    wait_for("Basic b25lOnNlY3JldA==");
    setup.write("password", "other");
    wait_for("Basic b25lOm90aGVy");
    // Emptied before it is written anew, or gone: the last one is good until then.
    setup.write("password", "");
    setup.remove("token");
    thread::sleep(Duration::from_millis(1100));
    wait_for("Basic b25lOm90aGVy");
    setup.write("token", "two");
    setup.write("password", "third");
    wait_for("Basic dHdvOnRoaXJk");
    assert_eq!(endpoint.n_connections(), n_before + 1);
}

#[test]
fn credentials_do_not_follow_to_another_host() {
    let setup = Setup::new(&[("ca.pem", ""), ("key", SECRET)]);
    let there = Endpoint::plain(|_| reply(200, "", "ok"));
    let yaml = "basic_auth: {username: a, password: hunter2}, \
                http_headers: {X-Key: {secrets: [hunter2], files: [key]}, X-Tenant: {values: [t]}}";
    let asked = |locations: Vec<String>| {
        let n_asked = std::sync::atomic::AtomicUsize::new(0);
        let here = Endpoint::plain(move |_| {
            let n_asked = n_asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            locations.get(n_asked).map_or_else(|| reply(200, "", "ok"), |location| redirect(302, location))
        });
        let mut client = setup.client(&format!("http://{}/", here.at("localhost")), yaml);
        assert_eq!(get(&mut client, PATIENCE), ok());
        here
    };
    let secrets_of = |request: &Request| {
        assert_eq!(request.values("X-Tenant"), ["t"]);
        (request.values("Authorization").len(), request.values("X-Key").len())
    };
    let here = asked(vec!["/again".to_owned()]);
    assert_eq!(secrets_of(&here.last()), (1, 2), "the same host");
    asked(vec![format!("http://{}/", there.at("localhost"))]);
    assert_eq!(secrets_of(&there.last()), (1, 2), "another port of the same host");
    asked(vec![format!("http://{}/", there.at("127.0.0.1"))]);
    assert_eq!(secrets_of(&there.last()), (0, 0), "another host");
    assert!(!there.last().head.contains(SECRET), "{}", there.last().head);
    // Who was sent elsewhere once does not trust the way back.
    let n_asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let here = Endpoint::plain(|_| reply(200, "", "ok"));
    let (back, away) =
        (format!("http://{}/back", here.at("localhost")), format!("http://{}/", there.at("127.0.0.1")));
    there.answer(move |_| redirect(307, &back));
    here.answer(move |_| match n_asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
        0 => redirect(307, &away),
        _ => reply(200, "", "ok"),
    });
    assert_eq!(get(&mut setup.client(&format!("http://{}/", here.at("localhost")), yaml), PATIENCE), ok());
    assert_eq!(secrets_of(&here.requests()[0]), (1, 2));
    assert_eq!(secrets_of(&here.last()), (0, 0));
    // From TLS to none.
    let authority = Authority::new("good");
    setup.write("ca.pem", &authority.pem);
    let pair = authority.issue(&["localhost"], Validity::Now);
    let endpoint = Endpoint::tls(server_tls(&pair, None, &BOTH));
    there.answer(|_| reply(200, "", "ok"));
    let down = format!("http://{}/", there.at("localhost"));
    endpoint.answer(move |_| redirect(301, &down));
    let with_tls = format!("{yaml}, tls_config: {{ca_file: ca.pem}}");
    let mut client = setup.client(&format!("https://{}/", endpoint.at("localhost")), &with_tls);
    assert_eq!(get(&mut client, PATIENCE), ok());
    assert_eq!(secrets_of(&endpoint.last()), (1, 2));
    assert_eq!(secrets_of(&there.last()), (0, 0));
    // Or not at all.
    let mut client = setup.client(
        &format!("https://{}/", endpoint.at("localhost")),
        &format!("{with_tls}, follow_redirects: false"),
    );
    assert_eq!(get(&mut client, PATIENCE), Ok((301, String::new())));
}

#[test]
fn posts_arrive_whole_and_redirects_keep_them() {
    let setup = Setup::new(&[]);
    let endpoint = Endpoint::plain(|_| {
        reply(204, "Retry-After: 7\r\nX-Prometheus-Remote-Write-Samples-Written: 5\r\n", "")
    });
    let url = format!("http://{}/write", endpoint.at("localhost"));
    let mut client = setup.client(&url, "authorization: {credentials: hunter2}");
    for length in [0, 1, 8 << 10, 1 << 20] {
        let body: Vec<u8> = (0..length).map(|idx| idx as u8).collect();
        let answer = post(&mut client, &body, PATIENCE).expect("an answer");
        assert_eq!(
            (answer.status(), answer.reason(), answer.header("retry-after")),
            (204, "No Content", Some("7"))
        );
        assert_eq!(answer.header("X-Prometheus-Remote-Write-Samples-Written"), Some("5"));
        let request = endpoint.last();
        assert!(request.body == body, "{length}");
        assert!(request.head.starts_with("POST /write HTTP/1.1\n"), "{}", request.head);
        assert_eq!(request.values("Content-Length"), [length.to_string()]);
        for (name, value) in [
            ("Content-Type", "application/x-protobuf"),
            ("User-Agent", "test"),
            ("Authorization", "Bearer hunter2"),
        ] {
            assert_eq!(request.values(name), [value]);
        }
        assert_eq!(request.head.lines().count(), 6, "{}", request.head);
    }
    assert_eq!(endpoint.n_connections(), 1);
    // The connection that was kept is gone when the next post comes.
    endpoint.close_connections();
    assert_eq!(post(&mut client, b"x", PATIENCE).expect("an answer").status(), 204);
    // Kept as they are, or not followed at all.
    for (status, followed) in
        [(307, true), (308, true), (301, false), (302, false), (303, false), (304, false)]
    {
        endpoint.answer(move |request| match request.head.starts_with("POST /write ") {
            true => redirect(status, "/elsewhere"),
            false => reply(200, "", "taken"),
        });
        let outcome = post(&mut client, b"samples", PATIENCE);
        if followed {
            assert_eq!(outcome.expect("an answer").body, b"taken");
            let request = endpoint.last();
            assert!(request.head.starts_with("POST /elsewhere "), "{}", request.head);
            assert_eq!(
                (request.body.as_slice(), request.values("Authorization").len()),
                (&b"samples"[..], 1)
            );
        } else if status == 304 {
            assert_eq!(outcome.expect("an answer").status(), 304);
        } else {
            let at = endpoint.at("localhost");
            assert_eq!(
                outcome.expect_err("not followed"),
                format!(
                    "Post {url:?}: redirected with status {status} to \"http://{at}/elsewhere\", which would make a \
                     GET of the POST; nothing was delivered, use that URL or let the server answer with 307 or 308"
                )
            );
        }
    }
    endpoint.answer(|_| redirect(308, "/write"));
    let n_before = endpoint.requests().len();
    assert_eq!(
        post(&mut client, b"x", PATIENCE).expect_err("a loop"),
        "Post \"/write\": stopped after 10 redirects"
    );
    assert_eq!(endpoint.requests().len(), n_before + 10);
}

#[test]
fn answers_are_bounded_and_early_ones_are_heard() {
    let setup = Setup::new(&[]);
    let endpoint = Endpoint::plain(|_| reply(500, "", &"x".repeat(1 << 20)));
    let url = format!("http://{}/write", endpoint.at("localhost"));
    let mut client = setup.client(&url, "scheme: http");
    let answer = post(&mut client, b"x", PATIENCE).expect("an answer");
    assert_eq!((answer.status(), answer.body.len()), (500, 4096));
    let head = b"HTTP/1.1 400 Bad Request\r\n";
    let start = Instant::now();
    endpoint.answer(|_| Reply::Endless([&head[..], b"\r\n"].concat(), vec![b'x'; 4096]));
    let answer = post(&mut client, b"x", PATIENCE).expect("an answer");
    assert_eq!((answer.status(), answer.body.len()), (400, 4096));
    endpoint.answer(|_| Reply::Endless(head.to_vec(), b"X-Again: and again\r\n".to_vec()));
    let error = post(&mut client, b"x", PATIENCE).expect_err("no end of headers");
    assert!(error.contains("too many headers"), "{error}");
    endpoint.answer(|_| Reply::Endless([&head[..], b"X-Long: "].concat(), vec![b'x'; 4096]));
    let error = post(&mut client, b"x", PATIENCE).expect_err("no end of a header");
    assert_eq!(error, format!("Post {url:?}: response header is too large (limit: 16384B)"));
    assert!(start.elapsed() < PATIENCE / 2, "an endless answer is not waited for");
    endpoint.answer(|_| Reply::Hang);
    let error = post(&mut client, b"x", SHORT).expect_err("no answer");
    assert_eq!(error, format!("Post {url:?}: context deadline exceeded (while waiting for the response)"));
    // Too large, says the server, and does not wait for the rest.
    endpoint.answer(|_| Reply::Close(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n".to_vec()));
    endpoint.ignore_bodies();
    let body = vec![0; 32 << 20];
    for _ in 0..3 {
        assert_eq!(post(&mut client, &body, PATIENCE).expect("an answer").status(), 413);
    }
    // And one that takes nothing and says nothing.
    endpoint.answer(|_| {
        thread::sleep(Duration::from_secs(2));
        Reply::Hang
    });
    let error = post(&mut client, &body, SHORT).expect_err("no answer");
    assert!(error.ends_with("context deadline exceeded (while sending the request)"), "{error}");
    let canceller = client.canceller();
    thread::scope(|scope| {
        let running = scope.spawn(|| post(&mut client, &body, 10 * PATIENCE));
        thread::sleep(Duration::from_millis(100));
        canceller.cancel();
        let error = running.join().expect("no panic").expect_err("cancelled");
        assert!(error.ends_with(": context canceled"), "{error}");
    });
}
