//! Unpacks bodies: gzip with a limit on what comes out, with an inflate state that a worker reuses.
//!
//! Runs on a worker thread that holds a permit. A megabyte that unfolds to a gigabyte costs the time and the memory
//! of the limit, not more. The framing (RFC 1952) is read here because Go's reader, and so every target's
//! neighbour Prometheus, is strict about what follows a stream.

use flate2::Crc;
use miniz_oxide::inflate::stream::{FullReset, InflateState, MinReset, inflate};
use miniz_oxide::{DataFormat, MZError, MZFlush, MZStatus};

use crate::store::body_budget::BodyBuffer;
use crate::store::error::{PageError, Work};
use crate::store::pace::Pace;
use std::fmt;

/// Metrics pages unfold to 5 to 15 times their size; a trailer that promises more is not believed beforehand.
const BELIEVED_EXPANSION: u64 = 16;

/// Unpacked at once, between two steps of the pace.
const PIECE_BYTES: usize = 32 << 10;

const FLAG_HEADER_CRC: u8 = 1 << 1;
const FLAG_EXTRA: u8 = 1 << 2;
const FLAG_NAME: u8 = 1 << 3;
const FLAG_COMMENT: u8 = 1 << 4;

/// How a body is packed; only exactly `gzip` is unpacked, anything else is taken as it is (as Prometheus does).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContentEncoding {
    /// As it is.
    #[default]
    Identity,
    /// `Content-Encoding: gzip`.
    Gzip,
}

/// A gzip decoder with its state (about 43 KiB, allocated at first use); one a worker.
#[derive(Default)]
pub struct Decoder {
    inflate: Option<Box<InflateState>>,
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").finish_non_exhaustive()
    }
}

/// Never inlined: it is made on the stack before it is moved, and those 43 KiB would be part of the frame in which every
/// worker waits for its target.
#[inline(never)]
fn new_inflate() -> Box<InflateState> {
    InflateState::new_boxed(DataFormat::Raw)
}

/// How large the page will be, as far as its body says so.
pub fn expected_bytes(encoding: ContentEncoding, body: &[u8]) -> usize {
    match encoding {
        ContentEncoding::Identity => body.len(),
        ContentEncoding::Gzip => usize::try_from(size_hint(body)).unwrap_or(usize::MAX).max(body.len()),
    }
}

impl Decoder {
    /// Gives the page: `body` itself, or what it unfolds to in `decoded` (of `BodyBudget::decoded_buffer`, empty).
    ///
    /// # Errors
    /// A broken stream, bytes behind it, or `limit_bytes` or more after unpacking (0: only the cap of one body); those
    /// of `pace`.
    pub fn decode<'page>(
        &mut self,
        encoding: ContentEncoding,
        body: &'page [u8],
        decoded: &'page mut BodyBuffer,
        limit_bytes: u64,
        pace: &mut Pace<'_>,
    ) -> Result<&'page [u8], PageError> {
        let page = match encoding {
            ContentEncoding::Identity => body,
            ContentEncoding::Gzip => {
                pace.begin(Work::Unpacking);
                self.gunzip(body, decoded, limit_bytes, pace)?;
                &**decoded
            }
        };
        if limit_bytes > 0 && page.len() as u64 >= limit_bytes {
            return Err(PageError::BodySizeLimit { limit_bytes });
        }
        Ok(page)
    }

    fn gunzip(
        &mut self,
        gzipped: &[u8],
        decoded: &mut BodyBuffer,
        limit_bytes: u64,
        pace: &mut Pace<'_>,
    ) -> Result<(), PageError> {
        let state = self.inflate.get_or_insert_with(new_inflate);
        // Once a page, also the window is cleared: nothing of another target's page may come out of it.
        state.reset_as(FullReset(DataFormat::Raw));
        let hint_bytes = size_hint(gzipped);
        let mut rest = gzipped;
        // An empty body is no gzip stream either.
        while !rest.is_empty() || rest.len() == gzipped.len() {
            rest = skip_header(rest)?;
            state.reset_as(MinReset);
            let mut crc = Crc::new();
            loop {
                pace.grow(decoded, hint_bytes, limit_bytes)?;
                let room = decoded.room();
                let n_room = room.len().min(PIECE_BYTES);
                let room = &mut room[..n_room];
                let done = inflate(state, rest, room, MZFlush::None);
                let (n_in, n_out) = (done.bytes_consumed, done.bytes_written);
                rest = &rest[n_in..];
                crc.update(&room[..n_out]);
                decoded.filled(n_out);
                pace.step(n_in + n_out)?;
                match done.status {
                    Ok(MZStatus::StreamEnd) => break,
                    // Nothing came and nothing went: also what it calls an error of the buffer.
                    Ok(_) | Err(MZError::Buf) if n_in == 0 && n_out == 0 => {
                        return Err(gzip_error("unexpected EOF"));
                    }
                    Ok(_) | Err(MZError::Buf) => {}
                    Err(_) => {
                        let offset = gzipped.len() - rest.len();
                        return Err(gzip_error(&format!("corrupt input before offset {offset}")));
                    }
                }
            }
            let (stated_crc, after) = take_u32(rest)?;
            let (stated_size, after) = take_u32(after)?;
            if stated_crc != crc.sum() || stated_size != crc.amount() {
                return Err(gzip_error("invalid checksum"));
            }
            rest = after;
        }
        Ok(())
    }
}

