//! One watch of an API server (client-go's `tools/cache/reflector.go`): lists all objects, then hears of each change.
//!
//! Runs on a thread of its own, `watch-<resource>-<n>`, and reports to the provider. A watch that ends is taken up where
//! it was; after a failure there is a pause, which grows, and after one that lasts everything is listed again. What was
//! reported stays until a whole list says otherwise.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::discovery::Provenance;
use crate::discovery::complaints::Complaint;
use crate::discovery::lists::allowance::{EVENT_BYTES, within};
use crate::discovery::lists::json_mistake::json_mistake;
use crate::discovery::lists::tally::{Tally, Wanted as Limit};
use crate::discovery::metrics::DiscoveryMetrics;
use crate::discovery::providers::kubernetes::connection::{Connection, Failure, Lines, Reporter, Trouble};
use crate::discovery::providers::kubernetes::objects::{Event, Note, Object};
use crate::discovery::providers::kubernetes::report::ReportKind;
use crate::discovery::providers::kubernetes::wanted::{Kept, Wanted};
use scraped_engine::threads::stop::StopToken;

/// Pauses after failures: the first one, and what they grow to.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// A watch that ends sooner without a word is a failure, or it would be asked for without a pause.
const SHORT_WATCH: Duration = Duration::from_secs(1);

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(in crate::discovery::providers::kubernetes) struct Patience {
    /// One page of a list; servers end what takes longer than a minute.
    pub list: Duration,
    /// After this, or up to a quarter later, the server ends a watch. Not much longer than firewalls remember a silent
    /// connection.
    pub watch: Duration,
    /// A server that has not ended a watch by this much later is gone.
    pub grace: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            list: Duration::from_secs(90),
            watch: Duration::from_secs(4 * 60),
            grace: Duration::from_secs(15),
        }
    }
}

/// State of the thread.
#[derive(Debug)]
pub(in crate::discovery::providers::kubernetes) struct Watch {
    pub wanted: Wanted,
    pub connection: Connection,
    pub reporter: Reporter,
    pub stop: StopToken,
    pub patience: Patience,
    /// For log lines: whose pods, of which job.
    pub title: String,
    pub metrics: Arc<DiscoveryMetrics>,
    pub state: State,
}

#[derive(Debug, Default)]
pub(in crate::discovery::providers::kubernetes) struct State {
    /// As far as everything is known; empty: nothing is.
    version: String,
    /// The server's memory is not recent enough: it has to ask its store.
    is_memory_old: bool,
    n_failures: u32,
    complaint: Option<Complaint>,
}

impl Watch {
    /// Until the provider has gone.
    pub(in crate::discovery::providers::kubernetes) fn run(&mut self) {
        loop {
            let pause = match self.step() {
                Ok(()) => continue,
                Err(Trouble::Stopped) => return,
                Err(Trouble::Expired) => {
                    self.state.version.clear();
                    // A version that is too old at once again is no matter of haste.
                    if mem::replace(&mut self.state.is_memory_old, true) {
                        self.pause()
                    } else {
                        Duration::ZERO
                    }
                }
                Err(Trouble::Failed(failure)) => self.fail(&failure),
            };
            if self.stop.wait(pause) {
                return;
            }
        }
    }

    fn step(&mut self) -> Result<(), Trouble> {
        if self.connection.follow()? {
            self.state.version.clear();
        }
        if self.state.version.is_empty() { self.list() } else { self.watch() }
    }

    /// Grows, and is not the same on all boxes of a fleet.
    fn pause(&mut self) -> Duration {
        self.state.n_failures += 1;
        let pause = FIRST_PAUSE * (1 << (self.state.n_failures - 1).min(5));
        spread(pause.min(MAX_PAUSE))
    }

    fn fail(&mut self, failure: &Failure) -> Duration {
        self.metrics.kubernetes_failures.inc();
        let pause = self.pause().max(failure.retry_after);
        if !failure.keeps_version {
            self.state.version.clear();
        }
        let sentence = &failure.sentence;
        let (complaints, before) = (&self.metrics.complaints, self.state.complaint.as_ref());
        if let Some(new) = complaints.raise(before, || self.title.clone(), sentence) {
            log::warn!(
                "discovery: {}: {sentence}; targets stay as they are, the next try is in {:.1} s",
                self.title,
                pause.as_secs_f64()
            );
            self.state.complaint = Some(new);
        }
        pause
    }

