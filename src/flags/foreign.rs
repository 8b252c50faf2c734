//! Flags of Prometheus (3.5 to 3.14, and of Debian's package) that have nothing to set here: what a command line that
//! is moved over may hold.
//!
//! Those that change nothing are taken with a note; those that must not be ignored are refused with a sentence; those of
//! a server are refused by an agent there too.

/// A flag that is known by name.
pub(crate) struct Foreign {
    pub(crate) name: &'static str,
    /// Without a value; also has a `--no-…` form.
    pub(crate) is_switch: bool,
    pub(crate) verdict: Verdict,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Taken; why it changes nothing.
    NoEffect(&'static str),
    /// Not taken unless it is empty or switched off; why.
    Refused(&'static str),
    /// Prometheus' agent refuses it too; what does the same here, if anything does.
    ServerOnly(&'static str),
}

const NO_SCRIPT: &str = "pages here are fixed and have no assets";
const NO_GO: &str = "there is no Go runtime here";
const NO_RECEIVER: &str = "no receiver is built, and what others send here would be lost; let them send to the endpoint of \
                           remote_write instead, and leave the flag out";

const NO_QUERY: &str = "bounds of queries are fixed: 30s and 1000000 samples; leave it out";
const NO_RULES: &str = "rules are evaluated where remote_write sends the samples; leave it out";
const NO_READ: &str = "bounds of remote read are fixed; leave it out";

const fn value(name: &'static str, verdict: Verdict) -> Foreign {
    Foreign { name, is_switch: false, verdict }
}

const fn switch(name: &'static str, verdict: Verdict) -> Foreign {
    Foreign { name, is_switch: true, verdict }
}

pub(crate) const FOREIGN: &[Foreign] = &[
    switch("auto-gomaxprocs", Verdict::NoEffect(NO_GO)),
    switch("auto-gomemlimit", Verdict::NoEffect(NO_GO)),
    value("auto-gomemlimit.ratio", Verdict::NoEffect(NO_GO)),
    value("auto-gomemlimit.refresh-interval", Verdict::NoEffect(NO_GO)),
    value(
        "storage.agent.checkpoint-batch-size",
        Verdict::NoEffect("checkpoints are written in slices anyway"),
    ),
    switch(
        "storage.agent.checkpoint-from-in-memory-series",
        Verdict::NoEffect("checkpoints are always made from memory"),
    ),
    value(
        "storage.agent.wal-truncate-frequency",
        Verdict::NoEffect("the log is truncated as soon as a segment is not needed"),
    ),
    value("web.console.libraries", Verdict::NoEffect(NO_SCRIPT)),
    value("web.console.templates", Verdict::NoEffect(NO_SCRIPT)),
    switch("web.enable-admin-api", Verdict::NoEffect("an agent has nothing to administer")),
    switch("web.enable-otlp-receiver", Verdict::Refused(NO_RECEIVER)),
    switch("web.enable-remote-write-receiver", Verdict::Refused(NO_RECEIVER)),
    value("web.local-assets", Verdict::NoEffect(NO_SCRIPT)),
    value("web.page-title", Verdict::NoEffect(NO_SCRIPT)),
    value("web.remote-write-receiver.accepted-protobuf-messages", Verdict::NoEffect("there is no receiver")),
    value("web.user-assets", Verdict::NoEffect(NO_SCRIPT)),
    switch("alertmanager.drain-notification-queue-on-shutdown", Verdict::ServerOnly(NO_RULES)),
    value("alertmanager.notification-batch-size", Verdict::ServerOnly(NO_RULES)),
    value("alertmanager.notification-queue-capacity", Verdict::ServerOnly(NO_RULES)),
    value("query.lookback-delta", Verdict::ServerOnly(NO_QUERY)),
    value("query.max-concurrency", Verdict::ServerOnly(NO_QUERY)),
    value("query.max-samples", Verdict::ServerOnly(NO_QUERY)),
    value("query.timeout", Verdict::ServerOnly(NO_QUERY)),
    value("rules.alert.for-grace-period", Verdict::ServerOnly(NO_RULES)),
    value("rules.alert.for-outage-tolerance", Verdict::ServerOnly(NO_RULES)),
    value("rules.alert.resend-delay", Verdict::ServerOnly(NO_RULES)),
    value("rules.max-concurrent-evals", Verdict::ServerOnly(NO_RULES)),
    value("storage.remote.read-concurrent-limit", Verdict::ServerOnly(NO_READ)),
    value("storage.remote.read-max-bytes-in-frame", Verdict::ServerOnly(NO_READ)),
    value("storage.remote.read-sample-limit", Verdict::ServerOnly(NO_READ)),
    switch("storage.tsdb.allow-overlapping-compaction", Verdict::ServerOnly("")),
    value("storage.tsdb.block-reload-interval", Verdict::ServerOnly("")),
    value("storage.tsdb.delay-compact-file.path", Verdict::ServerOnly("")),
    value("storage.tsdb.delayed-compaction.max-percent", Verdict::ServerOnly("")),
    value("storage.tsdb.head-chunks-write-queue-size", Verdict::ServerOnly("")),
    value("storage.tsdb.max-block-chunk-segment-size", Verdict::ServerOnly("")),
    value("storage.tsdb.max-block-duration", Verdict::ServerOnly("")),
    value("storage.tsdb.min-block-duration", Verdict::ServerOnly("")),
    switch("storage.tsdb.no-lockfile", Verdict::ServerOnly("use --storage.agent.no-lockfile")),
    value("storage.tsdb.path", Verdict::ServerOnly("use --storage.agent.path")),
    value("storage.tsdb.retention.size", Verdict::ServerOnly("use --storage.agent.retention.max-bytes")),
    value(
        "storage.tsdb.retention.time",
        Verdict::ServerOnly(
            "use --storage.agent.retention.min-time (kept so long) or --storage.agent.retention.max-time (never longer)",
        ),
    ),
    value("storage.tsdb.samples-per-chunk", Verdict::ServerOnly("")),
    switch("storage.tsdb.wal-compression", Verdict::ServerOnly("use --storage.agent.wal-compression")),
    value(
        "storage.tsdb.wal-compression-type",
        Verdict::ServerOnly("use --storage.agent.wal-compression-type"),
    ),
    value("storage.tsdb.wal-segment-size", Verdict::ServerOnly("use --storage.agent.wal-segment-size")),
    value("web.search.max-limit", Verdict::ServerOnly("")),
];

/// The flag of this name.
pub(in crate::flags) fn find(name: &str) -> Option<&'static Foreign> {
    FOREIGN.iter().find(|flag| flag.name == name)
}
