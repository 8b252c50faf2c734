//! Import: a log that another program wrote is re-logged once, under our refs and fresh segment numbers. So is one of
//! ours whose refs have become sparse.
//!
//! A real `prometheus --agent` has sparse 64-bit refs and may know a label set under two of them; `replay` notices.
//! Everything is read front to back with constant memory beside the table and the map of refs, and written into
//! `import.tmp/`. Its rename to `import/` is the moment of truth: a kill before it starts over, a kill after it is
//! finished at the next start. The old files go last.

use crate::sorting::sort;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use crate::data_dir;
use crate::disk::{Disk, Entry};
use crate::labels::builder::LabelsBuilder;
use crate::series::SeriesRef;
use crate::series::table::SeriesTable;
use crate::wal::error::WalError;
use crate::wal::format::record;
use crate::wal::format::record::Record;
use crate::wal::format::record::exemplars::{Exemplars, ExemplarsEncoder};
use crate::wal::format::record::histograms::{HistogramKind, Histograms, HistogramsEncoder};
use crate::wal::format::record::metadata::{MetadataEncoder, MetadataEntries, MetadataEntry};
use crate::wal::format::record::record_type::RecordType;
use crate::wal::format::record::samples::{Samples, SamplesEncoder};
use crate::wal::format::record::series::{SeriesEncoder, SeriesEntries};
use crate::wal::format::segment;
use crate::wal::format::segment::SegmentInfo;
use crate::wal::format::segment_reader::{SegmentReader, Tail};
use crate::wal::keep::checkpoint;
use crate::wal::keep::truncate_files as truncate;
use crate::wal::open::repair::Layout;
use crate::wal::options::{Compression, WalOptions};
use crate::wal::write::bulk_writer::BulkWriter;

/// The import while it is written.
const UNFINISHED_DIR: &str = "import.tmp";

/// The import once it is whole, until its files are in place.
const FINISHED_DIR: &str = "import";

/// Left free by an import: for its checkpoint, and for the log to go on.
const MIN_FREE_BYTES: u64 = 1024 * 1024;

/// Series a record of the new checkpoint.
const SERIES_PER_RECORD: usize = 1000;

/// What an import took over.
#[derive(Debug, Default)]
pub struct Imported {
    series: usize,
    samples: u64,
    first_segment: u32,
    last_segment: u32,
    samples_without_series: u64,
    samples_without_room: u64,
    damaged_places: u64,
    left_out: BTreeMap<RecordType, u64>,
}

impl Imported {
    /// For people: what happened, and why.
    pub fn sentence(&self, reason: &str) -> String {
        format!(
            "write-ahead log taken over ({reason}): {} samples of {} series were written again into segments {:08} to \
             {:08}",
            self.samples, self.series, self.first_segment, self.last_segment
        )
    }

    /// What could not be taken over, if anything.
    pub fn loss(&self) -> Option<String> {
        let mut parts = Vec::new();
        if self.damaged_places > 0 {
            parts.push(format!("records in {} damaged places", self.damaged_places));
        }
        if self.samples_without_series > 0 {
            parts.push(format!("{} samples without a series", self.samples_without_series));
        }
        if self.samples_without_room > 0 {
            parts.push(format!(
                "the {} oldest samples, for want of room on the disk,",
                self.samples_without_room
            ));
        }
        for (record_type, n_records) in &self.left_out {
            parts.push(format!("{n_records} records of type {}", record_type.name()));
        }
        let what = parts.join(", ");
        (!parts.is_empty()).then(|| format!("write-ahead log taken over: {what} were left out"))
    }
}

