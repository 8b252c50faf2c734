//! The daemon: owns every handle.
