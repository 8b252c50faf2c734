//! Each rule of what survives, by many seeds.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::image::Image;
use crate::disk::power_cut::{Survival, image};
use crate::disk::recorder::{Recorder, Recording};
use crate::disk::{Access, Disk, RealDisk};

const SEEDS: u64 = 2000;

/// What `work` does in an empty directory.
fn recorded(work: impl FnOnce(&dyn Disk, &Path)) -> Recording {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::over(Arc::new(RealDisk), dir.path()).unwrap();
    work(&recorder, dir.path());
    // The last write is complete.
    recorder.mark(0);
    let recording = recorder.recording();
    // Whoever runs on finds what is really there.
    let is_there = Image::of(dir.path()).unwrap();
    assert!(image(&recording, usize::MAX, Survival::Ordered, 0) == is_there, "{:?}", recording.steps);
    recording
}

fn write(disk: &dyn Disk, path: &Path, access: Access, data: &[u8], is_synced: bool) {
    let file = disk.open(path, access).unwrap();
    file.write_all(data).unwrap();
    if is_synced {
        file.sync().unwrap();
    }
}

/// All that can be found after the last step.
fn images(recording: &Recording) -> Vec<Image> {
    (0..SEEDS).map(|seed| image(recording, usize::MAX, Survival::Any, seed)).collect()
}

fn names(image: &Image) -> String {
    image.files.keys().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ")
}

fn all_names(recording: &Recording) -> BTreeSet<String> {
    images(recording).iter().map(names).collect()
}

/// What the file `f` is found to hold.
fn contents(recording: &Recording) -> BTreeSet<Option<Vec<u8>>> {
    images(recording).iter().map(|image| image.files.get(Path::new("f")).cloned()).collect()
}

#[test]
fn what_was_synced_with_its_name_is_there() {
    let recording = recorded(|disk, dir| {
        write(disk, &dir.join("f"), Access::CreateNew, b"text", true);
        disk.sync_dir(dir).unwrap();
    });
    assert_eq!(contents(&recording), [Some(b"text".to_vec())].into());
}

#[test]
fn an_fsync_of_a_file_says_nothing_of_its_name() {
    let recording = recorded(|disk, dir| write(disk, &dir.join("f"), Access::CreateNew, b"text", true));
    assert_eq!(contents(&recording), [None, Some(b"text".to_vec())].into());
}

#[test]
fn a_sync_of_a_directory_says_nothing_of_what_its_files_hold() {
    let recording = recorded(|disk, dir| {
        write(disk, &dir.join("f"), Access::CreateNew, b"text", false);
        disk.sync_dir(dir).unwrap();
    });
    let found = [&b""[..], b"\0\0\0\0", b"text"].map(|bytes| Some(bytes.to_vec()));
    assert_eq!(contents(&recording), found.into());
}

#[test]
fn blocks_survive_in_any_subset_and_with_any_length() {
    let recording = recorded(|disk, dir| {
        let file = disk.open(&dir.join("f"), Access::CreateNew).unwrap();
        file.write_all(&[1; 4096]).unwrap();
        file.sync().unwrap();
        disk.sync_dir(dir).unwrap();
        file.write_all(&[2; 8192]).unwrap();
        file.write_all(&[3; 10]).unwrap();
    });
    let shapes: BTreeSet<(usize, Vec<u8>)> = contents(&recording)
        .into_iter()
        .flatten()
        .map(|bytes| (bytes.len(), bytes.chunks(4096).map(|block| block[0]).collect()))
        .collect();
    let mut expected = BTreeSet::new();
    for blocks in [[0, 0, 0], [2, 0, 0], [0, 2, 0], [0, 0, 3], [2, 2, 0], [2, 0, 3], [0, 2, 3], [2, 2, 3]] {
        for (n_blocks, bytes) in [(0, 4096), (1, 8192), (2, 12_288), (3, 12_298)] {
            let found = [1].into_iter().chain(blocks).take(n_blocks + 1).collect();
            expected.insert((bytes, found));
        }
    }
    assert_eq!(shapes, expected);
}

#[test]
fn a_block_is_as_it_was_after_any_of_the_writes_to_it() {
    let recording = recorded(|disk, dir| {
        let file = disk.open(&dir.join("f"), Access::CreateNew).unwrap();
        disk.sync_dir(dir).unwrap();
        ["a", "b", "c"].iter().for_each(|data| file.write_all(data.as_bytes()).unwrap());
    });
    let whole: BTreeSet<String> = contents(&recording)
        .into_iter()
        .flatten()
        .filter(|bytes| bytes.len() == 3)
        .map(|bytes| String::from_utf8(bytes).unwrap())
        .collect();
    assert_eq!(whole, ["\0\0\0", "a\0\0", "ab\0", "abc"].map(str::to_owned).into());
}

#[test]
fn a_cut_may_survive_or_not() {
    let recording = recorded(|disk, dir| {
        let file = disk.open(&dir.join("f"), Access::CreateNew).unwrap();
        file.write_all(b"wholetorn").unwrap();
        file.sync().unwrap();
        disk.sync_dir(dir).unwrap();
        file.set_len(5).unwrap();
    });
    let found: BTreeSet<Vec<u8>> = contents(&recording).into_iter().flatten().collect();
    assert!(found.contains(&b"whole"[..]) && found.contains(&b"wholetorn"[..]), "{found:?}");
    assert!(found.iter().all(|bytes| bytes.starts_with(b"whole")));
}

