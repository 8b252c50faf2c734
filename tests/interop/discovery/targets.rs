//! Targets against a real Prometheus: both are given the same configuration, and their APIs have to list the same
//! targets with the same labels and URLs, and the same dropped ones.

use std::fs;
use std::sync::Arc;

use support::data;
use support::peers::differential::Both;
use support::wait_until;
use tempfile::TempDir;

/// Targets of the fixture, dropped ones included.
const N_TARGETS: usize = 24;

#[test]
fn a_real_prometheus_lists_the_same_targets() {
    let dir = TempDir::with_prefix("scraped-test-").expect("a directory");
    for file in ["scraped.yml", "sd.yml"] {
        fs::copy(data("targets").join(file), dir.path().join(file)).expect("writable");
    }
    let both = Both::start_in(Arc::new(dir));
    wait_until("a real Prometheus knows all targets", || both.addresses().0.len() == N_TARGETS);
    let (addresses, _) = both.addresses();
    both.agree("the fixture", &addresses.iter().map(String::as_str).collect::<Vec<_>>());
}
