//! What is remembered of an endpoint over restarts: its position in the log with the ledger up to there, in one file;
//! and which endpoints were ever known, in another, so that a lost file is not taken for a new endpoint.
//!
//! Files are written beside, fsynced and renamed. Knows nothing of who sends.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use md5::{Digest, Md5};

use crate::remote::settle::ledger::{DropReason, Ledger};
use crate::remote::settle::mark::Mark;
use crate::remote::settle::progress::{Ahead, Saved};
use scraped_engine::data_dir;
use scraped_engine::disk::{Disk, FileId};
use scraped_engine::wal::format::position::Position;

/// Directory in the data directory.
const REMOTE_DIR: &str = "remote";

/// The list of endpoints ever known.
const ENDPOINTS_FILE: &str = "endpoints";

/// How names of position files end.
const POSITION_EXTENSION: &str = "position";

const MAGIC: &[u8; 8] = b"scrapedP";

/// Files of other versions are not read, but for the one before: it has one reason less for samples that were dropped.
const VERSION: u8 = 3;
const VERSION_WITHOUT_PANICKED: u8 = 2;

/// What is known of an endpoint at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remembered {
    /// Never seen before.
    New,
    /// Go on here.
    At(Saved),
    /// It was known, and its position is lost; a sentence that says how.
    Lost(String),
}

/// An endpoint of which a position is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// What distinguishes it: its name, or its URL without one.
    pub identity: String,
    /// Where it was.
    pub url: String,
    /// How far it came.
    pub saved: Saved,
}

/// The directory `remote/`.
#[derive(Clone, Debug)]
pub struct Positions {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
}