    /// All objects, page by page; reported when they are complete.
    fn list(&mut self) -> Result<(), Trouble> {
        let mut objects: BTreeMap<String, Kept> = BTreeMap::new();
        let mut tally = unlimited();
        let mut page = String::new();
        loop {
            let path = match (page.as_str(), self.state.is_memory_old) {
                // Whatever the server remembers will do: the watch goes on from there.
                ("", false) => self.wanted.list_path(&[("resourceVersion", "0")]),
                ("", true) => self.wanted.list_path(&[]),
                (page, _) => self.wanted.list_path(&[("continue", page)]),
            };
            let answer = self.connection.open(&path, Instant::now() + self.patience.list)?;
            let shown = answer.shown().to_owned();
            let list = answer.into_list(self.wanted.purpose.list_kind())?;
            for object in &list.items {
                let kept = self.wanted.kept(object, &mut tally);
                let kept = kept.map_err(|sentence| Trouble::failed(format!("{shown}: {sentence}")))?;
                if let Some(kept) = kept {
                    objects.insert(object.metadata.key(), kept);
                }
            }
            if !list.metadata.r#continue.is_empty() {
                page = list.metadata.r#continue;
                continue;
            }
            if list.metadata.resource_version.is_empty() {
                return Err(Trouble::failed(format!("{shown}: the list has no resourceVersion")));
            }
            self.reporter.report(ReportKind::Listed(objects))?;
            self.state.version = list.metadata.resource_version;
            return Ok(());
        }
    }

    /// Everything that happens, until the server ends it.
    fn watch(&mut self) -> Result<(), Trouble> {
        let Self { wanted, connection, reporter, patience, title, state, .. } = self;
        let began_at = Instant::now();
        let lasts = spread(patience.watch);
        let path = wanted.watch_path(&state.version, lasts.as_secs());
        let mut answer = connection.open(&path, began_at + lasts + patience.grace)?;
        if state.complaint.take().is_some() {
            log::info!("discovery: {title}: the API server answers again");
        }
        let mut lines = Lines::default();
        let mut is_short = true;
        while let Some(line) = lines.next(&mut answer)? {
            if line.trim_ascii().is_empty() {
                continue;
            }
            let (change, version) = parse_event(line, wanted).map_err(|trouble| match trouble {
                EventTrouble::Expired => Trouble::Expired,
                EventTrouble::Failed(sentence) => Trouble::failed(format!("{}: {sentence}", answer.shown())),
            })?;
            if let Some(change) = change {
                reporter.report(change)?;
            }
            state.version = version;
            (is_short, state.n_failures, state.is_memory_old) = (false, 0, false);
        }
        if is_short && began_at.elapsed() < SHORT_WATCH {
            return Err(Trouble::broken(format!("{}: the watch ended at once", answer.shown())));
        }
        (state.n_failures, state.is_memory_old) = (0, false);
        Ok(())
    }
}

enum EventTrouble {
    Expired,
    Failed(String),
}

/// What to report of an event, if anything, and how far everything is known then.
fn parse_event(line: &[u8], wanted: &Wanted) -> Result<(Option<ReportKind>, String), EventTrouble> {
    let failed =
        |error: serde_json::Error| EventTrouble::Failed(format!("not an event: {}", json_mistake(&error)));
    let Event { r#type, object: note } = serde_json::from_slice::<Event<Note>>(line).map_err(failed)?;
    let version = note.metadata.resource_version;
    let report = match r#type.as_str() {
        "BOOKMARK" => None,
        "ERROR" if note.code == 410 => return Err(EventTrouble::Expired),
        "ERROR" => return Err(EventTrouble::Failed(format!("status {}: {}", note.code, note.message))),
        "ADDED" | "MODIFIED" | "DELETED" => {
            let object = within(EVENT_BYTES, || serde_json::from_slice::<Event<Object>>(line));
            let object = object.map_err(failed)?.object;
            let key = object.metadata.key();
            let mut tally = unlimited();
            let kept = match r#type == "DELETED" {
                true => None,
                false => wanted.kept(&object, &mut tally).map_err(EventTrouble::Failed)?,
            };
            match (r#type.as_str(), kept) {
                ("DELETED", _) => Some(ReportKind::Gone(key)),
                // What is of no use as it is now keeps what it was.
                (_, None) => None,
                (_, Some(kept)) => Some(ReportKind::There(key, kept)),
            }
        }
        other => return Err(EventTrouble::Failed(format!("unknown type of event {other:?}"))),
    };
    if version.is_empty() {
        return Err(EventTrouble::Failed("an event has no resourceVersion".to_owned()));
    }
    Ok((report, version))
}

/// Of one answer: a server may send pages for ever. `target_limit` has no say, since objects come and go one by one.
fn unlimited() -> Tally {
    Tally::new(Provenance::Network, Limit::default())
}

/// Up to a quarter longer, so that the boxes of a fleet do not ask all at once.
fn spread(duration: Duration) -> Duration {
    let random = RandomState::new().hash_one(0) % 1024;
    duration + duration * u32::try_from(random).unwrap_or(0) / 4096
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
