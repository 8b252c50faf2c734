//! How many shards an endpoint should have: Prometheus' rule (`storage/remote/queue_manager.go`:
//! `calculateDesiredShards`, `shouldReshard`).

use crate::config::remote_write::QueueConfig;

/// Seconds between two looks (`shardUpdateDuration`).
pub const UPDATE_SECONDS: f64 = 10.0;

/// Weight of the newest rate (`ewmaWeight`).
const EWMA_WEIGHT: f64 = 0.2;

/// The number of shards stays within this share of what is wanted (`shardToleranceFraction`).
const TOLERANCE: f64 = 0.3;

/// Share of the backlog that is to be worked off a second.
const BACKLOG_CATCHUP: f64 = 0.05;

/// Part of the memory that there may be which the shards of one endpoint may take.
const MEMORY_PART: u64 = 8;

/// An item that waits for its shard takes this many bytes, and this many more while it is in a request: its labels, and
/// the request once more as it goes over the wire.
const WAITING_ITEM_BYTES: u64 = 40;
const SENT_ITEM_BYTES: u64 = 256;

/// A shard's thread, its connection and what TLS keeps of it.
const CONNECTION_BYTES: u64 = 128 << 10;

/// Further behind than this, shards do not get fewer, in seconds.
const MAX_DELAY_TO_SHRINK: f64 = 10.0;

/// `max_shards`, or as many as fit the memory that there may be: a backlog is no reason to be killed for its shards.
pub fn most_shards(queue: &QueueConfig, memory_bytes: Option<u64>) -> usize {
    let Some(memory_bytes) = memory_bytes else { return queue.max_shards };
    let of_items = |n: usize, bytes: u64| (n as u64).saturating_mul(bytes);
    let shard_bytes = of_items(queue.capacity, WAITING_ITEM_BYTES)
        .saturating_add(of_items(queue.max_samples_per_send, SENT_ITEM_BYTES))
        .saturating_add(CONNECTION_BYTES);
    let fitting = usize::try_from(memory_bytes / MEMORY_PART / shard_bytes).unwrap_or(usize::MAX);
    queue.max_shards.min(fitting.max(queue.min_shards))
}

/// A rate a second that forgets.
#[derive(Clone, Copy, Debug, Default)]
pub struct EwmaRate {
    rate: Option<f64>,
    total_before: f64,
}

impl EwmaRate {
    /// Takes in a counter's value, once every [`UPDATE_SECONDS`].
    pub fn tick(&mut self, total: f64) -> f64 {
        let instant = (total - self.total_before) / UPDATE_SECONDS;
        self.total_before = total;
        match &mut self.rate {
            Some(rate) => *rate += EWMA_WEIGHT * (instant - *rate),
            None if instant > 0.0 => self.rate = Some(instant),
            None => {}
        }
        self.rate.unwrap_or_default()
    }
}

/// What the rule looks at.
#[derive(Clone, Copy, Debug)]
pub struct Situation {
    /// Shards now, and the bounds.
    pub shards: usize,
    /// `min_shards`.
    pub min: usize,
    /// See [`most_shards`].
    pub max: usize,
    /// Samples read from the log a second.
    pub samples_in: f64,
    /// Samples acknowledged a second.
    pub samples_out: f64,
    /// Samples dropped a second.
    pub samples_dropped: f64,
    /// Seconds spent in requests a second.
    pub send_seconds: f64,
    /// Age in seconds of the newest sample sent against the newest in the log.
    pub delay_seconds: f64,
}

/// The number of shards there should be, as a fraction and as a number.
pub fn desired(it: Situation) -> (f64, usize) {
    if it.samples_out <= 0.0 {
        return (it.shards as f64, it.shards);
    }
    let kept_ratio = it.samples_out / (it.samples_dropped + it.samples_out);
    let wanted_out = it.samples_in * kept_ratio;
    let pending = it.delay_seconds * wanted_out;
    let seconds_per_sample = it.send_seconds / it.samples_out;
    let desired = seconds_per_sample * (wanted_out + BACKLOG_CATCHUP * pending);
    let now = it.shards as f64;
    let rounded = desired.ceil();
    if now * (1.0 - TOLERANCE) <= rounded && rounded <= now * (1.0 + TOLERANCE) {
        return (desired, it.shards);
    }
    let wanted = if rounded >= it.max as f64 { it.max } else { (rounded.max(0.0) as usize).max(it.min) };
    if wanted < it.shards && it.delay_seconds > MAX_DELAY_TO_SHRINK {
        return (desired, it.shards);
    }
    (desired, wanted)
}

#[cfg(test)]
mod tests {
    use super::{EwmaRate, Situation, desired, most_shards};
    use crate::config::remote_write::QueueConfig;

    const CALM: Situation = Situation {
        shards: 1,
        min: 1,
        max: 50,
        samples_in: 1000.0,
        samples_out: 1000.0,
        samples_dropped: 0.0,
        send_seconds: 0.5,
        delay_seconds: 0.0,
    };

    fn check(it: Situation, n: usize) {
        assert_eq!(desired(it).1, n, "{it:?}");
    }

    #[test]
    fn the_rule_is_prometheus_rule() {
        check(CALM, 1);
        check(Situation { send_seconds: 3.2, ..CALM }, 4);
        // A minute behind: a twentieth of the backlog a second on top.
        check(Situation { send_seconds: 1.0, delay_seconds: 60.0, ..CALM }, 4);
        check(Situation { send_seconds: 500.0, ..CALM }, 50);
        // Within 30 %.
        check(Situation { shards: 10, send_seconds: 7.5, ..CALM }, 10);
        check(Situation { shards: 10, send_seconds: 5.5, ..CALM }, 6);
        // Nothing goes out: an outage is no reason for more requests.
        check(Situation { shards: 3, samples_out: 0.0, delay_seconds: 9e9, ..CALM }, 3);
        // Not fewer while behind.
        check(Situation { shards: 10, send_seconds: 0.1, delay_seconds: 11.0, ..CALM }, 10);
        check(Situation { shards: 10, send_seconds: 0.1, delay_seconds: 9.0, ..CALM }, 1);
        // What is dropped needs no shards.
        check(Situation { samples_dropped: 3000.0, samples_in: 4000.0, send_seconds: 0.9, ..CALM }, 1);
        check(Situation { min: 4, shards: 8, send_seconds: 0.1, ..CALM }, 4);
    }

    #[test]
    fn little_memory_has_few_shards() {
        let queue = QueueConfig::default();
        let most = |mib: u64| most_shards(&queue, Some(mib << 20));
        assert_eq!((most(1), most(16), most(64), most(1 << 10)), (1, 2, 8, queue.max_shards));
        assert_eq!(most_shards(&queue, None), queue.max_shards);
        let few_samples = QueueConfig { capacity: 500, max_samples_per_send: 100, ..queue };
        assert!(most_shards(&few_samples, Some(16 << 20)) > 8);
        // What is asked for is given.
        let many = QueueConfig { min_shards: 5, ..queue };
        assert_eq!(most_shards(&many, Some(1 << 20)), 5);
    }

    #[test]
    fn rates_forget() {
        let mut rate = EwmaRate::default();
        assert!(rate.tick(0.0) == 0.0);
        assert!((rate.tick(1000.0) - 100.0).abs() < 1e-9);
        assert!((rate.tick(1000.0) - 80.0).abs() < 1e-9);
    }
}
