//! The wal-maintenance thread: fsync, truncation by age and bytes, room on a full disk.
//!
//! Wakes every fsync interval, when a segment was rotated, and when a commit found the disk full. It is the only one
//! that deletes segments once the log is open. Knows the head and its files, nothing of who writes or reads the log.
//! What may go is decided in `retention`, how it goes in `truncate`.

use std::time::{Duration, Instant};
use std::{io, mem};

use crossbeam_channel::{bounded, select};

use crate::mutant::{self, Mutant};
use crate::sorting::sort_by_key;
use crate::threads::stop::{Stopper, stop_pair};
use crate::threads::{Thread, ThreadKind};
use crate::wal::error::WalError;
use crate::wal::format::closed_segment::ClosedSegment;
use crate::wal::format::segment;
use crate::wal::head::{ReadersKnown, Wal};
use crate::wal::keep::byte_bound::{ByteBound, Complaint};
use crate::wal::keep::checkpoint::checkpoint_bytes;
use crate::wal::keep::flush;
use crate::wal::keep::place;
use crate::wal::keep::place::{Place, Restored};
use crate::wal::keep::reserve::Reserve;
use crate::wal::keep::retention;
use crate::wal::keep::retention::{Bounds, Truncation, Usage};
use crate::wal::keep::returned::Returned;
use crate::wal::keep::truncate_files::{checkpoint_up_to, delete_files};
use crate::wal::keep::truncate_series::compact_symbols;
use crate::wal::memory::ring::Ring;
use crate::wal::write::segment_writer::Rotated;

/// It walks files and encodes records, nothing is deep.
const THREAD: ThreadKind = ThreadKind { name: "wal-maintenance", stack_bytes: 256 << 10 };

/// Capacity of the wake-up channel: one is enough to be awake. The head drops what does not fit.
const WAKES: usize = 1;

/// Capacity of the channel of requests to write what is in memory. Full: who asks waits its turn.
const FLUSHES: usize = 4;

/// Bounds of the time between two rounds, whatever `--wal.fsync-interval` says: age and bytes are looked at too, and
/// whether the log is still where it was.
const MIN_ROUND: Duration = Duration::from_secs(1);
const MAX_ROUND: Duration = Duration::from_secs(5);

/// Guess at a series' bytes in a checkpoint, compressed: node_exporter's take about 40.
const CHECKPOINT_BYTES_PER_SERIES: u64 = 64;

/// Under `retention.max-time` a segment is closed when it spans this share of it: only closed ones can go.
const SEGMENTS_PER_MAX_TIME: i64 = 4;

/// A segment smaller than this is not worth its end when the disk is full.
const MIN_ROTATE_BYTES: u64 = 64 * 1024;

/// The running thread; dropping it stops the thread without waiting.
#[derive(Debug)]
pub struct Handle {
    stopper: Stopper,
    thread: Thread,
}

impl Handle {
    /// Starts the thread, which truncates at once if that is due: the readers are registered by then.
    ///
    /// # Errors
    /// The system refuses the thread.
    pub fn spawn(wal: Wal, readers_known: ReadersKnown) -> io::Result<Handle> {
        let (stopper, stop) = stop_pair();
        let (waker, wakes) = bounded(WAKES);
        let (flusher, flushes) = bounded(FLUSHES);
        let round = wal.options().fsync_interval.clamp(MIN_ROUND, MAX_ROUND);
        // Whoever starts behind this thread can ask it at once.
        wal.upkeep().wake_with(waker);
        wal.upkeep().flush_with(flusher);
        let thread = THREAD.spawn_essential("", move || {
            let _served = Served(wal.clone());
            wal.upkeep().room().serve();
            let mut maintenance = Maintenance::new(wal, readers_known);
            loop {
                maintenance.cycle(Instant::now());
                select! {
                    recv(stop.receiver()) -> _ => break,
                    recv(wakes) -> _ => {}
                    recv(flushes) -> request => maintenance.answer(request.ok()),
                    default(round) => {}
                }
            }
            let written = maintenance.write_memory();
            maintenance.note_sync(written);
        })?;
        Ok(Handle { stopper, thread })
    }

    /// Stops the thread and waits for the end of its round.
    pub fn stop(self) {
        drop(self.stopper);
        self.thread.join();
    }
}

/// While it is there, commits that find the disk full ask this thread for room.
struct Served(Wal);

impl Drop for Served {
    fn drop(&mut self) {
        self.0.upkeep().room().close();
    }
}

/// Why segments go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// Their age, or a bound.
    Due,
    /// A commit found no room: the reserve is spent on the checkpoint.
    FullDisk,
}

