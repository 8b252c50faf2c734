//! What sources of targets complain of now: said once in the log, and shown by the page of targets for as long as it is
//! so.
//!
//! A complaint is a value of the provider that has it; dropped, it is withdrawn, also when the provider is gone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

/// All complaints there are. Locked for one entry, or one copy of all.
#[derive(Debug, Default)]
pub struct Complaints {
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    by_number: BTreeMap<u32, OpenComplaint>,
    last_number: u32,
}

/// What is shown of a complaint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenComplaint {
    /// Who complains: a provider and its job, or a file.
    pub source: String,
    /// What is wrong.
    pub sentence: String,
    /// Since when it is, in milliseconds since the Unix epoch.
    pub since_ms: i64,
}

/// A complaint until it is dropped.
#[derive(Debug)]
pub(in crate::discovery) struct Complaint {
    complaints: Arc<Complaints>,
    number: u32,
    sentence: String,
}

impl Complaints {
    /// What `source` complains of from now on, in place of what it did. `None`: the same as before.
    pub(in crate::discovery) fn raise(
        self: &Arc<Self>,
        before: Option<&Complaint>,
        source: impl FnOnce() -> String,
        sentence: &str,
    ) -> Option<Complaint> {
        if before.is_some_and(|before| before.sentence == sentence) {
            return None;
        }
        let since_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let shown = OpenComplaint {
            source: source(),
            sentence: sentence.to_owned(),
            since_ms: i64::try_from(since_ms).unwrap_or(i64::MAX),
        };
        let mut open = self.open.lock();
        open.last_number = open.last_number.wrapping_add(1);
        let number = open.last_number;
        open.by_number.insert(number, shown);
        Some(Complaint { complaints: Arc::clone(self), number, sentence: sentence.to_owned() })
    }

    /// The oldest `limit` of them, and how many there are.
    pub fn oldest(&self, limit: usize) -> (Vec<OpenComplaint>, usize) {
        let open = self.open.lock();
        (open.by_number.values().take(limit).cloned().collect(), open.by_number.len())
    }
}

impl Drop for Complaint {
    fn drop(&mut self) {
        self.complaints.open.lock().by_number.remove(&self.number);
    }
}
