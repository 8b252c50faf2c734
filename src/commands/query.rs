//! `scraped query`.
