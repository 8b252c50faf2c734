//! Any bytes as a page of a text format whose classic histograms become native ones.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
#[path = "../../protobuf_support/mod.rs"]
mod protobuf_support;

use crate::protobuf_support::check;
use scraped_engine::exposition::content_type::Format;

pub(crate) fn run(page: &[u8]) {
    for format in [Format::Text, Format::OpenMetrics] {
        for words in ["convert", "convert keep"] {
            check(format, page, words);
        }
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
