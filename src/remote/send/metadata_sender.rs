//! Metadata by remote write 1.0: every `metadata_config.send_interval` type, help and unit of all families that targets
//! have, in requests of their own (`storage/remote/metadata_watcher.go`, `AppendWatcherMetadata`).
//!
//! Runs on thread `remote-metadata-<name>`, with a connection of its own, so that samples never wait for it. What could
//! not be sent is not kept: the next round says all of it again. While 2.0 is spoken there is no round: it has metadata at
//! the series instead.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::remote_write::MetadataConfig;
use crate::remote::endpoint_state::Shared;
use crate::remote::send::backoff::Backoff;
use crate::remote::send::client::{Client, SendOutcome};
use crate::remote::send::request_thread::RequestThread;
use scraped_engine::encode::packer::Packer;
use scraped_engine::encode::{FamilyMetadata, Message, RequestWriter};
use scraped_engine::families::{Family, MetadataStore};
use scraped_engine::threads::ThreadKind;
use scraped_engine::threads::stop::StopToken;

/// Each endpoint has at most one, `remote-metadata-<remote>`.
const THREAD: ThreadKind = ThreadKind { name: "remote-metadata", stack_bytes: 256 << 10 };

/// A sentence about the same trouble is repeated no more often.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// Starts to send what `store` holds, as `config` says; ends when `stop` comes. The next round would say what a cancelled
/// request does.
///
/// # Errors
/// The system refuses the thread.
pub fn spawn(
    shared: Arc<Shared>,
    config: MetadataConfig,
    store: Arc<MetadataStore>,
    stop: StopToken,
) -> io::Result<RequestThread> {
    let client = Client::new(&shared.config, &shared.turn, &shared.clock);
    let queue = &shared.config.queue;
    let backoff = Backoff::new(queue.min_backoff, queue.max_backoff);
    let name = shared.metrics.name.clone();
    RequestThread::start(client, |client| {
        let mut sender = Sender { shared, config, store, client, backoff, stop: stop.clone(), said: None };
        THREAD.spawn_restarting(&name, stop, move || sender.run())
    })
}

struct Sender {
    shared: Arc<Shared>,
    config: MetadataConfig,
    store: Arc<MetadataStore>,
    client: Client,
    backoff: Backoff,
    stop: StopToken,
    said: Option<Instant>,
}

/// It is to end.
struct Stopped;

impl Sender {
    fn run(&mut self) {
        while !self.stop.wait(self.config.send_interval) {
            // Nor while the endpoint is left alone.
            if self.shared.message() != Message::V1 || self.shared.pause.until().is_some() {
                continue;
            }
            let families = self.store.families();
            for part in families.chunks(self.config.max_samples_per_send) {
                if let Err(Stopped) = self.send(part) {
                    return;
                }
            }
        }
    }

    /// Tries until the endpoint has answered for good.
    fn send(&mut self, part: &[Family]) -> Result<(), Stopped> {
        let Some(packed) = request(part) else { return Ok(()) };
        let shared = Arc::clone(&self.shared);
        let metrics = &shared.metrics.metadata;
        let n_families = part.len() as u64;
        for attempt in 0.. {
            let start = Instant::now();
            let outcome = self.client.send(Message::V1, &packed, attempt);
            shared.metrics.sent_batch_duration.observe(start.elapsed().as_secs_f64());
            match outcome {
                SendOutcome::Accepted { .. } => {
                    self.backoff.reset();
                    metrics.sent.add(n_families);
                    metrics.bytes.add(packed.len() as u64);
                    return Ok(());
                }
                SendOutcome::Refused { error, .. }
                | SendOutcome::WrongEndpoint { error, .. }
                | SendOutcome::OnlyV1 { error } => {
                    self.backoff.reset();
                    metrics.failed.add(n_families);
                    self.say(&format!("{n_families} metadata entries are not sent: {error}"));
                    return Ok(());
                }
                SendOutcome::Later { error, retry_after } => {
                    self.say(&format!("metadata cannot be sent: {error}; it is tried again"));
                    let pause = self.backoff.pause(retry_after);
                    if self.stop.wait(pause) {
                        return Err(Stopped);
                    }
                    metrics.retried.add(n_families);
                }
                SendOutcome::Cancelled => return Err(Stopped),
            }
        }
        Ok(())
    }

    fn say(&mut self, what: &str) {
        let now = Instant::now();
        if self.said.is_none_or(|said| now.duration_since(said) >= SAY_AGAIN) {
            self.said = Some(now);
            log::warn!("remote_write {}: {what}", self.shared.metrics.name);
        }
    }
}

/// A compressed request; what it is made with is not kept for a minute.
fn request(families: &[Family]) -> Option<Vec<u8>> {
    let mut writer = RequestWriter::new(Message::V1);
    for family in families {
        let kind = family.metric_type().number();
        writer.family(family.name(), FamilyMetadata { kind, help: family.help(), unit: family.unit() });
    }
    // An error is a message of 4 GiB, which so few families do not make.
    Packer::default().pack(writer.bytes()).ok().map(<[u8]>::to_vec)
}
