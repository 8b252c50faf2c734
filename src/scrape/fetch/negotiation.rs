//! What a target is asked for: `scrape_protocols` and `metric_name_escaping_scheme` (Prometheus' `acceptHeader` in
//! `scrape/scrape.go`), and which format a protocol is. Knows neither sockets nor pages.

use std::borrow::Cow;
use std::fmt::Write;

use crate::config::scrape_options::{
    DEFAULT_SCRAPE_PROTOCOLS, EscapingScheme, PROTO_FIRST_SCRAPE_PROTOCOLS, ScrapeOptions, ScrapeProtocol,
};
use scraped_engine::exposition::content_type::Format;

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

/// What a page in this protocol is read as.
pub fn format(protocol: ScrapeProtocol) -> Format {
    match protocol {
        ScrapeProtocol::OpenMetricsText0_0_1 | ScrapeProtocol::OpenMetricsText1_0_0 => Format::OpenMetrics,
        ScrapeProtocol::PrometheusProto => Format::Protobuf,
        ScrapeProtocol::PrometheusText0_0_4 | ScrapeProtocol::PrometheusText1_0_0 => Format::Text,
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
}
