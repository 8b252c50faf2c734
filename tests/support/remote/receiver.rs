//! A fake remote write endpoint: plain threads on loopback, a script that decides each answer, and a store of all that
//! arrived.
//!
//! What is malformed in a request is written down as a problem; [`Receiver::check`] fails with it.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::message::{Exemplar, Histogram, Message, Metadata, Protocol, Series};
use crate::scraped::free_listener;

/// Where the endpoint is asked.
pub const WRITE_PATH: &str = "/api/v1/write";

/// What a request is answered with.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Stores the samples and says so with this status.
    Stores(u16),
    /// Stores all and answers this status, saying that it has written so many samples, histograms and exemplars.
    StoresAndCounts(u16, [usize; 3]),
    /// Does not store, and answers this status with these header lines and this body.
    Refuses(u16, Vec<String>, String),
    /// Stores and answers 204 without the headers that 2.0 asks for, as an endpoint that never heard of it.
    StoresIgnorantly,
    /// Status 400 if the request holds a series whose labels hold this text, otherwise 204 and stored.
    RefusesSeries(String),
    /// The same, but all other series of the request are stored, as Mimir, Cortex and Thanos do it.
    StoresAllBut(String),
    /// Answers after this long; what is stored is stored at once.
    After(Duration, Box<Answer>),
    /// Resets the connection; nothing is stored.
    Resets,
    /// Stores and resets: the sender cannot know.
    StoresAndResets,
    /// Neither stores nor answers.
    Hangs,
    /// Stores at once and answers 204 after this long.
    StoresLate(Duration),
    /// Does not store; these bytes instead of a response, then the end of the connection.
    Raw(Vec<u8>),
    /// Does not store; a head without an end.
    EndlessHead,
    /// Does not store; this status with a body without an end.
    EndlessBody(u16),
    /// Stores; 200 with a body without an end.
    StoresWithEndlessBody,
}

impl Answer {
    /// A refusal without words.
    pub fn status(status: u16) -> Self {
        Answer::Refuses(status, Vec::new(), format!("status {status} on purpose\n"))
    }

    /// A refusal that says when to come back.
    pub fn retry_after(status: u16, value: &str) -> Self {
        Answer::Refuses(status, vec![format!("Retry-After: {value}")], "come back later\n".to_owned())
    }

    /// A redirect.
    pub fn redirects(status: u16, location: &str) -> Self {
        Answer::Refuses(status, vec![format!("Location: {location}")], "elsewhere\n".to_owned())
    }
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// Method and path.
    pub line: String,
    /// By lower-case name.
    pub headers: BTreeMap<String, String>,
    /// Bytes on the wire.
    pub body: Arc<[u8]>,
    /// What the body says.
    pub message: Arc<Message>,
    /// When it was complete.
    pub at: Instant,
    /// Whether it was stored, and the sender is known to have read that: it has asked again on the connection.
    pub is_confirmed: bool,
    /// Whether it was stored.
    pub is_stored: bool,
}

impl Request {
    /// A header; empty without it.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What answers requests.
pub type Script = Box<dyn FnMut(&Request) -> Answer + Send>;

/// A listener with its store. Dropping it closes every connection.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    script: Mutex<Script>,
    state: Mutex<State>,
    connections: Mutex<HashMap<usize, TcpStream>>,
    n_connections: AtomicUsize,
    /// Connections from which a request may still be stored.
    n_reading: AtomicUsize,
    is_stopped: AtomicBool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

/// All that arrived.
#[derive(Debug, Default)]
pub struct State {
    /// In the order in which they were complete.
    pub requests: Vec<Request>,
    /// What was stored, each sample once, in the order of arrival: milliseconds and the bits of the value.
    pub series: BTreeMap<String, Vec<(i64, u64)>>,
    /// What was stored of native histograms, each once, in the order of arrival.
    pub histograms: BTreeMap<String, Vec<(i64, Histogram)>>,
    /// What was stored of exemplars, in the order of arrival, duplicates among them.
    pub exemplars: BTreeMap<String, Vec<Exemplar>>,
    /// Metadata of 1.0 in the order of arrival.
    pub families: Vec<Metadata>,
    /// Metadata of 2.0 by series.
    pub metadata: BTreeMap<String, Metadata>,
    /// Samples that were stored and came again.
    pub n_duplicates: usize,
    /// What no request may do.
    pub problems: Vec<String>,
    /// Samples of a series may come in any order.
    pub takes_any_order: bool,
}

impl Receiver {
    /// Listens on a free port of 127.0.0.1 and stores what comes.
    pub fn start() -> Self {
        Self::listen(free_listener())
    }

