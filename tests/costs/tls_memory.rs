//! What a connection with TLS costs while it idles: counted by the allocator on the client's thread, over real sockets.

use crate::allocator::ASKED_BYTES;
use crate::alone;
use std::sync::Arc;
use std::time::Instant;
use support::PATIENCE;

use rustls::version::{TLS12, TLS13};
use scraped::config::client::http_client::HttpClientConfig;
use scraped::config::client::secret::{Secret, Source};
use scraped::config::client::tls::TlsConfig;
use scraped::http::address::url::Url;
use scraped::http::{Headers, HttpClient};
use support::tls::endpoint::{Endpoint, reply, server_tls};
use support::tls::{Authority, Validity};

const N_CLIENTS: usize = 50;

/// Keys, the server's certificate and the agent are left; a buffer for one record would show.
const MAX_BYTES_A_CLIENT: isize = 9 << 10;

fn get(client: &mut HttpClient) {
    let mut response = client.get(Instant::now() + PATIENCE).expect("an answer");
    let mut piece = [0; 4096];
    while response.read(&mut piece).expect("a body") > 0 {}
}

#[test]
fn idle_connections_hold_no_buffers() {
    let _alone = alone();
    let authority = Authority::new("good");
    let pair = authority.issue(&["localhost"], Validity::Now);
    let tls =
        TlsConfig { ca: Some(Source::Inline(Secret::new(authority.pem.clone()))), ..TlsConfig::default() };
    let config = Arc::new(HttpClientConfig { tls, ..HttpClientConfig::default() });
    for version in [&TLS12, &TLS13] {
        let endpoint = Endpoint::tls(server_tls(&pair, None, &[version]));
        let page = "a line of a page\n".repeat(20_000);
        endpoint.answer(move |_| reply(200, "", &page));
        let url = Url::parse(&format!("https://{}/", endpoint.at("localhost"))).expect("a URL");
        let client = || HttpClient::new(url.clone(), Headers::default(), &config);
        // What is made once is not counted; it lives as long as this client.
        let mut first = client();
        get(&mut first);
        let live_before = ASKED_BYTES.get();
        let mut clients: Vec<HttpClient> = (0..N_CLIENTS).map(|_| client()).collect();
        for _ in 0..3 {
            clients.iter_mut().for_each(get);
        }
        assert_eq!(endpoint.n_connections(), N_CLIENTS + 1);
        let bytes_a_client = (ASKED_BYTES.get() - live_before) / N_CLIENTS as isize;
        println!("{version:?}: {bytes_a_client} bytes a client");
        assert!(
            bytes_a_client > 0 && bytes_a_client <= MAX_BYTES_A_CLIENT,
            "{bytes_a_client} bytes a client"
        );
    }
}