fn gzip_error(cause: &str) -> PageError {
    PageError::Gzip { cause: cause.to_owned() }
}

/// The unpacked size that the last four bytes state, plus one so that the end shows without another buffer.
fn size_hint(gzipped: &[u8]) -> u64 {
    let Some(stated) = gzipped.last_chunk::<4>() else { return 0 };
    let stated_bytes = u64::from(u32::from_le_bytes(*stated)) + 1;
    stated_bytes.min(gzipped.len() as u64 * BELIEVED_EXPANSION)
}

/// What follows the header of a member.
fn skip_header(member: &[u8]) -> Result<&[u8], PageError> {
    let (fixed, mut rest) = split(member, 10)?;
    let [0x1f, 0x8b, 8, flags, ..] = *fixed else {
        return Err(gzip_error("invalid header"));
    };
    if flags & FLAG_EXTRA != 0 {
        let (length, after) = split(rest, 2)?;
        let n_extra = usize::from(length[0]) | usize::from(length[1]) << 8;
        (_, rest) = split(after, n_extra)?;
    }
    for flag in [FLAG_NAME, FLAG_COMMENT] {
        if flags & flag != 0 {
            let end_idx = memchr::memchr(0, rest).ok_or_else(|| gzip_error("unexpected EOF"))?;
            rest = &rest[end_idx + 1..];
        }
    }
    if flags & FLAG_HEADER_CRC != 0 {
        let mut crc = Crc::new();
        crc.update(&member[..member.len() - rest.len()]);
        let (stated, after) = split(rest, 2)?;
        if crc.sum().to_le_bytes()[..2] != *stated {
            return Err(gzip_error("invalid header"));
        }
        rest = after;
    }
    Ok(rest)
}

fn take_u32(bytes: &[u8]) -> Result<(u32, &[u8]), PageError> {
    match bytes.split_first_chunk::<4>() {
        Some((number, rest)) => Ok((u32::from_le_bytes(*number), rest)),
        None => Err(gzip_error("unexpected EOF")),
    }
}