/// Finishes an import that was whole when its process was killed, removes one that was not.
///
/// # Errors
/// Something cannot be moved or removed.
pub fn finish_or_undo(disk: &dyn Disk, wal_dir: &Path) -> Result<(), WalError> {
    checkpoint::remove(disk, &wal_dir.join(UNFINISHED_DIR))?;
    let finished = wal_dir.join(FINISHED_DIR);
    if !disk.exists(&finished) {
        return Ok(());
    }
    for Entry { name, .. } in disk.list(&finished).map_err(WalError::io("read", &finished))? {
        let place = wal_dir.join(&name);
        disk.rename(&finished.join(&name), &place).map_err(WalError::io("rename to", &place))?;
    }
    segment::sync_dir(disk, wal_dir)?;
    // What they hold was written again: it is not lost.
    if let Some(checkpoint) = checkpoint::list(disk, wal_dir)?.pop() {
        truncate::remove_segments(disk, wal_dir, checkpoint.number)?;
    }
    checkpoint::remove(disk, &finished)
}

/// Re-logs everything in `layout`. For a moment the log stands there twice: without room for that, the oldest samples
/// are left out.
///
/// # Errors
/// The disk refused. The log is as it was.
pub fn import(
    options: &WalOptions,
    segment_size_bytes: u64,
    wal_dir: &Path,
    layout: &Layout,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Imported, WalError> {
    let disk = &*options.disk;
    let unfinished = wal_dir.join(UNFINISHED_DIR);
    data_dir::create_dir(disk, &unfinished).map_err(WalError::io("create", &unfinished))?;
    let imported = relog(options, segment_size_bytes, &unfinished, layout, progress);
    if imported.is_err() {
        // The next start removes it as well; now room may be what is missing.
        let _ = checkpoint::remove(disk, &unfinished);
        return imported;
    }
    let finished = wal_dir.join(FINISHED_DIR);
    disk.rename(&unfinished, &finished).map_err(WalError::io("rename to", &finished))?;
    segment::sync_dir(disk, wal_dir)?;
    finish_or_undo(disk, wal_dir)?;
    imported
}

fn relog(
    options: &WalOptions,
    segment_size_bytes: u64,
    dir: &Path,
    layout: &Layout,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Imported, WalError> {
    let disk = &*options.disk;
    let checkpoint_number = layout.checkpoint.as_ref().map(|checkpoint| checkpoint.number);
    let last = layout.segments.last().map(|segment| segment.number).or(checkpoint_number).unwrap_or(0);
    // Neither is in use: the new checkpoint stands for all old files, which `repair` removes once it is there.
    let new_checkpoint = last.checked_add(1).ok_or(WalError::TooManySegments)?;
    let first_segment = new_checkpoint.checked_add(1).ok_or(WalError::TooManySegments)?;
    let writer = BulkWriter::create(disk, dir, first_segment, segment_size_bytes, options.compression)?;
    let mut relog = Relog {
        disk,
        has_room: true,
        writer,
        table: SeriesTable::new(),
        refs: Refs::default(),
        labels: LabelsBuilder::new(),
        record: Vec::new(),
        imported: Imported { first_segment, ..Imported::default() },
    };
    let n_without_room = n_without_room(disk, dir, &layout.segments);
    relog.has_room = n_without_room == 0;
    if let Some(checkpoint) = &layout.checkpoint {
        for file in checkpoint.segments(disk)? {
            relog.file(&file)?;
        }
    }
    for (file, n_read) in layout.segments.iter().zip(1..) {
        relog.has_room = n_read > n_without_room;
        relog.file(file)?;
        progress(n_read, layout.segments.len() as u64);
    }
    let Relog { writer, table, refs: Refs { new_refs, .. }, mut imported, .. } = relog;
    imported.last_segment = writer.finish()?.last_segment;
    imported.series = new_refs.len();
    checkpoint::create(disk, dir, new_checkpoint, |checkpoint_dir| {
        write_series(disk, checkpoint_dir, &table, &new_refs, options.compression)
    })?;
    Ok(imported)
}

/// How many of the oldest segments must be left out. Ours may get larger than theirs: their records may be longer, or
/// compressed in another way.
fn n_without_room(disk: &dyn Disk, dir: &Path, segments: &[SegmentInfo]) -> u64 {
    let Ok(file_system) = disk.file_system(dir) else { return 0 };
    let room_bytes = file_system.available_bytes.saturating_sub(MIN_FREE_BYTES) / 3 * 2;
    let mut wanted_bytes = 0_u64;
    let fitting = segments.iter().rev().take_while(|segment| {
        wanted_bytes = wanted_bytes.saturating_add(segment.bytes);
        wanted_bytes <= room_bytes
    });
    (segments.len() - fitting.count()) as u64
}

struct Relog<'a> {
    disk: &'a dyn Disk,
    /// Samples are taken over; if not, series are all the same, for later samples may be theirs.
    has_room: bool,
    writer: BulkWriter<'a>,
    /// All series that are named; its refs are only ours to find the labels again.
    table: SeriesTable,
    refs: Refs,
    labels: LabelsBuilder,
    record: Vec<u8>,
    imported: Imported,
}

impl Relog<'_> {
    fn file(&mut self, file: &SegmentInfo) -> Result<(), WalError> {
        let source = segment::open(self.disk, &file.path)?;
        let mut reader = SegmentReader::new(source, file.number, Tail::Closed);
        loop {
            match reader.next_record() {
                Ok(Some(raw)) => match record::decode(raw.bytes) {
                    Record::Series(entries) => self.series(entries)?,
                    Record::Samples(samples) => self.samples(samples)?,
                    Record::Histograms(histograms) => self.histograms(&histograms)?,
                    Record::Exemplars(exemplars) => self.exemplars(exemplars)?,
                    Record::Metadata(entries) => self.metadata(entries),
                    Record::Other(
                        RecordType::Tombstones | RecordType::MmapMarkers | RecordType::MinValidTime,
                    ) => {}
                    Record::Other(record_type) => {
                        *self.imported.left_out.entry(record_type).or_default() += 1;
                    }
                },
                Ok(None) => return Ok(()),
                Err(_) => self.imported.damaged_places += 1,
            }
        }
    }

    fn series(&mut self, entries: SeriesEntries<'_>) -> Result<(), WalError> {
        for entry in entries {
            let Ok(entry) = entry else {
                self.imported.damaged_places += 1;
                return Ok(());
            };
            self.labels.clear();
            for (name, value) in entry.labels {
                self.labels.set(name, value);
            }
            let lookup = self.table.get_or_create(&self.labels).ok_or(WalError::TooManySeries)?;
            self.refs.table_refs.insert(entry.series_ref, lookup.handle.series_ref);
        }
        Ok(())
    }

    fn samples(&mut self, samples: Samples<'_>) -> Result<(), WalError> {
        if !self.has_room {
            self.imported.samples_without_room += samples.count() as u64;
            return Ok(());
        }
        self.record.clear();
        let mut encoder = SamplesEncoder::start(&mut self.record);
        let mut n_samples = 0;
        for sample in samples {
            let Ok(mut sample) = sample else {
                self.imported.damaged_places += 1;
                break;
            };
            let Some(new_ref) = self.refs.new_ref(sample.series_ref) else {
                self.imported.samples_without_series += 1;
                continue;
            };
            sample.series_ref = new_ref;
            encoder.push(&mut self.record, sample);
            n_samples += 1;
        }
        if n_samples > 0 {
            self.writer.append(&self.record)?;
        }
        self.imported.samples += n_samples;
        Ok(())
    }

    /// A record of version 2 may hold histograms of two kinds, which ours do not.
    fn histograms(&mut self, histograms: &Histograms<'_>) -> Result<(), WalError> {
        if !self.has_room {
            self.imported.samples_without_room += histograms.clone().count() as u64;
            return Ok(());
        }
        if histograms.clone().any(|entry| entry.is_err()) {
            self.imported.damaged_places += 1;
        }
        for kind in HistogramKind::ALL {
            self.record.clear();
            let mut encoder = HistogramsEncoder::start(&mut self.record, kind);
            let mut n_histograms = 0;
            for entry in histograms.clone().flatten().filter(|entry| entry.histogram.kind() == kind) {
                let Some(new_ref) = self.refs.new_ref(entry.series_ref) else {
                    self.imported.samples_without_series += 1;
                    continue;
                };
                encoder.push(&mut self.record, new_ref, entry.ts_ms, entry.histogram.bytes());
                n_histograms += 1;
            }
            if n_histograms > 0 {
                self.writer.append(&self.record)?;
            }
            self.imported.samples += n_histograms;
        }
        Ok(())
    }

    fn exemplars(&mut self, exemplars: Exemplars<'_>) -> Result<(), WalError> {
        if !self.has_room {
            return Ok(());
        }
        self.record.clear();
        let mut encoder = ExemplarsEncoder::start(&mut self.record);
        let mut n_exemplars = 0;
        for exemplar in exemplars {
            let Ok(mut exemplar) = exemplar else {
                self.imported.damaged_places += 1;
                break;
            };
            let Some(new_ref) = self.refs.new_ref(exemplar.series_ref) else { continue };
            exemplar.series_ref = new_ref;
            encoder.push(&mut self.record, &exemplar);
            n_exemplars += 1;
        }
        if n_exemplars > 0 {
            self.writer.append(&self.record)?;
        }
        Ok(())
    }

    /// The newest of each series goes into the checkpoint.
    fn metadata(&mut self, entries: MetadataEntries<'_>) {
        for entry in entries {
            let Ok(MetadataEntry { series_ref, metric_type, unit, help }) = entry else {
                self.imported.damaged_places += 1;
                return;
            };
            if let Some(table_ref) = self.refs.table_refs.get(&series_ref) {
                self.table.set_metadata(*table_ref, metric_type, unit, help);
            }
        }
    }
}

