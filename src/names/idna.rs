//! Names beyond ASCII as name servers know them: `küche.lan` is `xn--kche-0ra.lan` (RFC 3492, RFC 5891).
//!
//! After Go's `golang.org/x/net/idna` without its tables, which are larger than the rest of the resolver: letters become
//! small by Rust's own table, the full stops of other scripts become dots, and characters that are not seen are left
//! out. What needs Unicode's normalisation is refused, since guessing would ask for another name: letters followed by
//! combining accents, and compatibility forms such as full-width letters.

/// What is looked up for `host` (Go's `idna.Lookup.ToASCII`); `None` where it stands for no name.
pub fn lookup_name(host: &str) -> Option<String> {
    if host.is_ascii() {
        return Some(host.to_owned());
    }
    let mut mapped = String::with_capacity(host.len());
    for character in host.chars() {
        match character {
            '\u{3002}' | '\u{ff0e}' | '\u{ff61}' => mapped.push('.'),
            '\u{ad}' | '\u{200b}' | '\u{2060}' | '\u{feff}' => {}
            _ if needs_tables(character) => return None,
            // A capital sharp s; Rust's table knows it as well, Go's makes it `ss`.
            'ẞ' => mapped.push_str("ss"),
            _ => mapped.extend(character.to_lowercase()),
        }
    }
    let labels = mapped.split('.').map(|label| {
        let is_letter = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || c == '-';
        let has_odd_hyphens = label.starts_with('-')
            || label.ends_with('-')
            || (label.get(2..4) == Some("--") && !label.starts_with(PREFIX));
        (label.chars().all(is_letter) && !has_odd_hyphens).then(|| encoded(label)).flatten()
    });
    Some(labels.collect::<Option<Vec<String>>>()?.join("."))
}

/// What the header `Host` says for `host` (Go's `idna.ToASCII`): nothing is made small or taken for something else.
pub fn header_name(host: &str) -> String {
    if host.is_ascii() {
        return host.to_owned();
    }
    // A name that is too long to be written so is not asked for either.
    let labels = host.split('.').map(|label| encoded(label).unwrap_or_default());
    labels.collect::<Vec<String>>().join(".")
}

const PREFIX: &str = "xn--";

/// Combining marks, joiners, and the blocks of compatibility forms.
fn needs_tables(character: char) -> bool {
    matches!(u32::from(character),
        0x300..=0x36f | 0x1ab0..=0x1aff | 0x1dc0..=0x1dff | 0x20d0..=0x20ff | 0xfe00..=0xfe2f
        | 0x200c..=0x200f | 0x2028..=0x202f | 0x2066..=0x206f | 0x1100..=0x11ff
        | 0xaa | 0xb2 | 0xb3 | 0xb5 | 0xb9 | 0xba | 0xbc..=0xbe | 0x2070..=0x209f | 0x2100..=0x214f | 0x2150..=0x218f
        | 0x2460..=0x24ff | 0x3130..=0x318f | 0x3200..=0x33ff | 0xf900..=0xfaff | 0xfb00..=0xfb4f | 0xfe50..=0xfe6f
        | 0xff00..=0xffef | 0x1d400..=0x1d7ff | 0x1f100..=0x1f2ff | 0x2f800..=0x2fa1f)
}

/// A label by Punycode if it has a character beyond ASCII.
fn encoded(label: &str) -> Option<String> {
    if label.is_ascii() {
        return Some(label.to_owned());
    }
    let mut text = PREFIX.to_owned();
    punycode(label, &mut text)?;
    Some(text)
}

const BASE: u32 = 36;
const T_MIN: u32 = 1;
const T_MAX: u32 = 26;
const SKEW: u32 = 38;
const DAMP: u32 = 700;
const INITIAL_BIAS: u32 = 72;
const INITIAL_N: u32 = 128;