impl Positions {
    /// Opens the directory and makes it if it is missing.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(disk: Arc<dyn Disk>, data_dir: &Path) -> io::Result<Self> {
        let positions = Self::below(disk, data_dir);
        positions.restore()?;
        Ok(positions)
    }

    /// The directory, which may be missing.
    pub fn below(disk: Arc<dyn Disk>, data_dir: &Path) -> Self {
        Self { disk, dir: data_dir.join(REMOTE_DIR) }
    }

    /// Makes the directory if it is missing; true if it was.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn restore(&self) -> io::Result<bool> {
        if self.disk.is_dir(&self.dir) {
            return Ok(false);
        }
        data_dir::create_dirs(&*self.disk, &self.dir).map(|()| true)
    }

    /// Which directory it is; another one after its disk has gone or come back.
    pub fn place(&self) -> Option<FileId> {
        self.disk.metadata(&self.dir).ok().map(|dir| dir.id)
    }

    /// What is known of the endpoint `identity`. `has_data`: the log held something before this start.
    pub fn recall(&self, identity: &str, has_data: bool) -> Remembered {
        let path = self.path(identity);
        let lost = |why: String| Remembered::Lost(format!("{}: {why}", path.display()));
        match self.disk.read(&path) {
            Ok(bytes) => match decode(&bytes) {
                Ok(known) if known.identity == identity => Remembered::At(known.saved),
                Ok(_) => lost("the file belongs to another endpoint".to_owned()),
                Err(why) => lost(why.to_owned()),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => match self.endpoints() {
                Some(known) if known.iter().any(|it| it == identity) => {
                    lost("the file is missing".to_owned())
                }
                Some(_) => Remembered::New,
                None if has_data => Remembered::Lost(format!(
                    "{}: the list is missing",
                    self.dir.join(ENDPOINTS_FILE).display()
                )),
                None => Remembered::New,
            },
            Err(error) => lost(error.to_string()),
        }
    }

    /// Endpoints at `url` of which a position is remembered, by whatever name.
    pub fn known_at(&self, url: &str) -> Vec<Known> {
        let Ok(entries) = self.disk.list(&self.dir) else { return Vec::new() };
        let paths = entries.into_iter().map(|entry| self.dir.join(entry.name));
        let files = paths.filter(|path| path.extension().is_some_and(|it| it == POSITION_EXTENSION));
        let known = files.filter_map(|path| decode(&self.disk.read(&path).ok()?).ok());
        known.filter(|known| known.url == url).collect()
    }

    /// Remembers a position.
    ///
    /// # Errors
    /// The file cannot be written; the old one is still there.
    pub fn save(&self, known: &Known) -> io::Result<()> {
        data_dir::replace(&*self.disk, &self.path(&known.identity), &encode(known))
    }

    /// Adds endpoints to those ever known; the list is there afterwards even if it is empty.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn enlist<'a>(&self, identities: impl Iterator<Item = &'a str>) -> io::Result<()> {
        let known = self.endpoints();
        let mut all: Vec<String> = known.clone().unwrap_or_default();
        for identity in identities {
            if !all.iter().any(|it| it == identity) {
                all.push(identity.to_owned());
            }
        }
        if known.as_ref() == Some(&all) { Ok(()) } else { self.write_endpoints(&all) }
    }

    /// From now on no one was ever known as `identity`.
    ///
    /// # Errors
    /// The list or the file is still there.
    pub fn forget(&self, identity: &str) -> io::Result<()> {
        if let Some(mut all) = self.endpoints() {
            all.retain(|it| it != identity);
            self.write_endpoints(&all)?;
        }
        match self.disk.remove_file(&self.path(identity)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn write_endpoints(&self, all: &[String]) -> io::Result<()> {
        let mut text: String =
            all.iter().map(|identity| format!("{}\n", serde_json::Value::from(identity.as_str()))).collect();
        let checksum = crc32c::crc32c(text.as_bytes());
        text.push_str(&format!("{checksum:08x}\n"));
        data_dir::replace(&*self.disk, &self.dir.join(ENDPOINTS_FILE), text.as_bytes())
    }

    /// `None` if the list is missing or damaged.
    fn endpoints(&self) -> Option<Vec<String>> {
        let text = String::from_utf8(self.disk.read(&self.dir.join(ENDPOINTS_FILE)).ok()?).ok()?;
        let body = text.strip_suffix('\n')?;
        let start = body.rfind('\n').map_or(0, |end| end + 1);
        let (lines, checksum) = text.split_at(start);
        (u32::from_str_radix(checksum.trim_end(), 16).ok()? == crc32c::crc32c(lines.as_bytes()))
            .then_some(())?;
        lines.lines().map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// URLs hold what file names may not.
    fn path(&self, identity: &str) -> PathBuf {
        let digest = Md5::digest(identity.as_bytes());
        let name: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        self.dir.join(format!("{name}.{POSITION_EXTENSION}"))
    }
}

fn encode(known: &Known) -> Vec<u8> {
    let Known { identity, url, saved } = known;
    let mut bytes = Vec::new();
    bytes.extend_from_slice(MAGIC);
    bytes.push(VERSION);
    encode_part(&mut bytes, &saved.mark, &saved.ledger);
    bytes.extend_from_slice(&(saved.ahead.len() as u32).to_be_bytes());
    for ahead in &saved.ahead {
        bytes.extend_from_slice(&ahead.start.to_be_bytes());
        encode_part(&mut bytes, &ahead.mark, &ahead.ledger);
    }
    bytes.extend_from_slice(&(identity.len() as u32).to_be_bytes());
    bytes.extend_from_slice(identity.as_bytes());
    bytes.extend_from_slice(url.as_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_be_bytes());
    bytes
}

fn encode_part(bytes: &mut Vec<u8>, mark: &Mark, ledger: &Ledger) {
    bytes.extend_from_slice(&mark.position.segment.to_be_bytes());
    bytes.extend_from_slice(&mark.position.offset.to_be_bytes());
    bytes.extend_from_slice(&mark.fingerprint.to_be_bytes());
    for number in [ledger.taken, ledger.sent].into_iter().chain(ledger.dropped) {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
}

fn decode(bytes: &[u8]) -> Result<Known, &'static str> {
    let (body, checksum) = bytes.split_last_chunk::<4>().ok_or("the file is too short")?;
    if crc32c::crc32c(body) != u32::from_be_bytes(*checksum) {
        return Err("the file is damaged");
    }
    let mut rest = body.strip_prefix(MAGIC).ok_or("not a position file")?;
    let n_reasons = match take(&mut rest)? {
        [VERSION] => DropReason::ALL.len(),
        [VERSION_WITHOUT_PANICKED] => DropReason::Panicked as usize,
        _ => return Err("the file has another version"),
    };
    let (mark, ledger) = decode_part(&mut rest, n_reasons)?;
    let n_ahead = u32::from_be_bytes(take(&mut rest)?);
    let mut ahead = Vec::new();
    for _ in 0..n_ahead {
        let start = u32::from_be_bytes(take(&mut rest)?);
        let (mark, ledger) = decode_part(&mut rest, n_reasons)?;
        ahead.push(Ahead { start, mark, ledger });
    }
    let identity_len = u32::from_be_bytes(take(&mut rest)?) as usize;
    let (identity, url) = rest.split_at_checked(identity_len).ok_or("the file is too short")?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Known { identity: text(identity), url: text(url), saved: Saved { mark, ledger, ahead } })
}

fn decode_part(rest: &mut &[u8], n_reasons: usize) -> Result<(Mark, Ledger), &'static str> {
    let segment = u32::from_be_bytes(take(rest)?);
    let offset = u64::from_be_bytes(take(rest)?);
    let fingerprint = u32::from_be_bytes(take(rest)?);
    let taken = u64::from_be_bytes(take(rest)?);
    let sent = u64::from_be_bytes(take(rest)?);
    let mut ledger = Ledger { taken, sent, ..Ledger::default() };
    for dropped in ledger.dropped.iter_mut().take(n_reasons) {
        *dropped = u64::from_be_bytes(take(rest)?);
    }
    Ok((Mark { position: Position { segment, offset }, fingerprint }, ledger))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], &'static str> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or("the file is too short")?;
    *rest = tail;
    Ok(*head)
}

#[cfg(test)]
mod tests {
    use super::{Known, MAGIC, Positions, Remembered, VERSION_WITHOUT_PANICKED, decode, encode};
    use crate::remote::settle::ledger::{DropReason, Ledger};
    use crate::remote::settle::mark::Mark;
    use crate::remote::settle::progress::{Ahead, Saved};
    use scraped_engine::disk::RealDisk;
    use scraped_engine::wal::format::position::Position;
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;

