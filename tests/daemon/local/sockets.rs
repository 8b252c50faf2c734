//! Targets behind a unix socket, with the real binary.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use support::api::{Active, active};
use support::command::values;
use support::scraped::Scraped;
use support::wait_until;
use tempfile::TempDir;

type Heads = Arc<Mutex<Vec<String>>>;

/// Serves one sample on each request of each connection, until the test ends.
fn serve(path: &Path) -> Heads {
    let listener = UnixListener::bind(path).expect("a socket");
    let heads = Heads::default();
    let keeping = Arc::clone(&heads);
    let accepting = move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let heads = Arc::clone(&keeping);
            start(move || answer(stream, &heads));
        }
    };
    start(accepting);
    heads
}

fn start(run: impl FnOnce() + Send + 'static) {
    thread::Builder::new().name("socket-target".to_owned()).spawn(run).expect("a thread");
}

fn answer(mut stream: UnixStream, heads: &Mutex<Vec<String>>) {
    loop {
        let mut head = Vec::new();
        let mut byte = [0; 1];
        while !head.ends_with(b"\r\n\r\n") {
            if !stream.read(&mut byte).is_ok_and(|n_read| n_read > 0) {
                return;
            }
            head.push(byte[0]);
        }
        heads.lock().expect("not poisoned").push(String::from_utf8_lossy(&head).into_owned());
        let page = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\nby_sock 1";
        if stream.write_all(page.as_bytes()).is_err() {
            return;
        }
    }
}

fn only(scraped: &Scraped, job: &str) -> Active {
    wait_until("a target", || !active(scraped, job).is_empty());
    active(scraped, job).pop().expect("a target")
}

#[test]
fn sockets_are_targets_by_their_label() {
    let dir = Arc::new(TempDir::with_prefix("scraped-test-").expect("a directory"));
    let path = dir.path().display().to_string();
    let heads = serve(&dir.path().join("x.sock"));
    let config = format!(
        "global: {{scrape_interval: 300ms, scrape_timeout: 300ms}}\nscrape_configs:\n\
         - job_name: named\n  static_configs: [{{targets: ['box:9100'], labels: {{__unix_socket__: {path}/x.sock}}}}]\n\
         - job_name: nameless\n  metrics_path: /other\n  \
           static_configs: [{{targets: ['x'], labels: {{__unix_socket__: {path}/x.sock}}}}]\n  \
           relabel_configs: [{{target_label: __address__, replacement: ''}}]\n\
         - job_name: none\n  static_configs: [{{targets: ['box'], labels: {{__unix_socket__: {path}/none.sock}}}}]\n"
    );
    fs::write(dir.path().join("scraped.yml"), config).expect("writable");
    let scraped = Scraped::start_in(Arc::clone(&dir), &[]);
    let data = scraped.data_dir();
    for selector in [
        "by_sock{job='named',instance='box:9100'}",
        &format!("by_sock{{job='nameless',instance='{path}/x.sock'}}"),
    ] {
        wait_until(selector, || values(&data, selector).first().is_some_and(|value| value == "1"));
    }
    let has = |start: &str, host: &str| {
        let heads = heads.lock().expect("not poisoned");
        heads.iter().any(|head| head.starts_with(start) && head.contains(&format!("\r\nHost: {host}\r\n")))
    };
    assert!(has("GET /metrics HTTP/1.1\r\n", "box:9100") && has("GET /other HTTP/1.1\r\n", "localhost"));
    let escaped = path.replace('/', "%2F");
    assert_eq!(only(&scraped, "named").scrape_url, format!("http+unix://{escaped}%2Fx.sock/metrics"));
    let error =
        format!("Get \"http://box/metrics\": dial unix {path}/none.sock: connect: no such file or directory");
    wait_until(&error, || only(&scraped, "none").last_error == error);
    // It comes up later.
    let _heads = serve(&dir.path().join("none.sock"));
    wait_until("the late one", || only(&scraped, "none").health == "up");
}
