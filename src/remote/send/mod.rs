//! From batches to requests and their answers.

pub mod backoff;
pub mod batch;
pub mod client;
pub mod clock_asker;
pub mod failed_request;
pub mod inbox;
pub mod metadata_sender;
pub mod request_thread;
pub mod sender;
pub mod shard;
pub mod shard_count;
pub mod shards;
