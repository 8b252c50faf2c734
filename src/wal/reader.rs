//! Reads records from segments, for replay, repair and queries.
