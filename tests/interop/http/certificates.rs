//! Certificates and algorithms as they are found on devices: taken or refused as Prometheus' agent does it, and what is
//! not built in is named.
//!
//! Needs a real Prometheus (`scripts/peers`, or `PROMETHEUS=`) and the command `openssl`, which makes what rcgen does not.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use serde_json::Value;
use support::peers::{Peer, is_trouble_on_the_way};
use support::scraped::{Scraped, free_address, write_whole};
use support::wait_until;
use tempfile::TempDir;

/// Keys: a name, and what `openssl genpkey` is asked for.
const KEYS: &[(&str, &str)] = &[
    ("p256", "-algorithm EC -pkeyopt ec_paramgen_curve:P-256"),
    ("p384", "-algorithm EC -pkeyopt ec_paramgen_curve:P-384"),
    ("p521", "-algorithm EC -pkeyopt ec_paramgen_curve:P-521"),
    ("rsa1024", "-algorithm RSA -pkeyopt rsa_keygen_bits:1024"),
    ("rsa2048", "-algorithm RSA -pkeyopt rsa_keygen_bits:2048"),
    ("rsa5120", "-algorithm RSA -pkeyopt rsa_keygen_bits:5120"),
    ("other", "-algorithm EC -pkeyopt ec_paramgen_curve:P-256"),
];

const CA: &str = "basicConstraints=critical,CA:TRUE";
const SERVER: &str = "subjectAltName=DNS:localhost";