/// RFC 3492, section 6.3. `None` when a number does not fit: no label that long is ever looked up.
fn punycode(label: &str, out: &mut String) -> Option<()> {
    // Beyond this no name is valid; the time grows with the square of it.
    const MAX_CHARS: usize = 255;
    let code_points: Vec<u32> = label.chars().map(u32::from).collect();
    if code_points.len() > MAX_CHARS {
        return None;
    }
    let (mut n, mut delta, mut bias) = (INITIAL_N, 0_u32, INITIAL_BIAS);
    out.extend(label.chars().filter(char::is_ascii));
    let n_basic = label.chars().filter(char::is_ascii).count() as u32;
    if n_basic > 0 {
        out.push('-');
    }
    let mut n_handled = n_basic;
    while (n_handled as usize) < code_points.len() {
        let next = code_points.iter().copied().filter(|code_point| *code_point >= n).min()?;
        delta = delta.checked_add((next - n).checked_mul(n_handled + 1)?)?;
        n = next;
        for code_point in &code_points {
            if *code_point < n {
                delta = delta.checked_add(1)?;
            }
            if *code_point != n {
                continue;
            }
            let mut q = delta;
            for k in (1..).map(|step| step * BASE) {
                let t = k.saturating_sub(bias).clamp(T_MIN, T_MAX);
                if q < t {
                    break;
                }
                out.push(digit(t + (q - t) % (BASE - t)));
                q = (q - t) / (BASE - t);
            }
            out.push(digit(q));
            bias = adapted(delta, n_handled + 1, n_handled == n_basic);
            delta = 0;
            n_handled += 1;
        }
        delta = delta.checked_add(1)?;
        n += 1;
    }
    Some(())
}

fn digit(value: u32) -> char {
    char::from_digit(value, BASE).map_or('0', |_| match value {
        0..=25 => char::from(b'a' + value as u8),
        _ => char::from(b'0' + (value - 26) as u8),
    })
}

fn adapted(delta: u32, n_points: u32, is_first: bool) -> u32 {
    let mut delta = if is_first { delta / DAMP } else { delta / 2 };
    delta += delta / n_points;
    let mut k = 0;
    while delta > (BASE - T_MIN) * T_MAX / 2 {
        delta /= BASE - T_MIN;
        k += BASE;
    }
    k + (BASE - T_MIN + 1) * delta / (delta + SKEW)
}

#[cfg(test)]
mod tests {
    use super::{header_name, lookup_name};

    /// What Prometheus looked up, and what it sent as `Host`.
    #[test]
    fn names_are_written_as_go_writes_them() {
        let check = |host: &str, looked_up: Option<&str>, header: &str| {
            assert_eq!(lookup_name(host).as_deref(), looked_up, "{host}");
            assert_eq!(header_name(host), header, "{host}");
        };
        check("NAS.lan", Some("NAS.lan"), "NAS.lan");
        check("küche.lan", Some("xn--kche-0ra.lan"), "xn--kche-0ra.lan");
        check("KÜCHE.lan", Some("xn--kche-0ra.lan"), "xn--KCHE-gna.lan");
        check("straße.lan", Some("xn--strae-oqa.lan"), "xn--strae-oqa.lan");
        check("faß.lan", Some("xn--fa-hia.lan"), "xn--fa-hia.lan");
        check("日本.lan", Some("xn--wgv71a.lan"), "xn--wgv71a.lan");
        check("日本。lan", Some("xn--wgv71a.lan"), "xn--lan-7y3bw78zcvb");
        check("☃.lan", Some("xn--n3h.lan"), "xn--n3h.lan");
        check("אב.lan", Some("xn--4dbc.lan"), "xn--4dbc.lan");
        check("à.lan.", Some("xn--0ca.lan."), "xn--0ca.lan.");
        check("ab\u{ad}cd.lan", Some("abcd.lan"), "xn--abcd-rga.lan");
        check("ü_x.lan", None, "xn--_x-wka.lan");
        check("-ü.lan", None, "xn----eha.lan");
        check("ü-.lan", None, "xn----dha.lan");
        // Go's tables make `à` and `nas` of these.
        check("a\u{300}.lan", None, "xn--a-vbb.lan");
        check("ｎａｓ.lan", None, "xn--mi7czaq.lan");
        let long = "ü".repeat(300);
        check(&long, None, "");
    }
}
