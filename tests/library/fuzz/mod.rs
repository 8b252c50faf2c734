//! The fuzz targets of `tests/fuzz/fuzz_targets` without a fuzzer: seeds and what has been found before, then seeds
//! changed a little: always the same ones; new ones for ten minutes with `SCRAPED_LONG=1`.
//!
//! A new target is a file there, a line here and one in `tests/fuzz/Cargo.toml`, which is cargo-fuzz's layout:
//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz NAME` runs the same function under libFuzzer. An input that fails is
//! kept in `tests/fuzz/corpus/NAME`, which every run begins with.

use support::{cases, repository};

#[path = "../../fuzz/fuzz_targets/addresses.rs"]
mod addresses;
#[path = "../../fuzz/fuzz_targets/gzip.rs"]
mod gzip;
#[path = "../../fuzz/fuzz_targets/heads.rs"]
mod heads;
mod mutator;
#[path = "../../fuzz/fuzz_targets/nhcb.rs"]
mod nhcb;
#[path = "../../fuzz/fuzz_targets/openmetrics.rs"]
mod openmetrics;
#[path = "../../fuzz/fuzz_targets/protobuf.rs"]
mod protobuf;
#[path = "../../fuzz/fuzz_targets/relabel.rs"]
mod relabel;
#[path = "../../fuzz/fuzz_targets/remote_read.rs"]
mod remote_read;
#[path = "../../fuzz/fuzz_targets/text.rs"]
mod text;
#[path = "../../fuzz/fuzz_targets/yaml.rs"]
mod yaml;

use mutator::Mutator;
use std::fs;
use std::panic::catch_unwind;
use std::path::Path;
use std::time::{Duration, Instant};

/// Changed inputs a target in a normal run: 1 to 5 s.
const N_INPUTS: u64 = 30_000;

/// How long a long run goes on with each target.
const LONG: Duration = Duration::from_secs(600);

/// The files below `dir`.
fn files(dir: &Path, found: &mut Vec<Vec<u8>>) {
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.expect("a readable directory").path();
        match path.is_dir() {
            true => files(&path, found),
            false => found.push(fs::read(&path).expect("a readable file")),
        }
    }
}

/// Runs a target on all files below `tests/data/SEEDS` and in its corpus, as they are, then changed.
fn fuzz(name: &str, run: fn(&[u8]), seeds: &[&str], words: &[&str]) {
    let mut inputs = Vec::new();
    let corpus = repository().join("tests/fuzz/corpus").join(name);
    files(&corpus, &mut inputs);
    for dir in seeds {
        let n_before = inputs.len();
        files(&repository().join("tests/data").join(dir), &mut inputs);
        assert!(inputs.len() > n_before, "no seed in {dir}");
    }
    // Directories list their files in any order.
    inputs.sort_unstable();
    for input in &inputs {
        assert!(holds(run, input), "\"{}\"", input.escape_ascii());
    }
    let started = Instant::now();
    let mut mutator = Mutator::new(inputs, words, cases::seed());
    let mut n_inputs = 0;
    while n_inputs < N_INPUTS || (cases::is_long() && started.elapsed() < LONG) {
        let input = mutator.next();
        if !holds(run, &input) {
            fs::create_dir_all(&corpus).expect("the sources can be written to");
            let find = corpus.join(format!("found-{}-{n_inputs}", cases::seed()));
            fs::write(&find, &input).expect("the sources can be written to");
            panic!("the input is in {}: \"{}\"", find.display(), input.escape_ascii());
        }
        n_inputs += 1;
    }
}

fn holds(run: fn(&[u8]), input: &[u8]) -> bool {
    catch_unwind(|| run(input)).is_ok()
}

#[test]
fn text() {
    let words = [
        "# HELP ",
        "# TYPE ",
        " counter\n",
        " histogram\n",
        " summary\n",
        "{\"",
        "\",",
        "\"=\"",
        "=\"",
        "\"} ",
        " NaN",
        " +Inf\n",
        " 1e3",
        "le=\"",
        "quantile=\"",
        "a 1\n",
        "a{b=\"c\"} 1 2\n",
        "__name__",
        "\\\"",
        "\\n",
    ];
    fuzz("text", text::run, &["exposition"], &words);
}

#[test]
fn openmetrics() {
    let words = [
        "# HELP ",
        "# TYPE ",
        "# UNIT ",
        "# EOF\n",
        "# EOF",
        " counter\n",
        " gaugehistogram\n",
        " info\n",
        " stateset\n",
        " # {",
        "} 1\n",
        "} 1 2\n",
        "{\"",
        "\",",
        "\"=\"",
        "=\"",
        "\"} ",
        " NaN",
        " +Inf\n",
        " 1e3",
        " 1.5",
        "le=\"",
        "quantile=\"",
        "_created",
        "_total",
        "a 1\n",
        "a{b=\"c\"} 1 2 # {d=\"e\"} 3 4\n",
        "\\\"",
        "\\n",
    ];
    fuzz("openmetrics", openmetrics::run, &["exposition", "openmetrics"], &words);
}

