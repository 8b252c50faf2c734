//! A box with a lock on its door: a browser comes in over TLS with a user's password, and sees nothing without it.

use std::fs;
use std::net::TcpStream;
use std::sync::Arc;

use support::scraped::Scraped;
use support::tls::{Authority, Validity};
use support::wait_until;
use tempfile::TempDir;

use super::devtools::Browser;

/// The user eve has the password `a`.
const WEB_CONFIG: &str = "
tls_server_config: {cert_file: server.crt, key_file: server.key}
http_server_config: {headers: {Strict-Transport-Security: max-age=60}}
basic_auth_users: {eve: $2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe}
";

#[test]
fn a_browser_comes_in_with_a_password_over_tls() {
    let Some(mut browser) = Browser::find() else { return };
    let dir = Arc::new(TempDir::with_prefix("scraped-test-").expect("a directory"));
    let pair = Authority::new("ours").issue(&["localhost"], Validity::Now);
    for (name, content) in [
        ("scraped.yml", "scrape_configs: []\n"),
        ("server.crt", &pair.cert_pem),
        ("server.key", &pair.key_pem),
        ("web.yml", WEB_CONFIG),
    ] {
        fs::write(dir.path().join(name), content).expect("writable");
    }
    let file = format!("--web.config.file={}", dir.path().join("web.yml").display());
    let scraped = Scraped::spawn_in(dir, &[&file]);
    wait_until("it listens", || TcpStream::connect(scraped.address()).is_ok());
    let port = scraped.address().rsplit(':').next().expect("a port");
    let unknown = browser.try_open(&format!("https://localhost:{port}/flags"));
    assert_eq!(unknown.as_deref(), Some("net::ERR_CERT_AUTHORITY_INVALID"));
    browser.trust_everyone();
    let stranger = browser.try_open(&format!("https://localhost:{port}/flags"));
    assert_eq!(stranger.as_deref(), Some("net::ERR_INVALID_AUTH_CREDENTIALS"));
    browser.open(&format!("https://eve:a@localhost:{port}/flags"));
    assert!(browser.text().contains("web.config.file"), "{}", browser.text());
    // The stylesheet and the script came in, too.
    assert_eq!(browser.evaluate("getComputedStyle(document.querySelector('nav')).display"), "flex");
    assert_eq!(browser.complaints(), [""; 0]);
}
