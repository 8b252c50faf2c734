//! Any bytes as a page of a text format whose classic histograms become native ones.

#![cfg_attr(fuzzing, no_main)]

use scraped_engine::exposition::content_type::Format;
use support::protobuf::check;

pub(crate) fn run(page: &[u8]) {
    for format in [Format::Text, Format::OpenMetrics] {
        for words in ["convert", "convert keep"] {
            check(format, page, words);
        }
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
