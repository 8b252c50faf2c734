//! A control group with a bound of memory, of either version. Needs root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;

/// Where version 1 has its groups of memory, and version 2 all groups.
const PLACES: [(&str, &str); 2] =
    [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];

/// The group; removed when it is dropped, its processes must have ended by then.
#[derive(Debug)]
pub struct MemoryGroup(PathBuf);

impl MemoryGroup {
    /// With room for `bytes`, swap included. `None`, and a word about it, where no group can be made.
    pub fn new(bytes: u64) -> Option<MemoryGroup> {
        for (place, limit) in PLACES {
            let dir = Path::new(place).join(format!("scraped-test-{}", process::id()));
            if !Path::new(place).join("cgroup.procs").exists() || fs::create_dir(&dir).is_err() {
                continue;
            }
            let group = MemoryGroup(dir);
            if fs::write(group.0.join(limit), bytes.to_string()).is_ok() {
                // Not everywhere is swap counted.
                let _ = fs::write(group.0.join("memory.swap.max"), "0");
                let _ = fs::write(group.0.join("memory.memsw.limit_in_bytes"), bytes.to_string());
                return Some(group);
            }
        }
        println!("no control group with a bound of memory can be made here: nothing was tested");
        None
    }

    /// A process that writes its number there is in the group.
    pub fn procs(&self) -> PathBuf {
        self.0.join("cgroup.procs")
    }

    /// How many of its processes were killed for want of memory.
    pub fn n_killed(&self) -> u64 {
        let read = |name: &str| fs::read_to_string(self.0.join(name)).unwrap_or_default();
        let text = read("memory.oom_control") + &read("memory.events");
        let numbers = text.lines().filter_map(|line| line.strip_prefix("oom_kill ")?.parse::<u64>().ok());
        numbers.sum()
    }

    /// The most that its processes and the pages of files that they use have taken; `None` where the system does not say.
    pub fn most_bytes(&self) -> Option<u64> {
        let read = |name: &str| fs::read_to_string(self.0.join(name)).ok()?.trim().parse().ok();
        read("memory.max_usage_in_bytes").or_else(|| read("memory.peak"))
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}