type Made = (&'static str, &'static str, &'static str, &'static str, &'static str, &'static [&'static str]);

/// Certificates: a name, its key, its issuer (its own name: self-signed), the hash, the days, and extensions.
const CERTIFICATES: &[Made] = &[
    ("ca", "p256", "ca", "sha256", "30", &[CA]),
    ("ca384", "p384", "ca384", "sha384", "30", &[CA]),
    ("ca521", "p521", "ca521", "sha512", "30", &[CA]),
    ("ca1024", "rsa1024", "ca1024", "sha256", "30", &[CA]),
    ("ca_old", "p256", "ca_old", "sha256", "-1", &[CA]),
    ("ca_short", "p256", "ca_short", "sha256", "30", &["basicConstraints=critical,CA:TRUE,pathlen:0"]),
    (
        "ca_named",
        "p256",
        "ca_named",
        "sha256",
        "30",
        &[CA, "nameConstraints=critical,permitted;DNS:box.example"],
    ),
    ("not_ca", "p256", "not_ca", "sha256", "30", &["basicConstraints=critical,CA:FALSE"]),
    ("no_constraints", "p256", "no_constraints", "sha256", "30", &["keyUsage=digitalSignature,keyCertSign"]),
    ("cannot_sign", "p256", "cannot_sign", "sha256", "30", &[CA, "keyUsage=digitalSignature"]),
    ("between", "p384", "ca", "sha256", "30", &[CA]),
    ("between_short", "p384", "ca_short", "sha256", "30", &[CA]),
    ("between_silent", "p384", "ca", "sha256", "30", &[CA, "keyUsage=digitalSignature"]),
    ("leaf", "other", "ca", "sha256", "30", &[SERVER]),
    ("leaf_old", "other", "ca", "sha256", "-1", &[SERVER]),
    ("leaf_named", "other", "ca", "sha256", "30", &["subjectAltName=DNS:box.example"]),
    ("leaf_ca", "other", "ca", "sha256", "30", &[SERVER, CA]),
    ("leaf_any", "other", "ca", "sha256", "30", &[SERVER, "extendedKeyUsage=anyExtendedKeyUsage"]),
    ("leaf_client", "other", "ca", "sha256", "30", &[SERVER, "extendedKeyUsage=clientAuth"]),
    ("leaf_policies", "other", "ca", "sha256", "30", &[SERVER, "certificatePolicies=critical,1.2.3.4"]),
    ("leaf_unknown", "other", "ca", "sha256", "30", &[SERVER, "1.2.3.4.5=critical,ASN1:NULL"]),
    ("leaf_p521", "p521", "ca", "sha256", "30", &[SERVER]),
    ("leaf_rsa1024", "rsa1024", "ca", "sha256", "30", &[SERVER]),
    ("leaf_rsa2048", "rsa2048", "ca", "sha256", "30", &[SERVER]),
    ("by_between", "other", "between", "sha384", "30", &[SERVER]),
    ("by_between_short", "other", "between_short", "sha384", "30", &[SERVER]),
    ("by_between_silent", "other", "between_silent", "sha384", "30", &[SERVER]),
    ("by_ca384", "other", "ca384", "sha384", "30", &[SERVER]),
    ("by_ca384_sha512", "other", "ca384", "sha512", "30", &[SERVER]),
    ("by_ca_sha512", "other", "ca", "sha512", "30", &[SERVER]),
    ("by_ca521", "other", "ca521", "sha512", "30", &[SERVER]),
    ("by_ca521_sha256", "other", "ca521", "sha256", "30", &[SERVER]),
    ("by_ca521_sha384", "other", "ca521", "sha384", "30", &[SERVER]),
    ("by_ca1024", "other", "ca1024", "sha256", "30", &[SERVER]),
    ("by_ca_old", "other", "ca_old", "sha256", "30", &[SERVER]),
    ("by_ca_short", "other", "ca_short", "sha256", "30", &[SERVER]),
    ("by_ca_named", "other", "ca_named", "sha256", "30", &[SERVER]),
    ("by_not_ca", "other", "not_ca", "sha256", "30", &[SERVER]),
    ("by_no_constraints", "other", "no_constraints", "sha256", "30", &[SERVER]),
    ("by_cannot_sign", "other", "cannot_sign", "sha256", "30", &[SERVER]),
    ("self", "p256", "self", "sha256", "30", &[SERVER, CA]),
    ("self_silent", "p256", "self_silent", "sha256", "30", &[SERVER, "keyUsage=digitalSignature"]),
    ("self_p521", "p521", "self_p521", "sha512", "30", &[SERVER, CA]),
    ("self_client", "p256", "self_client", "sha256", "30", &[SERVER, "extendedKeyUsage=clientAuth"]),
    ("client_p521", "p521", "ca", "sha256", "30", &[]),
    ("client_rsa1024", "rsa1024", "ca", "sha256", "30", &[]),
    ("client_rsa5120", "rsa5120", "ca", "sha256", "30", &[]),
    ("client", "other", "ca", "sha256", "30", &[]),
];

/// What a server is and how it is asked: the job, the certificate it shows, the one that it sends along, how `s_server` is
/// started beside that, `tls_config`, what Prometheus says, and what we say: `up`, or a part of the sentence.
type Job = (&'static str, &'static str, &'static str, &'static str, &'static str, &'static str, &'static str);

/// Of a job whose key it cannot load it asks nothing.
const ABSENT: &str = "absent";

const UNKNOWN: &str = "certificate signed by unknown authority";
const NOTHING_IN_COMMON: &str = "remote error: tls: handshake failure: the server takes nothing of what is built in: keys agreed on by X25519";

const JOBS: &[Job] = &[
    ("known", "leaf", "", "", "ca_file: ca.crt", "up", "up"),
    ("unknown", "leaf", "", "", "ca_file: ca384.crt", "down", UNKNOWN),
    // What is trusted itself.
    ("exact_leaf", "leaf", "", "", "ca_file: leaf.crt", "up", "up"),
    (
        "exact_leaf_old",
        "leaf_old",
        "",
        "",
        "ca_file: leaf_old.crt",
        "down",
        "has expired or is not yet valid",
    ),
    (
        "exact_leaf_named",
        "leaf_named",
        "",
        "",
        "ca_file: leaf_named.crt",
        "down",
        "is valid for box.example, not localhost",
    ),
    (
        "exact_leaf_client",
        "leaf_client",
        "",
        "",
        "ca_file: leaf_client.crt",
        "down",
        "incompatible key usage",
    ),
    ("exact_leaf_policies", "leaf_policies", "", "", "ca_file: leaf_policies.crt", "up", "up"),
    (
        "exact_leaf_unknown",
        "leaf_unknown",
        "",
        "",
        "ca_file: leaf_unknown.crt",
        "down",
        "unhandled critical extension",
    ),
    ("exact_self", "self", "", "", "ca_file: self.crt", "up", "up"),
    ("exact_self_silent", "self_silent", "", "", "ca_file: self_silent.crt", "up", "up"),
    (
        "exact_self_client",
        "self_client",
        "",
        "",
        "ca_file: self_client.crt",
        "down",
        "incompatible key usage",
    ),
    ("exact_sha512", "by_ca384_sha512", "", "", "ca_file: by_ca384_sha512.crt", "up", "up"),
    ("exact_by_ca521", "by_ca521", "", "", "ca_file: by_ca521.crt", "up", "up"),
    ("one_of_several", "leaf", "", "", "ca_file: several.crt", "up", "up"),
    // Who may sign.
    ("not_ca", "by_not_ca", "", "", "ca_file: not_ca.crt", "down", UNKNOWN),
    ("no_constraints", "by_no_constraints", "", "", "ca_file: no_constraints.crt", "down", UNKNOWN),
    ("cannot_sign", "by_cannot_sign", "", "", "ca_file: cannot_sign.crt", "down", UNKNOWN),
    ("root_old", "by_ca_old", "", "", "ca_file: ca_old.crt", "down", ""),
    ("root_short", "by_ca_short", "", "", "ca_file: ca_short.crt", "up", "up"),
    (
        "root_too_short",
        "by_between_short",
        "between_short",
        "",
        "ca_file: ca_short.crt",
        "down",
        "too many intermediates",
    ),
    (
        "root_named",
        "by_ca_named",
        "",
        "",
        "ca_file: ca_named.crt",
        "down",
        "not authorized to sign for this name",
    ),
    ("between", "by_between", "between", "", "ca_file: ca.crt", "up", "up"),
    ("between_missing", "by_between", "", "", "ca_file: ca.crt", "down", UNKNOWN),
    ("between_silent", "by_between_silent", "between_silent", "", "ca_file: ca.crt", "down", UNKNOWN),
    ("authority_as_server", "leaf_ca", "", "", "ca_file: ca.crt", "up", "up"),
    // Usages and policies.
    ("any_usage", "leaf_any", "", "", "ca_file: ca.crt", "up", "up"),
    ("client_usage", "leaf_client", "", "", "ca_file: ca.crt", "down", "incompatible key usage"),
    ("policies", "leaf_policies", "", "", "ca_file: ca.crt", "up", "up"),
    ("unknown_extension", "leaf_unknown", "", "", "ca_file: ca.crt", "down", "unhandled critical extension"),
    // Algorithms.
    ("sha384", "by_ca384", "", "", "ca_file: ca384.crt", "up", "up"),
    ("sha512", "by_ca384_sha512", "", "", "ca_file: ca384.crt", "up", "up"),
    ("sha512_p256", "by_ca_sha512", "", "", "ca_file: ca.crt", "up", "up"),
    ("by_p521", "by_ca521", "", "", "ca_file: ca521.crt", "up", "up"),
    ("by_rsa1024", "by_ca1024", "", "", "ca_file: ca1024.crt", "up", "up"),
    ("p521", "leaf_p521", "", "-tls1_3", "ca_file: ca.crt", "up", "up"),
    ("p521_self", "self_p521", "", "-tls1_3", "ca_file: self_p521.crt", "up", "up"),
    ("p521_12", "leaf_p521", "", "-tls1_2", "ca_file: ca.crt", "up", "up"),
    ("p521_12_sha256", "leaf_p521", "", "-tls1_2 -sigalgs ECDSA+SHA256", "ca_file: ca.crt", "up", "up"),
    ("p521_12_sha384", "leaf_p521", "", "-tls1_2 -sigalgs ECDSA+SHA384", "ca_file: ca.crt", "up", "up"),
    ("p256_12_sha512", "leaf", "", "-tls1_2 -sigalgs ECDSA+SHA512", "ca_file: ca.crt", "up", "up"),
    ("by_p521_sha256", "by_ca521_sha256", "", "", "ca_file: ca521.crt", "up", "up"),
    ("by_p521_sha384", "by_ca521_sha384", "", "", "ca_file: ca521.crt", "up", "up"),
    ("agreed_by_p521_12", "leaf", "", "-tls1_2 -groups P-521:P-256", "ca_file: ca.crt", "up", "up"),
    (
        "rsa1024_13",
        "leaf_rsa1024",
        "",
        "-tls1_3",
        "ca_file: ca.crt",
        "up",
        "the server's key is RSA with 1024 bits, which is not",
    ),
    ("rsa1024_12", "leaf_rsa1024", "", "-tls1_2 -sigalgs RSA+SHA256", "ca_file: ca.crt", "up", "up"),
    (
        "cbc",
        "leaf_rsa2048",
        "",
        "-tls1_2 -cipher ECDHE-RSA-AES128-SHA",
        "ca_file: ca.crt",
        "up",
        NOTHING_IN_COMMON,
    ),
    ("agreed_by_p521", "leaf", "", "-tls1_3 -groups P-521", "ca_file: ca.crt", "up", "up"),
    ("agreed_by_p384", "leaf", "", "-groups P-384", "ca_file: ca.crt", "up", "up"),
    // Where nobody is asked who it is.
    ("skip_p521", "leaf_p521", "", "-tls1_3", "insecure_skip_verify: true", "up", "up"),
    ("skip_rsa1024", "leaf_rsa1024", "", "", "insecure_skip_verify: true", "up", "up"),
    ("skip_sha512", "by_ca384_sha512", "", "", "insecure_skip_verify: true", "up", "up"),
    ("skip_unknown", "leaf_unknown", "", "", "insecure_skip_verify: true", "up", "up"),
    // Keys of ours.
    (
        "client",
        "leaf",
        "",
        "-Verify 1 -CAfile ca.crt",
        "insecure_skip_verify: true, cert_file: client.crt, key_file: other.key",
        "up",
        "up",
    ),
    (
        "client_p521",
        "leaf",
        "",
        "-Verify 1 -CAfile ca.crt",
        "insecure_skip_verify: true, cert_file: client_p521.crt, key_file: p521.key",
        "up",
        "up",
    ),
    (
        "client_p521_sec1",
        "leaf",
        "",
        "-tls1_2 -Verify 1 -CAfile ca.crt",
        "insecure_skip_verify: true, cert_file: client_p521.crt, key_file: p521_sec1.key",
        "up",
        "up",
    ),
    (
        "client_p521_mismatch",
        "leaf",
        "",
        "-Verify 1 -CAfile ca.crt",
        "insecure_skip_verify: true, cert_file: client.crt, key_file: p521.key",
        ABSENT,
        "private key does not match public key",
    ),
    (
        "client_rsa1024",
        "leaf",
        "",
        "-Verify 1 -CAfile ca.crt",
        "insecure_skip_verify: true, cert_file: client_rsa1024.crt, key_file: rsa1024.key",
        "up",
        "one of RSA with 1024 bits cannot be used; built in are",
    ),
    (
        "client_rsa5120",
        "leaf",
        "",
        "-Verify 1 -CAfile ca.crt",
        "insecure_skip_verify: true, cert_file: client_rsa5120.crt, key_file: rsa5120.key",
        "up",
        "one of RSA with 5120 bits cannot be used; built in are",
    ),
    (
        "client_encrypted",
        "leaf",
        "",
        "-Verify 1 -CAfile ca.crt",
        "insecure_skip_verify: true, cert_file: client.crt, key_file: encrypted.key",
        ABSENT,
        "the private key is encrypted, and there is no key for its password",
    ),
    (
        "client_wrong_type",
        "leaf",
        "",
        "-Verify 1 -CAfile ca.crt",
        "insecure_skip_verify: true, cert_file: client.crt, key_file: client.crt",
        ABSENT,
        "failed to find any PEM data in key input",
    ),
    (
        "client_mismatch",
        "leaf",
        "",
        "-Verify 1 -CAfile ca.crt",
        "insecure_skip_verify: true, cert_file: client.crt, key_file: p256.key",
        ABSENT,
        "private key does not match public key",
    ),
];

fn openssl(dir: &Path, arguments: &str) {
    let output = Command::new("openssl").args(arguments.split_whitespace()).current_dir(dir).output();
    let output = output.expect("the command openssl");
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

fn make_certificates(dir: &Path) {
    for (name, arguments) in KEYS {
        openssl(dir, &format!("genpkey {arguments} -out {name}.key"));
    }
    for (name, key, issuer, hash, days, extensions) in CERTIFICATES {
        // Without a section openssl adds what it thinks best.
        let mut config = "[req]\ndistinguished_name=n\n[n]\n[e]\n".to_owned();
        for extension in *extensions {
            config.push_str(extension);
            config.push('\n');
        }
        write_whole(dir, "extensions.cnf", &config);
        openssl(
            dir,
            &format!("req -new -key {key}.key -subj /CN={name} -config extensions.cnf -out request.csr"),
        );
        let by = match CERTIFICATES.iter().find(|(known, ..)| known == issuer) {
            Some((_, issuers_key, ..)) if issuer != name => {
                format!("-CA {issuer}.crt -CAkey {issuers_key}.key")
            }
            _ => format!("-signkey {key}.key"),
        };
        openssl(
            dir,
            &format!(
                "x509 -req -in request.csr {by} -{hash} -days {days} -extfile extensions.cnf -extensions e -out {name}.crt"
            ),
        );
    }
    let head = "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n";
    write_whole(dir, "metrics", &format!("{head}a_metric 1\n"));
}

fn make_more(dir: &Path) {
    openssl(dir, "pkey -in other.key -aes256 -passout pass:x -out encrypted.key");
    openssl(dir, "ec -in p521.key -out p521_sec1.key");
    let several: String = ["ca384", "ca_short", "not_ca", "ca", "self"]
        .map(|name| fs::read_to_string(dir.join(format!("{name}.crt"))).expect("made"))
        .concat();
    write_whole(dir, "several.crt", &several);
}

/// Servers that end with the test.
#[derive(Default)]
struct Servers(Vec<Child>);

impl Servers {
    fn start(&mut self, dir: &Path, certificate: &str, along: &str, arguments: &str) -> String {
        let (_, key, ..) = CERTIFICATES.iter().find(|(known, ..)| *known == certificate).expect("listed");
        let at = free_address();
        let port = at.rsplit(':').next().expect("a port");
        let chain = if along.is_empty() { String::new() } else { format!("-cert_chain {along}.crt") };
        // Old algorithms are not refused by the server.
        let cipher = if arguments.contains("-cipher") { "" } else { "-cipher DEFAULT:@SECLEVEL=0" };
        let line = format!(
            "s_server -accept 127.0.0.1:{port} -cert {certificate}.crt -key {key}.key {chain} -HTTP -quiet {cipher} {arguments}"
        );
        let mut command = Command::new("openssl");
        command.args(line.split_whitespace()).current_dir(dir);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.0.push(child.expect("the command openssl"));
        // It takes one connection after the other, this one too.
        wait_until(&line, || TcpStream::connect(&at).is_ok());
        port.to_owned()
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Job → health and the last error.
fn verdicts(answer: &str) -> BTreeMap<String, (String, String)> {
    let answer: Value = serde_json::from_str(answer).expect("JSON");
    let targets = answer["data"]["activeTargets"].as_array().expect("an array").iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    targets
        .map(|target| (text(&target["scrapePool"]), (text(&target["health"]), text(&target["lastError"]))))
        .collect()
}

/// A server here serves one connection after another.
fn is_judged((health, error): &(String, String)) -> bool {
    health == "up" || (health == "down" && !is_trouble_on_the_way(error))
}

#[test]
fn certificates_are_judged_as_go_judges_them_and_what_is_not_built_in_is_named() {
    let dir = Arc::new(TempDir::with_prefix("scraped-test-").expect("a directory"));
    make_certificates(dir.path());
    make_more(dir.path());
    let mut servers = Servers::default();
    let mut config = "global: {scrape_interval: 2s, scrape_timeout: 2s}\nscrape_configs:\n".to_owned();
    for (job, certificate, along, arguments, tls, ..) in JOBS {
        let port = servers.start(dir.path(), certificate, along, arguments);
        config.push_str(&format!(
            "- {{job_name: {job}, scheme: https, enable_http2: false, tls_config: {{{tls}}}, \
             static_configs: [{{targets: ['localhost:{port}']}}]}}\n"
        ));
    }
    let theirs = write_whole(dir.path(), "peer.yml", &config);
    write_whole(dir.path(), "scraped.yml", &config);
    let peer = Peer::agent(&theirs, &dir.path().join("peer"));
    let scraped = Scraped::start_in(Arc::clone(&dir), &[]);
    let [mut want, mut got] = [BTreeMap::new(), BTreeMap::new()];
    let n_theirs = JOBS.iter().filter(|(.., theirs, _)| *theirs != ABSENT).count();
    wait_until("everything was scraped by both", || {
        want = verdicts(&peer.get("/api/v1/targets?state=active"));
        got = verdicts(&scraped.get("/api/v1/targets?state=active").body);
        want.len() == n_theirs && got.len() == JOBS.len() && want.values().chain(got.values()).all(is_judged)
    });
    let mut wrong = Vec::new();
    for (job, .., theirs, ours) in JOBS {
        let absent = (ABSENT.to_owned(), String::new());
        let (their_health, their_error) = want.get(*job).unwrap_or(&absent);
        let (health, error) = &got[*job];
        let is_right = if *ours == "up" { health == "up" } else { health == "down" && error.contains(ours) };
        if their_health != theirs || !is_right {
            wrong.push(format!("{job}\n  theirs {their_health} {their_error}\n  ours   {health} {error}"));
        }
        // Rust's names are nobody's business.
        for name in ["Context", "Unsupported", "InvalidCert", "Other(", "[6, "] {
            assert!(!error.contains(name), "{job}: {error}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
