//! A proxy that keeps what it was asked: CONNECT over TCP or TLS, and SOCKS 5.
//!
//! It knows one target, whatever name it is asked for.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::endpoint::read_head;
use crate::scraped::free_listener;

/// A listener; its threads end with the test.
pub struct Proxy {
    port: u16,
    n_connections: Arc<AtomicUsize>,
    asked: Arc<Mutex<Vec<String>>>,
}

/// What a connection is answered.
#[derive(Clone)]
pub enum Manner {
    /// CONNECT is answered so; after a 200 the bytes go to the target.
    Connect(String),
    /// SOCKS 5.
    Socks {
        /// User and password that are asked for.
        login: Option<(String, String)>,
        /// The code of the answer.
        reply: u8,
    },
}

impl Proxy {
    /// One that leads to `target`, a `host:port`.
    pub fn new(manner: Manner, tls: Option<Arc<ServerConfig>>, target: String) -> Self {
        let listener = free_listener();
        let port = listener.local_addr().expect("a bound socket").port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let keeping = Arc::clone(&asked);
        let n_connections = Arc::new(AtomicUsize::new(0));
        let counting = Arc::clone(&n_connections);
        let accepting = move || {
            for stream in listener.incoming().map_while(Result::ok) {
                counting.fetch_add(1, Ordering::Relaxed);
                let (manner, tls, target) = (manner.clone(), tls.clone(), target.clone());
                let asked = Arc::clone(&keeping);
                let serving = move || {
                    let _ = match tls {
                        None => {
                            serve(stream.try_clone().expect("a socket"), &stream, &manner, &target, &asked)
                        }
                        Some(config) => {
                            let connection = ServerConnection::new(config).expect("good settings");
                            let socket = stream.try_clone().expect("a socket");
                            serve(StreamOwned::new(connection, socket), &stream, &manner, &target, &asked)
                        }
                    };
                };
                start("proxied", serving);
            }
        };
        start("proxy", accepting);
        Self { port, n_connections, asked }
    }

    /// Connections so far.
    pub fn n_connections(&self) -> usize {
        self.n_connections.load(Ordering::Relaxed)
    }

    /// `host:port`; `host` is any name of this machine.
    pub fn at(&self, host: &str) -> String {
        format!("{host}:{}", self.port)
    }

    /// What was asked so far: heads of CONNECT, or `host:port` of SOCKS.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("not poisoned").clone()
    }
}

fn start(name: &str, run: impl FnOnce() + Send + 'static) {
    thread::Builder::new().name(name.to_owned()).spawn(run).expect("a thread");
}

fn serve<S: Read + Write>(
    mut stream: S,
    socket: &TcpStream,
    manner: &Manner,
    target: &str,
    asked: &Mutex<Vec<String>>,
) -> io::Result<()> {
    match manner {
        Manner::Connect(answer) => {
            let Some(head) = read_head(&mut stream)? else { return Ok(()) };
            asked.lock().expect("not poisoned").push(head);
            stream.write_all(answer.as_bytes())?;
            stream.flush()?;
            if !answer.starts_with("HTTP/1.") || !answer.contains(" 200") {
                return Ok(());
            }
        }
        Manner::Socks { login, reply } => {
            if !shake_hands(&mut stream, login.as_ref(), *reply, asked)? {
                return Ok(());
            }
        }
    }
    carry(stream, socket, TcpStream::connect(target)?)
}

fn shake_hands(
    stream: &mut (impl Read + Write),
    login: Option<&(String, String)>,
    reply: u8,
    asked: &Mutex<Vec<String>>,
) -> io::Result<bool> {
    let bytes = |stream: &mut dyn Read, n: usize| -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; n];
        stream.read_exact(&mut bytes).map(|()| bytes)
    };
    let n_methods = bytes(stream, 2)?[1];
    let methods = bytes(stream, n_methods.into())?;
    let method = if login.is_some() { 2 } else { 0 };
    if !methods.contains(&method) {
        stream.write_all(&[5, 0xff])?;
        return Ok(false);
    }
    stream.write_all(&[5, method])?;
    if let Some((user, password)) = login {
        let n_user = bytes(stream, 2)?[1];
        let got_user = bytes(stream, n_user.into())?;
        let n_password = bytes(stream, 1)?[0];
        let got_password = bytes(stream, n_password.into())?;
        let is_good = got_user == user.as_bytes() && got_password == password.as_bytes();
        stream.write_all(&[1, u8::from(!is_good)])?;
        if !is_good {
            return Ok(false);
        }
    }
    let host = match bytes(stream, 4)?[3] {
        1 => format!("{:?}", bytes(stream, 4)?),
        4 => format!("{:?}", bytes(stream, 16)?),
        _ => {
            let n_bytes = bytes(stream, 1)?[0];
            String::from_utf8(bytes(stream, n_bytes.into())?).expect("a name")
        }
    };
    let port = bytes(stream, 2)?;
    let port = u16::from_be_bytes([port[0], port[1]]);
    asked.lock().expect("not poisoned").push(format!("{host}:{port}"));
    stream.write_all(&[5, reply, 0, 1, 0, 0, 0, 0, 0, 0])?;
    Ok(reply == 0)
}

/// Both ways on one thread, since a TLS stream cannot be halved.
fn carry(mut near: impl Read + Write, near_socket: &TcpStream, mut far: TcpStream) -> io::Result<()> {
    let tick = Some(Duration::from_millis(5));
    near_socket.set_read_timeout(tick)?;
    far.set_read_timeout(tick)?;
    let mut piece = [0; 16 << 10];
    let is_tick =
        |error: &io::Error| matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
    loop {
        match near.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(n_read) => far.write_all(&piece[..n_read])?,
            Err(error) if is_tick(&error) => {}
            Err(error) => return Err(error),
        }
        match far.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(n_read) => {
                near.write_all(&piece[..n_read])?;
                near.flush()?;
            }
            Err(error) if is_tick(&error) => {}
            Err(error) => return Err(error),
        }
    }
}
