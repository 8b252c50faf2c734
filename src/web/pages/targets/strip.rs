//! A target's last attempts as a strip of bars: height is time, colour is outcome.

use crate::scrape::targets::history::{Attempt, History, KEPT_ATTEMPTS, ScrapeStage};
use std::fmt::Write as _;
use std::time::Duration;

const BAR_WIDTH: usize = 5;
const HEIGHT: usize = 24;
/// What took no time is seen, too.
const MIN_HEIGHT: usize = 3;

/// The strip as SVG, a path a colour, and behind it where attempts failed, as text.
pub(super) fn strip(history: &History, timeout: Duration) -> String {
    let (mut up, mut down) = (String::new(), String::new());
    let n_kept = history.attempts().count();
    for (idx, attempt) in history.attempts().enumerate() {
        let path = if attempt.failed_in.is_none() { &mut up } else { &mut down };
        let height = bar_height(&attempt, timeout);
        // The newest stands at the right.
        let x = (KEPT_ATTEMPTS - n_kept + idx) * (BAR_WIDTH + 1);
        let _ = write!(path, "M{x} {HEIGHT}v-{height}h{BAR_WIDTH}v{height}z");
    }
    let width = KEPT_ATTEMPTS * (BAR_WIDTH + 1);
    let what = outcomes(history);
    format!(
        "<svg class=strip width={width} height={HEIGHT} viewBox=\"0 0 {width} {HEIGHT}\" role=img aria-label=\"{what}\">\
         <path class=up d=\"{up}\"/><path class=down d=\"{down}\"/></svg> <small>{what}</small>"
    )
}

/// As a part of the timeout, on a scale that shows milliseconds as well as seconds.
fn bar_height(attempt: &Attempt, timeout: Duration) -> usize {
    let part = f64::from(attempt.duration_us).ln_1p() / (timeout.as_micros().max(1) as f64).ln_1p();
    let rest = (HEIGHT - MIN_HEIGHT) as f64;
    MIN_HEIGHT + (rest * part.clamp(0.0, 1.0)) as usize
}

/// `18 stored, 2 failed: connect 1, body 1`.
fn outcomes(history: &History) -> String {
    let mut failed: Vec<(ScrapeStage, usize)> = Vec::new();
    for stage in history.attempts().filter_map(|attempt| attempt.failed_in) {
        match failed.iter_mut().find(|(known, _)| *known == stage) {
            Some((_, n)) => *n += 1,
            None => failed.push((stage, 1)),
        }
    }
    let n_failed: usize = failed.iter().map(|(_, n)| n).sum();
    let mut text = format!("{} stored", history.attempts().count() - n_failed);
    if n_failed > 0 {
        let stages: Vec<String> = failed.iter().map(|(stage, n)| format!("{} {n}", stage.as_str())).collect();
        let _ = write!(text, ", {n_failed} failed: {}", stages.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(attempts: &[(u32, Option<ScrapeStage>)]) -> History {
        let mut history = History::default();
        for &(duration_us, failed_in) in attempts {
            history.push(Attempt { ts_s: 1, duration_us, failed_in });
        }
        history
    }

    #[test]
    fn a_bar_an_attempt_the_newest_at_the_right() {
        let got =
            strip(&history(&[(0, None), (10_000_000, Some(ScrapeStage::Body))]), Duration::from_secs(10));
        assert!(got.contains("<path class=up d=\"M108 24v-3h5v3z\"/>"), "{got}");
        assert!(got.contains("<path class=down d=\"M114 24v-24h5v24z\"/>"), "{got}");
        assert!(got.ends_with("<small>1 stored, 1 failed: body 1</small>"), "{got}");
        // What was slower than the timeout is not higher than the strip.
        let slow = strip(&history(&[(u32::MAX, None)]), Duration::from_millis(1));
        assert!(slow.contains("v-24h5"), "{slow}");
    }

    #[test]
    fn where_it_failed_is_counted() {
        let (tls, parse) = (Some(ScrapeStage::Tls), Some(ScrapeStage::Parse));
        let got = outcomes(&history(&[(1, tls), (1, None), (1, parse), (1, tls)]));
        assert_eq!(got, "1 stored, 3 failed: TLS 2, parse 1");
        assert_eq!(outcomes(&history(&[])), "0 stored");
    }
}