fn split(bytes: &[u8], n_bytes: usize) -> Result<(&[u8], &[u8]), PageError> {
    bytes.split_at_checked(n_bytes).ok_or_else(|| gzip_error("unexpected EOF"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::body_budget::BodyBudget;
    use flate2::write::GzEncoder;
    use flate2::{Compression, GzBuilder};
    use std::io::Write;
    use std::time::{Duration, Instant};

    fn gzip(page: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(page).expect("to memory");
        encoder.finish().expect("to memory")
    }

    fn decode(body: &[u8], limit_bytes: u64) -> Result<Vec<u8>, PageError> {
        let budget = BodyBudget::new(8 << 20, u64::MAX);
        let mut decoder = Decoder::default();
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut outcome = Err(PageError::Cancelled);
        // Twice, because the second run meets a used state.
        for _ in 0..2 {
            let mut decoded = budget.decoded_buffer();
            outcome = decoder
                .decode(ContentEncoding::Gzip, body, &mut decoded, limit_bytes, &mut Pace::alone(deadline))
                .map(<[u8]>::to_vec);
            assert!(budget.held_bytes() <= if limit_bytes > 0 { limit_bytes } else { 8 << 20 });
        }
        outcome
    }

    fn check_error(body: &[u8], sentence: &str) {
        assert_eq!(decode(body, 0).expect_err("is broken").to_string(), sentence);
    }

    fn page() -> Vec<u8> {
        (0..20_000).flat_map(|n| format!("requests_total{{path=\"/{n}\"}} {n}\n").into_bytes()).collect()
    }

    #[test]
    fn one_member_and_many() {
        let page = page();
        assert_eq!(decode(&gzip(&page), 0), Ok(page.clone()));
        let members: Vec<u8> = page.chunks(1000).flat_map(gzip).collect();
        assert_eq!(decode(&members, 0), Ok(page));
        assert_eq!(decode(&gzip(b""), 0), Ok(Vec::new()));
    }

    #[test]
    fn every_optional_header_field() {
        let builder = GzBuilder::new().extra("extra bytes").filename("page.prom").comment("a page");
        let mut encoder = builder.write(Vec::new(), Compression::fast());
        encoder.write_all(b"up 1\n").expect("to memory");
        let mut body = encoder.finish().expect("to memory");
        assert_eq!(decode(&body, 0), Ok(b"up 1\n".to_vec()));
        // The same with a checksum over the header, which the writer above never sets.
        body[3] |= FLAG_HEADER_CRC;
        let n_header = 10 + 2 + "extra bytes".len() + "page.prom\0".len() + "a page\0".len();
        let mut crc = Crc::new();
        crc.update(&body[..n_header]);
        let checksum = crc.sum().to_le_bytes();
        body.splice(n_header..n_header, checksum[..2].iter().copied());
        assert_eq!(decode(&body, 0), Ok(b"up 1\n".to_vec()));
        body[n_header] ^= 1;
        check_error(&body, "gzip: invalid header");
    }

    #[test]
    fn what_is_behind_the_stream_fails_it() {
        let mut body = gzip(b"up 1\n");
        body.extend_from_slice(b"0123456789");
        check_error(&body, "gzip: invalid header");
        let mut body = gzip(b"up 1\n");
        body.push(0x1f);
        check_error(&body, "gzip: unexpected EOF");
    }

    #[test]
    fn every_cut_and_every_flip_is_an_error_or_the_page() {
        let page = b"up 1\nrequests_total{path=\"/\"} 17\n".repeat(20);
        let body = gzip(&page);
        for n_bytes in 0..body.len() {
            assert!(decode(&body[..n_bytes], 0).is_err(), "cut at {n_bytes}");
        }
        for flip_idx in 0..body.len() {
            let mut flipped = body.clone();
            flipped[flip_idx] ^= 0x10;
            if let Ok(decoded) = decode(&flipped, 0) {
                assert_eq!(decoded, page, "flip at {flip_idx}");
            }
        }
        check_error(b"", "gzip: unexpected EOF");
        check_error(b"# HELP up is it up\n", "gzip: invalid header");
    }

    #[test]
    fn the_limit_is_on_the_unpacked_size_and_is_reached_by_as_many_bytes() {
        let body = gzip(&[b'#'; 1000]);
        assert_eq!(decode(&body, 1000), Err(PageError::BodySizeLimit { limit_bytes: 1000 }));
        assert_eq!(decode(&body, 1001).map(|page| page.len()), Ok(1000));
    }

    #[test]
    fn a_bomb_costs_no_more_than_the_limit() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        let zeros = vec![b'0'; 1 << 20];
        for _ in 0..1024 {
            encoder.write_all(&zeros).expect("to memory");
        }
        let bomb = encoder.finish().expect("to memory");
        assert!(bomb.len() < 2 << 20);
        let start = Instant::now();
        assert_eq!(decode(&bomb, 1 << 20), Err(PageError::BodySizeLimit { limit_bytes: 1 << 20 }));
        assert_eq!(decode(&bomb, 0), Err(PageError::BodySizeCap { cap_bytes: 8 << 20 }));
        assert!(start.elapsed() < Duration::from_secs(10), "a gigabyte was unfolded");
    }
}
