//! A fake remote-write endpoint: takes both messages apart with a decoder of its own, and can refuse, hang, reset.
//!
//! A thread a connection; what it accepted is remembered in the order of arrival.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

/// What a receiver does with requests.
#[derive(Clone, Debug)]
pub enum Mood {
    /// 204, with the headers that 2.0 asks for if the request is 2.0.
    Accepts,
    /// Another status, with header lines (each ended by CRLF) and a short body.
    Status(u16, &'static str),
    /// Accepts after a delay.
    Late(Duration),
    /// Takes the request and never answers.
    Hangs,
    /// Takes the request and resets the connection.
    Resets,
    /// Accepts what it says it resets: the answer is lost.
    AcceptsAndResets,
    /// 400 for requests that hold a series whose labels contain this text.
    Refuses(&'static str),
    /// 415 for 2.0.
    OnlyV1,
    /// 204 without the headers of 2.0, as an endpoint that never heard of it.
    Ignorant,
    /// An endless body behind status 503.
    Endless,
}

/// One time series of a request: labels as `{a="1",b="2"}`, then timestamps in milliseconds and bits of values.
pub type Series = (String, Vec<(i64, u64)>);

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Its content.
    pub series: Vec<Series>,
    /// Bytes on the wire.
    pub wire_bytes: usize,
    /// It was kept.
    pub is_accepted: bool,
}

/// A listener. Dropping it closes every connection.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    mood: Mutex<Mood>,
    requests: Mutex<Vec<Request>>,
    connections: Mutex<Vec<TcpStream>>,
    is_stopped: AtomicBool,
}

impl Receiver {
    /// Listens on a free port and accepts.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let shared = Arc::new(Shared {
            mood: Mutex::new(Mood::Accepts),
            requests: Mutex::default(),
            connections: Mutex::default(),
            is_stopped: AtomicBool::new(false),
        });
        let serving = Arc::clone(&shared);
        let accept = move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if serving.is_stopped.load(Ordering::SeqCst) {
                    return;
                }
                serving.connections.lock().expect("not poisoned").push(stream.try_clone().expect("a socket"));
                let serving = Arc::clone(&serving);
                let serve = move || while serve_one(&stream, &serving).is_some() {};
                thread::Builder::new().name("receiver".to_owned()).spawn(serve).expect("a thread");
            }
        };
        thread::Builder::new().name("receiver-accept".to_owned()).spawn(accept).expect("a thread");
        Self { address, shared }
    }

    /// Where to send to.
    pub fn url(&self) -> String {
        format!("http://{}/api/v1/write", self.address)
    }

    /// What it does from the next request on.
    pub fn set(&self, mood: Mood) {
        *self.shared.mood.lock().expect("not poisoned") = mood;
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().expect("not poisoned").clone()
    }

    /// Number of requests so far.
    pub fn n_requests(&self) -> usize {
        self.shared.requests.lock().expect("not poisoned").len()
    }

    /// What was accepted, by series, in the order of arrival, duplicates among it.
    pub fn received(&self) -> BTreeMap<String, Vec<(i64, u64)>> {
        let mut all: BTreeMap<String, Vec<(i64, u64)>> = BTreeMap::new();
        for request in self.shared.requests.lock().expect("not poisoned").iter() {
            for (labels, samples) in request.series.iter().filter(|_| request.is_accepted) {
                all.entry(labels.clone()).or_default().extend(samples);
            }
        }
        all
    }

    /// Values of the only series whose labels contain `text`, as they arrived.
    pub fn values(&self, text: &str) -> Vec<f64> {
        let all = self.received();
        let found = all.iter().filter(|(labels, _)| labels.contains(text));
        found.flat_map(|(_, samples)| samples.iter().map(|(_, bits)| f64::from_bits(*bits))).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.is_stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        for connection in self.shared.connections.lock().expect("not poisoned").iter() {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

/// `None` when the connection is done.
fn serve_one(stream: &TcpStream, shared: &Shared) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    let message = snap::raw::Decoder::new().decompress_vec(&body).expect("a snappy block");
    let is_v2 = headers.get("content-type").is_some_and(|it| it.contains("write.v2"));
    let series = if is_v2 { decode_v2(&message) } else { decode_v1(&message) };
    let n_samples: usize = series.iter().map(|(_, samples)| samples.len()).sum();
    let mood = shared.mood.lock().expect("not poisoned").clone();
    let is_accepted = match &mood {
        Mood::Accepts | Mood::Late(_) | Mood::AcceptsAndResets | Mood::Ignorant => true,
        Mood::Refuses(text) => !series.iter().any(|(labels, _)| labels.contains(text)),
        Mood::OnlyV1 => !is_v2,
        Mood::Status(..) | Mood::Hangs | Mood::Resets | Mood::Endless => false,
    };
    if let Mood::Late(delay) = mood {
        thread::sleep(delay);
    }
    let request = Request { headers, series, wire_bytes: body.len(), is_accepted };
    shared.requests.lock().expect("not poisoned").push(request);
    let mut stream = stream;
    let confirmation = if is_v2 && !matches!(mood, Mood::Ignorant) {
        format!("X-Prometheus-Remote-Write-Samples-Written: {n_samples}\r\n")
    } else {
        String::new()
    };
    let answer = match mood {
        Mood::Hangs => {
            while !shared.is_stopped.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(20));
            }
            return None;
        }
        Mood::Resets | Mood::AcceptsAndResets => {
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
            let _ = stream.shutdown(Shutdown::Both);
            return None;
        }
        Mood::Endless => {
            stream.write_all(b"HTTP/1.1 503 Busy\r\n\r\n").ok()?;
            while stream.write_all(&[b'x'; 4096]).is_ok() {}
            return None;
        }
        Mood::Status(status, lines) => {
            format!("HTTP/1.1 {status} As Told\r\n{lines}Content-Length: 7\r\n\r\nas told")
        }
        Mood::OnlyV1 if is_v2 => {
            "HTTP/1.1 415 Unsupported Media Type\r\nContent-Length: 0\r\n\r\n".to_owned()
        }
        _ if is_accepted => format!("HTTP/1.1 204 No Content\r\n{confirmation}\r\n"),
        _ => "HTTP/1.1 400 Bad Request\r\nContent-Length: 10\r\n\r\nbad series".to_owned(),
    };
    stream.write_all(answer.as_bytes()).ok()
}

