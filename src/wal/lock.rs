//! The lock file against a second process on the same data directory.
