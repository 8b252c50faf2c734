//! Scraping: pools of targets, the schedule, the workers, and what happens in one scrape.

pub mod error;
pub mod fetch;
pub mod manager;
pub mod metrics;
pub mod schedule;
pub mod scrape_loop;
pub mod targets;
