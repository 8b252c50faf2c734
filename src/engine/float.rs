//! Numbers in and out, as Go reads and writes them.
//!
//! Prometheus reads values with `strconv.ParseFloat` and refuses what Go learned after 1.12; it writes floats with
//! `strconv.FormatFloat(v, 'f' or 'g', -1, 64)`. Short decimals are read without the general algorithm, exactly.

use std::fmt::Write;

/// Prometheus' own NaN: every NaN of a page becomes this one, so that none is taken for a staleness marker
/// (`model/value/value.go`: `NormalNaN`).
pub const NORMAL_NAN_BITS: u64 = 0x7ff8_0000_0000_0001;

/// Bits of the NaN that says "this series ended" (`model/value/value.go`: `StaleNaN`).
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// Powers of ten that a double holds exactly.
const EXACT_POWERS_OF_TEN: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

/// Integers up to here are exact in a double.
const MAX_EXACT_INTEGER: u64 = 1 << 53;

/// Integers of this many decimal digits are below [`MAX_EXACT_INTEGER`].
const MAX_INTEGER_DIGITS: usize = 15;

/// So many decimal digits always fit a `u64`.
const MAX_SHORT_DIGITS: usize = 19;

/// Why a text is no float.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloatError {
    /// `p`, `P` or `_`.
    UnsupportedCharacter,
    /// Anything else that is no number.
    Syntax,
    /// Larger than the largest double.
    Range,
}

/// The staleness marker.
pub fn stale_nan() -> f64 {
    f64::from_bits(STALE_NAN_BITS)
}

/// True for the stale marker, which no other NaN is.
pub fn is_stale_nan(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// A value of a page (`model/textparse/promparse.go`: `parseFloat`).
///
/// # Errors
/// The text is no number, or one that overflows.
pub fn parse(text: &[u8]) -> Result<f64, FloatError> {
    if let Some((value, len)) = parse_short(text)
        && len == text.len()
    {
        return Ok(value);
    }
    if text.iter().any(|byte| matches!(byte, b'p' | b'P' | b'_')) {
        return Err(FloatError::UnsupportedCharacter);
    }
    let unsigned = match text {
        [b'+' | b'-', rest @ ..] => rest,
        rest => rest,
    };
    if unsigned.eq_ignore_ascii_case(b"nan") {
        // Go takes no sign before it.
        let is_bare = unsigned.len() == text.len();
        return if is_bare { Ok(f64::from_bits(NORMAL_NAN_BITS)) } else { Err(FloatError::Syntax) };
    }
    let value: f64 =
        std::str::from_utf8(text).ok().and_then(|it| it.parse().ok()).ok_or(FloatError::Syntax)?;
    let is_infinity = unsigned.first().is_some_and(|byte| byte.eq_ignore_ascii_case(&b'i'));
    if value.is_infinite() && !is_infinity { Err(FloatError::Range) } else { Ok(value) }
}

/// A decimal number at the start of `text` that the quick way reads exactly, and its length in bytes.
///
/// `None` says nothing about the text: it may be longer, or no number at all.
#[inline]
pub fn parse_short(text: &[u8]) -> Option<(f64, usize)> {
    match text {
        // More than half of all values are one digit.
        [digit @ b'0'..=b'9', b'\n', ..] => Some((f64::from(digit - b'0'), 1)),
        _ => parse_short_decimal(text),
    }
}

fn parse_short_decimal(text: &[u8]) -> Option<(f64, usize)> {
    let is_negative = text.first() == Some(&b'-');
    let whole_start = usize::from(is_negative);
    let (mut mantissa, whole_end) = take_digits(text, whole_start, 0);
    let mut pos = whole_end;
    let mut n_fraction_digits = 0;
    if matches!(text.get(pos), Some(b'\n')) && (1..=MAX_INTEGER_DIGITS).contains(&(whole_end - whole_start)) {
        // Most values are counts. So few digits are exact, and fit a signed number, which converts faster.
        let value = mantissa as i64 as f64;
        return Some((if is_negative { -value } else { value }, pos));
    }
    if text.get(pos) == Some(&b'.') {
        (mantissa, pos) = take_digits(text, whole_end + 1, mantissa);
        n_fraction_digits = pos - whole_end - 1;
    }
    let n_digits = whole_end - whole_start + n_fraction_digits;
    if n_digits == 0 || n_digits > MAX_SHORT_DIGITS || mantissa > MAX_EXACT_INTEGER {
        return None;
    }
    let mut exponent = -i32::try_from(n_fraction_digits).ok()?;
    if matches!(text.get(pos), Some(b'e' | b'E')) {
        let (written, len) = short_exponent(text.get(pos + 1..)?)?;
        exponent += written;
        pos += 1 + len;
    }
    // Both operands are exact, so one correctly rounded operation gives the nearest double (Clinger's fast path).
    let power = *EXACT_POWERS_OF_TEN.get(usize::try_from(exponent.unsigned_abs()).ok()?)?;
    let value = if exponent < 0 { mantissa as f64 / power } else { mantissa as f64 * power };
    Some((if is_negative { -value } else { value }, pos))
}

/// Appends the digits at `pos` to `mantissa`, which is of use as long as there are few enough of them; gives where
/// they end.
fn take_digits(text: &[u8], mut pos: usize, mut mantissa: u64) -> (u64, usize) {
    while let Some(byte) = text.get(pos)
        && byte.is_ascii_digit()
    {
        mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
        pos += 1;
    }
    (mantissa, pos)
}

/// One or two digits with or without a sign, and their length.
fn short_exponent(text: &[u8]) -> Option<(i32, usize)> {
    let (is_negative, sign_len) = match text.first()? {
        b'-' => (true, 1),
        b'+' => (false, 1),
        _ => (false, 0),
    };
    let digits = text.get(sign_len..)?;
    let n_digits = digits.iter().take(3).take_while(|byte| byte.is_ascii_digit()).count();
    if !(1..=2).contains(&n_digits) {
        return None;
    }
    let number = digits.iter().take(n_digits).fold(0, |number, digit| number * 10 + i32::from(digit - b'0'));
    Some((if is_negative { -number } else { number }, sign_len + n_digits))
}

/// How Go lays out the shortest digits that read back as the same double (`strconv/ftoa.go`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `'f'`: never an exponent.
    Fixed,
    /// `'g'`: an exponent below 1e-4 and from 1e6 on.
    General,
}

