//! What is remembered of an endpoint over restarts: its position in the log with the ledger up to there, in one file;
//! and which endpoints were ever known, in another, so that a lost file is not taken for a new endpoint.
//!
//! Files are written beside, fsynced and renamed. Knows nothing of who sends.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use md5::{Digest, Md5};

use crate::remote::ledger::{DropReason, Ledger};
use crate::remote::progress::Mark;
use crate::wal::writer::Position;

/// Directory in the data directory.
const REMOTE_DIR: &str = "remote";

/// The list of endpoints ever known.
const ENDPOINTS_FILE: &str = "endpoints";

const MAGIC: &[u8; 8] = b"scrapedP";

/// Files of another version are not read.
const VERSION: u8 = 2;

/// Bytes before the identity: magic, version, segment, offset, fingerprint, ledger.
const FIXED_BYTES: usize = 8 + 1 + 4 + 8 + 4 + 8 * (2 + DropReason::ALL.len());

/// What the file of an endpoint says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Everything before it is settled.
    pub mark: Mark,
    /// The ledger up to there.
    pub ledger: Ledger,
}

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

/// The directory `remote/`.
#[derive(Clone, Debug)]
pub struct Positions {
    dir: PathBuf,
}

impl Positions {
    /// Opens the directory and makes it if it is missing.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(data_dir: &Path) -> io::Result<Self> {
        let dir = data_dir.join(REMOTE_DIR);
        fs::create_dir_all(&dir)?;
        Ok(Self { dir })
    }

    /// What is known of the endpoint `identity`. `has_data`: the log held something before this start.
    pub fn recall(&self, identity: &str, has_data: bool) -> Remembered {
        let path = self.path(identity);
        let lost = |why: String| Remembered::Lost(format!("{}: {why}", path.display()));
        match fs::read(&path) {
            Ok(bytes) => match decode(&bytes, identity) {
                Ok(saved) => Remembered::At(saved),
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

    /// Remembers a position.
    ///
    /// # Errors
    /// The file cannot be written; the old one is still there.
    pub fn save(&self, identity: &str, saved: &Saved) -> io::Result<()> {
        self.write(&self.path(identity), &encode(identity, saved))
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
        if known.as_ref() == Some(&all) {
            return Ok(());
        }
        let mut text: String =
            all.iter().map(|identity| format!("{}\n", serde_json::Value::from(identity.as_str()))).collect();
        let checksum = crc32c::crc32c(text.as_bytes());
        text.push_str(&format!("{checksum:08x}\n"));
        self.write(&self.dir.join(ENDPOINTS_FILE), text.as_bytes())
    }

    /// `None` if the list is missing or damaged.
    fn endpoints(&self) -> Option<Vec<String>> {
        let text = fs::read_to_string(self.dir.join(ENDPOINTS_FILE)).ok()?;
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
        self.dir.join(format!("{name}.position"))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let beside = path.with_extension("tmp");
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(&self.dir)?.sync_all()
    }
}

fn encode(identity: &str, saved: &Saved) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FIXED_BYTES + identity.len() + 4);
    bytes.extend_from_slice(MAGIC);
    bytes.push(VERSION);
    bytes.extend_from_slice(&saved.mark.position.segment.to_be_bytes());
    bytes.extend_from_slice(&saved.mark.position.offset.to_be_bytes());
    bytes.extend_from_slice(&saved.mark.fingerprint.to_be_bytes());
    let Ledger { taken, sent, dropped } = saved.ledger;
    for number in [taken, sent].into_iter().chain(dropped) {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    bytes.extend_from_slice(identity.as_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_be_bytes());
    bytes
}

fn decode(bytes: &[u8], identity: &str) -> Result<Saved, &'static str> {
    let (body, checksum) = bytes.split_last_chunk::<4>().ok_or("the file is too short")?;
    if crc32c::crc32c(body) != u32::from_be_bytes(*checksum) {
        return Err("the file is damaged");
    }
    let mut rest = body.strip_prefix(MAGIC).ok_or("not a position file")?;
    if take::<1>(&mut rest)? != [VERSION] {
        return Err("the file has another version");
    }
    let segment = u32::from_be_bytes(take(&mut rest)?);
    let offset = u64::from_be_bytes(take(&mut rest)?);
    let fingerprint = u32::from_be_bytes(take(&mut rest)?);
    let taken = u64::from_be_bytes(take(&mut rest)?);
    let sent = u64::from_be_bytes(take(&mut rest)?);
    let mut ledger = Ledger { taken, sent, ..Ledger::default() };
    for dropped in &mut ledger.dropped {
        *dropped = u64::from_be_bytes(take(&mut rest)?);
    }
    if rest != identity.as_bytes() {
        return Err("the file belongs to another endpoint");
    }
    Ok(Saved { mark: Mark { position: Position { segment, offset }, fingerprint }, ledger })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], &'static str> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or("the file is too short")?;
    *rest = tail;
    Ok(*head)
}

#[cfg(test)]
mod tests {
    use super::{Positions, Remembered, Saved};
    use crate::remote::ledger::{DropReason, Ledger};
    use crate::remote::progress::Mark;
    use crate::wal::writer::Position;
    use std::fs;

    const URL: &str = "http://127.0.0.1:9090/api/v1/write";

    fn saved() -> Saved {
        let mark = Mark { position: Position { segment: 7, offset: 1 << 33 }, fingerprint: 0xfeed_beef };
        Saved { mark, ledger: Ledger { taken: 9, sent: 5, dropped: [1; DropReason::ALL.len()] } }
    }

    #[test]
    fn a_position_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let positions = Positions::open(dir.path()).unwrap();
        positions.enlist([URL].into_iter()).unwrap();
        positions.save(URL, &saved()).unwrap();
        let positions = Positions::open(dir.path()).unwrap();
        assert_eq!(positions.recall(URL, true), Remembered::At(saved()));
        assert_eq!(positions.recall("other", true), Remembered::New);
    }

    #[test]
    fn a_new_endpoint_is_never_taken_for_one_whose_file_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let positions = Positions::open(dir.path()).unwrap();
        let is_lost = |has_data| matches!(positions.recall(URL, has_data), Remembered::Lost(_));
        // No list: a log with data comes from elsewhere, one without is the first start.
        assert!(is_lost(true));
        assert!(!is_lost(false));
        positions.enlist([].into_iter()).unwrap();
        assert_eq!(positions.recall(URL, true), Remembered::New);
        positions.enlist([URL, "line\nbreak \"quoted\""].into_iter()).unwrap();
        assert!(is_lost(true));
        assert!(matches!(positions.recall("line\nbreak \"quoted\"", true), Remembered::Lost(_)));
        positions.save(URL, &saved()).unwrap();
        fs::remove_file(positions.path(URL)).unwrap();
        assert!(is_lost(true));
    }

    #[test]
    fn any_damage_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let positions = Positions::open(dir.path()).unwrap();
        positions.save(URL, &saved()).unwrap();
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
