//! 32 KiB pages, record fragments, CRC-32C.