/// Appends `value` as `strconv.FormatFloat(value, layout, -1, 64)` does.
pub fn format_go(value: f64, layout: Layout, out: &mut String) {
    if !value.is_finite() {
        out.push_str(match value {
            _ if value.is_nan() => "NaN",
            _ if value > 0.0 => "+Inf",
            _ => "-Inf",
        });
        return;
    }
    if value.is_sign_negative() {
        out.push('-');
    }
    if value == 0.0 {
        out.push('0');
        return;
    }
    let mut buffer = zmij::Buffer::new();
    let shortest = buffer.format_finite(value.abs());
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((shortest, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = Digits { text: [0; Digits::MAX], len: 0 };
    digits.extend(whole);
    digits.extend(fraction);
    let n_leading_zeros = digits.as_str().len() - digits.as_str().trim_start_matches('0').len();
    let significant = digits.as_str().trim_matches('0');
    // The value is 0.significant · 10^point.
    let point = whole.len() as i32 - n_leading_zeros as i32 + exponent.parse::<i32>().unwrap_or_default();
    if layout == Layout::General && !(-3..=6).contains(&point) {
        push_scientific(significant, point - 1, out);
    } else {
        push_fixed(significant, point, out);
    }
}

/// Appends `value` as the API writes it: without exponent unless it is very large or small (`jsonutil.MarshalFloat`).
pub fn format_api(value: f64, out: &mut String) {
    let size = value.abs();
    let is_plain = size == 0.0 || (1e-6..1e21).contains(&size) || !value.is_finite();
    // So large and so small it has an exponent there.
    format_go(value, if is_plain { Layout::Fixed } else { Layout::General }, out);
}

/// Digits of a mantissa; the shortest form never has more than 17, zeros included not more than this.
struct Digits {
    text: [u8; Digits::MAX],
    len: usize,
}

impl Digits {
    const MAX: usize = 32;

    fn extend(&mut self, digits: &str) {
        for digit in digits.bytes() {
            if let Some(slot) = self.text.get_mut(self.len) {
                *slot = digit;
                self.len += 1;
            }
        }
    }

    fn as_str(&self) -> &str {
        self.text.get(..self.len).and_then(|digits| std::str::from_utf8(digits).ok()).unwrap_or_default()
    }
}

fn push_scientific(significant: &str, exponent: i32, out: &mut String) {
    let (first, rest) = significant.split_at(significant.len().min(1));
    out.push_str(first);
    if !rest.is_empty() {
        out.push('.');
        out.push_str(rest);
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    // Writing to a string cannot fail.
    let _ = write!(out, "e{sign}{:02}", exponent.unsigned_abs());
}

fn push_fixed(significant: &str, point: i32, out: &mut String) {
    let n_whole = usize::try_from(point).unwrap_or_default();
    let (whole, fraction) = significant.split_at(n_whole.min(significant.len()));
    match n_whole {
        0 => out.push('0'),
        _ => out.push_str(whole),
    }
    out.extend(std::iter::repeat_n('0', n_whole - whole.len()));
    if fraction.is_empty() {
        return;
    }
    out.push('.');
    out.extend(std::iter::repeat_n('0', usize::try_from(-point).unwrap_or_default()));
    out.push_str(fraction);
}

/// Appends `value` as OpenMetrics spells it in `le` and `quantile` (`model/labels/float.go`: `FormatOpenMetricsFloat`).
pub fn format_openmetrics(value: f64, out: &mut String) {
    // Both zeros are one bound.
    let value = if value == 0.0 { 0.0 } else { value };
    let start = out.len();
    format_go(value, Layout::General, out);
    let is_integer =
        out.get(start..).is_some_and(|it| it.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit()));
    if is_integer {
        out.push_str(".0");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_prometheus_reads() {
        let check = |text: &str, want: Result<f64, FloatError>| {
            let got = parse(text.as_bytes());
            assert_eq!(got.map(f64::to_bits), want.map(f64::to_bits), "{text:?}: {got:?}");
        };
        for text in
            ["0", "1", "-1", "+1", "1.", ".5", "-.5", "0.1", "00012", "1e5", "1E+5", "1e-05", "1.5e+09"]
        {
            check(text, Ok(text.parse().unwrap()));
        }
        for text in ["9007199254740993", "123456789012345678901234567890", "1e-400", "1e22", "1e23", "5e-324"]
        {
            check(text, Ok(text.parse().unwrap()));
        }
        check("-0", Ok(-0.0));
        for text in ["Inf", "inf", "+Inf", "INFINITY", "+infinity"] {
            check(text, Ok(f64::INFINITY));
        }
        check("-Inf", Ok(f64::NEG_INFINITY));
        for text in ["NaN", "nan", "NAN"] {
            check(text, Ok(f64::from_bits(NORMAL_NAN_BITS)));
        }
        for text in ["1e400", "-1e400", "1e309"] {
            check(text, Err(FloatError::Range));
        }
        for text in ["0x1p-3", "0x1P-3", "1_2", "p", "_"] {
            check(text, Err(FloatError::UnsupportedCharacter));
        }
        for text in [
            "", "+", "-", ".", "e5", "1e", "1e+", "0x1", "true", "1.2.3", "--1", "+NaN", "-nan", "1\r",
            "infin",
        ] {
            check(text, Err(FloatError::Syntax));
        }
    }

    #[test]
    fn writes_what_go_writes() {
        let check = |value: f64, general: &str, fixed: &str, openmetrics: &str| {
            let mut out = String::new();
            format_go(value, Layout::General, &mut out);
            assert_eq!(out, general);
            out.clear();
            format_go(value, Layout::Fixed, &mut out);
            assert_eq!(out, fixed);
            out.clear();
            format_openmetrics(value, &mut out);
            assert_eq!(out, openmetrics);
        };
        // From Go's strconv/ftoa_test.go and Prometheus' model/labels/labels_test.go.
        check(0.0, "0", "0", "0.0");
        check(-0.0, "-0", "-0", "0.0");
        check(1.0, "1", "1", "1.0");
        check(-1.0, "-1", "-1", "-1.0");
        check(20.0, "20", "20", "20.0");
        check(1234567.8, "1.2345678e+06", "1234567.8", "1.2345678e+06");
        check(200000.0, "200000", "200000", "200000.0");
        check(2000000.0, "2e+06", "2000000", "2e+06");
        check(123456789.0, "1.23456789e+08", "123456789", "1.23456789e+08");
        check(0.25, "0.25", "0.25", "0.25");
        check(0.0001, "0.0001", "0.0001", "0.0001");
        check(0.00001, "1e-05", "0.00001", "1e-05");
        check(0.000123, "0.000123", "0.000123", "0.000123");
        check(1e23, "1e+23", "100000000000000000000000", "1e+23");
        check(5e-7, "5e-07", "0.0000005", "5e-07");
        check(100.5, "100.5", "100.5", "100.5");
        check(f64::NAN, "NaN", "NaN", "NaN");
        check(f64::INFINITY, "+Inf", "+Inf", "+Inf");
        check(f64::NEG_INFINITY, "-Inf", "-Inf", "-Inf");
        check(f64::MAX, "1.7976931348623157e+308", &format!("{}", f64::MAX), "1.7976931348623157e+308");
        check(f64::from_bits(1), "5e-324", &format!("{}", f64::from_bits(1)), "5e-324");
    }

    proptest! {
        #![proptest_config(crate::cases::cases(256))]

        /// What is written reads back as the same bits, in both layouts and by both readers.
        #[test]
        fn round_trip(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(!value.is_nan());
            for layout in [Layout::Fixed, Layout::General] {
                let mut out = String::new();
                format_go(value, layout, &mut out);
                prop_assert_eq!(parse(out.as_bytes()).map(f64::to_bits), Ok(bits), "{}", out);
            }
        }

        /// The quick way gives what the general way gives.
        #[test]
        fn short_decimals_are_exact(text in "-?[0-9]{0,12}(\\.[0-9]{0,9})?([eE][+-]?[0-9]{1,2})?") {
            if let Some((value, len)) = parse_short(text.as_bytes()) {
                let general: f64 = text[..len].parse().unwrap();
                prop_assert_eq!(value.to_bits(), general.to_bits());
                prop_assert!(len == text.len(), "{} of {}", len, text);
            }
        }

        /// No bytes make the readers panic.
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = parse(&bytes);
            let _ = parse_short(&bytes);
        }
    }
}