    /// Listens on `address`.
    pub fn start_on(address: &str) -> Self {
        Self::listen(TcpListener::bind(address).expect("a free port"))
    }

    fn listen(listener: TcpListener) -> Self {
        let address = listener.local_addr().expect("a bound socket");
        let shared = Arc::new(Shared {
            script: Mutex::new(Box::new(|_| Answer::Stores(204))),
            state: Mutex::default(),
            connections: Mutex::default(),
            n_connections: AtomicUsize::new(0),
            n_reading: AtomicUsize::new(0),
            is_stopped: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        let thread = thread::Builder::new().name("receiver".to_owned());
        thread.spawn(move || accept(&listener, &accepting)).expect("a thread");
        Self { address, shared }
    }

    /// `http://127.0.0.1:port/api/v1/write`.
    pub fn url(&self) -> String {
        format!("http://{}{WRITE_PATH}", self.address)
    }

    /// Answers every request like this from now on.
    pub fn answer(&self, answer: Answer) {
        self.script(move |_| answer.clone());
    }

    /// Asks `script` how to answer, from now on.
    pub fn script(&self, script: impl FnMut(&Request) -> Answer + Send + 'static) {
        *self.shared.script.lock().expect("not poisoned") = Box::new(script);
    }

    /// All that arrived so far.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().expect("not poisoned")
    }

    /// Requests so far.
    pub fn n_requests(&self) -> usize {
        self.state().requests.len()
    }

    /// Connections that were ever accepted.
    pub fn n_connections(&self) -> usize {
        self.shared.n_connections.load(Ordering::SeqCst)
    }

    /// True when no connection is open from which something could still be stored.
    pub fn is_quiet(&self) -> bool {
        self.shared.n_reading.load(Ordering::SeqCst) == 0
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.state().requests.clone()
    }

    /// What was stored, by series, in the order of arrival, duplicates among it.
    pub fn received(&self) -> BTreeMap<String, Vec<(i64, u64)>> {
        let mut all: BTreeMap<String, Vec<(i64, u64)>> = BTreeMap::new();
        for request in self.state().requests.iter().filter(|request| request.is_stored) {
            for series in &request.message.series {
                all.entry(series.key()).or_default().extend(&series.samples);
            }
        }
        all
    }

    /// Values of the series whose labels hold this text, as they arrived, duplicates among them.
    pub fn values(&self, text: &str) -> Vec<f64> {
        let all = self.received();
        let found = all.iter().filter(|(labels, _)| labels.contains(text));
        found.flat_map(|(_, samples)| samples.iter().map(|(_, bits)| f64::from_bits(*bits))).collect()
    }

    /// Fails if a request was malformed or something came out of order.
    pub fn check(&self) {
        let problems = self.state().problems.clone();
        assert!(problems.is_empty(), "{problems:#?}");
    }

    /// Samples of the series with exactly these labels: milliseconds and the bits of the value.
    pub fn samples_of(&self, key: &str) -> Vec<(i64, u64)> {
        self.state().series.get(key).cloned().unwrap_or_default()
    }

    /// Samples of the series of this name whose labels hold this text.
    pub fn samples(&self, name: &str, label: &str) -> Vec<(i64, f64)> {
        let state = self.state();
        let mut found = state
            .series
            .iter()
            .filter(|(key, _)| key.contains(&format!("__name__=\"{name}\",")) && key.contains(label));
        let samples = found.next().map(|(_, samples)| samples.clone()).unwrap_or_default();
        assert!(
            found.next().is_none(),
            "{name} {label} finds more than one series: {:?}",
            state.series.keys()
        );
        samples.into_iter().map(|(ts_ms, bits)| (ts_ms, f64::from_bits(bits))).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.is_stopped.store(true, Ordering::SeqCst);
        // Wakes the accept.
        let _ = TcpStream::connect(self.address);
        for connection in self.shared.connections.lock().expect("not poisoned").values() {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

impl State {
    fn store(&mut self, message: &Message) {
        self.families.extend(message.metadata.iter().cloned());
        for series in &message.series {
            let key = series.key();
            for (ts_ms, histogram) in &series.histograms {
                let stored = self.histograms.entry(key.clone()).or_default();
                match stored.last() {
                    Some((last_ms, last)) if last_ms >= ts_ms => {
                        if stored.contains(&(*ts_ms, histogram.clone())) {
                            self.n_duplicates += 1;
                        } else {
                            self.problems
                                .push(format!("{key} at {ts_ms}: {histogram:?} after {last_ms}: {last:?}"));
                        }
                    }
                    _ => stored.push((*ts_ms, histogram.clone())),
                }
            }
            if !series.exemplars.is_empty() {
                self.exemplars.entry(key.clone()).or_default().extend(series.exemplars.iter().cloned());
            }
            if series.metadata != Metadata::default() {
                self.metadata.insert(key.clone(), series.metadata.clone());
            }
            if series.samples.is_empty() {
                continue;
            }
            let stored = self.series.entry(key.clone()).or_default();
            for &(ts_ms, bits) in &series.samples {
                match stored.binary_search_by_key(&ts_ms, |sample| sample.0) {
                    Ok(idx) if stored[idx].1 == bits => self.n_duplicates += 1,
                    Ok(idx) => {
                        let other = stored[idx];
                        self.problems.push(format!("{key} at {ts_ms}: {bits:x} after {other:x?}"));
                    }
                    Err(idx) if idx == stored.len() => stored.push((ts_ms, bits)),
                    Err(idx) => {
                        if !self.takes_any_order {
                            self.problems
                                .push(format!("{key} at {ts_ms}: out of order after {:?}", stored.last()));
                        }
                        stored.insert(idx, (ts_ms, bits));
                    }
                }
            }
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for connection in listener.incoming() {
        if shared.is_stopped.load(Ordering::SeqCst) {
            return;
        }
        let Ok(connection) = connection else { continue };
        let Ok(handle) = connection.try_clone() else { continue };
        let id = shared.n_connections.fetch_add(1, Ordering::SeqCst);
        shared.n_reading.fetch_add(1, Ordering::SeqCst);
        shared.connections.lock().expect("not poisoned").insert(id, handle);
        let shared = Arc::clone(shared);
        let thread = thread::Builder::new().name(format!("receiver-{id}"));
        thread
            .spawn(move || {
                // The sender being killed in the middle is what this is for.
                let _ = serve(&connection, &shared);
                shared.connections.lock().expect("not poisoned").remove(&id);
            })
            .expect("a thread");
    }
}

fn serve(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    let mut buffered = Vec::new();
    let mut answered: Option<usize> = None;
    loop {
        let request = read_request(stream, &mut buffered);
        let Ok(Some((head, body))) = request else {
            shared.n_reading.fetch_sub(1, Ordering::SeqCst);
            return request.map(|_| ());
        };
        // Who asks again on a connection has read the answer before; who lost patience has closed it.
        if let Some(idx) = answered.take() {
            shared.state.lock().expect("not poisoned").requests[idx].is_confirmed = true;
        }
        let (idx, answer) = decide(shared, &head, body);
        answered = matches!(answer, Answer::Stores(_)).then_some(idx);
        shared.n_reading.fetch_sub(1, Ordering::SeqCst);
        if !respond(stream, shared, idx, answer)? {
            return Ok(());
        }
        shared.n_reading.fetch_add(1, Ordering::SeqCst);
    }
}

fn read_request(mut stream: &TcpStream, buffered: &mut Vec<u8>) -> io::Result<Option<(String, Vec<u8>)>> {
    let mut piece = [0; 16 << 10];
    let head_len = loop {
        if let Some(at) = buffered.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        match stream.read(&mut piece)? {
            0 => return Ok(None),
            n_bytes => buffered.extend_from_slice(&piece[..n_bytes]),
        }
    };
    let head = String::from_utf8_lossy(&buffered[..head_len]).into_owned();
    let length = headers(&head).get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    while buffered.len() < head_len + length {
        match stream.read(&mut piece)? {
            0 => return Ok(None),
            n_bytes => buffered.extend_from_slice(&piece[..n_bytes]),
        }
    }
    let rest = buffered.split_off(head_len + length);
    let body = std::mem::replace(buffered, rest).split_off(head_len);
    Ok(Some((head, body)))
}

fn headers(head: &str) -> BTreeMap<String, String> {
    let lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    lines.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect()
}

fn decode(headers: &BTreeMap<String, String>, body: &[u8]) -> Result<Message, String> {
    let header = |name: &str| headers.get(name).map_or("", String::as_str);
    let protocol = match (header("content-type"), header("x-prometheus-remote-write-version")) {
        ("application/x-protobuf" | "application/x-protobuf;proto=prometheus.WriteRequest", "0.1.0") => {
            Protocol::V1
        }
        ("application/x-protobuf;proto=io.prometheus.write.v2.Request", "2.0.0") => Protocol::V2,
        other => return Err(format!("type and version {other:?}")),
    };
    if header("content-encoding") != "snappy" {
        return Err(format!("encoding {:?}", header("content-encoding")));
    }
    let unpacked = snap::raw::Decoder::new().decompress_vec(body).map_err(|error| error.to_string())?;
    Message::decode(protocol, &unpacked)
}

/// Stores what is to be stored; the number of the request and its answer.
fn decide(shared: &Shared, head: &str, body: Vec<u8>) -> (usize, Answer) {
    let headers = headers(head);
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    let line = [words.next().unwrap_or_default(), words.next().unwrap_or_default()].join(" ");
    let decoded = if line.starts_with("POST ") { decode(&headers, &body) } else { Err(line.clone()) };
    let message = match decoded {
        Ok(message) => message,
        Err(problem) => {
            shared.state.lock().expect("not poisoned").problems.push(format!("{problem}, in: {head}"));
            Message::default()
        }
    };
    let mut request = Request {
        line,
        headers,
        body: Arc::from(body),
        message: Arc::new(message),
        at: Instant::now(),
        is_confirmed: false,
        is_stored: false,
    };
    let answer = (shared.script.lock().expect("not poisoned"))(&request);
    let (delay, answer) = match answer {
        Answer::After(delay, answer) => (Some(delay), *answer),
        answer => (None, answer),
    };
    let mut stored_part = None;
    let answer = match &answer {
        Answer::RefusesSeries(text) | Answer::StoresAllBut(text) => {
            let is_bad = |series: &Series| series.key().contains(text);
            if request.message.series.iter().any(is_bad) {
                if matches!(answer, Answer::StoresAllBut(_)) {
                    let mut part = Message::clone(&request.message);
                    part.series.retain(|series| !is_bad(series));
                    stored_part = Some(part);
                }
                Answer::Refuses(400, Vec::new(), format!("the series {text} is not wanted here\n"))
            } else {
                Answer::Stores(204)
            }
        }
        _ => answer,
    };
    request.is_stored = matches!(
        answer,
        Answer::Stores(_)
            | Answer::StoresAndCounts(..)
            | Answer::StoresAndResets
            | Answer::StoresLate(_)
            | Answer::StoresWithEndlessBody
    );
    let mut state = shared.state.lock().expect("not poisoned");
    if request.is_stored {
        state.store(&request.message);
    }
    if let Some(part) = stored_part {
        state.store(&part);
    }
    state.requests.push(request);
    let answer = match delay {
        Some(delay) => Answer::After(delay, Box::new(answer)),
        None => answer,
    };
    (state.requests.len() - 1, answer)
}

/// False when the connection is to be closed.
fn respond(mut stream: &TcpStream, shared: &Shared, idx: usize, answer: Answer) -> io::Result<bool> {
    let message = Arc::clone(&shared.state.lock().expect("not poisoned").requests[idx].message);
    let written = written_lines([message.n_samples(), message.n_histograms(), message.n_exemplars()]);
    match answer {
        Answer::Stores(status) => {
            stream.write_all(head_of(status, &written, 0).as_bytes())?;
            Ok(true)
        }
        Answer::StoresAndCounts(status, numbers) => {
            stream.write_all(head_of(status, &written_lines(numbers), 0).as_bytes())?;
            Ok(true)
        }
        Answer::StoresIgnorantly => {
            stream.write_all(head_of(204, "", 0).as_bytes())?;
            Ok(true)
        }
        Answer::Refuses(status, lines, body) => {
            let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
            stream.write_all(head_of(status, &lines, body.len()).as_bytes())?;
            stream.write_all(body.as_bytes())?;
            Ok(true)
        }
        Answer::After(delay, answer) => {
            thread::sleep(delay);
            respond(stream, shared, idx, *answer)
        }
        Answer::RefusesSeries(_) | Answer::StoresAllBut(_) => Ok(false),
        Answer::Resets | Answer::StoresAndResets => {
            // Closing with unsent time left on the linger clock is a reset.
            SockRef::from(stream).set_linger(Some(Duration::ZERO))?;
            Ok(false)
        }
        Answer::Hangs => {
            let mut scratch = [0; 64];
            while stream.read(&mut scratch)? > 0 {}
            Ok(false)
        }
        Answer::StoresLate(delay) => {
            thread::sleep(delay);
            stream.write_all(head_of(204, &written, 0).as_bytes())?;
            Ok(true)
        }
        Answer::Raw(bytes) => {
            stream.write_all(&bytes)?;
            Ok(false)
        }
        Answer::EndlessHead => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
            let lines = b"X-Padding: and so on and so on\r\n".repeat(100);
            loop {
                stream.write_all(&lines)?;
            }
        }
        Answer::EndlessBody(_) | Answer::StoresWithEndlessBody => {
            let (status, lines) = match answer {
                Answer::EndlessBody(status) => (status, ""),
                _ => (200, written.as_str()),
            };
            stream.write_all(format!("HTTP/1.1 {status} Whatever\r\n{lines}\r\n").as_bytes())?;
            let lines = b"and so on and so on\n".repeat(100);
            loop {
                stream.write_all(&lines)?;
            }
        }
    }
}

/// What 2.0 asks for in an answer.
fn written_lines(numbers: [usize; 3]) -> String {
    let names = ["Samples", "Histograms", "Exemplars"];
    let lines = names.iter().zip(numbers);
    lines.map(|(name, n)| format!("X-Prometheus-Remote-Write-{name}-Written: {n}\r\n")).collect()
}

fn head_of(status: u16, lines: &str, length: usize) -> String {
    let length = if status == 204 { String::new() } else { format!("Content-Length: {length}\r\n") };
    format!("HTTP/1.1 {status} Whatever\r\n{lines}{length}\r\n")
}
