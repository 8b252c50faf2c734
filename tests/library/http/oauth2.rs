//! Tokens of OAuth 2 over real sockets: asked for once, kept, renewed, shared, and what is said when there is none.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;
use support::tls::endpoint::{Endpoint, Reply, Request, redirect, reply, server_tls};
use support::tls::setup::{BOTH, SHORT, Setup, error_of, get, ok};
use support::tls::{Authority, Validity};
use support::{PATIENCE, wait_until};

const JSON: &str = "Content-Type: application/json\r\n";

/// A server of tokens: each is another one.
fn tokens(expires_in: &'static str) -> Endpoint {
    let n_given = AtomicUsize::new(0);
    Endpoint::plain(move |_| {
        let token = n_given.fetch_add(1, Ordering::SeqCst) + 1;
        reply(200, JSON, &format!(r#"{{"access_token":"t{token}","token_type":"bearer"{expires_in}}}"#))
    })
}

/// A server that knows one token.
fn guarded(token: &'static str) -> Endpoint {
    Endpoint::plain(move |request| match request.values("Authorization") == [format!("Bearer {token}")] {
        true => reply(200, "", "ok"),
        false => reply(401, "", "who are you?"),
    })
}

fn form(request: &Request) -> BTreeMap<String, String> {
    let body = String::from_utf8(request.body.clone()).expect("text");
    let pairs = body.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn settings(server: &Endpoint, more: &str) -> String {
    let at = server.at("localhost");
    format!("oauth2: {{client_id: 'my id', token_url: 'http://{at}/token?tenant=1', {more}}}")
}

#[test]
fn one_token_serves_many_requests_and_clients() {
    let setup = Setup::new(&[]);
    let server = tokens(r#","expires_in":3600"#);
    let target = guarded("t1");
    let yaml = settings(
        &server,
        "client_secret: 'hunter2&=+/', scopes: [read, 'all of it'], endpoint_params: {audience: 'a b', x: '1'}",
    );
    let url = format!("http://{}/", target.at("localhost"));
    let mut clients: Vec<_> = (0..8).map(|_| setup.client(&url, &yaml)).collect();
    thread::scope(|scope| {
        for client in &mut clients {
            scope.spawn(|| {
                for _ in 0..3 {
                    assert_eq!(get(client, PATIENCE), ok());
                }
            });
        }
    });
    let asked = server.requests();
    assert_eq!(asked.len(), 1, "{asked:?}");
    let request = &asked[0];
    assert!(request.head.starts_with("POST /token?tenant=1 HTTP/1.1\n"), "{}", request.head);
    assert_eq!(request.values("Content-Type"), ["application/x-www-form-urlencoded"]);
    // Escaped, then encoded: my+id:hunter2%26%3D%2B%2F
    assert_eq!(request.values("Authorization"), ["Basic bXkraWQ6aHVudGVyMiUyNiUzRCUyQiUyRg=="]);
    assert_eq!(
        String::from_utf8_lossy(&request.body),
        "audience=a+b&grant_type=client_credentials&scope=read+all+of+it&x=1"
    );
}

#[test]
fn tokens_are_renewed_before_they_expire_and_when_they_are_refused() {
    let setup = Setup::new(&[("secret", "one\n")]);
    let target = Endpoint::plain(|_| reply(200, "", "ok"));
    let url = format!("http://{}/", target.at("localhost"));
    let sent = |client: &mut scraped::http::HttpClient| {
        assert_eq!(get(client, PATIENCE), ok());
        target.last().values("Authorization").concat()
    };
    // One that is good for two seconds is used for one; a number may come as text.
    let server = tokens(r#","expires_in":"2""#);
    let mut client = setup.client(&url, &settings(&server, "client_secret: a"));
    assert_eq!(sent(&mut client), "Bearer t1");
    wait_until("the next token", || sent(&mut client) == "Bearer t2");
    // The secret is another one.
    let server = tokens("");
    let mut client = setup.client(&url, &settings(&server, "client_secret_file: secret"));
    assert_eq!(sent(&mut client), "Bearer t1");
    assert_eq!(server.last().values("Authorization"), ["Basic bXkraWQ6b25l"]);
    assert_eq!(sent(&mut client), "Bearer t1", "without a time it is good for ever");
    setup.write("secret", "two");
    wait_until("the next token", || sent(&mut client) == "Bearer t2");
    assert_eq!(server.last().values("Authorization"), ["Basic bXkraWQ6dHdv"]);
    // The target has forgotten it: asked again with another one, at once, and once only.
    let server = tokens(r#","expires_in":3600"#);
    let target = guarded("t2");
    let url = format!("http://{}/", target.at("localhost"));
    let mut client = setup.client(&url, &settings(&server, "client_secret: b"));
    for _ in 0..3 {
        assert_eq!(get(&mut client, PATIENCE), ok());
    }
    assert_eq!((server.requests().len(), target.requests().len()), (2, 4));
    target.answer(|_| reply(401, "", "never"));
    for _ in 0..3 {
        assert_eq!(get(&mut client, PATIENCE), Ok((401, "never".to_owned())));
    }
    assert_eq!(server.requests().len(), 2, "who refuses every token does not cost one each time");
}

#[test]
fn servers_differ_in_how_they_want_to_be_asked() {
    let setup = Setup::new(&[]);
    let target = guarded("t");
    let url = format!("http://{}/", target.at("localhost"));
    // Not in a header, and the answer is a form.
    let server = Endpoint::plain(|request| match form(request).get("client_secret") {
        Some(_) => {
            reply(200, "Content-Type: text/plain\r\n", "access_token=t&token_type=Bearer&expires_in=1")
        }
        None => reply(401, JSON, r#"{"error":"invalid_client"}"#),
    });
    let yaml =
        settings(&server, "client_secret: 'a b', grant_type: odd, endpoint_params: {grant_type: password}");
    let mut client = setup.client(&url, &yaml);
    assert_eq!(get(&mut client, PATIENCE), ok());
    assert_eq!(server.requests().len(), 2);
    let asked = form(&server.last());
    assert_eq!(
        asked.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>(),
        ["client_id=my+id", "client_secret=a+b", "grant_type=password"]
    );
    assert_eq!(server.last().values("Authorization"), [""; 0]);
    wait_until("a token by the way that is known to work", || {
        assert_eq!(get(&mut client, PATIENCE), ok());
        server.requests().len() == 3
    });
    // By TLS, with certificates of its own, and through a proxy of its own.
    let authority = Authority::new("good");
    setup.write("ca.pem", &authority.pem);
    let by_tls = Endpoint::tls(server_tls(&authority.issue(&["localhost"], Validity::Now), None, &BOTH));
    by_tls.answer(|_| reply(200, JSON, r#"{"access_token":"t"}"#));
    let at = by_tls.at("localhost");
    let yaml =
        format!("oauth2: {{client_id: a, token_url: 'https://{at}/', tls_config: {{ca_file: ca.pem}}}}");
    assert_eq!(get(&mut setup.client(&url, &yaml), PATIENCE), ok());
    let proxy = Endpoint::plain(|_| reply(200, JSON, r#"{"access_token":"t"}"#));
    let at = proxy.at("127.0.0.1");
    let yaml =
        format!("oauth2: {{client_id: a, token_url: 'http://id.example/x', proxy_url: 'http://{at}'}}");
    assert_eq!(get(&mut setup.client(&url, &yaml), PATIENCE), ok());
    assert!(proxy.last().head.starts_with("POST http://id.example/x HTTP/1.1\n"), "{}", proxy.last().head);
    // No token for others.
    let there = Endpoint::plain(|_| reply(200, "", "ok"));
    let away = format!("http://{}/", there.at("127.0.0.1"));
    target.answer(move |_| redirect(302, &away));
    assert_eq!(get(&mut setup.client(&url, &yaml), PATIENCE), ok());
    assert_eq!(there.last().values("Authorization"), [""; 0]);
}

#[test]
fn without_a_token_nothing_is_asked_and_the_error_says_why() {
    let setup = Setup::new(&[]);
    let target = Endpoint::plain(|_| reply(200, "", "ok"));
    let url = format!("http://{}/", target.at("localhost"));
    let error_with = |answer: Reply| {
        let server = Endpoint::plain(move |_| answer.clone());
        error_of(&mut setup.client(&url, &settings(&server, "client_secret: hunter2")))
    };
    assert_eq!(
        error_with(reply(
            400,
            JSON,
            r#"{"error":"invalid_client","error_description":"no hunter2 here","error_uri":"http://x"}"#
        )),
        r#"oauth2: "invalid_client" "no <secret> here" "http://x""#
    );
    assert_eq!(error_with(reply(200, JSON, r#"{"error":"slow_down"}"#)), r#"oauth2: "slow_down""#);
    assert_eq!(
        error_with(reply(503, "Content-Type: text/html\r\n", "<p>later")),
        "oauth2: cannot fetch token: 503 Whatever\nResponse: <p>later"
    );
    assert_eq!(error_with(reply(200, JSON, "{}")), "oauth2: server response missing access_token");
    assert_eq!(error_with(reply(200, JSON, "nonsense")), "oauth2: cannot parse json: line 1, column 2");
    let control = reply(200, JSON, r#"{"access_token":"a\nb"}"#);
    assert!(error_with(control).contains("control character"));
    let long = reply(200, JSON, &format!(r#"{{"access_token":"{}"}}"#, "x".repeat(9000)));
    assert!(error_with(long).contains("longer than 7936B"));
    let large = reply(200, JSON, &"x".repeat((1 << 20) + 1));
    assert!(error_with(large).ends_with("response body is too large (limit: 1048576B)"));
    let away = redirect(302, "/elsewhere");
    assert!(error_with(away).contains("which would make a GET of the POST"));
    let none = "oauth2: {client_id: a, token_url: 'http://user:hunter2@127.0.0.1:1/token', client_secret: b}";
    assert_eq!(
        error_of(&mut setup.client(&url, none)),
        "Post \"http://user:***@127.0.0.1:1/token\": dial tcp 127.0.0.1:1: connect: connection refused"
    );
    let none = "oauth2: {client_id: a, token_url: token}";
    assert_eq!(error_of(&mut setup.client(&url, none)), "oauth2: cannot fetch token: \"token\" is not a URL");
    let none = "oauth2: {client_id: a, token_url: token, scopes: [a], endpoint_params: {scope: b}}";
    assert_eq!(error_of(&mut setup.client(&url, none)), "oauth2: cannot overwrite parameter \"scope\"");
    let missing =
        error_of(&mut setup.client(&url, "oauth2: {client_id: a, token_url: b, client_secret_file: s}"));
    assert!(missing.starts_with("unable to read oauth2 client secret: unable to read file "), "{missing}");
    assert_eq!(target.requests().len(), 0);
    // One that fails is not asked by each of thousands, and one that heals is asked again.
    let server = Endpoint::plain(|_| reply(503, "", ""));
    let mut clients: Vec<_> =
        (0..20).map(|_| setup.client(&url, &settings(&server, "client_secret: c"))).collect();
    for client in &mut clients {
        error_of(client);
    }
    assert!(server.requests().len() < 20, "{}", server.requests().len());
    server.answer(|_| reply(200, JSON, r#"{"access_token":"t"}"#));
    wait_until("a token", || get(&mut clients[0], PATIENCE).is_ok());
}

#[test]
fn a_server_of_tokens_that_hangs_holds_nobody_longer_than_they_have_time() {
    let setup = Setup::new(&[]);
    let server = Endpoint::plain(|_| Reply::Hang);
    let mut client = setup.client("http://127.0.0.1:1/", &settings(&server, "client_secret: a"));
    let error = get(&mut client, SHORT).expect_err("no token");
    assert!(error.ends_with("context deadline exceeded (while waiting for an OAuth 2 token)"), "{error}");
    let canceller = client.canceller();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| get(&mut client, 20 * PATIENCE));
        let start = Instant::now();
        thread::sleep(Duration::from_millis(50));
        canceller.cancel();
        let error = waiting.join().expect("no panic").expect_err("cancelled");
        assert!(error.ends_with(": context canceled"), "{error}");
        assert!(start.elapsed() < PATIENCE / 2);
    });
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_client_signs_who_it_is() {
    let setup = Setup::new(&[]);
    let path = |name: &str| setup.dir.path().join(name);
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).current_dir(setup.dir.path()).output();
        let output = output.expect("openssl is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "key.pem"]);
    openssl(&["pkey", "-in", "key.pem", "-pubout", "-out", "public.pem"]);
    openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "ec.pem"]);
    let server = Endpoint::plain(|_| reply(200, JSON, r#"{"access_token":"t"}"#));
    let target = guarded("t");
    let url = format!("http://{}/", target.at("localhost"));
    let grant = "grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer'";
    for (algorithm, digest) in [("", "-sha256"), ("RS384", "-sha384"), ("RS512", "-sha512")] {
        let more = format!(
            "{grant}, client_certificate_key_file: key.pem, client_certificate_key_id: k1, iss: me, scopes: [a, b], \
             claims: {{tenant: 7, iss: other}}, signature_algorithm: '{algorithm}'"
        );
        assert_eq!(get(&mut setup.client(&url, &settings(&server, &more)), PATIENCE), ok());
        let asked = form(&server.last());
        assert_eq!(asked["grant_type"], "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer");
        assert_eq!(asked["scope"], "a+b");
        let (text, signature) = asked["assertion"].rsplit_once('.').expect("three parts");
        let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).expect("base64");
        std::fs::write(path("text"), text).expect("writable");
        std::fs::write(path("signature"), decode(signature)).expect("writable");
        openssl(&["dgst", digest, "-verify", "public.pem", "-signature", "signature", "text"]);
        let (header, claims) = text.split_once('.').expect("two parts");
        let json = |part: &str| -> Value { serde_json::from_slice(&decode(part)).expect("JSON") };
        let (header, claims) = (json(header), json(claims));
        assert_eq!(header["alg"], if algorithm.is_empty() { "RS256" } else { algorithm });
        assert_eq!((&header["typ"], &header["kid"]), (&Value::from("JWT"), &Value::from("k1")));
        for (name, value) in [("iss", "other"), ("sub", "my id"), ("scope", "a b")] {
            assert_eq!(claims[name], value);
        }
        assert_eq!(claims["tenant"], 7);
        assert_eq!(claims["aud"], format!("http://{}/token?tenant=1", server.at("localhost")));
        assert_eq!(claims["exp"].as_u64(), claims["iat"].as_u64().map(|at| at + 600));
        assert_eq!(claims["jti"].as_str().map(str::len), Some(36));
    }
    let error_with = |key: &str| {
        error_of(
            &mut setup
                .client(&url, &settings(&server, &format!("{grant}, client_certificate_key_file: {key}"))),
        )
    };
    assert_eq!(error_with("ec.pem"), "key is not a valid RSA private key");
    assert_eq!(error_with("public.pem"), "invalid key: Key must be a PEM encoded PKCS1 or PKCS8 key");
}
