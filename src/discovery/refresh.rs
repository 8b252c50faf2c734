//! Providers that are asked as a whole, again and again (Prometheus' `discovery/refresh/refresh.go`).
//!
//! Runs on the provider's thread, `sd-<kind>-<n>`. A question that fails leaves everything as it was: it is counted,
//! its sentence is logged when it is new, and the next one comes with the next refresh. Until the first answer it is
//! asked sooner than that, since a box is often up before its network is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::discovery::complaints::Complaint;
use crate::discovery::discoverer::{Discoverer, GroupSender, THREAD};
use crate::discovery::metrics::DiscoveryMetrics;
use crate::discovery::target_group::TargetGroup;
use crate::http::Canceller;
use scraped_engine::threads::stop::StopToken;

/// Pause after the first failure while there was no answer yet; it doubles up to the refresh interval.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// Something that can be asked for all its targets.
pub(in crate::discovery) trait Source: Send {
    /// `http`, `dns`: the middle of the thread's name and the label `mechanism`.
    fn kind(&self) -> &'static str;

    /// What ends a question from another thread; `None` if a stop is seen soon anyway.
    fn canceller(&self) -> Option<Canceller> {
        None
    }

    /// All groups as they are now. Must end within the refresh interval, or soon after `stop`.
    ///
    /// # Errors
    /// A sentence about what went wrong, with the name of what was asked.
    fn refresh(&mut self, stop: &StopToken) -> Result<Vec<TargetGroup>, String>;
}

/// A provider made of a source.
#[derive(Debug)]
pub(in crate::discovery) struct Refresher<S> {
    /// What is asked.
    pub source: S,
    /// How often.
    pub interval: Duration,
    /// Job that it was started for: the label `config`.
    pub job: String,
    /// Where failures and durations are counted.
    pub metrics: Arc<DiscoveryMetrics>,
}

impl<S: Source> Discoverer for Refresher<S> {
    fn kind(&self) -> &'static str {
        self.source.kind()
    }

    fn canceller(&self) -> Option<Canceller> {
        self.source.canceller()
    }

    fn run(mut self: Box<Self>, groups: &mut GroupSender, stop: &StopToken) {
        let labels = [self.source.kind(), self.job.as_str()];
        let metrics = self.metrics.of_provider(labels[0], labels[1]);
        let mut complaint: Option<Complaint> = None;
        let mut was_answered = false;
        let mut retry = FIRST_RETRY.min(self.interval);
        loop {
            let began_at = Instant::now();
            // What strangers send may find a bug: that is one more question that failed.
            // Without its words: they may hold a value of the list.
            let answer = THREAD
                .catch(|| self.source.refresh(stop))
                .unwrap_or_else(|panicked| Err(format!("a bug: it panicked at {}", panicked.place())));
            if stop.is_stopped() {
                return;
            }
            metrics.took(began_at.elapsed());
            let mut pause = self.interval;
            match answer {
                Ok(found) => {
                    if complaint.take().is_some() {
                        log::info!("discovery: {} of job {:?} answers again", labels[0], self.job);
                    }
                    was_answered = true;
                    groups.send(found.into_iter().map(Arc::new).collect());
                }
                Err(sentence) => {
                    metrics.failures.inc();
                    if !was_answered {
                        pause = retry;
                        retry = (2 * retry).min(self.interval);
                    }
                    let source = || format!("{} of job {:?}", labels[0], self.job);
                    if let Some(new) = self.metrics.complaints.raise(complaint.as_ref(), source, &sentence) {
                        log::warn!(
                            "discovery: {} of job {:?}: {sentence}; its targets stay as they are, the next try is in \
                             {} s",
                            labels[0],
                            self.job,
                            pause.as_secs_f64()
                        );
                        complaint = Some(new);
                    }
                }
            }
            if stop.wait(pause.saturating_sub(began_at.elapsed())) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    use crossbeam_channel::bounded;
    use scraped_engine::threads::stop::stop_pair;

    /// Panics when it is asked for the second time.
    struct Panicking(usize);

    impl Source for Panicking {
        fn kind(&self) -> &'static str {
            "test"
        }

        fn refresh(&mut self, _: &StopToken) -> Result<Vec<TargetGroup>, String> {
            self.0 += 1;
            assert_ne!(self.0, 2, "meant");
            Ok(Vec::new())
        }
    }

    #[test]
    fn a_source_that_panics_is_asked_again() {
        let (stopper, stop) = stop_pair();
        let (updates, received) = bounded(0);
        let metrics = Arc::new(DiscoveryMetrics::default());
        let source = Panicking(0);
        let interval = Duration::from_millis(1);
        let refresher =
            Box::new(Refresher { source, interval, job: "job".to_owned(), metrics: Arc::clone(&metrics) });
        let mut groups = GroupSender { provider: 0, updates, stop: stop.clone(), keeper: None };
        let thread = thread::Builder::new().spawn(move || refresher.run(&mut groups, &stop)).unwrap();
        for _ in 0..3 {
            received.recv_timeout(Duration::from_secs(60)).unwrap();
        }
        assert_eq!(metrics.refresh_failures.with(&["test", "job"]).get(), 1);
        drop((stopper, received));
        thread.join().unwrap();
    }
}
