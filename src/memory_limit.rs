//! How much memory this process may have: the least of its control groups' limits, or the machine's memory.
//!
//! A leaf. Reads `/proc` and the cgroup file system of both versions; whatever is missing there is no limit.

use std::fs;
use std::path::{Path, PathBuf};

/// The process' groups, where file systems are mounted, and the machine's memory.
const CGROUPS: &str = "proc/self/cgroup";
const MOUNTS: &str = "proc/self/mountinfo";
const MEMORY: &str = "proc/meminfo";

/// A limit above this is none: version 1 has a very large number for that.
const NO_LIMIT_BYTES: u64 = 1 << 60;

/// What a process has addresses for: with 32 bits 2 GiB, on MIPS at most, elsewhere nearly.
const ADDRESSABLE_BYTES: u64 = (usize::MAX / 2) as u64;

/// A limit and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryLimit {
    /// In bytes.
    pub bytes: u64,
    /// The file that says so.
    pub file: PathBuf,
}

/// The limit that holds for this process; `None` if nothing says anything.
pub fn memory_limit() -> Option<MemoryLimit> {
    memory_limit_in(Path::new("/"))
}

/// The same below another root, for tests.
pub fn memory_limit_in(root: &Path) -> Option<MemoryLimit> {
    let groups = fs::read_to_string(root.join(CGROUPS)).unwrap_or_default();
    let mounts = fs::read_to_string(root.join(MOUNTS)).unwrap_or_default();
    let of_groups = groups.lines().filter_map(|line| limit_of_group(root, &mounts, line));
    of_groups.chain(limit_of_machine(root)).min_by_key(|limit| limit.bytes)
}

/// The least limit of a line of `/proc/self/cgroup`: the group's and those of all that it is in.
fn limit_of_group(root: &Path, mounts: &str, line: &str) -> Option<MemoryLimit> {
    let mut parts = line.splitn(3, ':');
    let (number, controllers, group) = (parts.next()?, parts.next()?, parts.next()?);
    let is_second = number == "0" && controllers.is_empty();
    let name = match is_second {
        true => "memory.max",
        false if controllers.split(',').any(|it| it == "memory") => "memory.limit_in_bytes",
        false => return None,
    };
    let (mounted_group, mount_point) = mounts.lines().find_map(|line| mount(line, is_second))?;
    // What is mounted may be a part of the tree: that of a container.
    let group = group.strip_prefix(mounted_group.trim_end_matches('/')).unwrap_or("");
    let top = root.join(mount_point.trim_start_matches('/'));
    let mut dir = top.join(group.trim_start_matches('/'));
    let mut least: Option<MemoryLimit> = None;
    loop {
        let file = dir.join(name);
        if let Some(bytes) = read_number(&file).filter(|bytes| *bytes < NO_LIMIT_BYTES)
            && least.as_ref().is_none_or(|least| bytes < least.bytes)
        {
            least = Some(MemoryLimit { bytes, file });
        }
        if dir == top || !dir.pop() || !dir.starts_with(&top) {
            return least;
        }
    }
}

/// The group that a line of `/proc/self/mountinfo` mounts, and where.
fn mount(line: &str, is_second: bool) -> Option<(&str, &str)> {
    let (fields, behind) = line.split_once(" - ")?;
    let mut fields = fields.split(' ').skip(3);
    let (group, mount_point) = (fields.next()?, fields.next()?);
    let mut behind = behind.split(' ');
    let (kind, options) = (behind.next()?, behind.nth(1)?);
    let is_it = match is_second {
        true => kind == "cgroup2",
        false => kind == "cgroup" && options.split(',').any(|it| it == "memory"),
    };
    is_it.then_some((group, mount_point))
}

fn read_number(file: &Path) -> Option<u64> {
    // `max` is no number.
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

fn limit_of_machine(root: &Path) -> Option<MemoryLimit> {
    let file = root.join(MEMORY);
    let text = fs::read_to_string(&file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(MemoryLimit { bytes: (kib << 10).min(ADDRESSABLE_BYTES), file })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const SECOND: &str = "30 25 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n";
    const FIRST: &str = "34 31 0:32 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                         35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n";
    const CONTAINER: &str = "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";

    fn check(groups: &str, mounts: &str, files: &[(&str, &str)], want: Option<(u64, &str)>) {
        let root = tempfile::tempdir().unwrap();
        let all = [(CGROUPS, groups), (MOUNTS, mounts)].into_iter().chain(files.iter().copied());
        for (name, text) in all {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let got = memory_limit_in(root.path());
        let got =
            got.map(|it| (it.bytes, it.file.strip_prefix(root.path()).unwrap().to_str().unwrap().to_owned()));
        assert_eq!(got, want.map(|(bytes, file)| (bytes, file.to_owned())), "{groups:?} {files:?}");
    }

    #[test]
    fn the_least_limit_holds() {
        let machine = (MEMORY, "MemTotal:        1024 kB\nMemFree: 1 kB\n");
        let nothing = ("proc/nothing", "");
        check("", "", &[nothing], None);
        check("", "", &[machine], Some((1 << 20, MEMORY)));
        let large = (MEMORY, "MemTotal:        8388608 kB\n");
        check("", "", &[large], Some(((8 << 30).min(ADDRESSABLE_BYTES), MEMORY)));
        // Nested groups of the second version, one of them without a limit.
        let service = ("sys/fs/cgroup/system.slice/scraped.service/memory.max", "max\n");
        let slice = ("sys/fs/cgroup/system.slice/memory.max", "5000\n");
        let group = "0::/system.slice/scraped.service\n";
        check(group, SECOND, &[machine, service, slice], Some((5000, slice.0)));
        check(group, SECOND, &[machine, service], Some((1 << 20, MEMORY)));
        let narrower = (service.0, "4000\n");
        check(group, SECOND, &[machine, narrower, slice], Some((4000, service.0)));
        check(group, SECOND, &[machine, (slice.0, "50000000\n")], Some((1 << 20, MEMORY)));
        // The first version, in and out of a container.
        let limit = ("sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "6000\n");
        let group = "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n0::/\n";
        check(group, FIRST, &[machine, limit], Some((6000, limit.0)));
        let limit = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "7000\n");
        check(group, CONTAINER, &[machine, limit], Some((7000, limit.0)));
        check(group, CONTAINER, &[machine, (limit.0, "9223372036854771712\n")], Some((1 << 20, MEMORY)));
    }
}
