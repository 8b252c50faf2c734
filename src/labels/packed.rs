//! A label set as varint symbol pairs in one allocation.
