//! A disk that is small enough to be filled, a tmpfs of its own, and one that can be made to hang. Both need root.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use tempfile::TempDir;

/// A file system of a few mebibytes; unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    dir: Arc<TempDir>,
}

impl SmallDisk {
    /// `None`, and a word about it, where nothing can be mounted.
    pub fn mount(size: &str) -> Option<SmallDisk> {
        let dir = TempDir::with_prefix("scraped-test-").unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"]).arg(dir.path());
        let is_mounted = mount.output().is_ok_and(|output| output.status.success());
        if !is_mounted {
            println!("no tmpfs can be mounted here: nothing was tested");
        }
        is_mounted.then_some(SmallDisk { dir: Arc::new(dir) })
    }

    /// Where the disk is.
    pub fn dir(&self) -> Arc<TempDir> {
        Arc::clone(&self.dir)
    }

    /// A directory on it.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Mounts it again with these options: `ro`, `rw`.
    pub fn remount(&self, options: &str) {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,{options}")]).arg(self.dir.path());
        let output = mount.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// What another program does: makes as many files as the file system takes; the disk has a bound of them.
    pub fn fill_names(&self) {
        let others = self.dir.path().join("names");
        fs::create_dir_all(&others).unwrap();
        let n_made = (0..).take_while(|idx| File::create(others.join(format!("{idx}"))).is_ok()).count();
        assert!(n_made < 100_000, "{n_made}");
    }

    /// Takes those away.
    pub fn free_names(&self) {
        fs::remove_dir_all(self.dir.path().join("names")).unwrap();
    }

    /// What another program does: takes all room there is but `left_bytes`.
    pub fn fill(&self, left_bytes: u64) {
        let mut file = File::create(self.dir.path().join("filler")).unwrap();
        let chunk = [0_u8; 4096];
        let mut written = 0;
        while file.write_all(&chunk).is_ok() {
            written += chunk.len() as u64;
        }
        file.set_len(written.saturating_sub(left_bytes)).unwrap();
    }

    /// Takes that away.
    pub fn free(&self) {
        fs::remove_file(self.dir.path().join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.dir.path()).status();
    }
}

/// A file system whose writes hang while it is frozen; thawed and unmounted when dropped.
#[derive(Debug)]
pub struct HangingDisk {
    _image: TempDir,
    mounted: PathBuf,
}

impl HangingDisk {
    /// Mounts it at `mounted`, which is made. `None`, and a word about it, where that cannot be done.
    pub fn mount(mounted: PathBuf) -> Option<HangingDisk> {
        let image = TempDir::with_prefix("scraped-test-").unwrap();
        let path = image.path().join("image");
        File::create(&path).unwrap().set_len(64 << 20).unwrap();
        fs::create_dir_all(&mounted).unwrap();
        let succeeds = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
        let is_mounted = succeeds(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&path))
            && succeeds(Command::new("mount").args(["-o", "loop"]).arg(&path).arg(&mounted));
        let disk = is_mounted.then_some(HangingDisk { _image: image, mounted });
        if disk.as_ref().is_none_or(|disk| !(disk.fsfreeze("-f") && disk.fsfreeze("-u"))) {
            println!("no file system can be mounted and frozen here: nothing was tested");
            return None;
        }
        disk
    }

    /// From now on writes hang.
    pub fn freeze(&self) {
        assert!(self.fsfreeze("-f"));
    }

    /// Writes go on.
    pub fn thaw(&self) {
        assert!(self.fsfreeze("-u"));
    }

    fn fsfreeze(&self, what: &str) -> bool {
        Command::new("fsfreeze").arg(what).arg(&self.mounted).output().is_ok_and(|it| it.status.success())
    }
}

impl Drop for HangingDisk {
    fn drop(&mut self) {
        self.fsfreeze("-u");
        let _ = Command::new("umount").arg("-l").arg(&self.mounted).status();
    }
}
