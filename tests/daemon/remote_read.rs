//! Remote read of a box: long answers in frames, and questions that are too large or no questions at all.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use support::PATIENCE;
use support::protobuf::encode::{content, number};
use support::scraped::{Scraped, send};
use support::wal::fill_with_noise;
use tempfile::TempDir;

/// One more than an answer may have.
const N_SAMPLES: i64 = 1_000_001;
const N_SERIES: i64 = 100;

/// A box with samples of `noise{number="0"}` and so on, one each millisecond in turn; there is no target.
fn start() -> Scraped {
    let dir = Arc::new(TempDir::with_prefix("scraped-test-").unwrap());
    fill_with_noise(&dir.path().join("data"), 0, N_SAMPLES, N_SERIES);
    std::fs::write(dir.path().join("scraped.yml"), "global: {external_labels: {site: edge}}\n").unwrap();
    Scraped::start_in(dir, &[])
}

/// A request for all of `noise` until `end_ms`, for chunks.
fn request(end_ms: i64, function: &str) -> Vec<u8> {
    let matcher = [content(2, b"__name__"), content(3, b"noise")].concat();
    let hints = content(4, &content(2, function.as_bytes()));
    let query = [number(2, end_ms as u64), content(3, &matcher), hints].concat();
    let message = [content(1, &query), number(2, 1)].concat();
    snap::raw::Encoder::new().compress_vec(&message).unwrap()
}

fn post(scraped: &Scraped, body: &[u8]) -> (u16, String) {
    let address = scraped.address();
    let answer = send(address, "POST", "/api/v1/read", &format!("Host: {address}\r\n"), body).unwrap();
    (answer.status, answer.body)
}

/// Sizes of the frames of an answer, each of them whole.
fn frames(scraped: &Scraped, body: &[u8]) -> Vec<usize> {
    let address = scraped.address();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head =
        format!("POST /api/v1/read HTTP/1.0\r\nHost: {address}\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    let head_len = answer.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
    let (mut left, mut sizes) = (&answer[head_len..], Vec::new());
    while !left.is_empty() {
        let n_len = left.iter().position(|byte| *byte < 0x80).unwrap() + 1;
        let len = left[..n_len].iter().rev().fold(0, |len, byte| len << 7 | usize::from(byte & 0x7f));
        let checksum = u32::from_be_bytes(left[n_len..n_len + 4].try_into().unwrap());
        let message = &left[n_len + 4..n_len + 4 + len];
        assert_eq!(crc32c::crc32c(message), checksum);
        sizes.push(len);
        left = &left[n_len + 4 + len..];
    }
    sizes
}

#[test]
fn a_long_answer_comes_in_small_frames_and_one_that_is_too_long_not_at_all() {
    let scraped = start();
    let sizes = frames(&scraped, &request(N_SAMPLES - 2, "rate"));
    // Some 9 bytes a sample.
    assert!(sizes.iter().sum::<usize>() > 8_000_000, "{sizes:?}");
    assert!(sizes.len() > 400 && sizes.iter().all(|size| *size < 40_000), "{sizes:?}");
    assert_eq!(
        post(&scraped, &request(N_SAMPLES, "rate")),
        (400, "exceeded sample limit (1000000)\n".to_owned())
    );
    // Who asks which series there are gets them.
    assert_eq!(frames(&scraped, &request(N_SAMPLES, "series")).len(), N_SERIES as usize);
}

#[test]
fn what_is_no_request_is_refused_with_a_sentence() {
    let scraped = Scraped::start("global: {}\n");
    let whole = request(1000, "rate");
    assert_eq!(post(&scraped, &whole), (200, String::new()));
    let mut n_refused = 0;
    for idx in 0..whole.len() {
        for change in [1, 0x80, 0xff] {
            let mut body = whole.clone();
            body[idx] ^= change;
            let (status, sentence) = post(&scraped, &body);
            assert!([200, 400].contains(&status), "{idx}: {status} {sentence}");
            assert_eq!(status == 400, sentence.ends_with('\n'), "{idx}: {sentence}");
            n_refused += usize::from(status == 400);
        }
        assert_eq!(post(&scraped, &whole[..idx]).0, 400);
    }
    assert!(n_refused > whole.len(), "{n_refused}");
    assert_eq!(post(&scraped, &[0; 16 << 10]).0, 400);
    assert_eq!(scraped.get("/-/healthy").status, 200);
}
