//! Self-metrics of the WAL and the head under Prometheus' names.
