//! What a connection with TLS costs while it idles: counted by the allocator on the client's thread, over real sockets.

#![allow(clippy::expect_used, reason = "a test that cannot be set up has to fail")]
#![allow(clippy::print_stdout, reason = "figures for whoever runs it with --nocapture")]

mod tls_support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::version::{TLS12, TLS13};
use scraped::config::client::http_client::HttpClientConfig;
use scraped::config::client::secret::{Secret, Source};
use scraped::config::client::tls::TlsConfig;
use scraped::http::address::url::Url;
use scraped::http::{Headers, HttpClient};
use tls_support::endpoint::{Endpoint, reply, server_tls};
use tls_support::{Authority, Validity};

struct Counting;

thread_local! {
    /// Of this thread alone: the server's share is made and freed on threads of its own.
    static LIVE_BYTES: Cell<isize> = const { Cell::new(0) };
}

fn count(n_bytes: isize) {
    let _ = LIVE_BYTES.try_with(|live| live.set(live.get() + n_bytes));
}

// SAFETY: everything is handed to the system's allocator as it came; only sizes are counted.
#[allow(unsafe_code, reason = "an allocator is an unsafe trait")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const N_CLIENTS: usize = 50;

/// Keys, the server's certificate and the agent are left; a buffer for one record would show.
const MAX_BYTES_A_CLIENT: isize = 9 << 10;

const PATIENCE: Duration = Duration::from_secs(60);

fn get(client: &mut HttpClient) {
    let mut response = client.get(Instant::now() + PATIENCE).expect("an answer");
    let mut piece = [0; 4096];
    while response.read(&mut piece).expect("a body") > 0 {}
}

#[test]
fn idle_connections_hold_no_buffers() {
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
        let live_before = LIVE_BYTES.get();
        let mut clients: Vec<HttpClient> = (0..N_CLIENTS).map(|_| client()).collect();
        for _ in 0..3 {
            clients.iter_mut().for_each(get);
        }
        assert_eq!(endpoint.n_connections(), N_CLIENTS + 1);
        let bytes_a_client = (LIVE_BYTES.get() - live_before) / N_CLIENTS as isize;
        println!("{version:?}: {bytes_a_client} bytes a client");
        assert!(
            bytes_a_client > 0 && bytes_a_client <= MAX_BYTES_A_CLIENT,
            "{bytes_a_client} bytes a client"
        );
    }
}
