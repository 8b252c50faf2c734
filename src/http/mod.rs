//! The one HTTP client: scrapes now, discovery and remote write later. The only place that knows ureq.

pub mod error;
