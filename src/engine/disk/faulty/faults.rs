//! What is wrong with a disk.

use std::collections::BTreeMap;
use std::fmt::{self, Debug, Formatter};
use std::io;
use std::sync::Arc;

use crate::disk::Access;
use crate::disk::draw::Draw;

/// What is asked of a disk, as far as faults tell it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// [`Disk::open`](crate::disk::Disk::open)
    Open(Access),
    /// [`Disk::rename`](crate::disk::Disk::rename)
    Rename,
    /// [`Disk::remove_file`](crate::disk::Disk::remove_file) and [`Disk::remove_dir`](crate::disk::Disk::remove_dir)
    Remove,
    /// [`Disk::create_dir`](crate::disk::Disk::create_dir)
    CreateDir,
    /// [`Disk::sync_dir`](crate::disk::Disk::sync_dir)
    SyncDir,
    /// [`Disk::list`](crate::disk::Disk::list), and [`Disk::metadata`](crate::disk::Disk::metadata) of a path
    Look,
    /// [`DiskFile::write_all`](crate::disk::DiskFile::write_all)
    Write,
    /// [`DiskFile::read_at`](crate::disk::DiskFile::read_at)
    Read,
    /// [`DiskFile::set_len`](crate::disk::DiskFile::set_len)
    SetLen,
    /// [`DiskFile::allocate`](crate::disk::DiskFile::allocate)
    Allocate,
    /// [`DiskFile::sync`](crate::disk::DiskFile::sync)
    Sync,
}

impl Operation {
    /// All that change what is on the disk.
    pub const CHANGES: [Operation; 11] = [
        Operation::Open(Access::CreateNew),
        Operation::Open(Access::Replace),
        Operation::Open(Access::Overwrite),
        Operation::Rename,
        Operation::Remove,
        Operation::CreateDir,
        Operation::SyncDir,
        Operation::Write,
        Operation::SetLen,
        Operation::Allocate,
        Operation::Sync,
    ];

    /// All of them.
    pub fn all() -> impl Iterator<Item = Operation> {
        let others = [
            Operation::Open(Access::Read),
            Operation::Open(Access::Append),
            Operation::Look,
            Operation::Read,
        ];
        Operation::CHANGES.into_iter().chain(others)
    }
}

/// What is wrong with a disk; nothing by default.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// These operations fail with this error number.
    pub refused: BTreeMap<Operation, i32>,
    /// Bytes that can still be appended or allocated; `None`: any number. A write that does not fit is cut short. Nothing
    /// gives bytes back, and what is written over or replaces a file takes none.
    pub room_bytes: Option<u64>,
    /// Syncs of files and directories do nothing and say that they worked.
    pub lies_about_syncs: bool,
    /// What fails by chance.
    pub chance: Option<Chance>,
    /// Called before each operation: it may sleep, or wait for an event.
    pub before: Option<Before>,
}

impl Faults {
    /// These operations fail with error number `errno`.
    pub fn refusing(operations: impl IntoIterator<Item = Operation>, errno: i32) -> Faults {
        let refused = operations.into_iter().map(|operation| (operation, errno)).collect();
        Faults { refused, ..Faults::default() }
    }

    /// No more than this can be appended or allocated.
    pub fn with_room(self, room_bytes: u64) -> Faults {
        Faults { room_bytes: Some(room_bytes), ..self }
    }
}

/// Changes that fail by chance, with EIO or ENOSPC; a write that does is cut short anywhere.
#[derive(Clone, Debug)]
pub struct Chance {
    pub(super) draw: Draw,
    one_in: u64,
}

impl Chance {
    /// One change in `one_in` fails; which, is drawn from `seed`.
    pub fn new(seed: u64, one_in: u64) -> Chance {
        Chance { draw: Draw::new(seed), one_in }
    }

    /// Why this change fails, if it does.
    pub(super) fn strike(&mut self) -> Option<io::Error> {
        let strikes = self.draw.once_in(self.one_in);
        let errno = if self.draw.once_in(2) { libc::EIO } else { libc::ENOSPC };
        strikes.then(|| io::Error::from_raw_os_error(errno))
    }
}

/// What is called before an operation.
#[derive(Clone)]
pub struct Before(pub(super) Arc<dyn Fn(Operation) + Send + Sync>);

impl Before {
    /// `wait` is called with each operation before it is done.
    pub fn each(wait: impl Fn(Operation) + Send + Sync + 'static) -> Before {
        Before(Arc::new(wait))
    }
}

impl Debug for Before {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("Before")
    }
}
