//! Proxies over real sockets: plain HTTP, CONNECT, TLS to the proxy itself, SOCKS 5, and what each says of failures.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use support::PATIENCE;
use support::tls::endpoint::{Endpoint, Reply, redirect, reply, server_tls};
use support::tls::proxy::{Manner, Proxy};
use support::tls::setup::{BOTH, SECRET, SHORT, Setup, error_of, get, ok, post};
use support::tls::{Authority, Validity};

const GRANTED: &str = "HTTP/1.1 200 Connection established\r\nX-Proxy: yes\r\n\r\n";

#[test]
fn plain_requests_are_forwarded_whole() {
    let setup = Setup::new(&[]);
    // What forwards, and answers in place of the target.
    let proxy = Endpoint::plain(|_| reply(200, "", "ok"));
    let yaml = format!("proxy_url: 'http://edge:hunter2@{}', bearer_token: t", proxy.at("localhost"));
    let mut client = setup.client("http://box.example:9100/metrics?x=1", &yaml);
    for _ in 0..3 {
        assert_eq!(get(&mut client, PATIENCE), ok());
        let request = proxy.last();
        assert!(
            request.head.starts_with("GET http://box.example:9100/metrics?x=1 HTTP/1.1\n"),
            "{}",
            request.head
        );
        assert_eq!(request.values("Host"), ["box.example:9100"]);
        assert_eq!(request.values("Proxy-Authorization"), ["Basic ZWRnZTpodW50ZXIy"]);
        assert_eq!(request.values("Authorization"), ["Bearer t"]);
    }
    let body = vec![b'x'; 100_000];
    assert_eq!(post(&mut client, &body, PATIENCE).expect("an answer").body, b"ok");
    let request = proxy.last();
    assert!(request.head.starts_with("POST http://box.example:9100/metrics?x=1 HTTP/1.1\n"));
    assert!(request.body == body);
    assert_eq!(proxy.n_connections(), 1);
    // Redirects are asked for by the same way.
    proxy.answer(|request| match request.head.contains("//box.example:9100/") {
        true => redirect(302, "http://other.example/m"),
        false => reply(200, "", "ok"),
    });
    assert_eq!(get(&mut client, PATIENCE), ok());
    assert!(proxy.last().head.starts_with("GET http://other.example/m HTTP/1.1\n"), "{}", proxy.last().head);
    assert_eq!(proxy.last().values("Authorization"), [""; 0]);
    assert_eq!(proxy.last().values("Proxy-Authorization").len(), 1);
    // A proxy that is away, or has no name.
    let closed = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound");
    let mut client = setup.client("http://box.example/", &format!("proxy_url: 'http://a:hunter2@{closed}'"));
    assert_eq!(
        error_of(&mut client),
        format!("proxyconnect tcp: dial tcp {closed}: connect: connection refused")
    );
    let mut client = setup.client("http://box.example/", "proxy_url: 'http://no-such-host.invalid:3128'");
    let error = error_of(&mut client);
    assert!(error.starts_with("proxyconnect tcp: dial tcp: lookup no-such-host.invalid"), "{error}");
}

#[test]
fn exceptions_are_asked_directly() {
    let setup = Setup::new(&[]);
    let target = Endpoint::plain(|_| reply(200, "", "direct"));
    let proxy = Endpoint::plain(|_| reply(200, "", "proxied"));
    let body_of = |no_proxy: &str| {
        let yaml = format!("proxy_url: 'http://{}', no_proxy: '{no_proxy}'", proxy.at("127.0.0.1"));
        let url = format!("http://{}/", target.at("localhost"));
        get(&mut setup.client(&url, &yaml), PATIENCE).expect("an answer").1
    };
    assert_eq!(body_of(""), "proxied");
    assert_eq!(body_of("*"), "direct");
    assert_eq!(body_of("something.else"), "direct", "this machine is excepted as soon as anything is");
}

