//! Scraping: pools of targets, the schedule, the workers, and what happens in one scrape.

mod local;
mod slots;
mod suspects;

pub mod append;
pub mod buffers;
pub mod cache;
pub mod decode;
pub mod end_of_run;
pub mod error;
pub mod failure_log;
pub mod label_check;
pub mod local_access;
pub mod mailbox;
pub mod manager;
pub mod metadata;
pub mod metrics;
pub mod negotiation;
pub mod pace;
pub mod permits;
pub mod pool;
pub mod report;
pub mod reuse;
pub mod sample_exemplars;
pub mod sample_labels;
pub mod scheduler;
pub mod scrape_loop;
pub mod scraper;
pub mod status;
pub mod target;
pub mod target_limit;
pub mod target_options;
pub mod target_url;
pub mod timing;
pub mod watch;
pub mod workers;
