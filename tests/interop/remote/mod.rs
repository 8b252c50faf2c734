//! Remote write to real receivers, and its metrics beside a real agent's.

mod clouds;
mod metrics;
mod types;
mod write;
