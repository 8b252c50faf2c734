//! What is wrong with a page, and where.