#[test]
fn tls_goes_through_a_tunnel() {
    let (authority, other) = (Authority::new("good"), Authority::new("proxies"));
    let setup = Setup::new(&[("ca.pem", &format!("{}{}", authority.pem, other.pem))]);
    let target = Endpoint::tls(server_tls(&authority.issue(&["box.example"], Validity::Now), None, &BOTH));
    let url = format!("https://{}/x", target.at("box.example"));
    let page = "a line of a page that does not fit into one record\n".repeat(2000);
    let proxy_tls = server_tls(&other.issue(&["localhost"], Validity::Now), None, &BOTH);
    for (scheme, tls) in [("http", None), ("https", Some(proxy_tls))] {
        let proxy = Proxy::new(Manner::Connect(GRANTED.to_owned()), tls, target.at("127.0.0.1"));
        let yaml = format!(
            "proxy_url: '{scheme}://edge:hunter2@{}', tls_config: {{ca_file: ca.pem}}, \
             proxy_connect_header: {{X-Edge: [box7, hunter2], Proxy-Authorization: [not this]}}",
            proxy.at("localhost")
        );
        let mut client = setup.client(&url, &yaml);
        for _ in 0..3 {
            assert_eq!(get(&mut client, PATIENCE), ok());
        }
        let long = page.clone();
        target.answer(move |_| reply(200, "", &long));
        assert!(get(&mut client, PATIENCE).expect("an answer").1 == page);
        target.answer(|_| reply(200, "", "ok"));
        assert!(target.last().head.starts_with("GET /x HTTP/1.1\n"), "{}", target.last().head);
        assert!(!target.last().head.contains("Proxy"), "{}", target.last().head);
        let at = target.at("box.example");
        let asked = [
            &format!("CONNECT {at} HTTP/1.1"),
            &format!("Host: {at}"),
            "X-Edge: box7",
            "X-Edge: hunter2",
            "Proxy-Authorization: Basic ZWRnZTpodW50ZXIy",
        ];
        assert_eq!(proxy.asked(), [asked.join("\n")], "one tunnel");
        // The connection goes while it idles.
        target.close_connections();
        assert_eq!(get(&mut client, PATIENCE), ok());
        assert_eq!(proxy.asked().len(), 2);
        // The target's name is verified, not the proxy's.
        let mut client = setup.client(&format!("https://{}/", target.at("localhost")), &yaml);
        let error = error_of(&mut client);
        assert!(error.ends_with("x509: certificate is valid for box.example, not localhost"), "{error}");
        // The name in the settings is the target's too.
        let named = yaml.replace("ca.pem}", "ca.pem, server_name: box.example}");
        let mut client = setup.client(&format!("https://{}/", target.at("localhost")), &named);
        assert_eq!(get(&mut client, PATIENCE), ok());
    }
    // A proxy whose certificate nobody knows.
    let strange = server_tls(&Authority::new("x").issue(&["localhost"], Validity::Now), None, &BOTH);
    let proxy = Proxy::new(Manner::Connect(GRANTED.to_owned()), Some(strange), target.at("127.0.0.1"));
    let yaml = format!("proxy_url: 'https://{}', tls_config: {{ca_file: ca.pem}}", proxy.at("localhost"));
    assert_eq!(
        error_of(&mut setup.client(&url, &yaml)),
        "proxyconnect tcp: tls: failed to verify certificate: x509: certificate signed by unknown authority"
    );
    // Plain requests by TLS to the proxy.
    let by_tls = Endpoint::tls(server_tls(&other.issue(&["localhost"], Validity::Now), None, &BOTH));
    let yaml = format!("proxy_url: 'https://{}', tls_config: {{ca_file: ca.pem}}", by_tls.at("localhost"));
    assert_eq!(get(&mut setup.client("http://box.example/y", &yaml), PATIENCE), ok());
    assert!(by_tls.last().head.starts_with("GET http://box.example/y HTTP/1.1\n"), "{}", by_tls.last().head);
}

#[test]
fn sloppy_answers_of_a_proxy_are_taken_as_go_takes_them() {
    let authority = Authority::new("good");
    let setup = Setup::new(&[("ca.pem", &authority.pem)]);
    let target = Endpoint::tls(server_tls(&authority.issue(&["box.example"], Validity::Now), None, &BOTH));
    let long = format!("HTTP/1.1 200 OK\r\nX-Log: {}\r\n{}\r\n", "x".repeat(50_000), " y\r\n".repeat(10_000));
    for answer in [
        "HTTP/1.1 200 OK\r\nVia: a,\r\n\tb,\r\n  c\r\nX-Proxy: yes\r\n\r\n",
        "HTTP/1.2   200\nVia : a\nProxy Agent: b\n\n",
        long.as_str(),
    ] {
        let proxy = Proxy::new(Manner::Connect(answer.to_owned()), None, target.at("127.0.0.1"));
        let yaml = format!("proxy_url: 'http://{}', tls_config: {{ca_file: ca.pem}}", proxy.at("localhost"));
        let url = format!("https://{}/", target.at("box.example"));
        assert_eq!(get(&mut setup.client(&url, &yaml), PATIENCE), ok(), "{answer:.60}");
    }
}

