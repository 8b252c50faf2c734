//! Pages of node_exporter whose values move as those of hosts at work do.
//!
//! The shape is the saved page of the tests, 523 samples. `node_exporter.rates` says which of its series moved on a
//! real host and how fast: 157 of 523 from one scrape to the next, or fewer where a counter rises less than once a
//! scrape; the rest stands still. Hosts differ: each has its own factor for numbers above 10000 (bytes, inodes, times)
//! and for its rates. A value is a function of host, series and time, so every scraper sees the same.

use std::collections::HashMap;
use std::fmt::Write;

const SHAPE: &str = include_str!("../../data/exposition/ok/node_exporter.prom");
const RATES: &str = include_str!("../node_exporter.rates");

/// Numbers that stand still and are at least this large differ by host.
const HOST_SIZED: f64 = 1e4;

/// Memory is counted in pages.
const MEMORY_PAGE: f64 = 4096.0;

/// More digits than this behind the point are noise of the arithmetic.
const MAX_DECIMALS: i32 = 9;

/// A page that can be rendered for any host and time.
#[derive(Clone, Debug)]
pub struct NodePage {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug)]
struct Piece {
    /// What stands before the value.
    text: String,
    value: Option<Value>,
}

#[derive(Clone, Copy, Debug)]
struct Value {
    base: f64,
    step: f64,
    motion: Motion,
}

#[derive(Clone, Copy, Debug)]
enum Motion {
    Still,
    Rises { a_second: f64 },
    Wanders { by: f64 },
}

impl Default for NodePage {
    fn default() -> Self {
        Self::new()
    }
}

impl NodePage {
    /// The page.
    pub fn new() -> Self {
        let mut motions = HashMap::new();
        for line in RATES.lines().filter(|line| !line.starts_with('#')) {
            let mut fields = line.splitn(4, ' ');
            let mut field = || fields.next().expect("four fields a line");
            let (kind, amount, base, series) = (field(), field(), field(), field());
            let amount: f64 = amount.parse().expect("a number");
            let base: f64 = base.parse().expect("a number");
            let motion =
                if kind == "c" { Motion::Rises { a_second: amount } } else { Motion::Wanders { by: amount } };
            motions.insert(series, (base, motion));
        }
        let mut pieces = Vec::new();
        let mut text = String::new();
        for line in SHAPE.lines() {
            if line.starts_with('#') {
                text.push_str(line);
                text.push('\n');
                continue;
            }
            let (series, value) = line.rsplit_once(' ').expect("a sample");
            let value: f64 = value.parse().expect("a number");
            let (base, motion) = motions.get(series).copied().unwrap_or((value, Motion::Still));
            text.push_str(series);
            text.push(' ');
            let value = Some(Value { base, step: step(base), motion });
            pieces.push(Piece { text: std::mem::take(&mut text), value });
            text.push('\n');
        }
        pieces.push(Piece { text, value: None });
        Self { pieces }
    }

    /// Samples on the page.
    pub fn n_samples(&self) -> usize {
        self.pieces.iter().filter(|piece| piece.value.is_some()).count()
    }

    /// Puts the page of a host at the end of `out`; `at_s` is in seconds since any fixed moment.
    pub fn render(&self, host: u64, at_s: f64, out: &mut String) {
        // A counter's clock stumbles and never goes back as long as scrapes are a second apart.
        let stumble_s = 0.5 * noise(host, 0, at_s.floor() as u64);
        for (piece, idx) in self.pieces.iter().zip(1..) {
            out.push_str(&piece.text);
            let Some(Value { base, step, motion }) = piece.value else { continue };
            let size = 0.5 + noise(host, idx, 0);
            let value = match motion {
                Motion::Still if base < HOST_SIZED || base > 1e18 => base,
                Motion::Still => base * size,
                Motion::Rises { a_second } => {
                    let speed = 2.0 * noise(host, idx, 1);
                    base * size + a_second * speed * (at_s + stumble_s)
                }
                Motion::Wanders { by } => {
                    (base * size + by * (2.0 * noise(host, idx, at_s.floor() as u64) - 1.0)).max(0.0)
                }
            };
            write_go(out, if step == 0.0 { value } else { (value / step).round() * step }, step);
        }
    }
}

/// What a value is a multiple of; 0 if of nothing.
fn step(base: f64) -> f64 {
    if base.fract() == 0.0 {
        return if base >= MEMORY_PAGE && base % MEMORY_PAGE == 0.0 { MEMORY_PAGE } else { 1.0 };
    }
    for decimals in 1..=MAX_DECIMALS {
        let scaled = base * 10_f64.powi(decimals);
        if (scaled - scaled.round()).abs() < 1e-6 * scaled.abs().min(1.0) {
            return 10_f64.powi(-decimals);
        }
    }
    0.0
}

/// From 0 to 1.
fn noise(host: u64, idx: u64, time: u64) -> f64 {
    let mut bits = (host << 40) ^ (idx << 20) ^ time.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for factor in [0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb_u64] {
        bits = (bits ^ (bits >> 29)).wrapping_mul(factor);
    }
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// As Go prints a float in the text format.
fn write_go(out: &mut String, value: f64, step: f64) {
    // Sums of hundredths are printed as such.
    let value = if step > 0.0 && step < 1.0 {
        let decimals = -step.log10().round() as usize;
        format!("{value:.decimals$}").parse().unwrap_or(value)
    } else {
        value
    };
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let written = if value != 0.0 && !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        write!(out, "{digits}e{sign}{:02}", exponent.abs())
    } else {
        write!(out, "{value}")
    };
    written.expect("memory");
}

#[cfg(test)]
mod tests {
    use super::{NodePage, write_go};

    #[test]
    fn numbers_are_those_of_go() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (4607.0, "4607"),
            (625_770.0, "625770"),
            (6_252_393.0, "6.252393e+06"),
            (5_000_000.0, "5e+06"),
            (1e6, "1e+06"),
            (100_000.0, "100000"),
            (1_795_394_369.01, "1.79539436901e+09"),
            (0.000_020_551, "2.0551e-05"),
            (0.25, "0.25"),
        ] {
            let mut out = String::new();
            write_go(&mut out, value, 0.0);
            assert_eq!(out, text);
        }
    }

    #[test]
    fn some_series_move() {
        let page = NodePage::new();
        let render = |at_s| {
            let mut out = String::new();
            page.render(7, at_s, &mut out);
            out
        };
        let (first, second) = (render(1000.0), render(1015.0));
        let n_moved = first.lines().zip(second.lines()).filter(|(a, b)| a != b).count();
        assert_eq!(page.n_samples(), 523);
        assert!((100..=157).contains(&n_moved), "{n_moved}");
    }
}