fn decode_v1(message: &[u8]) -> Vec<Series> {
    let mut all = Vec::new();
    for (field, _, content) in fields(message) {
        assert_eq!(field, 1, "only time series");
        let (mut labels, mut samples) = (Vec::new(), Vec::new());
        for (field, _, content) in fields(content) {
            match field {
                1 => {
                    let pair = fields(content);
                    labels.push((text(pair[0].2), text(pair[1].2)));
                }
                2 => samples.push(sample(content)),
                other => panic!("field {other} of a time series"),
            }
        }
        all.push((show(&labels), samples));
    }
    all
}

fn decode_v2(message: &[u8]) -> Vec<Series> {
    let mut symbols = Vec::new();
    let mut all = Vec::new();
    for (field, _, content) in fields(message) {
        if field == 4 {
            symbols.push(text(content));
            continue;
        }
        assert_eq!(field, 5, "symbols, then time series");
        let (mut labels, mut samples) = (Vec::new(), Vec::new());
        for (field, _, mut content) in fields(content) {
            match field {
                1 => {
                    while !content.is_empty() {
                        let mut symbol = || symbols[varint(&mut content) as usize].clone();
                        labels.push((symbol(), symbol()));
                    }
                }
                2 => samples.push(sample(content)),
                other => panic!("field {other} of a time series"),
            }
        }
        all.push((show(&labels), samples));
    }
    assert_eq!(symbols.first().map(String::as_str), Some(""), "the first symbol is empty");
    all
}

/// Checks what every receiver may rely on.
fn show(labels: &[(String, String)]) -> String {
    assert!(labels.windows(2).all(|pair| pair[0].0 < pair[1].0), "sorted, each name once: {labels:?}");
    assert!(labels.iter().all(|(_, value)| !value.is_empty()), "no empty values: {labels:?}");
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{{{}}}", pairs.join(","))
}

fn sample(bytes: &[u8]) -> (i64, u64) {
    let mut sample = (0, 0);
    for (field, number, _) in fields(bytes) {
        if field == 1 {
            sample.1 = number;
        } else {
            sample.0 = number as i64;
        }
    }
    sample
}

/// Number, value of a fixed or variable number, content.
fn fields(mut bytes: &[u8]) -> Vec<(u64, u64, &[u8])> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let (number, content): (u64, &[u8]) = match tag & 7 {
            0 => (varint(&mut bytes), &[]),
            1 => {
                let (head, tail) = bytes.split_first_chunk::<8>().expect("eight bytes");
                bytes = tail;
                (u64::from_le_bytes(*head), &[])
            }
            2 => {
                let len = varint(&mut bytes) as usize;
                let (head, tail) = bytes.split_at(len);
                bytes = tail;
                (0, head)
            }
            other => panic!("wire type {other}"),
        };
        fields.push((tag >> 3, number, content));
    }
    fields
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let (first, rest) = bytes.split_first().expect("a whole number");
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            break;
        }
    }
    value
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}