/// What the thread knows between two rounds.
#[derive(Debug)]
pub struct Maintenance {
    wal: Wal,
    bounds: Bounds,
    byte_bound: ByteBound,
    /// Segments that are no longer written, oldest first.
    closed: Vec<ClosedSegment>,
    checkpoint_bytes: u64,
    reserve: Reserve,
    last_fsync: Option<Instant>,
    /// When series were last forgotten that had no samples but in memory, and up to which segment.
    last_forget: Option<(Instant, u32)>,
    /// The segment being written and the newest timestamp when it was first seen.
    current_since: Option<(u32, i64)>,
    /// The bound in bytes cannot be kept; said once.
    is_below_floor: bool,
    /// Bounds take samples that are younger than their least age; said once.
    is_losing: bool,
    /// The reserve cannot be filled; said once.
    is_without_reserve: bool,
    /// The last fsync failed; said once.
    is_unsynced: bool,
    /// A segment that was left had lost its place by then.
    is_displaced: bool,
    /// The start found a disk that takes nothing: no file of this process is there yet.
    is_unbegun: bool,
    /// The last of the segments that a checkpoint stands for and that are still to be removed.
    covered: Option<u32>,
    /// Segments that had vanished with what was in them, in the order in which they went; their disk may come back.
    lost: Vec<ClosedSegment>,
    /// What was said last of the place of the log; empty while it is where it was.
    misplaced: String,
}

impl Maintenance {
    /// Takes over where replay ended, once all readers are registered.
    pub fn new(wal: Wal, _: ReadersKnown) -> Maintenance {
        let options = wal.options();
        let byte_bound = ByteBound::new(wal.disk(), options.retention_max_bytes, wal.path());
        let bounds = Bounds {
            min_age_ms: retention::to_ms(options.retention_min_time),
            max_age_ms: Some(retention::to_ms(options.retention_max_time)).filter(|max_ms| *max_ms > 0),
            max_bytes: byte_bound.bytes(0),
        };
        let closed = wal.upkeep().segments_at_start().to_vec();
        let checkpoint_bytes = wal.upkeep().checkpoint_at_start().map_or(0, |(_, bytes)| bytes);
        let covered = wal.upkeep().covered_at_start();
        let reserve = Reserve::in_dir(wal.disk(), wal.path(), wal.segment_size_bytes());
        let file = wal.upkeep().current_file();
        let is_unbegun = file.is_some_and(|file| !file.is_in_place(wal.disk()).unwrap_or(false));
        Maintenance {
            wal,
            bounds,
            byte_bound,
            closed,
            checkpoint_bytes,
            reserve,
            last_fsync: None,
            last_forget: None,
            current_since: None,
            is_below_floor: false,
            is_losing: false,
            is_without_reserve: false,
            is_unsynced: false,
            is_displaced: false,
            is_unbegun,
            covered,
            lost: Vec::new(),
            misplaced: String::new(),
        }
    }

    /// One round; `now` decides whether an fsync is due. A closed log is left alone.
    pub fn cycle(&mut self, now: Instant) {
        self.take_rotated();
        let is_in_place = self.is_in_place();
        self.remove_covered();
        self.free_memory();
        if !is_in_place {
            if let Some(question) = self.wal.upkeep().room().asked() {
                self.wal.upkeep().room().answer(question, false);
            }
            return;
        }
        let is_sync_due =
            self.last_fsync.is_none_or(|last| now.duration_since(last) >= self.wal.options().fsync_interval);
        if is_sync_due {
            self.last_fsync = Some(now);
            let synced = self.sync_current();
            self.note_sync(synced);
        }
        let written = self.write_memory_if_due(now);
        self.note_sync(written);
        self.forget_series(now);
        if let Some(question) = self.wal.upkeep().room().asked() {
            let has_gained = match self.wal.ring().filter(|ring| !ring.is_empty()) {
                Some(_) => self.write_memory().is_ok(),
                None => self.make_room(),
            };
            self.wal.upkeep().room().answer(question, has_gained);
        }
        self.rotate_for_max_time();
        self.truncate_if_due();
        compact_symbols(&self.wal);
        self.fill_reserve();
    }

