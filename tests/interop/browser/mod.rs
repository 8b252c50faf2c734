//! The pages in a real browser.
//!
//! Needs the command `chromium` (Debian's package). Without it the tests, and `scripts/test`, say that no page was looked at.

mod broken_targets;
mod devtools;
mod door;
mod pages;
