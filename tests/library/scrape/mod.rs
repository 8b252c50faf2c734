//! When targets are scraped, what one scrape is, what a sequence of pages leaves in the log.

mod clock_step;
mod fetch;
mod hung_targets;
mod on_demand;
mod reload_order;
mod schedule;
mod staleness;
