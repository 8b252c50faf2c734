//! Encoding and decoding of Prometheus' record types.
