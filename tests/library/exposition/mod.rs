//! Pages in every format: fixtures, the OpenMetrics suite, properties.

mod nhcb;
mod openmetrics_suite;
mod pages;
mod properties;
mod protobuf;
