//! Any bytes as a page of the text format.

#![cfg_attr(fuzzing, no_main)]

use scraped_engine::exposition::content_type::Format;
use support::exposition::any_bytes::check;

pub(crate) fn run(page: &[u8]) {
    check(Format::Text, page);
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
