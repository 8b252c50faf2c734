//! What a watch reports to the provider.

use crate::discovery::providers::kubernetes::wanted::Kept;
use crate::http::Canceller;
use std::collections::BTreeMap;

/// What a watch reports to the provider.
#[derive(Debug)]
pub(in crate::discovery::providers::kubernetes) struct Report {
    pub(in crate::discovery::providers::kubernetes) watch_idx: usize,
    pub(in crate::discovery::providers::kubernetes) kind: ReportKind,
}

#[derive(Debug)]
pub(in crate::discovery::providers::kubernetes) enum ReportKind {
    /// It asks by a client that is cancelled like this.
    Asks(Canceller),
    /// All objects that there are.
    Listed(BTreeMap<String, Kept>),
    There(String, Kept),
    Gone(String),
}
