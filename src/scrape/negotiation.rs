//! What a target is asked for and what its page is taken for: `scrape_protocols`, `metric_name_escaping_scheme`,
//! `fallback_scrape_protocol` (Prometheus' `acceptHeader` in `scrape/scrape.go`, `extractMediaType` in
//! `model/textparse/interface.go`). Knows neither sockets nor pages.

use std::borrow::Cow;
use std::fmt::Write;

use crate::config::scrape_options::{
    DEFAULT_SCRAPE_PROTOCOLS, EscapingScheme, PROTO_FIRST_SCRAPE_PROTOCOLS, ScrapeOptions, ScrapeProtocol,
};
use crate::exposition::content_type::{ContentTypeError, Format, format_of};
use crate::exposition::error::Excerpt;
use crate::scrape::error::ScrapeError;

/// Tenths that the first protocol weighs: one more than there are protocols.
const FIRST_WEIGHT: usize = 6;

/// The header of nearly all targets, shared by them.
const DEFAULT_ACCEPT: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
    application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
    text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

/// The same with `scrape_native_histograms`.
const PROTO_FIRST_ACCEPT: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
    encoding=delimited;q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
    application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
    text/plain;version=0.0.4;q=0.2,*/*;q=0.1";

/// The `Accept` header of a job.
pub fn accept(options: &ScrapeOptions) -> Cow<'static, str> {
    let escaping = options.metric_name_escaping_scheme;
    match &*options.scrape_protocols {
        protocols if escaping != EscapingScheme::AllowUtf8 => weighed(protocols, escaping).into(),
        protocols if protocols == DEFAULT_SCRAPE_PROTOCOLS => DEFAULT_ACCEPT.into(),
        protocols if protocols == PROTO_FIRST_SCRAPE_PROTOCOLS => PROTO_FIRST_ACCEPT.into(),
        protocols => weighed(protocols, escaping).into(),
    }
}

fn weighed(protocols: &[ScrapeProtocol], escaping: EscapingScheme) -> String {
    let mut accept = String::new();
    for (idx, protocol) in protocols.iter().enumerate() {
        accept.push_str(media_type(*protocol));
        // Only these two formats have the parameter.
        if matches!(protocol, ScrapeProtocol::OpenMetricsText1_0_0 | ScrapeProtocol::PrometheusText1_0_0) {
            let _ = write!(accept, ";escaping={}", escaping.name());
        }
        let _ = write!(accept, ";q=0.{},", FIRST_WEIGHT.saturating_sub(idx));
    }
    let _ = write!(accept, "*/*;q=0.{}", FIRST_WEIGHT.saturating_sub(protocols.len()));
    accept
}

fn media_type(protocol: ScrapeProtocol) -> &'static str {
    match protocol {
        ScrapeProtocol::OpenMetricsText0_0_1 => "application/openmetrics-text;version=0.0.1",
        ScrapeProtocol::OpenMetricsText1_0_0 => "application/openmetrics-text;version=1.0.0",
        ScrapeProtocol::PrometheusProto => {
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
        }
        ScrapeProtocol::PrometheusText0_0_4 => "text/plain;version=0.0.4",
        ScrapeProtocol::PrometheusText1_0_0 => "text/plain;version=1.0.0",
    }
}

/// The format of a page with this `Content-Type`; `fallback` where that says nothing of use.
///
/// # Errors
/// There is no fallback either.
pub fn format_of_page(content_type: &str, fallback: Option<ScrapeProtocol>) -> Result<Format, ScrapeError> {
    format_of(content_type).or_else(|error| match fallback {
        Some(protocol) => Ok(format(protocol)),
        None => Err(content_type_error(content_type, error)),
    })
}

fn format(protocol: ScrapeProtocol) -> Format {
    match protocol {
        ScrapeProtocol::OpenMetricsText0_0_1 | ScrapeProtocol::OpenMetricsText1_0_0 => Format::OpenMetrics,
        ScrapeProtocol::PrometheusProto => Format::Protobuf,
        ScrapeProtocol::PrometheusText0_0_4 | ScrapeProtocol::PrometheusText1_0_0 => Format::Text,
    }
}

fn content_type_error(content_type: &str, error: ContentTypeError) -> ScrapeError {
    let content_type = Excerpt::new(content_type.as_bytes());
    match error {
        ContentTypeError::Blank => ScrapeError::BlankContentType,
        ContentTypeError::Unparsable(cause) => ScrapeError::UnparsableContentType { content_type, cause },
        ContentTypeError::Unsupported => ScrapeError::UnsupportedContentType { content_type },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ScrapeProtocol::{OpenMetricsText1_0_0, PrometheusProto, PrometheusText0_0_4, PrometheusText1_0_0};

    #[test]
    fn the_shared_headers_are_what_is_put_together() {
        for protocols in [&DEFAULT_SCRAPE_PROTOCOLS[..], &PROTO_FIRST_SCRAPE_PROTOCOLS] {
            let options = ScrapeOptions { scrape_protocols: protocols.to_vec(), ..ScrapeOptions::default() };
            assert_eq!(accept(&options), weighed(protocols, EscapingScheme::AllowUtf8));
        }
    }

    #[test]
    fn weights_fall_and_two_formats_name_the_escaping() {
        let check = |protocols: &[ScrapeProtocol], metric_name_escaping_scheme, want: &str| {
            let scrape_protocols = protocols.to_vec();
            let options =
                ScrapeOptions { scrape_protocols, metric_name_escaping_scheme, ..ScrapeOptions::default() };
            assert_eq!(accept(&options), want);
        };
        check(&[PrometheusText0_0_4], EscapingScheme::Dots, "text/plain;version=0.0.4;q=0.6,*/*;q=0.5");
        check(
            &[PrometheusText1_0_0, PrometheusProto, OpenMetricsText1_0_0],
            EscapingScheme::Values,
            "text/plain;version=1.0.0;escaping=values;q=0.6,\
             application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.5,\
             application/openmetrics-text;version=1.0.0;escaping=values;q=0.4,*/*;q=0.3",
        );
    }

    #[test]
    fn the_fallback_is_for_what_names_no_format() {
        let check = |content_type: &str, fallback, want: Result<Format, &str>| {
            let got = format_of_page(content_type, fallback).map_err(|error| error.to_string());
            assert_eq!(got, want.map_err(str::to_owned), "{content_type:?}");
        };
        for content_type in ["", ";;;", "text/html"] {
            check(content_type, Some(PrometheusText1_0_0), Ok(Format::Text));
            check(content_type, Some(OpenMetricsText1_0_0), Ok(Format::OpenMetrics));
            check(content_type, Some(PrometheusProto), Ok(Format::Protobuf));
        }
        check("text/plain", Some(PrometheusProto), Ok(Format::Text));
        let blank = "non-compliant scrape target sending blank Content-Type and no fallback_scrape_protocol \
                     specified for target";
        check("", None, Err(blank));
        let unknown = r#"received unsupported Content-Type "text/html" and no fallback_scrape_protocol specified for target"#;
        check("text/html", None, Err(unknown));
    }
}
