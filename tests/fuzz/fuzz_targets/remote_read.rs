//! Any bytes as a request of remote read: as a block, and as the message in one.

#![cfg_attr(fuzzing, no_main)]

use scraped_engine::labels::Labels;
use scraped_engine::remote_read::request::ReadRequest;

pub(crate) fn run(bytes: &[u8]) {
    let external_labels = Labels::from_pairs([("site", "edge")]);
    let literal = |bytes: &[u8]| {
        let mut block = Vec::new();
        let mut len = bytes.len();
        while len >= 0x80 {
            block.push(len as u8 | 0x80);
            len >>= 7;
        }
        block.push(len as u8);
        for piece in bytes.chunks(60) {
            block.push((piece.len() as u8 - 1) << 2);
            block.extend_from_slice(piece);
        }
        block
    };
    for block in [bytes.to_vec(), literal(bytes)] {
        match ReadRequest::read(&block, &external_labels) {
            Ok(request) => {
                assert!(request.queries.len() <= 100);
                for query in &request.queries {
                    query.selector.matches(|name| if name == "job" { "node" } else { "" });
                }
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
