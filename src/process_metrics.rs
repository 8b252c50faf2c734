//! `process_*` metrics from `/proc/self`, under the names of Prometheus' client libraries.

use scraped_engine::metrics::Collect;
use scraped_engine::metrics::page::Page;
use std::fs;

/// Fields of `/proc/self/stat`, counted from the one behind the command's closing parenthesis.
const STAT_UTIME: usize = 11;
const STAT_STIME: usize = 12;
const STAT_THREADS: usize = 17;
const STAT_START_TIME: usize = 19;
const STAT_VSIZE: usize = 20;
const STAT_RSS_PAGES: usize = 21;

/// The process as `/proc/self` shows it; a file that is not there leaves its metrics out.
#[derive(Debug, Default)]
pub struct ProcessMetrics {}

impl Collect for ProcessMetrics {
    fn collect(&self, page: &mut Page) {
        if let Some(stat) = Stat::read() {
            stat.write(page);
        }
        if let Ok(entries) = fs::read_dir("/proc/self/fd") {
            page.gauge("process_open_fds", "Number of open file descriptors.", entries.count() as f64);
        }
        if let Some(max_fds) = max_open_files() {
            page.gauge("process_max_fds", "Maximum number of open file descriptors.", max_fds);
        }
    }
}

struct Stat {
    fields: Vec<u64>,
    ticks_per_second: f64,
    page_bytes: f64,
}

impl Stat {
    fn read() -> Option<Stat> {
        let text = fs::read_to_string("/proc/self/stat").ok()?;
        // The command may hold spaces and parentheses; the fields start behind the last one.
        let (_, fields) = text.rsplit_once(')')?;
        let fields = fields.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
        Some(Stat {
            fields,
            ticks_per_second: rustix::param::clock_ticks_per_second() as f64,
            page_bytes: rustix::param::page_size() as f64,
        })
    }

    fn get(&self, idx: usize) -> f64 {
        self.fields.get(idx).copied().unwrap_or(0) as f64
    }

    fn write(&self, page: &mut Page) {
        let cpu_seconds = (self.get(STAT_UTIME) + self.get(STAT_STIME)) / self.ticks_per_second;
        let name = "process_cpu_seconds_total";
        page.header(name, "Total user and system CPU time spent in seconds.", "counter");
        page.sample(name, &[], cpu_seconds);
        page.gauge("process_threads", "Number of OS threads.", self.get(STAT_THREADS));
        page.gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", self.get(STAT_VSIZE));
        let resident_bytes = self.get(STAT_RSS_PAGES) * self.page_bytes;
        page.gauge("process_resident_memory_bytes", "Resident memory size in bytes.", resident_bytes);
        if let Some(boot_seconds) = boot_time_seconds() {
            let start_seconds = boot_seconds + self.get(STAT_START_TIME) / self.ticks_per_second;
            let help = "Start time of the process since unix epoch in seconds.";
            page.gauge("process_start_time_seconds", help, start_seconds);
        }
    }
}

/// `btime` of `/proc/stat`: it follows the wall clock, so a start in 1970 is mended once the clock is.
fn boot_time_seconds() -> Option<f64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}

fn max_open_files() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/limits").ok()?;
    let line = text.lines().find(|line| line.starts_with("Max open files"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_threads_and_memory() {
        let mut page = Page::default();
        ProcessMetrics::default().collect(&mut page);
        let text = page.into_text();
        let value = |name: &str| -> f64 {
            let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
            line.split_once(' ').unwrap().1.parse().unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 100_000.0);
        assert!(value("process_threads") >= 1.0);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_start_time_seconds") > 1.6e9);
    }
}
