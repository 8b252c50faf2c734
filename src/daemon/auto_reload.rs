//! `--config.auto-reload`: a look at the files of the configuration now and then.

use std::time::{Duration, Instant};

use crate::config::text::changes::ConfigChanges;
use crate::flags::Flags;

/// The files as they were at the last look, and when the next one is due.
pub(super) struct AutoReload {
    changes: ConfigChanges,
    interval: Duration,
    next_at: Instant,
}

impl AutoReload {
    pub(super) fn new(flags: &Flags) -> Option<Self> {
        if !flags.auto_reload && !flags.features.auto_reload_config {
            return None;
        }
        let interval = flags.auto_reload_interval;
        let changes = ConfigChanges::new(&flags.config_file);
        Some(Self { changes, interval, next_at: Instant::now() + interval })
    }

    /// Until the next look.
    pub(super) fn pause(&self) -> Duration {
        self.next_at.saturating_duration_since(Instant::now())
    }

    /// Whether it is time and the files have changed.
    pub(super) fn is_due(&mut self) -> bool {
        let now = Instant::now();
        if now < self.next_at {
            return false;
        }
        self.next_at = now + self.interval;
        self.changes.look()
    }

    /// The files are loaded now for another reason.
    pub(super) fn remember(&mut self) {
        self.changes.look();
    }
}