    /// Whether the log is where it was, or is there again; logs it, and changes readiness.
    fn is_in_place(&mut self) -> bool {
        let dir = self.wal.wal_dir().display().to_string();
        let (is_usable, misplaced) = match place::look(&self.wal, &self.closed) {
            Place::Ours if self.is_displaced => self.restore(&dir, None),
            Place::Ours => {
                self.wal.upkeep().set_lost(None);
                (true, String::new())
            }
            Place::ReadOnly => (false, format!("the file system of {dir} is mounted read-only")),
            Place::Vanished(cause) => self.restore(&dir, cause),
        };
        if misplaced.is_empty() && !self.misplaced.is_empty() {
            log::info!("the write-ahead log in {dir} is in its place and can be written");
        } else if !is_usable && misplaced != self.misplaced {
            let fate = self.fate_of_new_samples();
            log::error!("{misplaced}; {fate} until that is mended; no restart is needed then");
        }
        self.wal.metrics().unusable.set(f64::from(u8::from(!misplaced.is_empty())));
        let refusal = self.wal.upkeep().refusal().filter(|_| misplaced.is_empty()).map(|why| {
            format!("the write-ahead log cannot be written ({why}): new samples are lost and counted")
        });
        *self.wal.trouble().lock() = refusal.unwrap_or_else(|| misplaced.clone());
        self.misplaced = misplaced;
        is_usable
    }

    /// Begins the log again where it has vanished; what to say of that, until the next round has looked at it.
    fn restore(&mut self, dir: &str, cause: Option<io::Error>) -> (bool, String) {
        match place::restore(&self.wal, &mut self.closed, &mut self.lost) {
            Ok(Restored { n_segments, n_samples, current, returned, set_aside }) => {
                self.is_displaced = false;
                let was_unbegun = mem::take(&mut self.is_unbegun);
                self.checkpoint_bytes = checkpoint_bytes(self.wal.disk(), self.wal.wal_dir());
                if was_unbegun && n_samples == 0 && set_aside.is_none() {
                    return (true, String::new());
                }
                log::error!(
                    "the write-ahead log in {dir} had vanished: somebody removed it, or its disk went away; it goes on \
                     with segment {current:08}; {n_samples} samples in {n_segments} segments are gone, and what \
                     endpoints have not had of them is counted"
                );
                if let Some(Returned { n_segments, n_samples }) = returned {
                    log::warn!(
                        "the write-ahead log in {dir}: {n_segments} segments that had vanished before are back with \
                         {n_samples} samples; they can be queried and go with the retention, no endpoint is sent them, \
                         for each was sent what came later"
                    );
                }
                if let Some(place) = set_aside {
                    log::error!(
                        "the write-ahead log in {dir}: files stood there that are not of this log; they are kept in {0} \
                         and not sent: look at them with `scraped query --storage.agent.path={0}`, or remove them",
                        place.display()
                    );
                }
                (true, format!("the write-ahead log in {dir} had vanished and was begun again just now"))
            }
            Err(WalError::Closed) => (true, String::new()),
            Err(error) => {
                let errno = error.cause().or(cause.as_ref()).and_then(io::Error::raw_os_error);
                let is_lost = self
                    .wal
                    .upkeep()
                    .current_file()
                    .is_some_and(|file| !file.is_in_place(self.wal.disk()).unwrap_or(false));
                self.wal.upkeep().set_lost(is_lost.then_some(errno.unwrap_or(libc::ENOENT)));
                let what = match self.is_unbegun {
                    true => "was read and cannot be written",
                    false => "has vanished and cannot be begun again",
                };
                (false, format!("the write-ahead log in {dir} {what}: {error}"))
            }
        }
    }

    /// Removes what a checkpoint stands for by now: what was truncated, before this start or since. Its readers know what they
    /// lose.
    fn remove_covered(&mut self) {
        let Some(last) = self.covered else { return };
        match delete_files(&self.wal, last) {
            Ok(()) => self.covered = None,
            Err(error) => log::warn!("{error}; the next round tries again"),
        }
    }

    /// Fsyncs the files that the writer has left since the last round.
    fn take_rotated(&mut self) {
        let mut has_rotated = false;
        while let Some(Rotated { closed, file }) = self.wal.upkeep().rotated() {
            has_rotated = true;
            // The next one was made where another disk is now.
            self.is_displaced |= !file.is_in_place(self.wal.disk()).unwrap_or(false);
            self.closed.push(closed);
            if self.wal.upkeep().is_given_up(closed.number) {
                self.wal.upkeep().forget_rotated(closed.number);
                continue;
            }
            let start = Instant::now();
            let synced = if mutant::is_on(Mutant::RotatedNotSynced) { Ok(()) } else { file.sync() };
            let synced = synced.map_err(|cause| self.wal.upkeep().give_up(closed, cause));
            self.wal.metrics().fsync_duration.observe_duration(start.elapsed());
            self.note_sync(synced);
            self.wal.upkeep().forget_rotated(closed.number);
        }
        if has_rotated && !mutant::is_on(Mutant::DirectoryNotSynced) {
            sort_by_key(&mut self.closed, |segment| segment.number);
            let synced = segment::sync_dir(self.wal.disk(), self.wal.wal_dir())
                .inspect_err(|_| self.wal.upkeep().give_up_name());
            self.note_sync(synced);
        }
    }

