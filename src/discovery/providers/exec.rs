//! `exec_sd_configs`: a list of target groups that a command prints.
//!
//! Runs on the thread `sd-exec-<n>`, which starts the command and waits for it.

use std::time::Instant;

use crate::config::discovery::Provenance;
use crate::config::discovery::exec::ExecSdConfig;
use crate::config::text::yaml::MAX_TEXT_BYTES;
use crate::discovery::lists::group_list::{Format, parse};
use crate::discovery::lists::raw_group::Origin;
use crate::discovery::lists::tally::Wanted;
use crate::discovery::refresh::Source;
use crate::discovery::target_group::TargetGroup;
use crate::exec::{Run, run};
use scraped_engine::threads::stop::StopToken;

/// Label with the program.
const COMMAND_LABEL: &str = "__meta_exec_command";

/// One entry of `exec_sd_configs`.
#[derive(Debug)]
pub(in crate::discovery) struct ExecSource {
    config: ExecSdConfig,
    wanted: Wanted,
}

impl ExecSource {
    /// A source that has not asked yet.
    pub(in crate::discovery) fn new(config: ExecSdConfig, wanted: Wanted) -> Self {
        Self { config, wanted }
    }
}

impl Source for ExecSource {
    fn kind(&self) -> &'static str {
        "exec"
    }

    fn refresh(&mut self, stop: &StopToken) -> Result<Vec<TargetGroup>, String> {
        let config = &self.config;
        let program = config.command.first().map(String::as_str).unwrap_or_default();
        let order = Run {
            command: &config.command,
            deadline: Instant::now() + config.timeout,
            limit_bytes: MAX_TEXT_BYTES,
        };
        let mut output = Vec::new();
        let take = |piece: &[u8]| {
            output.extend_from_slice(piece);
            true
        };
        run(order, || stop.is_stopped(), take).map_err(|error| format!("{program}: {error}"))?;
        let origin = Origin {
            provenance: Provenance::Operator,
            label: COMMAND_LABEL,
            name: program,
            wanted: self.wanted,
        };
        parse(&output, Format::Json, origin).map_err(|sentence| format!("{program}: {sentence}"))
    }
}