#[test]
fn protobuf() {
    // Tags of fields with lengths that fit, and one that does not.
    let words = [
        "\n\u{1}a",
        "\u{18}\u{4}",
        "\"\u{4}",
        ":\u{6}",
        "\u{1a}\u{2}",
        "b\u{2}\u{8}\u{1}",
        "b\u{0}",
        "j\u{2}\u{2}\u{2}",
        "J\u{0}",
        "R\u{1}\u{2}",
        "8\u{1}",
        "(\u{3}",
        "\u{7f}",
        "\u{0}",
    ];
    fuzz("protobuf", protobuf::run, &[], &words);
}

#[test]
fn nhcb() {
    let words = [
        "# TYPE a histogram\n",
        "# TYPE b histogram\n",
        "# EOF\n",
        "a_bucket{le=\"",
        "a_bucket{le=\"1\"} 1\n",
        "a_bucket{le=\"+Inf\"} 1\n",
        "a_count 1\n",
        "a_sum 1\n",
        "b_count{x=\"y\"} 2\n",
        "\"} 1\n",
        "\"} 2.5 1\n",
        "\"} NaN # {a=\"b\"} 1\n",
    ];
    fuzz("nhcb", nhcb::run, &["nhcb"], &words);
}

#[test]
fn relabel() {
    let words = [
        "replace\n",
        "keep\n",
        "drop\n",
        "keepequal\n",
        "dropequal\n",
        "hashmod\n",
        "labelmap\n",
        "labeldrop\n",
        "labelkeep\n",
        "lowercase\n",
        "uppercase\n",
        "$1",
        "${1}",
        "${name}",
        "$$",
        "${",
        "(?P<name>",
        "(?i)",
        "(?s:",
        "[^",
        "[[:alpha:]]",
        "\\w",
        "\\pL",
        "\\x{10ffff}",
        "\\Q",
        "\\E",
        "{2,3}",
        "{1000}",
        ".*",
        "+?",
        "|",
        "__name__",
    ];
    fuzz("relabel", relabel::run, &[], &words);
}

#[test]
fn yaml() {
    let words = [
        "global:\n",
        "scrape_configs:\n",
        "- job_name: a\n",
        "  static_configs:\n",
        "  - targets: [a]\n",
        "remote_write:\n",
        "- url: http://a\n",
        "relabel_configs:\n",
        "  regex: ",
        "&a ",
        "*a",
        "<<: ",
        "!!str ",
        "|\n",
        ">-\n",
        "'",
        "\"",
        "{",
        "}",
        "[",
        "]",
        ": ",
        "? ",
        "- ",
        "\n  ",
        "null",
        "~",
        "0x1f",
        "1e3",
        ".inf",
        "5m",
        "10MB",
        "--- ",
        "...\n",
        "%YAML 1.1\n",
        "# ",
    ];
    fuzz("yaml", yaml::run, &["config", "relabel"], &words);
}

#[test]
fn heads() {
    let words = [
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.0 404 ",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 302 Found\r\nLocation: ",
        "\r\n\r\n",
        "\r\n",
        "\n\n",
        "\r\n ",
        "\r\n\t",
        ": ",
        "Content-Length: 0\r\n",
        "Content-Length:\r\n",
        "Content-Type: ",
        "Transfer-Encoding: chunked\r\n",
        "Connection: close\r\n",
        "X-Prometheus-",
        "X-Other: a\r\n",
        "GET / HTTP/1.1\r\n",
        "Host: a\r\n",
    ];
    fuzz("heads", heads::run, &[], &words);
}

#[test]
fn addresses() {
    let words = [
        "http://",
        "https://",
        "//",
        "::1",
        "[::1]",
        "%25",
        "%lo",
        "%C3%BC",
        "ü",
        ":80",
        ":65536",
        ":0080",
        ":http",
        "@",
        "user:pw@",
        "/../",
        "/./",
        "?a=b",
        "&token=c",
        "#d",
        "xn--",
        "\n",
        "127.0.0.1",
        "fe80::1",
    ];
    fuzz("addresses", addresses::run, &[], &words);
}

#[test]
fn gzip() {
    // A member of nothing, the start of one, blocks of nothing.
    let words = [
        "\u{1f}\u{8}\u{8}\u{0}",
        "\u{3}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}",
        "\u{0}\u{0}\u{0}",
        "\u{1}\u{0}\u{0}",
        "\u{4}",
        "\u{0}",
    ];
    fuzz("gzip", gzip::run, &[], &words);
}

#[test]
fn remote_read() {
    fuzz(
        "remote_read",
        remote_read::run,
        &[],
        &["(?i)", ".*", "\\pL{9}", "__name__", "\x1a\x08", "\x12\x01\x00"],
    );
}