#[test]
fn names_survive_in_any_subset_until_their_directory_was_synced() {
    let recording = recorded(|disk, dir| {
        for name in ["a", "b"] {
            write(disk, &dir.join(name), Access::CreateNew, b"", true);
        }
    });
    assert_eq!(all_names(&recording), ["", "a", "b", "a b"].map(str::to_owned).into());
    let recording = recorded(|disk, dir| {
        write(disk, &dir.join("a"), Access::CreateNew, b"", true);
        disk.sync_dir(dir).unwrap();
        disk.remove_file(&dir.join("a")).unwrap();
        write(disk, &dir.join("b"), Access::CreateNew, b"", true);
    });
    assert_eq!(all_names(&recording), ["", "a", "b", "a b"].map(str::to_owned).into());
}

#[test]
fn a_rename_changes_both_names_or_none() {
    let recording = recorded(|disk, dir| {
        write(disk, &dir.join("f"), Access::CreateNew, b"old", true);
        disk.sync_dir(dir).unwrap();
        write(disk, &dir.join("f.tmp"), Access::Replace, b"new", true);
        disk.rename(&dir.join("f.tmp"), &dir.join("f")).unwrap();
    });
    let found: BTreeSet<(String, Vec<u8>)> =
        images(&recording).iter().map(|it| (names(it), it.files[Path::new("f")].clone())).collect();
    let expected = [("f", "old"), ("f f.tmp", "old"), ("f", "new")];
    assert_eq!(found, expected.map(|(names, text)| (names.to_owned(), text.as_bytes().to_vec())).into());
}

#[test]
fn a_rename_between_directories_is_durable_with_the_new_one() {
    let moved = |synced: Option<&str>| {
        recorded(|disk, dir| {
            disk.create_dir(&dir.join("from")).unwrap();
            disk.create_dir(&dir.join("to")).unwrap();
            write(disk, &dir.join("from/a"), Access::CreateNew, b"", true);
            disk.sync_dir(&dir.join("from")).unwrap();
            disk.sync_dir(dir).unwrap();
            disk.rename(&dir.join("from/a"), &dir.join("to/a")).unwrap();
            if let Some(synced) = synced {
                disk.sync_dir(&dir.join(synced)).unwrap();
            }
        })
    };
    let either = ["from/a", "to/a"].map(str::to_owned);
    assert_eq!(all_names(&moved(None)), either.clone().into());
    assert_eq!(all_names(&moved(Some("from"))), either.into());
    assert_eq!(all_names(&moved(Some("to"))), ["to/a".to_owned()].into());
}

#[test]
fn what_was_said_last_of_a_name_counts_whichever_directory_was_synced_first() {
    let recording = recorded(|disk, dir| {
        disk.create_dir(&dir.join("d")).unwrap();
        write(disk, &dir.join("a"), Access::CreateNew, b"old", true);
        disk.sync_dir(dir).unwrap();
        disk.rename(&dir.join("a"), &dir.join("d/a")).unwrap();
        write(disk, &dir.join("a"), Access::CreateNew, b"new", true);
        disk.sync_dir(dir).unwrap();
    });
    // The rename may survive or not; it does not take the new file's name away.
    assert_eq!(all_names(&recording), ["a", "a d/a"].map(str::to_owned).into());
    assert!(images(&recording).iter().all(|image| image.files[Path::new("a")] == b"new"));
}

#[test]
fn a_directory_without_a_name_is_lost_with_what_is_in_it() {
    let recording = recorded(|disk, dir| {
        disk.create_dir(&dir.join("d")).unwrap();
        write(disk, &dir.join("d/a"), Access::CreateNew, b"", true);
        disk.sync_dir(&dir.join("d")).unwrap();
    });
    assert_eq!(all_names(&recording), ["", "d/a"].map(str::to_owned).into());
}

#[test]
fn in_order_all_steps_survive_and_a_front_part_of_the_last_write() {
    let recording = recorded(|disk, dir| {
        disk.create_dir(&dir.join("d")).unwrap();
        write(disk, &dir.join("f"), Access::CreateNew, b"abc", false);
        disk.rename(&dir.join("f"), &dir.join("d/f")).unwrap();
    });
    let found = |n_steps, path: &str| -> BTreeSet<Option<Vec<u8>>> {
        let image = |seed| image(&recording, n_steps, Survival::Ordered, seed);
        (0..SEEDS).map(|seed| image(seed).files.get(Path::new(path)).cloned()).collect()
    };
    assert_eq!(found(1, "f"), [None].into());
    assert_eq!(found(2, "f"), [Some(Vec::new())].into());
    let parts = ["", "a", "ab", "abc"].map(|text| Some(text.as_bytes().to_vec()));
    assert_eq!(found(3, "f"), parts.into());
    assert_eq!(found(4, "d/f"), [Some(b"abc".to_vec())].into());
    assert_eq!(found(4, "f"), [None].into());
}

#[test]
fn an_image_is_the_same_by_the_same_seed_and_on_a_disk() {
    let recording = recorded(|disk, dir| {
        disk.create_dir(&dir.join("d")).unwrap();
        for name in ["d/a", "b"] {
            write(disk, &dir.join(name), Access::CreateNew, &[7; 10_000], false);
        }
    });
    for seed in 0..20 {
        let found = image(&recording, usize::MAX, Survival::Any, seed);
        assert!(found == image(&recording, usize::MAX, Survival::Any, seed), "seed {seed}");
        let dir = tempfile::tempdir().unwrap();
        found.write_to(dir.path()).unwrap();
        assert!(Image::of(dir.path()).unwrap() == found, "seed {seed}");
    }
    let dirs: BTreeSet<BTreeSet<PathBuf>> = images(&recording).into_iter().map(|image| image.dirs).collect();
    assert_eq!(dirs.len(), 2);
}
