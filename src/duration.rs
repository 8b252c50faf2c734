//! Durations and sizes as Prometheus writes them: `1m30s`, `10MB`.
//!
//! After `model.ParseDuration` of prometheus/common (`model/time.go`) and `units.ParseBase2Bytes` of alecthomas/units.
//! Shared by the configuration file and the command line; it knows neither.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

/// Milliseconds of each unit, biggest first; `true` where printing uses the unit only if nothing remains.
///
/// A year is 365 days and a day 24 hours, whatever the calendar says.
const DURATION_UNITS: [(&str, u64, bool); 7] = [
    ("y", 365 * 24 * 3_600_000, true),
    ("w", 7 * 24 * 3_600_000, true),
    ("d", 24 * 3_600_000, false),
    ("h", 3_600_000, false),
    ("m", 60_000, false),
    ("s", 1000, false),
    ("ms", 1, false),
];

/// Go's `time.Duration` ends here, about 292 years, and Prometheus refuses what is longer.
const MAX_DURATION_NANOS: u128 = i64::MAX as u128;

/// Sizes end here: Prometheus keeps them in a signed 64-bit integer.
const MAX_SIZE_BYTES: f64 = i64::MAX as f64;

/// Powers of 1024 by prefix.
const SIZE_PREFIXES: [&str; 7] = ["", "K", "M", "G", "T", "P", "E"];

/// Why a text is no duration or no size; the sentence is Prometheus'.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitError(String);

impl Display for UnitError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UnitError {}

/// Reads `1h30m`, `15s`, `250ms`, `0`: units `y w d h m s ms`, each at most once and biggest first.
///
/// # Errors
///
/// A missing or unknown unit, units out of order, a sign, an empty text, or more than about 292 years.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.is_empty() {
        return Err(UnitError("empty duration string".to_owned()));
    }
    let invalid = || UnitError(format!("not a valid duration string: {text:?}"));
    let out_of_range = || UnitError(format!("duration out of range: {text:?}"));
    let mut nanos: u128 = 0;
    let mut rest = text;
    let mut next_unit_idx = 0;
    while !rest.is_empty() {
        let (digits, after) = split_while(rest, |byte| byte.is_ascii_digit());
        let number: u64 = digits.parse().map_err(|_| invalid())?;
        let (unit, after) = split_while(after, |byte| !byte.is_ascii_digit());
        if unit.is_empty() {
            let hint =
                if digits == text { format!("; it needs a unit, as in {text}s") } else { String::new() };
            return Err(UnitError(format!("not a valid duration string: {text:?}{hint}")));
        }
        let Some(unit_idx) = DURATION_UNITS.iter().position(|(name, ..)| *name == unit) else {
            return Err(UnitError(format!("unknown unit {unit:?} in duration {text:?}")));
        };
        if unit_idx < next_unit_idx {
            return Err(invalid());
        }
        next_unit_idx = unit_idx + 1;
        nanos += u128::from(number) * u128::from(DURATION_UNITS[unit_idx].1) * 1_000_000;
        if nanos > MAX_DURATION_NANOS {
            return Err(out_of_range());
        }
        rest = after;
    }
    let seconds = u64::try_from(nanos / 1_000_000_000).map_err(|_| out_of_range())?;
    Ok(Duration::from_secs(seconds) + Duration::from_millis((nanos / 1_000_000 % 1000) as u64))
}

/// Prints whole milliseconds; years and weeks only if nothing remains, as `90d` reads easier than `12w6d`.
pub fn format_duration(duration: Duration) -> String {
    let mut rest_ms = duration.as_millis();
    if rest_ms == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, unit_ms, exact) in DURATION_UNITS {
        let unit_ms = u128::from(unit_ms);
        let count = rest_ms / unit_ms;
        if count > 0 && (!exact || rest_ms.is_multiple_of(unit_ms)) {
            text.push_str(&format!("{count}{unit}"));
            rest_ms -= count * unit_ms;
        }
    }
    text
}

/// Reads `10MB`, `1.5GiB`, `512B`, `0`; `KB` and `KiB` both mean 1024 bytes, and a bare number is refused.
///
/// # Errors
///
/// A missing or unknown unit (`kB` is one), both spellings mixed, a negative size, or more than 2⁶³−1 bytes.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    parse_size_with(text, "iB").or_else(|_| parse_size_with(text, "B"))
}

fn parse_size_with(text: &str, suffix: &str) -> Result<u64, UnitError> {
    let invalid = || UnitError(format!("units: invalid {text}"));
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if let Some(magnitude) = text.strip_prefix('-') {
        // Prometheus takes a negative size for "no limit"; 0 says that without the riddle.
        return match magnitude {
            "0" => Ok(0),
            _ => Err(UnitError(format!("a size cannot be negative: {text:?}; 0 means no limit"))),
        };
    }
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut bytes = 0.0;
    while !rest.is_empty() {
        let (number, after) = split_while(rest, |byte| byte.is_ascii_digit() || byte == b'.');
        let value: f64 = match number {
            // Both are what `f64` reads or refuses otherwise.
            "" | "." => return Err(invalid()),
            _ => number.parse().map_err(|_| invalid())?,
        };
        let (unit, after) = split_while(after, |byte| !byte.is_ascii_digit() && byte != b'.');
        let Some(factor) = size_factor(unit, suffix) else {
            if unit.is_empty() {
                return Err(UnitError(format!("a size needs a unit, as in {number}MB: {text:?}")));
            }
            return Err(UnitError(format!("units: unknown unit {unit} in {text}")));
        };
        bytes += value * factor;
        rest = after;
    }
    if bytes > MAX_SIZE_BYTES {
        return Err(UnitError("units: overflow parsing unit".to_owned()));
    }
    Ok(bytes as u64)
}

