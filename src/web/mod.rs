//! The web server: self-metrics, lifecycle, the API and the targets page.