    fn sync_current(&self) -> Result<(), WalError> {
        let start = Instant::now();
        let synced = self.wal.upkeep().sync();
        self.wal.metrics().fsync_duration.observe_duration(start.elapsed());
        synced
    }

    fn note_sync(&mut self, synced: Result<(), WalError>) {
        match synced {
            Ok(()) => self.is_unsynced = false,
            Err(error) if !self.is_unsynced => {
                self.is_unsynced = true;
                log::error!("{error}");
            }
            Err(_) => {}
        }
    }

    /// Only closed segments go, so one that grows slowly must be closed for `max-time` to be kept.
    fn rotate_for_max_time(&mut self) {
        let Some(max_age_ms) = self.bounds.max_age_ms else { return };
        let Some(current) = self.wal.current() else { return };
        let Some(newest_ms) = current.newest_ts_ms else { return };
        match self.current_since {
            Some((number, since_ms)) if number == current.number => {
                if newest_ms.saturating_sub(since_ms) > max_age_ms / SEGMENTS_PER_MAX_TIME {
                    self.rotate();
                }
            }
            _ => self.current_since = Some((current.number, newest_ms)),
        }
    }

    fn rotate(&mut self) {
        match self.wal.upkeep().rotate() {
            Ok(()) => self.take_rotated(),
            Err(error) => log::warn!("{error}; the segment stays in use"),
        }
    }

    fn truncate_if_due(&mut self) {
        let Some(mut current) = self.wal.current() else { return };
        // Age is that in the whole log.
        current.newest_ts_ms = self.wal.reader().newest_ts_ms().or(current.newest_ts_ms);
        let total_bytes = self.measure();
        let floor_bytes = retention::floor_bytes(
            self.wal.segment_size_bytes(),
            self.checkpoint_bytes,
            self.wanted_reserve_bytes(),
        );
        self.note_bound(self.byte_bound.complaint(floor_bytes, self.wal.path()));
        let bounds = Bounds { max_bytes: self.byte_bound.bytes(floor_bytes), ..self.bounds };
        let metrics = self.wal.metrics();
        let first = self.closed.first().unwrap_or(&current);
        metrics.limit.set(bounds.max_bytes as f64);
        metrics.segment_first.set(f64::from(first.number));
        metrics.segment_first_timestamp.set(first.newest_ts_ms.unwrap_or_default() as f64 / 1000.0);
        let usage = self.usage(current, total_bytes);
        if let Some(truncation) = retention::due(bounds, usage) {
            self.truncate(truncation, Cause::Due);
        }
    }

    fn note_bound(&mut self, complaint: Option<Complaint>) {
        let was_below_floor = mem::replace(&mut self.is_below_floor, complaint.is_some());
        match complaint {
            _ if was_below_floor => {}
            Some(Complaint::Chosen(why)) => log::error!("{why}"),
            Some(Complaint::SmallDisk(why)) => log::warn!("{why}"),
            None => {}
        }
    }

    /// The disk is full: the oldest segments go. True if that made room.
    fn make_room(&mut self) -> bool {
        if self.closed.is_empty() {
            // All there is stands in the segment being written.
            let is_worth_it = self.wal.current().is_some_and(|current| current.bytes >= MIN_ROTATE_BYTES);
            if is_worth_it {
                self.rotate();
            }
        }
        let Some(current) = self.wal.current() else { return false };
        let total_bytes = self.measure();
        let usage = self.usage(current, total_bytes);
        // Room for the next reserve and checkpoint, and some to write on; not the whole log on a small disk.
        let closed_bytes: u64 = self.closed.iter().map(|segment| segment.bytes).sum();
        let to_write_bytes = self.wal.segment_size_bytes().min(closed_bytes / 4);
        let wanted_bytes = self.wanted_reserve_bytes() + self.checkpoint_bytes + to_write_bytes;
        let Some(truncation) = retention::for_room(self.bounds, usage, wanted_bytes) else { return false };
        log::warn!(
            "no space left on the disk of {}: segments up to {:08} are removed",
            self.wal.path().display(),
            truncation.last
        );
        let is_truncated = self.truncate(truncation, Cause::FullDisk);
        // Before the commits that wait take the room.
        self.fill_reserve();
        is_truncated
    }

