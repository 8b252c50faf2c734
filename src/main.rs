//! The `scraped` command.

fn main() {}
