//! What has gone of the log before its readers had it, and the descriptors they hold of it.
//!
//! A reader keeps the file of its segment open from one read to the next, also while it waits for an endpoint that is
//! away. Who removes a segment closes it for all readers: otherwise its room would come back with the endpoint.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::disk::{Access, Disk, DiskFile};
use crate::wal::format::closed_segment::ClosedSegment;
use crate::wal::format::segment;

/// Samples in a segment, or a part of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentSamples {
    /// Float samples.
    pub floats: u64,
    /// Native histograms.
    pub histograms: u64,
}

impl SegmentSamples {
    /// Of both kinds.
    pub fn total(self) -> u64 {
        self.floats + self.histograms
    }
}

impl From<&ClosedSegment> for SegmentSamples {
    fn from(segment: &ClosedSegment) -> Self {
        let histograms = segment.histograms.min(segment.samples);
        Self { floats: segment.samples - histograms, histograms }
    }
}

/// What has gone since the start of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gone {
    /// All segments before this one are gone.
    pub before: u32,
    /// What those held that a reader needed, and what was in segments behind them whose content has vanished.
    pub segments: BTreeMap<u32, SegmentSamples>,
}

/// The segment that a reader has open.
#[derive(Debug, Default)]
pub(in crate::wal) struct OpenSegment(Mutex<Option<Opened>>);

#[derive(Debug)]
struct Opened {
    place: Place,
    file: Arc<dyn DiskFile>,
}

/// What a reader wants to have open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::wal) struct Place {
    /// The segment.
    pub(in crate::wal) number: u32,
    /// Files that were made anew so far: one that was opened before may not be the one that is written.
    pub(in crate::wal) n_remade: u64,
}

impl OpenSegment {
    /// Reads from offset `at` of a segment, which is opened if another one is open.
    pub(in crate::wal) fn read_at(
        &self,
        disk: &dyn Disk,
        wal_dir: &Path,
        place: Place,
        buf: &mut [u8],
        at: u64,
    ) -> io::Result<usize> {
        let mut open = self.0.lock();
        if let Some(opened) = open.as_ref().filter(|opened| opened.place == place) {
            return opened.file.read_at(buf, at);
        }
        // The old one is closed first: there may be no descriptor for both.
        *open = None;
        let file = disk.open(&segment::segment_path(wal_dir, place.number), Access::Read)?;
        let read = file.read_at(buf, at);
        *open = Some(Opened { place, file });
        read
    }

    /// Closes the file if its segment is one of these.
    pub(in crate::wal) fn close_where(&self, is_it: impl Fn(u32) -> bool) {
        self.0.lock().take_if(|opened| is_it(opened.place.number));
    }

    /// Closes the file.
    pub(in crate::wal) fn close(&self) {
        *self.0.lock() = None;
    }
}