/// Their refs, and ours.
#[derive(Default)]
struct Refs {
    /// Their ref to the table's.
    table_refs: HashMap<u64, SeriesRef, foldhash::fast::RandomState>,
    /// The table's ref to the new one, of series with samples only: so the new ones are dense.
    new_refs: HashMap<SeriesRef, u32, foldhash::fast::RandomState>,
}

impl Refs {
    /// Our ref of theirs; `None` if no series record named it.
    fn new_ref(&mut self, series_ref: u64) -> Option<u64> {
        let table_ref = *self.table_refs.get(&series_ref)?;
        let next_ref = self.new_refs.len() as u32 + 1;
        Some(u64::from(*self.new_refs.entry(table_ref).or_insert(next_ref)))
    }
}

/// Writes the series that have samples as the one file of a checkpoint.
fn write_series(
    disk: &dyn Disk,
    dir: &Path,
    table: &SeriesTable,
    new_refs: &HashMap<SeriesRef, u32, foldhash::fast::RandomState>,
    compression: Compression,
) -> Result<(), WalError> {
    let mut writer = BulkWriter::create(disk, dir, 0, u64::MAX, compression)?;
    let mut labels = LabelsBuilder::new();
    let mut record = Vec::new();
    let mut series: Vec<(u32, SeriesRef)> =
        new_refs.iter().map(|(table_ref, new_ref)| (*new_ref, *table_ref)).collect();
    sort(&mut series);
    for part in series.chunks(SERIES_PER_RECORD) {
        record.clear();
        let mut encoder = SeriesEncoder::start(&mut record);
        for (new_ref, table_ref) in part {
            if table.labels_into(*table_ref, &mut labels) {
                encoder.push(&mut record, u64::from(*new_ref), labels.iter());
            }
        }
        writer.append(&record)?;
        record.clear();
        let mut encoder = MetadataEncoder::start(&mut record);
        let mut n_entries = 0;
        for (new_ref, table_ref) in part {
            if let Some((metric_type, unit, help)) = table.metadata(*table_ref) {
                let series_ref = u64::from(*new_ref);
                encoder.push(&mut record, &MetadataEntry { series_ref, metric_type, unit, help });
                n_entries += 1;
            }
        }
        if n_entries > 0 {
            writer.append(&record)?;
        }
    }
    writer.finish().map(drop)
}
