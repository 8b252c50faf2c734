//! Scraping: pools of targets, the schedule, the workers, and what happens in one scrape.

pub mod buffers;
pub mod decode;
pub mod error;
pub mod manager;
pub mod metrics;
pub mod permits;
pub mod scrape_loop;
pub mod scraper;
pub mod status;
pub mod target;
pub mod target_url;
pub mod timing;