fn size_factor(unit: &str, suffix: &str) -> Option<f64> {
    if unit == "B" {
        return Some(1.0);
    }
    let prefix = unit.strip_suffix(suffix)?;
    let power = SIZE_PREFIXES.iter().position(|known| *known == prefix)?;
    // The bare suffix `iB` is no unit.
    (power > 0).then(|| 1024_f64.powi(power as i32))
}

/// Prints with every unit that has a part in the size: `1MiB512KiB`.
pub fn format_size(bytes: u64) -> String {
    if bytes == 0 {
        return "0B".to_owned();
    }
    let mut parts = Vec::new();
    let mut rest = bytes;
    for prefix in SIZE_PREFIXES {
        if !rest.is_multiple_of(1024) {
            let suffix = if prefix.is_empty() { "B" } else { "iB" };
            parts.push(format!("{}{prefix}{suffix}", rest % 1024));
        }
        rest /= 1024;
        if rest == 0 {
            break;
        }
    }
    parts.reverse();
    parts.concat()
}

fn split_while(text: &str, belongs: impl Fn(u8) -> bool) -> (&str, &str) {
    let end = text.bytes().position(|byte| !belongs(byte)).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::{format_duration, format_size, parse_duration, parse_size};
    use std::time::Duration;

    fn check_duration(text: &str, millis: u64, printed: &str) {
        let duration = parse_duration(text).unwrap();
        assert_eq!(duration, Duration::from_millis(millis), "{text}");
        assert_eq!(format_duration(duration), printed, "{text}");
    }

    #[test]
    fn durations() {
        check_duration("0", 0, "0s");
        check_duration("0s", 0, "0s");
        check_duration("324ms", 324, "324ms");
        check_duration("3s", 3000, "3s");
        check_duration("5m", 300_000, "5m");
        check_duration("1h", 3_600_000, "1h");
        check_duration("4d", 345_600_000, "4d");
        check_duration("4d1h", 349_200_000, "4d1h");
        check_duration("14d", 1_209_600_000, "2w");
        check_duration("3w", 1_814_400_000, "3w");
        check_duration("3w2d1h", 1_990_800_000, "23d1h");
        check_duration("10y", 315_360_000_000, "10y");
        check_duration("1y1d", 31_622_400_000, "366d");
        check_duration("90s", 90_000, "1m30s");
        check_duration("1500ms", 1500, "1s500ms");
        check_duration("292y", 9_208_512_000_000, "292y");
    }

    fn check_bad_duration(text: &str, sentence: &str) {
        assert_eq!(parse_duration(text).unwrap_err().to_string(), sentence, "{text}");
    }

    #[test]
    fn not_durations() {
        check_bad_duration("", "empty duration string");
        check_bad_duration("1", r#"not a valid duration string: "1"; it needs a unit, as in 1s"#);
        check_bad_duration("1y1m1d", r#"not a valid duration string: "1y1m1d""#);
        check_bad_duration("1s1s", r#"not a valid duration string: "1s1s""#);
        check_bad_duration("-1w", r#"not a valid duration string: "-1w""#);
        check_bad_duration("1.5d", r#"unknown unit "." in duration "1.5d""#);
        check_bad_duration("d", r#"not a valid duration string: "d""#);
        check_bad_duration("15x", r#"unknown unit "x" in duration "15x""#);
        check_bad_duration("15é", r#"unknown unit "é" in duration "15é""#);
        check_bad_duration("293y", r#"duration out of range: "293y""#);
        check_bad_duration("200y99999999999999999h", r#"duration out of range: "200y99999999999999999h""#);
        check_bad_duration(
            "99999999999999999999s",
            r#"not a valid duration string: "99999999999999999999s""#,
        );
    }

    fn check_size(text: &str, bytes: u64, printed: &str) {
        assert_eq!(parse_size(text).unwrap(), bytes, "{text}");
        assert_eq!(format_size(bytes), printed, "{text}");
    }

    #[test]
    fn sizes() {
        check_size("0", 0, "0B");
        check_size("0B", 0, "0B");
        check_size("10MB", 10 << 20, "10MiB");
        check_size("10MiB", 10 << 20, "10MiB");
        check_size("1536KB", 1536 << 10, "1MiB512KiB");
        check_size("1.5KiB", 1536, "1KiB512B");
        check_size("1MB1B", (1 << 20) + 1, "1MiB1B");
        check_size("+2GB", 2 << 30, "2GiB");
        check_size("7EB", 7 << 60, "7EiB");
        check_size("-0", 0, "0B");
    }

    fn check_bad_size(text: &str, sentence: &str) {
        assert_eq!(parse_size(text).unwrap_err().to_string(), sentence, "{text}");
    }

    #[test]
    fn not_sizes() {
        check_bad_size("", "units: invalid ");
        check_bad_size("100", r#"a size needs a unit, as in 100MB: "100""#);
        check_bad_size("1kB", "units: unknown unit kB in 1kB");
        check_bad_size("1KiB1KB", "units: unknown unit KiB in 1KiB1KB");
        check_bad_size("MB", "units: invalid MB");
        check_bad_size(".MB", "units: invalid .MB");
        check_bad_size("1.2.3MB", "units: invalid 1.2.3MB");
        check_bad_size("-5MB", r#"a size cannot be negative: "-5MB"; 0 means no limit"#);
        check_bad_size("9EB", "units: overflow parsing unit");
    }
}
