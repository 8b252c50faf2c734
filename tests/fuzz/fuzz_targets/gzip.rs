//! Any bytes as a packed body.

#![cfg_attr(fuzzing, no_main)]

use scraped_engine::store::body_budget::BodyBudget;
use scraped_engine::store::decode::{ContentEncoding, Decoder};
use scraped_engine::store::pace::Pace;
use std::time::{Duration, Instant};

/// More than a body may unfold to with a limit of [`LIMIT_BYTES`].
const BUDGET_BYTES: u64 = 8 << 20;

const LIMIT_BYTES: u64 = 64 << 10;

pub(crate) fn run(body: &[u8]) {
    let budget = BodyBudget::new(BUDGET_BYTES, BUDGET_BYTES);
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut decoder = Decoder::default();
    let mut decode = |limit_bytes| {
        let mut decoded = budget.decoded_buffer();
        let page = decoder
            .decode(ContentEncoding::Gzip, body, &mut decoded, limit_bytes, &mut Pace::alone(deadline))
            .map(<[u8]>::to_vec);
        page.map_err(|error| error.to_string())
    };
    let limited = decode(LIMIT_BYTES);
    assert_eq!(limited, decode(LIMIT_BYTES), "with a state that was used before");
    if let Ok(page) = limited {
        assert!((page.len() as u64) < LIMIT_BYTES);
        assert_eq!(decode(0), Ok(page), "without a limit");
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
