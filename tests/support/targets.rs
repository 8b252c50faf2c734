//! Fake targets: one listener, a behaviour for each path, a thread with a small stack for each connection.
//!
//! Thousands of targets are thousands of paths of one [`FakeTargets`]; a path without a behaviour answers 404.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path as FilePath;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::scraped::free_listener;
use flate2::Compression;
use flate2::write::GzEncoder;
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

/// What a path does when it is asked.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// Status 200, the page, the connection kept.
    Healthy(Arc<[u8]>),
    /// Each request the next of these, the last one for ever.
    InTurn(Arc<[Behaviour]>),
    /// The same for a page that is packed already ([`packed_page`]), whether asked for or not.
    Gzip(Arc<[u8]>),
    /// The page in chunks of this many bytes.
    Chunked(Arc<[u8]>, usize),
    /// The page without a length; its end is the end of the connection.
    UntilClosed(Arc<[u8]>),
    /// A page with `fake_scrapes_total`, one higher with each scrape.
    Counter,
    /// The page after a delay.
    Slow(Arc<[u8]>, Duration),
    /// Takes the request and never answers.
    Hangs,
    /// Head at once, then one byte of the page at a time.
    Dribbles(Arc<[u8]>, Duration),
    /// One byte of the head at a time.
    DribblesHead(Duration),
    /// A page without an end, as fast as it goes.
    Endless,
    /// Resets the connection instead of answering.
    Resets,
    /// Closes the connection instead of answering.
    Closes,
    /// Promises the page and closes after so many bytes of it.
    CutsBody(Arc<[u8]>, usize),
    /// Resets after so many bytes of a page without a length.
    ResetsInBody(Arc<[u8]>, usize),
    /// A valid page of so many bytes, one series a line.
    Huge(usize),
    /// One line of so many bytes.
    LongLine(usize),
    /// Says gzip and is not.
    BadGzip,
    /// Gzip that unfolds to so many bytes.
    GzipBomb(usize),
    /// The page with another `Content-Type`.
    ContentType(Arc<[u8]>, String),
    /// The page without a `Content-Type`.
    NoContentType(Arc<[u8]>),
    /// The page with a `Content-Encoding` as given and not packed.
    ContentEncoding(Arc<[u8]>, String),
    /// A redirect with this status and `Location`.
    Redirects(u16, String),
    /// The page; then the connection is closed though it was not announced.
    ClosesKeepAlive(Arc<[u8]>),
    /// The page on the first request of a connection; the second one is answered by closing it.
    ClosesOnSecond(Arc<[u8]>),
    /// Another status, with a short body.
    Status(u16),
    /// A head of so many bytes.
    HugeHead(usize),
    /// These bytes instead of a response, then the end of the connection.
    Raw(Arc<[u8]>),
}

/// A page as a shared slice.
pub fn page(text: &str) -> Arc<[u8]> {
    Arc::from(text.as_bytes())
}

/// A page packed with gzip, for [`Behaviour::Gzip`].
pub fn packed_page(text: &str) -> Arc<[u8]> {
    Arc::from(gzip(text.as_bytes()))
}

const BOMB_MEMBER_BYTES: usize = 8 << 20;

/// A listener with its targets. Dropping it closes every connection.
#[derive(Debug)]
pub struct FakeTargets {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    paths: Mutex<HashMap<String, Arc<Path>>>,
    connections: Mutex<HashMap<usize, TcpStream>>,
    n_connections: AtomicUsize,
    is_stopped: AtomicBool,
}

#[derive(Debug)]
struct Path {
    behaviour: Mutex<Behaviour>,
    n_requests: AtomicUsize,
    last_head: Mutex<String>,
}

impl FakeTargets {
    /// Listens on a free port of 127.0.0.1.
    pub fn start() -> Self {
        Self::listen(free_listener())
    }

