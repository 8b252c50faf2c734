//! The pages: server-rendered, whole without script. This is what surrounds each of them.

mod chart;
pub(in crate::web) mod cost;
pub(in crate::web) mod debug;
pub(in crate::web) mod discovery;
pub(in crate::web) mod explore;
mod figures;
mod filter;
pub(in crate::web) mod overview;
pub(in crate::web) mod settings;
pub(in crate::web) mod status;
pub(in crate::web) mod storage;
pub(in crate::web) mod targets;

use crate::duration::format_duration;
use crate::log::rfc3339_ms;
use crate::remote::traffic::Growth;
use crate::web::serve::http::Response;
use crate::web::site::Site;
use std::iter::once;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The one stylesheet.
const STYLE: &str = include_str!("style.css");
/// The one script: it refreshes pages and filters rows.
const SCRIPT: &str = include_str!("script.js");
const PAGE: &str = include_str!("page.html");

/// `/style.css`.
pub(in crate::web) fn style() -> Response {
    Response::new(200, "text/css; charset=utf-8", STYLE.as_bytes().to_vec())
}

/// `/script.js`.
pub(in crate::web) fn script() -> Response {
    Response::new(200, "text/javascript; charset=utf-8", SCRIPT.as_bytes().to_vec())
}

/// A page around its content, which is HTML already and made as far as the page is read.
pub(in crate::web) fn page(
    site: &Site,
    title: &str,
    content: impl Iterator<Item = String> + 'static,
) -> Response {
    framed(site, title, "<main>", content)
}

/// A page that the script fetches again every few seconds.
pub(in crate::web) fn live_page(
    site: &Site,
    title: &str,
    every_s: u8,
    content: impl Iterator<Item = String> + 'static,
) -> Response {
    framed(site, title, &format!("<main data-refresh={every_s}>"), content)
}

fn framed(site: &Site, title: &str, main: &str, content: impl Iterator<Item = String> + 'static) -> Response {
    let page = PAGE.replace("{{main}}", main).replace("{{version}}", env!("CARGO_PKG_VERSION"));
    let page = page.replace("{{title}}", title).replace("{{base}}", &escape(site.base()));
    let (head, foot) = page.split_once("{{content}}").unwrap_or((&page, ""));
    let pieces = once(head.to_owned()).chain(content).chain(once(foot.to_owned()));
    Response::in_pieces("text/html; charset=utf-8", pieces.map(String::into_bytes))
}

/// Windows of [`Growth`].
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// Totals are read so often.
const SECOND: Duration = Duration::from_secs(1);

/// A time in milliseconds since the Unix epoch.
fn time_of(ts_ms: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(ts_ms).unwrap_or(0))
}

fn ago(ts_ms: i64) -> String {
    passed(ts_ms).map_or_else(|| NOW.to_owned(), |passed| passed + " ago")
}

/// What is said of a time that is ahead of the clock.
const NOW: &str = "just now";

/// The time that has passed; `None` if the clock is behind.
fn passed(since_ms: i64) -> Option<String> {
    let passed = SystemTime::now().duration_since(time_of(since_ms)).ok()?;
    Some(match passed < Duration::from_secs(60) {
        true => format!("{:.1} s", passed.as_secs_f64()),
        false => format_duration(Duration::from_secs(passed.as_secs())),
    })
}

/// A size, for people.
fn bytes(n_bytes: f64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if n_bytes < 1000.0 {
        return format!("{n_bytes:.0} bytes");
    }
    let (mut size, mut units) = (n_bytes / 1000.0, UNITS.into_iter());
    let mut unit = units.next().unwrap_or_default();
    while let Some(larger) = units.next().filter(|_| size >= 1000.0) {
        (size, unit) = (size / 1000.0, larger);
    }
    format!("{size:.1} {unit}")
}

/// A time in its two largest units.
fn coarse(time: Duration) -> String {
    let unit_s = match time.as_secs() {
        0..3_600 => 1,
        3_600..86_400 => 60,
        86_400..604_800 => 3_600,
        _ => 86_400,
    };
    format_duration(Duration::from_secs(time.as_secs() / unit_s * unit_s))
}

/// How much a total has grown in a window, as `text`; and since when if that is not all of it.
fn in_window(text: String, growth: Growth, window: Duration) -> String {
    match growth.over + SECOND < window {
        true => format!("{text} <small>since the start, {} ago</small>", coarse(growth.over)),
        false => text,
    }
}

/// The same since midnight.
fn today(text: String, growth: Growth) -> String {
    let of_day = Duration::from_millis(u64::try_from(ms(SystemTime::now()).rem_euclid(DAY_MS)).unwrap_or(0));
    in_window(text, growth, of_day)
}

/// Not more of a text than a page has room for.
fn cut(text: &str, max_bytes: usize) -> String {
    if text.len() <= max_bytes {
        return text.to_owned();
    }
    let end = (0..=max_bytes).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}…", text.get(..end).unwrap_or_default())
}

/// Milliseconds since the Unix epoch.
fn ms(at: SystemTime) -> i64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// The answer where the query thread has given none.
fn lost() -> Response {
    Response::text(500, "the query has ended by a fault of this program; its log says which\n")
}

/// How long it has been.
fn lasts(since_ms: i64) -> String {
    passed(since_ms).unwrap_or_else(|| NOW.to_owned())
}

/// The time of day, with the date unless it is today.
fn utc(ts_ms: i64) -> String {
    let (then, now) = (rfc3339_ms(time_of(ts_ms)), rfc3339_ms(SystemTime::now()));
    match (then.split_once('T'), now.split_once('T')) {
        (Some((day, time)), Some((today, _))) => {
            let time = time.split('.').next().unwrap_or(time);
            if day == today { format!("{time} UTC") } else { format!("{day} {time} UTC") }
        }
        _ => then,
    }
}

/// Text as HTML; targets choose it, so nothing of it may act.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        let cases = [
            (0.0, "0 bytes"),
            (999.0, "999 bytes"),
            (1000.0, "1.0 kB"),
            (5_650_000.0, "5.7 MB"),
            (1e9, "1.0 GB"),
            (2e16, "20000.0 TB"),
        ];
        for (n_bytes, want) in cases {
            assert_eq!(bytes(n_bytes), want);
        }
    }

    #[test]
    fn the_script_is_small_and_stands_in_its_file_alone() {
        assert!(SCRIPT.len() <= 3 * 1024, "{} bytes", SCRIPT.len());
        assert_eq!(PAGE.matches("<script").count(), 1);
        for word in ["eval(", "innerHTML", "document.write", "http"] {
            assert!(!SCRIPT.contains(word), "{word}");
        }
    }

    #[test]
    fn a_window_that_is_not_full_says_since_when() {
        let check = |over_s: u64, want: &str| {
            let growth = Growth { n: 1, over: Duration::from_secs(over_s) };
            assert_eq!(in_window("a".to_owned(), growth, HOUR), want);
        };
        check(90, "a <small>since the start, 1m30s ago</small>");
        check(3599, "a");
        check(3660, "a");
    }

    #[test]
    fn what_targets_say_cannot_act() {
        assert_eq!(escape("<script>\"&'"), "&lt;script&gt;&quot;&amp;&#39;");
        assert!(PAGE.contains("{{content}}") && PAGE.contains("{{version}}"));
    }
}
