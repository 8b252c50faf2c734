//! Sources behind TLS and tokens, whose files are exchanged while discovery runs.

use rustls::version::{TLS12, TLS13};
use support::discovery::Discovery;
use support::tls::endpoint::{Endpoint, Reply, Request, reply, server_tls};
use support::tls::{Authority, Validity};
use support::wait_until;

const JSON: &str = "Content-Type: application/json\r\nApi-Version: 1.44\r\n";

/// Sources that ask over HTTP; `SETTINGS` are those of the client.
const SOURCES: [(&str, &str); 3] = [
    ("consul", "consul_sd_configs: [{server: 'ADDRESS', scheme: https, refresh_interval: 200ms, SETTINGS}]"),
    ("docker", "docker_sd_configs: [{host: 'https://ADDRESS', refresh_interval: 200ms, SETTINGS}]"),
    ("http", "http_sd_configs: [{url: 'https://ADDRESS/targets', refresh_interval: 200ms, SETTINGS}]"),
];

/// As each of them speaks; with nothing in it.
fn answer(request: &Request, token: &str) -> Reply {
    if request.values("Authorization") != [format!("Bearer {token}")] {
        return reply(401, "", "");
    }
    match request.head.split(' ').nth(1).unwrap_or_default() {
        "/v1/agent/self" => reply(200, JSON, r#"{"Config": {"Datacenter": "edge"}}"#),
        path if path.starts_with("/v1/catalog") => reply(200, JSON, "{}"),
        _ => reply(200, JSON, "[]"),
    }
}

#[test]
fn new_tokens_authorities_and_certificates_are_taken_up_by_every_source() {
    for (kind, source) in SOURCES {
        let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
        let serve = |authority: &Authority| {
            let pair = authority.issue(&["localhost"], Validity::Now);
            server_tls(&pair, Some(&clients), &[&TLS12, &TLS13])
        };
        let endpoint = Endpoint::tls(serve(&servers));
        endpoint.answer(|request| answer(request, "new"));
        let client = clients.issue(&["client"], Validity::Now);
        let settings = "authorization: {credentials_file: DIR/sd/token}, \
                        tls_config: {ca_file: DIR/sd/ca, cert_file: DIR/sd/cert, key_file: DIR/sd/key}";
        let job = source.replace("ADDRESS", &endpoint.at("localhost")).replace("SETTINGS", settings);
        let discovery = Discovery::start(
            &format!("- job_name: job\n  {job}\n"),
            &[("token", "old"), ("ca", &servers.pem), ("cert", &client.cert_pem), ("key", &client.key_pem)],
        );
        let failures = || discovery.metrics.refresh_failures.with(&[kind, "job"]).get();
        let n_updates = || discovery.metrics.received_updates.get();
        let wait_for_failures = |what: &str| {
            let before = failures();
            wait_until(what, || failures() > before + 1);
        };
        let wait_for_answers = |what: &str| {
            let before = n_updates();
            wait_until(what, || n_updates() > before + 1);
        };
        wait_for_failures(&format!("{kind}: the token is an old one"));
        discovery.write("token", "new\n");
        wait_for_answers(&format!("{kind}: the new token is taken up"));
        // The connection is a kept one, and it was made with a certificate that is about to expire.
        let before = endpoint.last().client.expect("a certificate");
        assert_eq!(before, client.cert.to_vec());
        let client = clients.issue(&["client"], Validity::Now);
        discovery.write("cert", &client.cert_pem);
        discovery.write("key", &client.key_pem);
        wait_until(&format!("{kind}: the new certificate is shown"), || {
            endpoint.last().client.expect("a certificate") == client.cert.to_vec()
        });
        let others = Authority::new("others");
        endpoint.set_tls(serve(&others));
        endpoint.close_connections();
        wait_for_failures(&format!("{kind}: the server's authority is unknown"));
        discovery.write("ca", &others.pem);
        wait_for_answers(&format!("{kind}: the new authority is taken up"));
        discovery.handle.stop();
    }
}
