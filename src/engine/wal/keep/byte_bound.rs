//! `--storage.agent.retention.max-bytes` as it is kept: what was asked for, or what suits the file system.
//!
//! A log needs a least size, which grows with its series (`retention::floor_bytes`). A bound that was chosen and lies below
//! it is a mistake to be said. One that nobody chose gives way up to half of the file system, without a word.

use std::path::Path;

use crate::disk::Disk;

/// The default, unless a tenth of the file system is less.
const DEFAULT_MAX_BYTES: u64 = 1024 * 1024 * 1024;
const DEFAULT_MAX_SHARE: u64 = 10;

/// The part of the file system up to which the default gives way to what the series need.
const ROOMY_SHARE: u64 = 2;

/// The bound in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ByteBound {
    wanted_bytes: u64,
    /// It grows up to here in silence.
    roomy_bytes: u64,
    is_chosen: bool,
}

impl ByteBound {
    /// As the flag says; `None`: by the file system of `data_dir`.
    pub(super) fn new(disk: &dyn Disk, max_bytes: Option<u64>, data_dir: &Path) -> ByteBound {
        match max_bytes {
            Some(bytes) => ByteBound { wanted_bytes: bytes, roomy_bytes: bytes, is_chosen: true },
            None => {
                let file_system = disk.file_system(data_dir);
                ByteBound::of_file_system(file_system.map_or(u64::MAX, |file_system| file_system.total_bytes))
            }
        }
    }

    fn of_file_system(total_bytes: u64) -> ByteBound {
        let wanted_bytes = (total_bytes / DEFAULT_MAX_SHARE).min(DEFAULT_MAX_BYTES);
        ByteBound { wanted_bytes, roomy_bytes: total_bytes / ROOMY_SHARE, is_chosen: false }
    }

    /// What is kept to, where `floor_bytes` is the least that can be.
    pub(super) fn bytes(self, floor_bytes: u64) -> u64 {
        self.wanted_bytes.max(floor_bytes)
    }

    /// What is wrong with the bound, where `floor_bytes` is the least that can be kept.
    pub(super) fn complaint(self, floor_bytes: u64, data_dir: &Path) -> Option<Complaint> {
        let Self { wanted_bytes, roomy_bytes, is_chosen } = self;
        if floor_bytes <= roomy_bytes {
            return None;
        }
        Some(match is_chosen {
            true => Complaint::Chosen(format!(
                "storage.agent.retention.max-bytes cannot be kept (max-bytes: {wanted_bytes}, least: {floor_bytes}); \
                 {floor_bytes} bytes are used instead; raise it, or lower --storage.agent.wal-segment-size"
            )),
            false => Complaint::SmallDisk(format!(
                "half of the file system of {} is too little for a log of this many series (half: {roomy_bytes}, \
                 least: {floor_bytes}); {floor_bytes} bytes are used",
                data_dir.display()
            )),
        })
    }
}

/// Why a bound cannot be kept, in a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Complaint {
    /// It was chosen, and is less than the log needs.
    Chosen(String),
    /// The file system is too small for the series.
    SmallDisk(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn a_bound_that_nobody_chose_is_a_tenth_and_gives_way_up_to_half() {
        let dir = Path::new("/data");
        let bound = |mib: u64| ByteBound::of_file_system(mib * MIB);
        assert_eq!(bound(200).bytes(0), 20 * MIB);
        assert_eq!(bound(1 << 20).bytes(0), 1024 * MIB);
        assert_eq!(bound(8).bytes(3 * MIB), 3 * MIB);
        assert_eq!(bound(8).complaint(4 * MIB, dir), None);
        let Some(Complaint::SmallDisk(why)) = bound(8).complaint(4 * MIB + 1, dir) else {
            panic!("no complaint")
        };
        assert!(why.contains("half of the file system of /data is too little"), "{why}");
    }

    #[test]
    fn a_bound_that_was_chosen_is_complained_of_at_once() {
        let bound = ByteBound::new(&RealDisk, Some(MIB), Path::new("/data"));
        assert_eq!(bound.complaint(MIB, Path::new("/data")), None);
        assert_eq!((bound.bytes(0), bound.bytes(2 * MIB)), (MIB, 2 * MIB));
        assert!(matches!(bound.complaint(2 * MIB, Path::new("/data")), Some(Complaint::Chosen(_))));
    }
}
