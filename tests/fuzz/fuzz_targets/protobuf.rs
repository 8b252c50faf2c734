//! Any bytes as a page of delimited protobuf, under all options.

#![cfg_attr(fuzzing, no_main)]

use scraped_engine::exposition::content_type::Format;
use support::protobuf::check;

pub(crate) fn run(page: &[u8]) {
    for words in ["plain", "keep", "ignore", "convert", "convert keep", "convert ignore keep"] {
        check(Format::Protobuf, page, words);
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
