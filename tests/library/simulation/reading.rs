//! Records of a log as an endpoint's watcher reads them.

use std::iter;

use scraped::remote::settle::mark::Mark;
use scraped_engine::wal::follow::{Ended, Follower, Next, fingerprint};
use scraped_engine::wal::format::position::Position;
use scraped_engine::wal::format::record;
use scraped_engine::wal::format::record::Record;
use scraped_engine::wal::head::LogReader;

use super::samples::{Sample, recognised};

/// A record, and the samples in it.
pub(crate) struct Read {
    pub(crate) end: Mark,
    pub(crate) samples: Vec<Sample>,
}

/// The next record; `None` where there is none, and why.
///
/// # Panics
/// Something in it is damaged, has no series, or was never scraped.
pub(crate) fn next(log: &LogReader, follower: &mut Follower) -> Result<Read, Ended> {
    let mut found = None;
    let visit = &mut |at: Position, position, bytes: &[u8]| {
        let samples: Vec<_> = match record::decode(bytes) {
            Record::Samples(samples) => samples.map(|sample| sample.expect("a whole record")).collect(),
            _ => Vec::new(),
        };
        found = Some((at.segment, Mark { position, fingerprint: fingerprint(bytes) }, samples));
        Next::Pause
    };
    let ended = follower.read(visit, &mut |error| panic!("{error}")).expect("the log can be read");
    let Some((segment, end, samples)) = found else { return Err(ended) };
    let refs: Vec<u64> = samples.iter().map(|sample| sample.series_ref).collect();
    let mut handles = Vec::new();
    if log.handles(segment, &refs, &mut handles).is_err() {
        return Err(Ended::Truncated);
    }
    let handles: Vec<_> = handles.into_iter().map(|it| it.expect("a series before its sample")).collect();
    let mut recognised_samples = Vec::new();
    log.visit_labels(&handles, |idx, labels| {
        let mut labels = labels.expect("a series with labels");
        let (_, series) = labels.find(|(name, _)| *name == "series").expect("a series that was scraped");
        recognised_samples.push(recognised(series, samples[idx].ts_ms, samples[idx].value));
    });
    Ok(Read { end, samples: recognised_samples })
}

/// All records from the start of segment `first` on.
pub(crate) fn all(log: &LogReader, first: u32) -> Vec<Read> {
    let mut follower = Follower::new(log.clone(), Position { segment: first, offset: 0 });
    iter::from_fn(|| next(log, &mut follower).ok()).collect()
}
