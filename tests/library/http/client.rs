//! The HTTP client's settings over real sockets: credentials, headers, redirects, posts.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use support::tls::endpoint::{Endpoint, Reply, Request, redirect, reply, server_tls};
use support::tls::setup::{BOTH, SECRET, SHORT, Setup, get, ok, post};
use support::tls::{Authority, Validity};
use support::{PATIENCE, wait_until};

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
    // Longer than a look at the files is good for: that the next one changes nothing has no event.
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
        let n_asked = AtomicUsize::new(0);
        let here = Endpoint::plain(move |_| {
            let n_asked = n_asked.fetch_add(1, Ordering::SeqCst);
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
    let n_asked = Arc::new(AtomicUsize::new(0));
    let here = Endpoint::plain(|_| reply(200, "", "ok"));
    let (back, away) =
        (format!("http://{}/back", here.at("localhost")), format!("http://{}/", there.at("127.0.0.1")));
    there.answer(move |_| redirect(307, &back));
    here.answer(move |_| match n_asked.fetch_add(1, Ordering::SeqCst) {
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
            (204, "Whatever", Some("7"))
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
    let too_large = "net/http: server response headers exceeded 10485760 bytes; aborted";
    assert_eq!(error, format!("Post {url:?}: {too_large}"));
    endpoint.answer(|_| Reply::Endless([&head[..], b"X-Long: "].concat(), vec![b'x'; 4096]));
    let error = post(&mut client, b"x", PATIENCE).expect_err("no end of a header");
    assert_eq!(error, format!("Post {url:?}: {too_large}"));
    endpoint.answer(|_| Reply::Endless([&head[..], b"Location: "].concat(), vec![b'x'; 4096]));
    let error = post(&mut client, b"x", PATIENCE).expect_err("no end of a header that counts");
    assert_eq!(error, format!("Post {url:?}: a line of the response header is too long (limit: 16384B)"));
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
    let (asked, asks) = mpsc::channel();
    endpoint.answer(move |_| {
        let _ = asked.send(());
        // It is slow, no one waits for it.
        thread::sleep(10 * SHORT);
        Reply::Hang
    });
    let error = post(&mut client, &body, SHORT).expect_err("no answer");
    asks.recv_timeout(PATIENCE).expect("it was asked");
    assert!(error.ends_with("context deadline exceeded (while sending the request)"), "{error}");
    let canceller = client.canceller();
    thread::scope(|scope| {
        let running = scope.spawn(|| post(&mut client, &body, 10 * PATIENCE));
        asks.recv_timeout(PATIENCE).expect("it is asked again");
        canceller.cancel();
        let error = running.join().expect("no panic").expect_err("cancelled");
        assert!(error.ends_with(": context canceled"), "{error}");
    });
}

#[test]
fn long_heads_are_read_and_the_servers_own_words_are_kept() {
    let setup = Setup::new(&[]);
    let cookies = "Set-Cookie: session=0123456789; Path=/; HttpOnly\r\n".repeat(20_000);
    let long = format!("X-Policy: {}\r\n", "x".repeat(1 << 20));
    let headers = format!("{cookies}Content-Type: text/plain\r\n{long}{cookies}Retry-After: 9\r\n");
    let endpoint = Endpoint::plain(move |_| reply(200, &headers, "ok"));
    let mut client = setup.client(&format!("http://{}/", endpoint.at("localhost")), "scheme: http");
    for _ in 0..2 {
        let answer = post(&mut client, b"x", PATIENCE).expect("an answer");
        assert_eq!((answer.status(), answer.reason(), answer.body.as_slice()), (200, "OK", &b"ok"[..]));
        assert_eq!(answer.header("Retry-After"), Some("9"));
        assert_eq!(answer.header("Content-Type"), Some("text/plain"));
    }
    assert_eq!(endpoint.n_connections(), 1);
    for (line, reason) in [
        ("HTTP/1.1 503 My Reason\r\n", "My Reason"),
        ("HTTP/1.1 503\r\n", ""),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Later\r\n", "Later"),
        ("HTTP/1.1 503 a\x07b\r\n", "a b"),
        ("HTTP/2.0   503 Odd\r\nX-A: b\r\n c\r\nX B : d\r\n", "Odd"),
    ] {
        endpoint.answer(move |_| Reply::Keep(format!("{line}Content-Length: 0\r\n\r\n").into_bytes()));
        let answer = post(&mut client, b"x", PATIENCE).expect("an answer");
        assert_eq!((answer.status(), answer.reason()), (503, reason));
    }
}
