//! Any bytes as a configuration file: the tree, and all that is made of it.

#![cfg_attr(fuzzing, no_main)]

use scraped::config;
use scraped::config::text::yaml;
use std::fs;

pub(crate) fn run(input: &[u8]) {
    if yaml::parse_bytes(input).is_err() {
        return;
    }
    let path = std::env::temp_dir().join(format!("scraped-fuzz-{}.yml", std::process::id()));
    fs::write(&path, input).expect("a temporary file can be written");
    let loaded = config::load(&path);
    fs::remove_file(&path).expect("it is there");
    if let Err(errors) = loaded {
        assert!(!errors.to_string().is_empty(), "a refusal says why");
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