    /// A target at `/metrics` with one sample, and in `dir` the configuration that scrapes it every second.
    pub fn scraped_by(dir: &FilePath) -> Self {
        let targets = Self::start();
        targets.set("/metrics", Behaviour::Healthy(page("m 1\n")));
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
             scrape_configs:\n- job_name: fake\n  static_configs: [{{targets: ['{}']}}]\n",
            targets.address()
        );
        fs::write(dir.join("scraped.yml"), config).expect("writable");
        targets
    }

    /// A target at `/metrics` with this many series, whose values cannot be packed.
    pub fn noisy(n_series: u64) -> Self {
        let noise = |idx: u64| idx.wrapping_mul(6_364_136_223_846_793_005) >> 11;
        let content: String =
            (1..=n_series).map(|idx| format!("m{{idx=\"{idx}\"}} {}\n", noise(idx))).collect();
        let targets = Self::start();
        targets.set("/metrics", Behaviour::Healthy(page(&content)));
        targets
    }

    /// Listens on `address`.
    pub fn start_on(address: &str) -> Self {
        Self::listen(TcpListener::bind(address).expect("a free port"))
    }

    fn listen(listener: TcpListener) -> Self {
        let address = listener.local_addr().expect("a bound socket");
        let shared = Arc::new(Shared::default());
        let accepting = Arc::clone(&shared);
        let thread = thread::Builder::new().name("fake-targets".to_owned());
        thread.spawn(move || accept(&listener, &accepting)).expect("a thread");
        Self { address, shared }
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Sets what `path` does from the next request on.
    pub fn set(&self, path: &str, behaviour: Behaviour) {
        let mut paths = self.shared.paths.lock().expect("not poisoned");
        match paths.get(path) {
            Some(known) => *known.behaviour.lock().expect("not poisoned") = behaviour,
            None => {
                let new = Path {
                    behaviour: Mutex::new(behaviour),
                    n_requests: AtomicUsize::new(0),
                    last_head: Mutex::default(),
                };
                paths.insert(path.to_owned(), Arc::new(new));
            }
        }
    }

    /// Requests that `path` got.
    pub fn n_requests(&self, path: &str) -> usize {
        self.path(path).n_requests.load(Ordering::SeqCst)
    }

    /// Head of the last request of `path`, lines ended by `\n`.
    pub fn last_head(&self, path: &str) -> String {
        self.path(path).last_head.lock().expect("not poisoned").clone()
    }

    /// Connections that were ever accepted.
    pub fn n_connections(&self) -> usize {
        self.shared.n_connections.load(Ordering::SeqCst)
    }

    /// Connections that are open now.
    pub fn n_open(&self) -> usize {
        self.shared.connections.lock().expect("not poisoned").len()
    }

    /// Closes all connections that are open.
    pub fn close_connections(&self) {
        for connection in self.shared.connections.lock().expect("not poisoned").values() {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    fn path(&self, path: &str) -> Arc<Path> {
        Arc::clone(self.shared.paths.lock().expect("not poisoned").get(path).expect("a path that was set"))
    }
}

impl Drop for FakeTargets {
    fn drop(&mut self) {
        self.shared.is_stopped.store(true, Ordering::SeqCst);
        // Wakes the accept.
        let _ = TcpStream::connect(self.address);
        self.close_connections();
    }
}

/// An address that takes no connection and refuses none: its backlog is full. Holds it while alive.
#[derive(Debug)]
pub struct FullBacklog {
    listener: Socket,
    _fillers: Vec<Socket>,
}

impl FullBacklog {
    /// Fills the backlog of a new listener.
    pub fn fill() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        listener.bind(&SockAddr::from(SocketAddr::from(([127, 0, 0, 1], 0)))).expect("a free port");
        listener.listen(0).expect("listens");
        let address = listener.local_addr().expect("a bound socket");
        let mut fillers = Vec::new();
        for _ in 0..8 {
            let filler = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            filler.set_nonblocking(true).expect("can be");
            let _ = filler.connect(&address);
            fillers.push(filler);
        }
        Self { listener, _fillers: fillers }
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> String {
        let address = self.listener.local_addr().expect("a bound socket");
        address.as_socket().expect("an IP address").to_string()
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for connection in listener.incoming() {
        if shared.is_stopped.load(Ordering::SeqCst) {
            return;
        }
        let Ok(connection) = connection else { continue };
        let id = shared.n_connections.fetch_add(1, Ordering::SeqCst);
        let Ok(handle) = connection.try_clone() else { continue };
        shared.connections.lock().expect("not poisoned").insert(id, handle);
        let shared = Arc::clone(shared);
        let thread = thread::Builder::new().name(format!("fake-target-{id}")).stack_size(256 << 10);
        thread
            .spawn(move || {
                // The peer closing in the middle is what most of these targets are for.
                let _ = serve(&connection, &shared);
                // Only dropped, not shut down: a reset is a close with no time to linger.
                shared.connections.lock().expect("not poisoned").remove(&id);
            })
            .expect("a thread");
    }
}

/// Answers requests until the peer or the behaviour ends the connection.
fn serve(mut stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    for n_before in 0.. {
        let Some(head) = read_head(stream)? else { return Ok(()) };
        let target = head.split(' ').nth(1).unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default();
        let path = shared.paths.lock().expect("not poisoned").get(path).cloned();
        let Some(path) = path else {
            stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 10\r\n\r\nnot found\n")?;
            continue;
        };
        let n_requests = path.n_requests.fetch_add(1, Ordering::SeqCst) + 1;
        *path.last_head.lock().expect("not poisoned") = head.replace("\r\n", "\n");
        let behaviour = path.behaviour.lock().expect("not poisoned").clone();
        if !behave(stream, &behaviour, n_requests, n_before)? {
            return Ok(());
        }
    }
    Ok(())
}

fn read_head(mut stream: &TcpStream) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut piece)? {
            0 => return Ok(None),
            n_bytes => head.extend_from_slice(&piece[..n_bytes]),
        }
    }
    Ok(Some(String::from_utf8_lossy(&head).into_owned()))
}

