//! Scraping: pools of targets, the schedule, the workers, and what happens in one scrape.

pub mod buffers;
pub mod decode;
pub mod end_of_run;
pub mod error;
pub mod manager;
pub mod metrics;
pub mod permits;
pub mod pool;
pub mod scheduler;
pub mod scrape_loop;
pub mod scraper;
mod slots;
pub mod status;
mod suspects;
pub mod target;
pub mod target_url;
pub mod timing;
pub mod watch;
pub mod workers;
