//! What a target answered that could not be used: some of its bytes, for whoever looks at the targets page.
//!
//! Answers may repeat what they were asked with, so a job that sends a secret shows none of them; nor does a target on this
//! machine, whose "page" may be any file.

use crate::config::ScrapeConfig;
use crate::config::client::proxy::ProxyConfig;
use crate::config::client::secret_names::without_secret_parameters;
use crate::scrape::error::ScrapeError;
use crate::scrape::targets::target::Target;
use scraped_engine::exposition::error::Place;
use scraped_engine::store::error::PageError;

/// Of an answer that is wrong as a whole so much is kept.
pub(in crate::scrape) const START_BYTES: usize = 240;

/// Before and behind a place.
const AROUND_BYTES: usize = 120;

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadAnswer {
    /// Line, from 1, if the piece is of that line.
    pub line: Option<u64>,
    /// What was read without complaint.
    pub before: Box<str>,
    /// From the place on, where there is one.
    pub behind: Box<str>,
}

impl BadAnswer {
    /// The start of an answer.
    fn start(bytes: &[u8]) -> Option<Self> {
        let shown = bytes.get(..START_BYTES).unwrap_or(bytes);
        let text = text_of(shown);
        (!text.trim().is_empty()).then(|| Self { line: None, before: text, behind: Box::default() })
    }

    /// The piece that `error` is about, of `page` if there was one. `None` where nothing can be shown, or must not.
    pub(in crate::scrape) fn of(
        error: &ScrapeError,
        page: Option<&[u8]>,
        target: &Target,
        config: &ScrapeConfig,
    ) -> Option<Self> {
        if !may_be_shown(target, config) {
            return None;
        }
        match (error, page) {
            (ScrapeError::Status { start, .. }, _) => start.as_deref().and_then(Self::start),
            (ScrapeError::Page(error), Some(page)) => Self::of_page(error, page),
            _ => None,
        }
    }

    fn of_page(error: &PageError, page: &[u8]) -> Option<Self> {
        match error {
            PageError::Exposition(error) => match error.place {
                Place::Text { line, column } => around(page, line, column),
                Place::Message { .. } => None,
            },
            PageError::UnsupportedContentType { .. }
            | PageError::UnparsableContentType { .. }
            | PageError::BlankContentType => Self::start(page),
            _ => None,
        }
    }
}

/// Whether nothing was sent that an answer must not show.
fn may_be_shown(target: &Target, config: &ScrapeConfig) -> bool {
    let client = &config.http_client;
    let url = &target.url;
    !url.scheme.is_local_page()
        && client.auth.is_none()
        && client.headers.is_empty()
        && client.proxy == ProxyConfig::default()
        && !url.authority.contains('@')
        && without_secret_parameters(&url.path_and_query) == url.path_and_query
}

fn around(page: &[u8], line: u64, column: u64) -> Option<BadAnswer> {
    let nth = usize::try_from(line.checked_sub(1)?).ok()?;
    let start = match nth.checked_sub(1) {
        None => 0,
        Some(n_before) => memchr::memchr_iter(b'\n', page).nth(n_before)? + 1,
    };
    let text = page.get(start..)?;
    let text = text.get(..memchr::memchr(b'\n', text).unwrap_or(text.len()))?;
    let place = usize::try_from(column.checked_sub(1)?).ok()?.min(text.len());
    let (before, behind) = text.split_at(place);
    let before = before.get(before.len().saturating_sub(AROUND_BYTES)..)?;
    let behind = behind.get(..AROUND_BYTES).unwrap_or(behind);
    Some(BadAnswer { line: Some(line), before: text_of(before), behind: text_of(behind) })
}

/// As text, whatever it is; what does not print is shown by its place in Unicode.
fn text_of(bytes: &[u8]) -> Box<str> {
    let mut text = String::new();
    for character in String::from_utf8_lossy(bytes).chars() {
        match character {
            '\n' | '\t' => text.push(character),
            it if it.is_control() => text.extend(it.escape_unicode()),
            it => text.push(it),
        }
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(page: &str, (line, column): (u64, u64), want: Option<(&str, &str)>) {
        let got = around(page.as_bytes(), line, column);
        let got = got.as_ref().map(|it| (&*it.before, &*it.behind));
        assert_eq!(got, want, "{page:?} at {line}:{column}");
    }

    #[test]
    fn the_line_is_cut_around_the_place() {
        check("a 1\nb foo\nc 3\n", (2, 3), Some(("b ", "foo")));
        check("a foo", (1, 3), Some(("a ", "foo")));
        check("a\n\nb", (2, 1), Some(("", "")));
        check("a\n", (2, 1), Some(("", "")));
        check("a", (1, 9), Some(("a", "")));
        check("a", (2, 1), None);
        check("a", (0, 1), None);
        let long = format!("{}x{}", "y".repeat(500), "z".repeat(500));
        let (before, behind) = ("y".repeat(AROUND_BYTES), format!("x{}", "z".repeat(AROUND_BYTES - 1)));
        check(&long, (1, 501), Some((&before, &behind)));
    }

    #[test]
    fn a_start_is_text_whatever_it_was() {
        let start = |bytes: &[u8]| BadAnswer::start(bytes).map(|it| it.before.into_string());
        assert_eq!(start(b""), None);
        assert_eq!(start(b" \n"), None);
        assert_eq!(start(b"<p>\x1b[31m\xff\n").as_deref(), Some("<p>\\u{1b}[31m\u{fffd}\n"));
        assert_eq!(start(&[b'a'; 1000]).map(|it| it.len()), Some(START_BYTES));
    }
}
