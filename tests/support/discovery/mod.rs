//! Discovery as tests run it: the real threads over a directory, without the rest of the daemon.

pub mod kubernetes;
pub mod mdns;
pub mod name_server;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use scraped::config;
use scraped::config::Config;
use scraped::discovery::Handle;
use scraped::discovery::metrics::DiscoveryMetrics;
use scraped::discovery::target_group::TargetSets;
use scraped_engine::disk::RealDisk;
use scraped_engine::metrics::Collect;
use scraped_engine::metrics::page::Page;
use tempfile::TempDir;

use crate::PATIENCE;
use crate::scraped::write_whole;

/// Discovery over a directory that holds `scraped.yml` and the files it names.
pub struct Discovery {
    /// Holds `scraped.yml`, and `sd` with the files of sources.
    pub dir: TempDir,
    /// Its threads.
    pub handle: Handle,
    /// What the scrape manager would get.
    pub target_sets: Receiver<TargetSets>,
    /// What it counts.
    pub metrics: Arc<DiscoveryMetrics>,
}

impl Discovery {
    /// Starts with `jobs` below `scrape_configs:`, after `files` are written; `DIR` in the jobs is the directory.
    pub fn start(jobs: &str, files: &[(&str, &str)]) -> Self {
        let dir = TempDir::with_prefix("scraped-sd-").expect("a directory");
        fs::create_dir(dir.path().join("sd")).expect("a directory");
        for (name, content) in files {
            fs::write(dir.path().join("sd").join(name), content).expect("writable");
        }
        Self::over(dir, jobs)
    }

    /// Stops, and starts again over what is there.
    pub fn restart(self, jobs: &str) -> Self {
        self.handle.stop();
        Self::over(self.dir, jobs)
    }

    fn over(dir: TempDir, jobs: &str) -> Self {
        let config = load(dir.path(), jobs);
        let (sender, target_sets) = bounded(1);
        let metrics = Arc::new(DiscoveryMetrics::default());
        let handle = Handle::spawn(config, (dir.path(), Arc::new(RealDisk)), sender, Arc::clone(&metrics))
            .expect("threads");
        Self { dir, handle, target_sets, metrics }
    }

    /// Writes a file of `sd`, at once and whole.
    pub fn write(&self, name: &str, content: &str) {
        write_whole(&self.dir.path().join("sd"), name, content);
    }

    /// Gives it other jobs.
    pub fn reload(&self, jobs: &str) {
        self.handle.apply(load(self.dir.path(), jobs));
    }

    /// The next sets as text.
    pub fn next(&self) -> String {
        let sets = self.target_sets.recv_timeout(PATIENCE).expect("target sets");
        self.render(&sets)
    }

    /// The first sets that have targets: a manager waits for its sources for some seconds, and on a busy machine the first sets
    /// may be empty.
    pub fn answered(&self) -> String {
        loop {
            let sets = self.next();
            if sets.contains('{') {
                return sets;
            }
        }
    }

    /// Waits for sets that read as `want`; others before them are skipped.
    pub fn expect(&self, want: &str) {
        let deadline = Instant::now() + PATIENCE;
        let mut last = String::new();
        loop {
            let Ok(sets) = self.target_sets.recv_deadline(deadline) else {
                panic!("wanted {want}, last were {last}");
            };
            last = self.render(&sets);
            if last == want {
                return;
            }
        }
    }

    /// No other sets come for longer than a look at the files takes.
    pub fn expect_silence(&self) {
        if let Ok(sets) = self.target_sets.recv_timeout(Duration::from_millis(2500)) {
            panic!("unwanted sets: {}", self.render(&sets));
        }
    }

    /// `job: address{own labels, labels of the group}`, one job after the other, without the directory.
    pub fn render(&self, sets: &TargetSets) -> String {
        let mut jobs = Vec::new();
        for (job, groups) in sets {
            let mut targets = Vec::new();
            for group in groups {
                for target in &group.targets {
                    let own = target.iter().filter(|(name, _)| *name != "__address__");
                    let mut labels = Vec::new();
                    own.chain(group.labels.iter())
                        .for_each(|(name, value)| labels.push(format!("{name}={value:?}")));
                    targets.push(format!("{}{{{}}}", target.get("__address__"), labels.join(", ")));
                }
            }
            jobs.push(format!("{job}: {}", targets.join(" ")).trim_end().to_owned());
        }
        let directory = format!("{}/", self.dir.path().display());
        jobs.join("; ").replace(&directory, "")
    }

    /// Its metrics as `/metrics` has them.
    pub fn page(&self) -> String {
        let mut page = Page::default();
        self.metrics.collect(&mut page);
        page.into_text()
    }
}

/// The configuration with these jobs.
pub fn load(dir: &Path, jobs: &str) -> Arc<Config> {
    let jobs = jobs.replace("DIR", &dir.display().to_string());
    let path = write_whole(dir, "scraped.yml", &format!("scrape_configs:\n{jobs}"));
    Arc::new(config::load(&path).expect("a good configuration"))
}
