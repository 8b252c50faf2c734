//! Segment files: names, listing, creation.
