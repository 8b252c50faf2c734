//! A remote-write endpoint that counts and forgets.
//!
//! It decodes as much as it takes to count samples, in the process of the bench and not in those that are measured.

use std::collections::HashMap;
use std::io::{self, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::http::{RequestHead, read_head};

/// What came from one sender.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub requests: u64,
    pub samples: u64,
    /// Compressed.
    pub body_bytes: u64,
    pub head_bytes: u64,
    /// Unfolded.
    pub message_bytes: u64,
    /// Requests that came packed with Zstandard: VictoriaMetrics' protocol.
    pub zstd_requests: u64,
    pub v2_requests: u64,
}

/// Counts by path.
#[derive(Clone, Debug, Default)]
pub struct Receiver {
    counts: Arc<Mutex<HashMap<String, Counts>>>,
}

impl Receiver {
    /// Takes connections until the process ends.
    pub fn serve(&self, listener: TcpListener) {
        for stream in listener.incoming().flatten() {
            let receiver = self.clone();
            let serve = move || {
                if let Err(error) = receiver.serve_connection(stream)
                    && error.kind() == io::ErrorKind::InvalidData
                {
                    eprintln!("receiver: {error}");
                }
            };
            if std::thread::Builder::new().spawn(serve).is_err() {
                eprintln!("no thread for a connection");
            }
        }
    }

    /// What came to a path so far.
    pub fn counts(&self, path: &str) -> Counts {
        self.counts.lock().expect("lock").get(path).copied().unwrap_or_default()
    }

    fn serve_connection(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut requests = BufReader::new(stream.try_clone()?);
        let mut body = Vec::new();
        while let Some(head) = read_head(&mut requests)? {
            body.clear();
            requests.by_ref().take(head.body_bytes).read_to_end(&mut body)?;
            let message = unfold(&head, &body)?;
            let n_samples = count(&message, head.is_v2).ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, "a message that does not decode")
            })?;
            {
                let mut counts = self.counts.lock().expect("lock");
                let counts = counts.entry(path(&head.path).to_owned()).or_default();
                counts.requests += 1;
                counts.samples += n_samples;
                counts.body_bytes += body.len() as u64;
                counts.head_bytes += head.head_bytes;
                counts.message_bytes += message.len() as u64;
                counts.zstd_requests += u64::from(head.encoding == "zstd");
                counts.v2_requests += u64::from(head.is_v2);
            }
            let answer = format!(
                "HTTP/1.1 204 No Content\r\nX-Prometheus-Remote-Write-Samples-Written: {n_samples}\r\n\
                 X-Prometheus-Remote-Write-Histograms-Written: 0\r\n\
                 X-Prometheus-Remote-Write-Exemplars-Written: 0\r\n\r\n"
            );
            stream.write_all(answer.as_bytes())?;
        }
        Ok(())
    }
}

fn path(path_and_query: &str) -> &str {
    path_and_query.split('?').next().unwrap_or_default()
}

fn unfold(head: &RequestHead, body: &[u8]) -> io::Result<Vec<u8>> {
    if body.is_empty() {
        return Ok(Vec::new());
    }
    match head.encoding.as_str() {
        "zstd" => {
            let bytes = zstd::bulk::Decompressor::upper_bound(body).unwrap_or(64 << 20);
            zstd::bulk::decompress(body, bytes)
        }
        _ => snap::raw::Decoder::new().decompress_vec(body).map_err(io::Error::from),
    }
}

/// Samples and histograms of a message; `None` if it is no message.
pub fn count(message: &[u8], is_v2: bool) -> Option<u64> {
    let timeseries = if is_v2 { 5 } else { 1 };
    let mut n_samples = 0;
    each_field(message, |field, content| {
        if field != timeseries {
            return Some(());
        }
        each_field(content, |field, _| {
            // 1.0: samples 2, exemplars 3, histograms 4. 2.0: samples 2, histograms 3, exemplars 4.
            n_samples += u64::from(field == 2 || field == if is_v2 { 3 } else { 4 });
            Some(())
        })
    })?;
    Some(n_samples)
}

/// Calls `visit` with number and content (empty unless length-delimited) of each field.
pub fn each_field<'a>(mut bytes: &'a [u8], mut visit: impl FnMut(u64, &'a [u8]) -> Option<()>) -> Option<()> {
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let content = match tag & 7 {
            0 => {
                varint(&mut bytes)?;
                &[][..]
            }
            1 => {
                bytes = bytes.get(8..)?;
                &[]
            }
            2 => {
                let len = varint(&mut bytes)? as usize;
                let (content, rest) = bytes.split_at_checked(len)?;
                bytes = rest;
                content
            }
            5 => {
                bytes = bytes.get(4..)?;
                &[]
            }
            _ => return None,
        };
        visit(tag >> 3, content)?;
    }
    Some(())
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
