//! `scraped`: a scrape agent for edge hosts that speaks Prometheus.
//!
//! The modules stand in the order of a sample's life; `ARCHITECTURE.md` is the map.

pub mod allocator;
pub mod calendar;
pub mod clock;
pub mod descriptors;
pub mod duration;
pub mod exec;
pub mod flags;
pub mod lifecycle;
pub mod log;
pub mod percent;
pub mod process_metrics;
pub mod sd_notify;
pub mod signals;
pub mod stdio;
pub mod terminal;

pub mod memory_limit;
pub mod names;

pub mod config;
pub mod discovery;
pub mod http;
pub mod remote;
pub mod scrape;

pub mod query;
pub mod web;

pub mod commands;
pub mod daemon;
