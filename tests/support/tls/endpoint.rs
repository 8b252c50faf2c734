//! A server that keeps what it was asked: one thread a connection, answers made by a function, TLS that can be changed.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crossbeam_channel::Receiver;
use rustls::crypto::ring::default_provider;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion};

use super::{Authority, Pair};
use crate::scraped::free_listener;

/// What the server was asked.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Request line and headers, as sent, without the empty line.
    pub head: String,
    /// As much as `Content-Length` says.
    pub body: Vec<u8>,
    /// The client's certificate.
    pub client: Option<Vec<u8>>,
}

impl Request {
    /// Values of a header, in order.
    pub fn values(&self, name: &str) -> Vec<String> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).collect()
    }
}

/// What is sent back, and whether the connection is closed then.
#[derive(Clone, Debug)]
pub enum Reply {
    /// These bytes; the connection is kept.
    Keep(Vec<u8>),
    /// These bytes, then the end.
    Close(Vec<u8>),
    /// These bytes, then the same again and again.
    Endless(Vec<u8>, Vec<u8>),
    /// These pieces, each when it is there, then the end.
    Feed(Receiver<Vec<u8>>),
    /// Nothing, until the client goes.
    Hang,
}

/// An answer with a body.
pub fn reply(status: u16, headers: &str, body: &str) -> Reply {
    let length = body.len();
    let head = format!("HTTP/1.1 {status} Whatever\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
    Reply::Keep(head.into_bytes())
}

/// A redirect.
pub fn redirect(status: u16, location: &str) -> Reply {
    reply(status, &format!("Location: {location}\r\n"), "")
}

type Answering = dyn Fn(&Request) -> Reply + Send + Sync;

struct Shared {
    answer: Mutex<Arc<Answering>>,
    tls: Mutex<Option<Arc<ServerConfig>>>,
    requests: Mutex<Vec<Request>>,
    streams: Mutex<HashMap<usize, TcpStream>>,
    n_connections: AtomicUsize,
    reads_bodies: AtomicBool,
    is_stopped: AtomicBool,
}

/// A listener. Dropping it closes every connection.
pub struct Endpoint {
    port: u16,
    shared: Arc<Shared>,
}

impl Endpoint {
    /// Without TLS.
    pub fn plain(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(None, Arc::new(answer))
    }

    /// With TLS; answers 200 and `ok`.
    pub fn tls(config: Arc<ServerConfig>) -> Self {
        Self::start(Some(config), Arc::new(|_: &Request| reply(200, "", "ok")))
    }

    fn start(tls: Option<Arc<ServerConfig>>, answer: Arc<Answering>) -> Self {
        let listener = free_listener();
        let port = listener.local_addr().expect("a bound socket").port();
        let shared = Arc::new(Shared {
            answer: Mutex::new(answer),
            tls: Mutex::new(tls),
            requests: Mutex::default(),
            streams: Mutex::default(),
            n_connections: AtomicUsize::new(0),
            reads_bodies: AtomicBool::new(true),
            is_stopped: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        let thread = thread::Builder::new().name("endpoint".to_owned());
        thread.spawn(move || accept(&listener, &accepting)).expect("a thread");
        Self { port, shared }
    }

    /// Answers at a socket in the file system too, until the test ends.
    pub fn also_at(&self, path: &Path) {
        let listener = UnixListener::bind(path).expect("a socket");
        let shared = Arc::clone(&self.shared);
        let accepting = move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&shared);
                let serving = move || drop(serve(&mut &stream, &shared, |_| None));
                thread::Builder::new().name("connection".to_owned()).spawn(serving).expect("a thread");
            }
        };
        thread::Builder::new().name("endpoint".to_owned()).spawn(accepting).expect("a thread");
    }

    /// `host:port`; `host` is any name of this machine.
    pub fn at(&self, host: &str) -> String {
        format!("{host}:{}", self.port)
    }

    /// Answers differently from now on.
    pub fn answer(&self, answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) {
        *self.shared.answer.lock().expect("not poisoned") = Arc::new(answer);
    }

    /// New connections get another TLS.
    pub fn set_tls(&self, config: Arc<ServerConfig>) {
        *self.shared.tls.lock().expect("not poisoned") = Some(config);
    }

    /// Answers without a look at bodies.
    pub fn ignore_bodies(&self) {
        self.shared.reads_bodies.store(false, Ordering::SeqCst);
    }

    /// What was asked so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().expect("not poisoned").clone()
    }

    /// What was asked last.
    pub fn last(&self) -> Request {
        self.requests().pop().expect("asked")
    }

    /// Connections so far.
    pub fn n_connections(&self) -> usize {
        self.shared.n_connections.load(Ordering::SeqCst)
    }

    /// Connections that are open.
    pub fn n_open(&self) -> usize {
        self.shared.streams.lock().expect("not poisoned").len()
    }

    /// Ends every connection.
    pub fn close_connections(&self) {
        for (_, stream) in self.shared.streams.lock().expect("not poisoned").drain() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.shared.is_stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        self.close_connections();
    }
}

