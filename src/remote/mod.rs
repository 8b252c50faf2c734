//! Remote write: samples go from the log to other engines, and nothing that reached the disk is lost on the way.
//!
//! The words: an *endpoint* is one section of `remote_write`. Its *watcher* (thread `wal-watcher-<name>`) reads the log
//! from the endpoint's *position* on and deals samples out to *shards* (threads `remote-shard-<name>-<n>`), a series
//! always to the same one, in *batches*. A shard has one request in flight. What became of each sample is written into
//! the endpoint's *progress*; the place before which everything is settled is its *watermark*, and the manager (thread
//! `remote-manager`) remembers it on disk. The log is the queue: memory holds only what is in flight.
//!
//! With `in_order: false` the watcher leaves what it is behind by to a *backlog* (thread `wal-backlog-<name>`) and goes
//! on at the present; the gap that this leaves in the progress is closed when the backlog is sent.
//!
//! What an endpoint refuses is searched for and remembered series by series (`search`, `refusals`); an endpoint that is
//! wrong as a whole, by its credentials or its URL, has a *pause* (`pause`).
//!
//! An *item* is a float, a native histogram or an exemplar. The first two are samples and stand in the ledger.

pub mod answers;
pub mod endpoint_name;
pub mod endpoint_state;
pub mod manager;
pub mod metrics;
pub mod queue;
pub mod read;
pub mod refuse;
pub mod send;
pub mod settle;
pub mod traffic;
