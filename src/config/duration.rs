//! Durations and sizes as Prometheus writes them: `1m30s`, `10MB`.