/// A server's TLS: who it is, whose clients it wants (if any), which versions it speaks.
pub fn server_tls(
    pair: &Pair,
    clients_of: Option<&Authority>,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ServerConfig> {
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .expect("versions that there are");
    let builder = match clients_of {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.der.clone()).expect("an authority");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        }
    };
    let mut config = builder.with_single_cert(vec![pair.cert.clone()], pair.key()).expect("a pair that fits");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.is_stopped.load(Ordering::SeqCst) {
            return;
        }
        let with_clone = |stream: TcpStream| Ok((stream.try_clone()?, stream));
        let Ok((clone, stream)) = stream.and_then(with_clone) else {
            // No descriptor is left; whoever asks will ask again.
            thread::sleep(Duration::from_millis(10));
            continue;
        };
        let id = shared.n_connections.fetch_add(1, Ordering::SeqCst);
        shared.streams.lock().expect("not poisoned").insert(id, clone);
        let tls = shared.tls.lock().expect("not poisoned").clone();
        let shared = Arc::clone(shared);
        let thread = thread::Builder::new().name("connection".to_owned()).stack_size(256 << 10);
        // Its clone goes first: the socket closes with the last one.
        let forget = move |shared: &Shared| drop(shared.streams.lock().expect("not poisoned").remove(&id));
        let serving = move || match tls {
            None => {
                let _ = serve(&mut &stream, &shared, |_| None);
                forget(&shared);
            }
            Some(config) => {
                let Ok(connection) = ServerConnection::new(config) else { return };
                let mut tls = StreamOwned::new(connection, stream);
                let peer = |tls: &StreamOwned<ServerConnection, TcpStream>| {
                    tls.conn.peer_certificates().and_then(|chain| chain.first()).map(|cert| cert.to_vec())
                };
                if serve(&mut tls, &shared, peer).is_ok() {
                    tls.conn.send_close_notify();
                }
                // Also what is to be said of a handshake that failed.
                let _ = tls.conn.complete_io(&mut tls.sock);
                forget(&shared);
            }
        };
        thread.spawn(serving).expect("a thread");
    }
}

fn serve<S: Read + Write>(
    stream: &mut S,
    shared: &Shared,
    client: impl Fn(&S) -> Option<Vec<u8>>,
) -> io::Result<()> {
    while let Some(head) = read_head(stream)? {
        let mut request = Request { head, body: Vec::new(), client: client(stream) };
        let length = request.values("Content-Length").first().and_then(|length| length.parse().ok());
        if shared.reads_bodies.load(Ordering::SeqCst) {
            request.body = vec![0; length.unwrap_or(0)];
            stream.read_exact(&mut request.body)?;
        }
        shared.requests.lock().expect("not poisoned").push(request.clone());
        let answer = Arc::clone(&*shared.answer.lock().expect("not poisoned"));
        match answer(&request) {
            Reply::Keep(bytes) => stream.write_all(&bytes)?,
            Reply::Close(bytes) => {
                stream.write_all(&bytes)?;
                return stream.flush();
            }
            Reply::Endless(start, piece) => {
                stream.write_all(&start)?;
                loop {
                    stream.write_all(&piece)?;
                }
            }
            Reply::Feed(pieces) => {
                for piece in pieces {
                    stream.write_all(&piece)?;
                    stream.flush()?;
                }
                return Ok(());
            }
            Reply::Hang => while stream.read(&mut [0; 64])? > 0 {},
        }
        stream.flush()?;
    }
    Ok(())
}

/// Byte by byte, so that nothing after it is taken.
pub fn read_head(stream: &mut impl Read) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    let mut byte = [0; 1];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte)? == 0 {
            return Ok(None);
        }
        head.push(byte[0]);
    }
    Ok(Some(String::from_utf8_lossy(&head).trim_end().replace("\r\n", "\n")))
}