#[test]
fn a_proxy_that_does_not_want_says_why() {
    let setup = Setup::new(&[]);
    let error_with = |answer: &str| {
        let proxy = Proxy::new(Manner::Connect(answer.to_owned()), None, String::new());
        let at = proxy.at("127.0.0.1");
        let yaml =
            format!("proxy_url: 'http://edge:hunter2@{at}', tls_config: {{insecure_skip_verify: true}}");
        error_of(&mut setup.client("https://box.example/", &yaml)).replace(&at, "AT")
    };
    assert_eq!(
        error_with("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 3\r\n\r\nno!"),
        "proxy AT refused CONNECT: 407 Proxy Authentication Required"
    );
    assert_eq!(error_with("HTTP/1.1 403\r\n\r\n"), "proxy AT refused CONNECT: 403");
    assert_eq!(error_with(""), "proxyconnect tcp: EOF");
    assert_eq!(error_with("HTTP/1.1 200"), "proxyconnect tcp: EOF");
    assert_eq!(
        error_with("SSH-2.0-OpenSSH\r\n"),
        "proxy AT refused CONNECT: malformed answer: invalid HTTP version"
    );
    assert_eq!(
        error_with(&format!("HTTP/1.1 200 OK\r\nConnection: {}", "x".repeat(20_000))),
        "proxy AT refused CONNECT: its answer is too large (limit: 16384B)"
    );
    assert_eq!(
        error_with(&format!("{GRANTED}hello")),
        "proxy AT refused CONNECT: it spoke before the target could"
    );
    // One that says nothing.
    let proxy = Endpoint::plain(|_| Reply::Hang);
    let yaml = format!("proxy_url: 'http://{}'", proxy.at("127.0.0.1"));
    for (url, phase) in
        [("https://box.example/", "connecting"), ("http://box.example/", "waiting for the response")]
    {
        let error = get(&mut setup.client(url, &yaml), SHORT).expect_err("no answer");
        assert_eq!(error, format!("Get {url:?}: context deadline exceeded (while {phase})"));
    }
}

#[test]
fn socks_proxies_look_names_up() {
    let authority = Authority::new("good");
    let setup = Setup::new(&[("ca.pem", &authority.pem)]);
    let plain = Endpoint::plain(|_| reply(200, "", "ok"));
    let tls = Endpoint::tls(server_tls(&authority.issue(&["box.example"], Validity::Now), None, &BOTH));
    let login = Some(("edge".to_owned(), SECRET.to_owned()));
    let ca = "tls_config: {ca_file: ca.pem}";
    for (scheme, endpoint) in [("http", &plain), ("https", &tls)] {
        for login in [None, login.clone()] {
            let userinfo = if login.is_some() { "edge:hunter2@" } else { "" };
            let proxy = Proxy::new(Manner::Socks { login, reply: 0 }, None, endpoint.at("127.0.0.1"));
            let yaml = format!("proxy_url: 'socks5://{userinfo}{}', {ca}", proxy.at("localhost"));
            let mut client = setup.client(&format!("{scheme}://box.example/z"), &yaml);
            for _ in 0..2 {
                assert_eq!(get(&mut client, PATIENCE), ok());
            }
            assert!(endpoint.last().head.starts_with("GET /z HTTP/1.1\n"), "{}", endpoint.last().head);
            let port = if scheme == "http" { 80 } else { 443 };
            assert_eq!(proxy.asked(), [format!("box.example:{port}")]);
        }
    }
    let proxy = Proxy::new(Manner::Socks { login: None, reply: 0 }, None, plain.at("127.0.0.1"));
    let yaml = format!("proxy_url: 'socks5h://{}'", proxy.at("127.0.0.1"));
    for (host, asked) in [("10.0.0.1:9100", "[10, 0, 0, 1]:9100"), ("[::2]:80", "[0, 0,")] {
        assert_eq!(get(&mut setup.client(&format!("http://{host}/"), &yaml), PATIENCE), ok());
        assert!(proxy.asked().pop().expect("asked").starts_with(asked), "{:?}", proxy.asked());
    }
    let error_with = |userinfo: &str, manner: Manner| {
        let proxy = Proxy::new(manner, None, plain.at("127.0.0.1"));
        let at = proxy.at("127.0.0.1");
        let yaml = format!("proxy_url: 'socks5://{userinfo}{at}'");
        let error = error_of(&mut setup.client("http://box.example/", &yaml));
        let prefix = format!("socks connect tcp {at}->box.example:80: ");
        error.strip_prefix(&prefix).unwrap_or_else(|| panic!("{error}")).to_owned()
    };
    let refusing = Manner::Socks { login: None, reply: 5 };
    assert_eq!(error_with("", refusing), "unknown error connection refused");
    let choosy = || Manner::Socks { login: login.clone(), reply: 0 };
    assert_eq!(error_with("", choosy()), "no acceptable authentication methods");
    assert_eq!(error_with("edge:wrong@", choosy()), "username/password authentication failed");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = listener.local_addr().expect("a bound socket");
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().expect("a client");
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            // Until it has gone.
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let yaml = format!("proxy_url: 'socks5://{at}'");
        let error = error_of(&mut setup.client("http://box.example/", &yaml));
        assert!(error.ends_with("unexpected protocol version 72"), "{error}");
    });
}
