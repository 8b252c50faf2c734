//! TLS over real sockets: whom to trust, who we are, certificates that change, peers that are broken.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use support::tls::endpoint::{Endpoint, Reply, reply, server_tls};
use support::tls::setup::{BOTH, SECRET, SHORT, Setup, error_of, get, ok, post};
use support::tls::{Authority, Pair, Validity};
use support::{PATIENCE, wait_until};

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
    // Longer than a look is good for: that the next one changes nothing has no event.
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
        (
            "http_headers: {A: {files: ['']}}, tls_config: {insecure_skip_verify: true}".to_owned(),
            "unable to read headers file: unable to read file : no such file or directory".to_owned(),
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
    let (canceller, n_before) = (hung.canceller(), plain.n_connections());
    thread::scope(|scope| {
        let running = scope.spawn(|| get(&mut hung, 10 * PATIENCE));
        wait_until("it is connected", || plain.n_connections() > n_before);
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
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let thread = thread::Builder::new().name("nonsense".to_owned());
        let thread = thread.spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut hello = [0; 64];
            let _ = stream.read(&mut hello);
            let _ = stream.write_all(nonsense);
            let _ = stream.shutdown(Shutdown::Write);
            while stream.read(&mut hello).is_ok_and(|n_read| n_read > 0) {}
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

/// Hands bytes on both ways, and changes one bit of those that the server sends.
fn damaging_proxy(to: &str, flip_idx: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let to = to.to_owned();
    let proxy = move || {
        let (client, _) = listener.accept().expect("a connection");
        let server = TcpStream::connect(to).expect("the server listens");
        let (mut from_client, mut to_server) =
            (client.try_clone().expect("a socket"), server.try_clone().expect("a socket"));
        let there = thread::Builder::new().name("there".to_owned());
        let there = there.spawn(move || {
            let _ = io::copy(&mut from_client, &mut to_server);
            let _ = to_server.shutdown(Shutdown::Both);
        });
        let (mut n_passed, mut piece) = (0, [0; 4096]);
        while let Ok(n_read) = (&server).read(&mut piece)
            && n_read > 0
        {
            if let Some(byte) = piece[..n_read].get_mut(flip_idx.wrapping_sub(n_passed)) {
                *byte ^= 1 << (flip_idx % 8);
            }
            n_passed += n_read;
            if (&client).write_all(&piece[..n_read]).is_err() {
                break;
            }
        }
        let _ = client.shutdown(Shutdown::Both);
        there.expect("a thread").join().expect("no panic");
    };
    thread::Builder::new().name("proxy".to_owned()).spawn(proxy).expect("a thread");
    format!("localhost:{}", address.port())
}

#[test]
fn a_damaged_stream_makes_no_panic_and_no_answer() {
    let authority = Authority::new("good");
    let setup = Setup::new(&[("ca.pem", &authority.pem)]);
    let pair = authority.issue(&["localhost"], Validity::Now);
    for versions in [&BOTH[..1], &BOTH[1..]] {
        let endpoint = Endpoint::tls(server_tls(&pair, None, versions));
        let page = "x".repeat(500);
        endpoint.answer(move |_| reply(200, "", &page));
        let mut n_good = 0;
        for n_flip in 0..80 {
            let address = damaging_proxy(&endpoint.at("127.0.0.1"), n_flip * 29);
            let mut client = setup.client(&format!("https://{address}/"), "tls_config: {ca_file: ca.pem}");
            // A length that grew is waited for.
            if let Ok((status, body)) = get(&mut client, Duration::from_millis(300)) {
                assert_eq!((status, body.len()), (200, 500));
                n_good += 1;
            }
        }
        assert!(n_good < 70, "{n_good} answers");
        assert_eq!(
            get(
                &mut setup.client(
                    &format!("https://{}/", endpoint.at("localhost")),
                    "tls_config: {ca_file: ca.pem}"
                ),
                PATIENCE
            )
            .map(|answer| answer.0),
            Ok(200)
        );
    }
}
