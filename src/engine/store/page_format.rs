//! What a page is read as: `Content-Type` first, `fallback_scrape_protocol` where that says nothing of use (Prometheus'
//! `extractMediaType` in `model/textparse/interface.go`).

use crate::exposition::content_type::{ContentTypeError, Format, format_of};
use crate::exposition::excerpt::Excerpt;
use crate::store::error::PageError;

/// The format of a page with this `Content-Type`; `fallback` where that says nothing of use.
///
/// # Errors
/// There is no fallback either.
pub fn format_of_page(content_type: &str, fallback: Option<Format>) -> Result<Format, PageError> {
    format_of(content_type).or_else(|error| match fallback {
        Some(format) => Ok(format),
        None => Err(content_type_error(content_type, error)),
    })
}

fn content_type_error(content_type: &str, error: ContentTypeError) -> PageError {
    let content_type = Excerpt::new(content_type.as_bytes());
    match error {
        ContentTypeError::Blank => PageError::BlankContentType,
        ContentTypeError::Unparsable(cause) => PageError::UnparsableContentType { content_type, cause },
        ContentTypeError::Unsupported => PageError::UnsupportedContentType { content_type },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fallback_is_for_what_names_no_format() {
        let check = |content_type: &str, fallback, want: Result<Format, &str>| {
            let got = format_of_page(content_type, fallback).map_err(|error| error.to_string());
            assert_eq!(got, want.map_err(str::to_owned), "{content_type:?}");
        };
        for content_type in ["", ";;;", "text/html"] {
            check(content_type, Some(Format::Text), Ok(Format::Text));
            check(content_type, Some(Format::OpenMetrics), Ok(Format::OpenMetrics));
            check(content_type, Some(Format::Protobuf), Ok(Format::Protobuf));
        }
        check("text/plain", Some(Format::Protobuf), Ok(Format::Text));
        let blank = "non-compliant scrape target sending blank Content-Type and no fallback_scrape_protocol \
                     specified for target";
        check("", None, Err(blank));
        let unknown = r#"received unsupported Content-Type "text/html" and no fallback_scrape_protocol specified for target"#;
        check("text/html", None, Err(unknown));
    }
}