    /// What there will be until segments can go again: the current one is full then, and a second checkpoint is written
    /// beside the first.
    fn usage(&self, current: ClosedSegment, total_bytes: u64) -> Usage<'_> {
        let growth_bytes = self.wal.segment_size_bytes().saturating_sub(current.bytes);
        Usage {
            closed: &self.closed,
            current,
            checkpoint_bytes: self.checkpoint_bytes,
            total_bytes: total_bytes.saturating_add(growth_bytes).saturating_add(self.checkpoint_bytes),
            needed_from: self.wal.readers().needed_from(),
        }
    }

    /// True if the segments are gone.
    fn truncate(&mut self, truncation: Truncation, cause: Cause) -> bool {
        let Some(current) = self.wal.current().map(|current| current.number) else { return false };
        let start = Instant::now();
        let metrics = self.wal.metrics();
        metrics.truncations.inc();
        let reserve = match cause {
            Cause::Due => None,
            Cause::FullDisk => Some(&self.reserve),
        };
        let truncated = match self.wal.ring().and_then(Ring::skipped) {
            // What is on the disk is settled as a whole, and its series may be forgotten.
            Some(skipped) if skipped >= current => {
                flush::begin_behind(&self.wal, &mut self.closed, skipped, reserve)
            }
            _ => checkpoint_up_to(&self.wal, truncation.last, &self.closed, reserve),
        };
        metrics.truncate_duration.observe_duration(start.elapsed());
        let truncated = match truncated {
            Ok(truncated) => truncated,
            Err(error) => {
                metrics.truncations_failed.inc();
                log::error!("{error}; the write-ahead log was not truncated, the next round tries again");
                return false;
            }
        };
        metrics.samples_lost_to_retention.add(truncation.lost_samples);
        self.closed.retain(|segment| segment.number > truncated.last);
        self.checkpoint_bytes = truncated.checkpoint_bytes;
        self.note_lost(truncation);
        // Some may be gone, and the others are not of the log any more.
        self.covered = Some(truncated.last);
        self.remove_covered();
        if self.covered.is_some() {
            self.wal.metrics().truncations_failed.inc();
            return false;
        }
        log::info!(
            "write-ahead log truncated up to segment {:08} in {:.3} s: {} bytes removed, {} series in the checkpoint \
             ({} bytes), {} series ended, {} samples younger than storage.agent.retention.min-time lost",
            truncated.last,
            start.elapsed().as_secs_f64(),
            truncation.bytes,
            truncated.checkpoint_series,
            truncated.checkpoint_bytes,
            truncated.removed_series,
            truncation.lost_samples
        );
        true
    }

    /// Said once, with the way out; every truncation says how many they were.
    fn note_lost(&mut self, truncation: Truncation) {
        let had_lost = mem::replace(&mut self.is_losing, truncation.lost_samples > 0);
        if self.is_losing && !had_lost {
            log::warn!(
                "write-ahead log: {} samples in {} segments younger than storage.agent.retention.min-time were \
                 removed; raise storage.agent.retention.max-bytes or make room on the disk to keep them",
                truncation.lost_samples,
                truncation.lost_segments
            );
        }
    }

    /// Bytes of everything under the data directory.
    fn measure(&self) -> u64 {
        if let Ok(wal_bytes) = self.wal.disk().bytes_under(self.wal.wal_dir()) {
            self.wal.metrics().storage_size.set(wal_bytes as f64);
        }
        self.wal.disk().bytes_under(self.wal.path()).unwrap_or_default()
    }

    fn wanted_reserve_bytes(&self) -> u64 {
        let guess = self.wal.active_series() as u64 * CHECKPOINT_BYTES_PER_SERIES;
        self.reserve.wanted_bytes(self.checkpoint_bytes).max(guess)
    }

    fn fill_reserve(&mut self) {
        // A closed log belongs to the next process.
        if self.wal.current().is_none() {
            return;
        }
        let wanted_bytes = self.wanted_reserve_bytes();
        match self.reserve.fill(self.wal.disk(), wanted_bytes) {
            Ok(()) => self.is_without_reserve = false,
            Err(error) if !self.is_without_reserve => {
                self.is_without_reserve = true;
                log::warn!("{error}; {wanted_bytes} bytes are set aside once there is room");
            }
            Err(_) => {}
        }
    }
}

#[path = "memory_round.rs"]
mod memory_round;
