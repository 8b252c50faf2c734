//! `scraped`: a scrape agent for edge hosts that speaks Prometheus.
//!
//! The modules stand in the order of a sample's life; `ARCHITECTURE.md` is the map.

pub mod allocator;
pub mod calendar;
pub mod clock;
pub mod data_dir;
pub mod descriptors;
pub mod exec;
pub mod flags;
pub mod float;
pub mod lifecycle;
pub mod log;
pub mod signals;

pub mod labels;
pub mod memory_limit;
pub mod metadata;
pub mod names;

pub mod config;
pub mod discovery;
pub mod exposition;
pub mod histogram;
pub mod http;
pub mod remote;
pub mod scrape;
pub mod series;
pub mod wal;

pub mod metrics;
pub mod web;

pub mod commands;
pub mod daemon;

#[cfg(test)]
#[path = "../tests/support/cases.rs"]
mod cases;