const TEXT: &str = "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n";

/// One answer; false when the connection is to be closed.
fn behave(stream: &TcpStream, behaviour: &Behaviour, n_requests: usize, n_before: usize) -> io::Result<bool> {
    match behaviour {
        Behaviour::Healthy(page) => answer(stream, TEXT, page),
        Behaviour::InTurn(script) => {
            let behaviour = script.get(n_requests - 1).or(script.last()).expect("a script of at least one");
            behave(stream, behaviour, n_requests, n_before)
        }
        Behaviour::Gzip(page) => answer(stream, &format!("{TEXT}Content-Encoding: gzip\r\n"), page),
        Behaviour::Chunked(page, n_chunk) => {
            send(stream, format!("HTTP/1.1 200 OK\r\n{TEXT}Transfer-Encoding: chunked\r\n\r\n").as_bytes())?;
            for chunk in page.chunks(*n_chunk) {
                send(stream, format!("{:x}\r\n", chunk.len()).as_bytes())?;
                send(stream, chunk)?;
                send(stream, b"\r\n")?;
            }
            send(stream, b"0\r\n\r\n")
        }
        Behaviour::UntilClosed(page) => {
            send(stream, format!("HTTP/1.1 200 OK\r\n{TEXT}Connection: close\r\n\r\n").as_bytes())?;
            send(stream, page)?;
            Ok(false)
        }
        Behaviour::Counter => {
            let page = format!("# TYPE fake_scrapes_total counter\nfake_scrapes_total {n_requests}\n");
            answer(stream, TEXT, page.as_bytes())
        }
        Behaviour::Slow(page, delay) => {
            thread::sleep(*delay);
            answer(stream, TEXT, page)
        }
        Behaviour::Hangs => until_closed(stream),
        Behaviour::Dribbles(page, pause) => {
            let head = format!("HTTP/1.1 200 OK\r\n{TEXT}Content-Length: {}\r\n\r\n", page.len());
            send(stream, head.as_bytes())?;
            dribble(stream, page, *pause)
        }
        Behaviour::DribblesHead(pause) => {
            let head = format!("HTTP/1.1 200 OK\r\n{TEXT}X-Padding: {}\r\n\r\n", "x".repeat(10_000));
            dribble(stream, head.as_bytes(), *pause)
        }
        Behaviour::Endless => {
            send(stream, format!("HTTP/1.1 200 OK\r\n{TEXT}\r\n").as_bytes())?;
            let lines = b"endless_total{path=\"/endless\"} 1\n".repeat(1000);
            while send(stream, &lines)? {}
            Ok(false)
        }
        Behaviour::Resets => reset(stream),
        Behaviour::Closes => Ok(false),
        Behaviour::CutsBody(page, n_bytes) => {
            let head = format!("HTTP/1.1 200 OK\r\n{TEXT}Content-Length: {}\r\n\r\n", page.len());
            send(stream, head.as_bytes())?;
            send(stream, &page[..*n_bytes])?;
            Ok(false)
        }
        Behaviour::ResetsInBody(page, n_bytes) => {
            send(stream, format!("HTTP/1.1 200 OK\r\n{TEXT}\r\n").as_bytes())?;
            send(stream, &page[..*n_bytes])?;
            // A reset overtakes what the peer has not read yet.
            thread::sleep(Duration::from_millis(100));
            reset(stream)
        }
        Behaviour::Huge(n_bytes) => {
            let head = format!("HTTP/1.1 200 OK\r\n{TEXT}Content-Length: {n_bytes}\r\n\r\n");
            send(stream, head.as_bytes())?;
            let mut n_left = *n_bytes;
            let mut n_line = 0;
            while n_left > 0 {
                let mut lines = String::new();
                while lines.len() < n_left.min(64 << 10) {
                    lines.push_str(&format!("huge_total{{series=\"{n_line:09}\"}} 1\n"));
                    n_line += 1;
                }
                let bytes = lines.as_bytes();
                let bytes = if bytes.len() > n_left { &b"#".repeat(n_left)[..] } else { bytes };
                send(stream, bytes)?;
                n_left -= bytes.len();
            }
            Ok(true)
        }
        Behaviour::LongLine(n_bytes) => {
            let head = format!("HTTP/1.1 200 OK\r\n{TEXT}Content-Length: {n_bytes}\r\n\r\n");
            send(stream, head.as_bytes())?;
            let piece = [b'a'; 16 << 10];
            let mut n_left = *n_bytes;
            while n_left > 0 {
                let n_piece = n_left.min(piece.len());
                send(stream, &piece[..n_piece])?;
                n_left -= n_piece;
            }
            Ok(true)
        }
        Behaviour::BadGzip => {
            answer(stream, &format!("{TEXT}Content-Encoding: gzip\r\n"), b"this is not gzip at all\n")
        }
        Behaviour::GzipBomb(n_bytes) => {
            // Members may follow each other; packing a gigabyte would take the test seconds.
            let member = gzip(&b"bomb_total 1\n".repeat(BOMB_MEMBER_BYTES / 13));
            let bomb = member.repeat(n_bytes / BOMB_MEMBER_BYTES + 1);
            answer(stream, &format!("{TEXT}Content-Encoding: gzip\r\n"), &bomb)
        }
        Behaviour::ContentType(page, content_type) => {
            answer(stream, &format!("Content-Type: {content_type}\r\n"), page)
        }
        Behaviour::NoContentType(page) => answer(stream, "", page),
        Behaviour::ContentEncoding(page, encoding) => {
            answer(stream, &format!("{TEXT}Content-Encoding: {encoding}\r\n"), page)
        }
        Behaviour::Redirects(status, location) => {
            let head =
                format!("HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 5\r\n\r\n");
            send(stream, head.as_bytes())?;
            send(stream, b"moved")
        }
        Behaviour::ClosesKeepAlive(page) => {
            answer(stream, TEXT, page)?;
            Ok(false)
        }
        Behaviour::ClosesOnSecond(page) => {
            if n_before > 0 {
                return Ok(false);
            }
            answer(stream, TEXT, page)
        }
        Behaviour::Status(status) => {
            let head = format!("HTTP/1.1 {status} Whatever\r\nContent-Length: 6\r\n\r\nsorry\n");
            send(stream, head.as_bytes())
        }
        Behaviour::HugeHead(n_bytes) => {
            send(stream, b"HTTP/1.1 200 OK\r\n")?;
            let line = format!("X-Padding: {}\r\n", "x".repeat(1000));
            for _ in 0..n_bytes / line.len() {
                send(stream, line.as_bytes())?;
            }
            send(stream, b"Content-Length: 0\r\n\r\n")
        }
        Behaviour::Raw(bytes) => {
            send(stream, bytes)?;
            let _ = stream.shutdown(Shutdown::Write);
            until_closed(stream)
        }
    }
}

/// Always true, so that it can end a behaviour that keeps the connection.
fn send(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<bool> {
    stream.write_all(bytes)?;
    Ok(true)
}

fn answer(stream: &TcpStream, headers: &str, body: &[u8]) -> io::Result<bool> {
    let mut response =
        format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
    response.extend_from_slice(body);
    send(stream, &response)
}

fn dribble(stream: &TcpStream, bytes: &[u8], pause: Duration) -> io::Result<bool> {
    for byte in bytes {
        send(stream, &[*byte])?;
        thread::sleep(pause);
    }
    Ok(true)
}

fn reset(stream: &TcpStream) -> io::Result<bool> {
    // Closing with unsent time left on the linger clock is a reset.
    SockRef::from(stream).set_linger(Some(Duration::ZERO))?;
    Ok(false)
}

fn until_closed(mut stream: &TcpStream) -> io::Result<bool> {
    let mut scratch = [0; 64];
    while stream.read(&mut scratch)? > 0 {}
    Ok(false)
}

fn gzip(page: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(page).expect("to memory");
    encoder.finish().expect("to memory")
}
