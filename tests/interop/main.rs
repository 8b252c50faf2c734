//! Real peers: Prometheus, promtool, VictoriaMetrics, node_exporter and tinyproxy, given what we are given, and asked for
//! what they make of it.
//!
//! `scripts/peers` fetches them into `target/peers/bin`; `PROMETHEUS=` and so on name others. A test fails without them.
//!
//! - [`config`]: their verdicts on configurations, and how they print them.
//! - [`discovery`]: the same targets with the same labels.
//! - [`http`]: the same sentences about heads, certificates and proxies.
//! - [`formats`]: the same samples of the same pages.
//! - [`wal`]: they read our log.
//! - [`remote`]: they store what we send, and count what we count.
//! - [`browser`]: our pages in Chromium, where it is installed.
//! - [`dashboards`]: a server answers what the dashboards ask, promtool takes the alerts.
//! - [`packages`]: lintian, dpkg and a container's root take what is packed.
//! - [`node_exporter`]: a whole chain of real programs.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot be set up has to fail")]
#![allow(clippy::print_stdout, reason = "a test says what it could not do")]

mod browser;
mod config;
mod dashboards;
mod discovery;
mod formats;
mod http;
mod node_exporter;
mod packages;
mod remote;
mod wal;
