//! The counter of [`Behaviour::Counter`](crate::targets::Behaviour) beside `up`: no scrape is lost in silence.
//!
//! On a busy machine an answer may come after its timeout. Such a scrape has failed and says so: `up` is 0 and a staleness
//! marker ends the series. A count that is missing without that is a lost scrape.

use std::collections::BTreeMap;

use crate::remote::Series;

/// What the samples of one target say of its scrapes.
#[derive(Debug)]
pub struct Counted {
    /// The counts, each one more than the one before unless scrapes failed between.
    pub counts: Vec<u64>,
    /// Scrapes that failed after the last count.
    pub n_failed_since: usize,
}

impl Counted {
    /// How often the target was asked, as far as it is told here.
    pub fn n_scrapes(&self) -> usize {
        self.counts.last().map_or(0, |count| *count as usize) + self.n_failed_since
    }
}

/// Takes apart the samples of the one target whose keys have `label`; panics if a count is missing that no failed scrape
/// accounts for.
pub fn assert_accounted(series: &Series, label: &str) -> Counted {
    let (counters, ups) = (of(series, "fake_scrapes_total", label), of(series, "up", label));
    match account(&counters, &ups) {
        Ok(counted) => counted,
        Err(why) => panic!("{label}: {why}\ncounts {counters:?}\nup {ups:?}"),
    }
}

/// The same for what still arrives: `None` while a count is missing.
pub fn accounted(series: &Series, label: &str) -> Option<Counted> {
    account(&of(series, "fake_scrapes_total", label), &of(series, "up", label)).ok()
}

/// Time in ms → value of the one series of this name; a staleness marker is a NaN.
fn of(series: &Series, name: &str, label: &str) -> BTreeMap<i64, f64> {
    let name = format!("__name__=\"{name}\"");
    let mut found = series.iter().filter(|(key, _)| key.contains(&name) && key.contains(label));
    let samples = found.next().map(|(_, samples)| samples.as_slice()).unwrap_or_default();
    assert!(found.next().is_none(), "{name} {label} finds more than one series");
    samples.iter().map(|(ts_ms, bits)| (*ts_ms, f64::from_bits(*bits))).collect()
}

fn account(counters: &BTreeMap<i64, f64>, ups: &BTreeMap<i64, f64>) -> Result<Counted, String> {
    let mut counted = Counted { counts: Vec::new(), n_failed_since: 0 };
    // What is read while it grows may have one of the two only.
    let (Some(last_count), Some(last_up)) = (counters.last_key_value(), ups.last_key_value()) else {
        return Err("nothing was scraped".to_owned());
    };
    if let Some(ts_ms) = counters.range(..=*last_up.0).map(|it| it.0).find(|ts_ms| !ups.contains_key(ts_ms)) {
        return Err(format!("a count without `up` at {ts_ms}"));
    }
    for (ts_ms, up) in ups.range(..=*last_count.0.max(last_up.0)) {
        let count = counters.get(ts_ms).copied().filter(|count| !count.is_nan());
        match (*up == 1.0, count) {
            (true, Some(count)) => {
                let before = counted.counts.last().copied().unwrap_or_default();
                let n_missing = (count as u64).checked_sub(before + 1);
                if n_missing.is_none_or(|n_missing| n_missing > counted.n_failed_since as u64) {
                    let n_failed = counted.n_failed_since;
                    return Err(format!("{before}, then {count} at {ts_ms} after {n_failed} failed scrapes"));
                }
                counted.counts.push(count as u64);
                counted.n_failed_since = 0;
            }
            (true, None) if ts_ms > last_count.0 => break,
            (true, None) => return Err(format!("no count at {ts_ms}, and `up` is 1")),
            (false, Some(count)) => return Err(format!("{count} at {ts_ms}, and `up` is {up}")),
            // The marker of a target that went is no scrape.
            (false, None) if up.is_nan() => {}
            (false, None) => counted.n_failed_since += 1,
        }
    }
    Ok(counted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(ups: &[f64], counts: &[f64]) -> Result<Vec<u64>, String> {
        let at = |values: &[f64]| (0..).zip(values.iter().copied()).collect::<BTreeMap<i64, f64>>();
        account(&at(counts), &at(ups)).map(|counted| counted.counts)
    }

    #[test]
    fn a_count_is_there_or_a_failed_scrape_says_why_not() {
        let late = f64::NAN;
        assert_eq!(told(&[1.0, 1.0], &[1.0, 2.0]), Ok(vec![1, 2]));
        assert_eq!(told(&[1.0, 0.0, 1.0], &[1.0, late, 3.0]), Ok(vec![1, 3]));
        assert_eq!(told(&[1.0, 0.0, 1.0], &[1.0, late, 2.0]), Ok(vec![1, 2]), "the target was not reached");
        assert!(told(&[1.0, 1.0], &[1.0, 3.0]).is_err(), "lost");
        assert!(told(&[1.0, 1.0, 1.0], &[1.0, late, 3.0]).is_err(), "a marker beside up 1");
        assert!(told(&[1.0, 0.0, 1.0], &[1.0, late, 4.0]).is_err(), "one of two is lost");
        assert!(told(&[1.0, 0.0], &[1.0, 2.0]).is_err(), "a count of a failed scrape");
        assert!(told(&[1.0, 1.0], &[2.0, 3.0]).is_err(), "the first one is lost");
        assert!(told(&[1.0, 1.0], &[1.0, 1.0]).is_err(), "twice");
    }
}
