//! A disk that fills up or refuses: what tests put under a log. Only built for tests, by the feature `faults`.

use crate::wal::format::segment::Segment;
use parking_lot::Mutex;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::sync::Arc;

/// A disk that fills up or refuses, for the segments of a test.
#[derive(Clone, Debug, Default)]
pub(in crate::wal) struct FullDisk(Arc<Mutex<DiskState>>);

#[derive(Clone, Copy, Debug, Default)]
pub(in crate::wal) struct DiskState {
    /// Bytes that can still be written; `None`: any number.
    pub(in crate::wal) room_bytes: Option<u64>,
    pub(in crate::wal) refuses_cuts: bool,
    pub(in crate::wal) refuses_rewrites: bool,
    pub(in crate::wal) refuses_new_files: bool,
    pub(in crate::wal) refuses_fsyncs: bool,
}

impl FullDisk {
    pub(in crate::wal) fn set(&self, state: DiskState) {
        *self.0.lock() = state;
    }

    pub(in crate::wal) fn write_all(&self, mut file: &File, data: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock();
        let Some(room_bytes) = &mut state.room_bytes else { return file.write_all(data) };
        let fitting = data.len().min(*room_bytes as usize);
        file.write_all(&data[..fitting])?;
        *room_bytes -= fitting as u64;
        if fitting == data.len() { Ok(()) } else { Err(ErrorKind::StorageFull.into()) }
    }

    pub(in crate::wal) fn check_cut(&self) -> io::Result<()> {
        if self.0.lock().refuses_cuts { Err(ErrorKind::Other.into()) } else { Ok(()) }
    }

    pub(in crate::wal) fn check_rewrite(&self) -> io::Result<()> {
        if self.0.lock().refuses_rewrites { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    pub(in crate::wal) fn check_fsync(&self) -> io::Result<()> {
        let is_refused = self.0.lock().refuses_fsyncs;
        if is_refused { Err(io::Error::from_raw_os_error(libc::EIO)) } else { Ok(()) }
    }

    pub(in crate::wal) fn check_create(&self) -> io::Result<()> {
        if self.0.lock().refuses_new_files { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl Segment {
    pub(in crate::wal) fn on(mut self, disk: &FullDisk) -> Segment {
        self.disk = Some(disk.clone());
        self
    }
}