    const URL: &str = "http://127.0.0.1:9090/api/v1/write";

    fn open(data_dir: &Path) -> Positions {
        Positions::open(Arc::new(RealDisk), data_dir).unwrap()
    }

    fn saved() -> Saved {
        let mark = Mark { position: Position { segment: 7, offset: 1 << 33 }, fingerprint: 0xfeed_beef };
        let ledger = Ledger { taken: 9, sent: 5, dropped: [1; DropReason::ALL.len()] };
        let ahead = Ahead { start: 9, mark: Mark::start_of(12), ledger };
        Saved { mark, ledger, ahead: vec![ahead, Ahead { start: 13, ..ahead }] }
    }

    fn known(identity: &str) -> Known {
        Known { identity: identity.to_owned(), url: URL.to_owned(), saved: saved() }
    }

    #[test]
    fn a_position_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let positions = open(dir.path());
        positions.enlist([URL].into_iter()).unwrap();
        positions.save(&known(URL)).unwrap();
        let positions = open(dir.path());
        assert_eq!(positions.recall(URL, true), Remembered::At(saved()));
        assert_eq!(positions.recall("other", true), Remembered::New);
    }

    /// As it was written before there was a sixth reason.
    #[test]
    fn a_position_of_the_version_before_comes_back() {
        let without_panicked = |mut saved: Saved| {
            let ledgers =
                [&mut saved.ledger].into_iter().chain(saved.ahead.iter_mut().map(|it| &mut it.ledger));
            ledgers.for_each(|ledger| ledger.dropped[DropReason::Panicked as usize] = 0);
            saved
        };
        let mut bytes = encode(&known(URL));
        bytes[MAGIC.len()] = VERSION_WITHOUT_PANICKED;
        // The last of the numbers of each part.
        let (part_bytes, first_bytes) = (16 + 8 * (2 + DropReason::ALL.len()), MAGIC.len() + 1);
        for part in (0..3).rev() {
            let start = first_bytes + part * part_bytes + if part == 0 { 0 } else { 4 + 4 * part };
            bytes.drain(start + part_bytes - 8..start + part_bytes);
        }
        let body_bytes = bytes.len() - 4;
        let checksum = crc32c::crc32c(&bytes[..body_bytes]);
        bytes[body_bytes..].copy_from_slice(&checksum.to_be_bytes());
        assert_eq!(decode(&bytes).unwrap().saved, without_panicked(saved()));
    }

    #[test]
    fn a_new_endpoint_is_never_taken_for_one_whose_file_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let positions = open(dir.path());
        let is_lost = |has_data| matches!(positions.recall(URL, has_data), Remembered::Lost(_));
        // No list: a log with data comes from elsewhere, one without is the first start.
        assert!(is_lost(true));
        assert!(!is_lost(false));
        positions.enlist([].into_iter()).unwrap();
        assert_eq!(positions.recall(URL, true), Remembered::New);
        positions.enlist([URL, "line\nbreak \"quoted\""].into_iter()).unwrap();
        assert!(is_lost(true));
        assert!(matches!(positions.recall("line\nbreak \"quoted\"", true), Remembered::Lost(_)));
        positions.save(&known(URL)).unwrap();
        fs::remove_file(positions.path(URL)).unwrap();
        assert!(is_lost(true));
    }

    #[test]
    fn an_endpoint_is_found_by_its_url_and_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let positions = open(dir.path());
        positions.enlist(["old", "other"].into_iter()).unwrap();
        positions.save(&known("old")).unwrap();
        positions.save(&Known { url: "http://elsewhere".to_owned(), ..known("other") }).unwrap();
        assert_eq!(positions.known_at(URL), [known("old")]);
        assert_eq!(positions.recall("new", true), Remembered::New);
        positions.forget("old").unwrap();
        positions.forget("never seen").unwrap();
        assert_eq!(positions.known_at(URL), []);
        assert_eq!(positions.recall("old", true), Remembered::New);
        assert_eq!(positions.recall("other", true), Remembered::At(saved()));
    }

    #[test]
    fn any_damage_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let positions = open(dir.path());
        positions.save(&known(URL)).unwrap();
        let path = positions.path(URL);
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut damaged = good.clone();
            damaged[at] ^= 1;
            fs::write(&path, &damaged).unwrap();
            assert!(matches!(positions.recall(URL, true), Remembered::Lost(_)), "byte {at}");
            fs::write(&path, &good[..at]).unwrap();
            assert!(matches!(positions.recall(URL, true), Remembered::Lost(_)), "cut at {at}");
        }
        fs::write(positions.path("other"), &good).unwrap();
        assert!(matches!(positions.recall("other", true), Remembered::Lost(_)));
        positions.enlist([URL].into_iter()).unwrap();
        let list = dir.path().join("remote/endpoints");
        fs::write(&list, fs::read_to_string(&list).unwrap().replace("9090", "9091")).unwrap();
        assert!(matches!(positions.recall("http://127.0.0.1:9091/api/v1/write", true), Remembered::Lost(_)));
    }
}
