//! The table of sub-commands, in the order in which they are printed. Help, completion, the page of the manual and the
//! README's reference are made of it.

use crate::commands::about::{completion, help, man};
use crate::commands::check::{config, health, lint, metrics, service_discovery, web_config};
use crate::commands::{cost, explain, migrate, query, relabel_test, scrape, support_bundle, top, wal};
use crate::flags::{CommandFlag, Subcommand};

/// Found wrong, with the sentence on the standard output.
const FOUND: (u8, &str) = (1, "a mistake was found");
/// Could not be done.
const FAILED: (u8, &str) = (1, "it could not be done; the reason is on the error output");

const FORMAT: CommandFlag =
    CommandFlag { name: "format", value: "table|json", doc: "For people or for programs (default table)." };
const CONFIG_FILE: CommandFlag = CommandFlag {
    name: "config.file",
    value: "FILE",
    doc: "The configuration (default prometheus.yml if it is there, or else that of the daemon that runs on this machine).",
};
const DATA_DIR: CommandFlag = CommandFlag {
    name: "storage.agent.path",
    value: "DIR",
    doc: "The data directory (default data-agent/ if it is there, or else that of the daemon that runs on this machine).",
};

/// What all of `migrate` have in common.
const MIGRATED: &str = "Prints a prometheus.yml that scraped check config finds good. What has no counterpart is said in \
                        comments at its top.";

const URL: CommandFlag = CommandFlag {
    name: "url",
    value: "URL",
    doc: "Where the daemon listens: http://HOST:PORT, with USER:PASSWORD@ if it asks for one, or unix:/PATH (default the one \
          that runs on this machine).",
};

const HTTP_CONFIG: CommandFlag = CommandFlag {
    name: "http.config.file",
    value: "FILE",
    doc: "How the daemon is asked, with the keys of a job: tls_config, basic_auth, authorization and the like (default none).",
};

/// All of them.
pub const COMMANDS: &[Subcommand] = &[
    Subcommand {
        name: "check config",
        arguments: "FILE",
        about: "find every mistake of a configuration and of the files that it names",
        details: "Each has its file, line, key and a sentence. Missing secrets and certificates and broken lists of targets \
                  are mistakes, a missing list is a warning.",
        flags: &[
            CommandFlag { name: "syntax-only", value: "", doc: "Do not look at the files that it names." },
            CommandFlag {
                name: "lint",
                value: lint::CHOICES,
                doc: "Also say what is allowed and seldom meant (default all of it; without the flag none).",
            },
            CommandFlag { name: "lint-fatal", value: "", doc: "Then the exit status is 3." },
            FORMAT,
            CommandFlag {
                name: "agent",
                value: "",
                doc: "Taken for promtool's sake: there is no other mode.",
            },
        ],
        example: "scraped check config /etc/scraped/prometheus.yml",
        exits: &[FOUND, (3, "--lint-fatal, and --lint found something")],
        run: config::run,
    },
    Subcommand {
        name: "check service-discovery",
        arguments: "FILE JOB",
        about: "find the targets of a job, and say what its rules make of them",
        details: "Prints promtool's JSON: discoveredLabels, labels (none if the target is dropped) and error of each.",
        flags: &[CommandFlag {
            name: "timeout",
            value: "DURATION",
            doc: "How long a source may find nothing (default 30s).",
        }],
        example: "scraped check service-discovery prometheus.yml node",
        exits: &[(1, "a source fails, or there is no such job")],
        run: service_discovery::run,
    },
    Subcommand {
        name: "check healthy",
        arguments: "",
        about: "ask the daemon whether scraping goes on",
        details: "",
        flags: &[URL, HTTP_CONFIG, FORMAT],
        example: "scraped check healthy --url=https://box:9090 --http.config.file=ask.yml",
        exits: &[(1, "it is not, or it does not answer")],
        run: health::run_healthy,
    },
    Subcommand {
        name: "check ready",
        arguments: "",
        about: "ask the daemon whether the log can be written",
        details: "",
        flags: &[URL, HTTP_CONFIG, FORMAT],
        example: "scraped check ready",
        exits: &[(1, "it is not, or it does not answer")],
        run: health::run_ready,
    },
    Subcommand {
        name: "check metrics",
        arguments: "",
        about: "find the first mistake of a page on the standard input, with line, column and reason",
        details: "A page that ends in # EOF is read as OpenMetrics, any other as the text format.",
        flags: &[FORMAT],
        example: "curl -s http://127.0.0.1:9100/metrics | scraped check metrics",
        exits: &[FOUND],
        run: metrics::run,
    },
    Subcommand {
        name: "check web-config",
        arguments: "FILE...",
        about: "find every mistake of files for --web.config.file",
        details: "The certificates and keys that they name are read as well.",
        flags: &[FORMAT],
        example: "scraped check web-config /etc/scraped/web.yml",
        exits: &[FOUND],
        run: web_config::run,
    },
    Subcommand {
        name: "relabel test",
        arguments: "LABELS...",
        about: "show what each relabel rule makes of a set of labels",
        details: "Labels are name=value, a set as up{a=\"b\"}, or JSON. The rules are those of a job, or a file with a list.",
        flags: &[
            CommandFlag { name: "rules", value: "FILE", doc: "A list of rules, as relabel_configs has it." },
            CommandFlag { name: "job", value: "JOB", doc: "The job whose relabel_configs are tested." },
            CommandFlag { name: "metrics", value: "", doc: "Its metric_relabel_configs instead." },
            CONFIG_FILE,
            FORMAT,
        ],
        example: "scraped relabel test --job=node __address__=10.0.0.7:9100 __meta_host=box7",
        exits: &[FAILED],
        run: relabel_test::run,
    },
    Subcommand {
        name: "scrape",
        arguments: "URL|JOB",
        about: "show one scrape as it would be stored, and what each phase took",
        details: "Touches neither the data directory nor a daemon that runs. Of a job its static targets are scraped, with \
                  its relabelling, limits and credentials.",
        flags: &[
            CommandFlag {
                name: "job",
                value: "JOB",
                doc: "Whose settings a URL is scraped with (default none's).",
            },
            CONFIG_FILE,
            FORMAT,
        ],
        example: "scraped scrape 127.0.0.1:9100/metrics\nscraped scrape node",
        exits: &[(1, "a scrape failed, or there was nothing to scrape")],
        run: scrape::command,
    },
    Subcommand {
        name: "query",
        arguments: "SELECTOR",
        about: "print what was collected, also while the daemon runs",
        details: "Reads the data directory and writes nothing there. The selector is one of PromQL.",
        flags: &[
            CommandFlag {
                name: "since",
                value: "DURATION",
                doc: "How far back from the newest sample (default all there is).",
            },
            CommandFlag { name: "plot", value: "", doc: "Draw a chart of each series." },
            CommandFlag {
                name: "follow",
                value: "",
                doc: "Go on with what is written, until it is interrupted.",
            },
            DATA_DIR,
            FORMAT,
        ],
        example: "scraped query 'node_load1{job=\"node\"}' --since 10m",
        exits: &[FAILED],
        run: query::command,
    },
    Subcommand {
        name: "explain",
        arguments: "TARGET|SERIES",
        about: "say why a target is as it is",
        details: "Who found it, what each relabel rule made of it, its last attempts, its limits, where it stands in the queue, and \
                  what it costs a day. A target is a URL, an address, an instance or a job; a series is a selector. Asks the daemon.",
        flags: &[URL, HTTP_CONFIG, FORMAT],
        example: "scraped explain 10.0.0.7:9100\nscraped explain 'node_load1{job=\"node\"}'",
        exits: &[FAILED],
        run: explain::run,
    },
    Subcommand {
        name: "top",
        arguments: "",
        about: "show how the daemon is doing, again and again",
        details: "Targets that are down first, then those that take longest; the stage in which a scrape failed; how far endpoints \
                  are behind; bytes. Once where the output is no terminal.",
        flags: &[
            CommandFlag { name: "every", value: "DURATION", doc: "Between two looks (default 2s)." },
            URL,
            HTTP_CONFIG,
            FORMAT,
        ],
        example: "scraped top",
        exits: &[FAILED],
        run: top::run,
    },
    Subcommand {
        name: "cost",
        arguments: "FILE",
        about: "say what a configuration would cost, before anything is sent",
        details: "Scrapes each target once and says series, bytes a day on disk and on the wire, and a month on the wire. On the wire \
                  is what bodies of requests take, for each endpoint after its write_relabel_configs, if each scrape is sent by itself: where \
                  batch_send_deadline is longer than scrape_interval it is less.",
        flags: &[
            CommandFlag {
                name: "timeout",
                value: "DURATION",
                doc: "How long a source of targets may find nothing (default 10s).",
            },
            FORMAT,
        ],
        example: "scraped cost prometheus.yml",
        exits: &[(1, "a target did not answer, so that its cost is not known, or it could not be done")],
        run: cost::run,
    },
    Subcommand {
        name: "support-bundle",
        arguments: "[FILE]",
        about: "write an archive for somebody who helps, without secrets",
        details: "A tar archive of configuration, flags, state, targets, attempts, metrics and pages, as the daemon shows them: secrets \
                  are left out. FILE is scraped-support-TIME.tar by default and must not be there yet.",
        flags: &[
            CommandFlag {
                name: "log",
                value: "FILE",
                doc: "Also the last MiB of this log file (default the daemon's --log.file, if it has one).",
            },
            CONFIG_FILE,
            URL,
            HTTP_CONFIG,
        ],
        example: "scraped support-bundle --log=/var/log/scraped.log box7.tar",
        exits: &[FAILED],
        run: support_bundle::run,
    },
    Subcommand {
        name: "wal verify",
        arguments: "[DIR]",
        about: "check every record of a log",
        details: "DIR is a data directory, by default the daemon's that runs here. Reads only, also while a daemon writes.",
        flags: &[FORMAT],
        example: "scraped wal verify /var/lib/scraped",
        exits: &[(1, "it is damaged")],
        run: wal::verify::run,
    },
    Subcommand {
        name: "wal stat",
        arguments: "[DIR]",
        about: "say what each file of a log has",
        details: "DIR is a data directory, by default the daemon's that runs here. Reads only, also while a daemon writes.",
        flags: &[FORMAT],
        example: "scraped wal stat",
        exits: &[FAILED],
        run: wal::stat::run,
    },
    Subcommand {
        name: "wal dump",
        arguments: "[DIR]",
        about: "print every entry of a log",
        details: "DIR is a data directory, by default the daemon's that runs here. Reads only, also while a daemon writes.",
        flags: &[CommandFlag { name: "segment", value: "N", doc: "This segment alone." }, FORMAT],
        example: "scraped wal dump --segment=12 /var/lib/scraped",
        exits: &[FAILED],
        run: wal::dump::run,
    },
    Subcommand {
        name: "wal repair",
        arguments: "[DIR]",
        about: "repair a damaged log, and say what is lost",
        details: "As the start of the daemon does it. A directory that a daemon has is refused.",
        flags: &[FORMAT],
        example: "scraped wal repair /var/lib/scraped",
        exits: &[FAILED],
        run: wal::repair::run,
    },
    Subcommand {
        name: "migrate vmagent",
        arguments: "FILE...",
        about: "print what vmagent does as a prometheus.yml",
        details: MIGRATED,
        flags: &[],
        example: "scraped migrate vmagent /etc/systemd/system/vmagent.service\n\
                  scraped migrate vmagent promscrape.yml > prometheus.yml",
        exits: &[FAILED],
        run: migrate::from_vmagent,
    },
    Subcommand {
        name: "migrate alloy",
        arguments: "FILE...",
        about: "print what Alloy scrapes and sends as a prometheus.yml",
        details: MIGRATED,
        flags: &[],
        example: "scraped migrate alloy /etc/alloy/config.alloy > prometheus.yml",
        exits: &[FAILED],
        run: migrate::from_alloy,
    },
    Subcommand {
        name: "migrate telegraf",
        arguments: "FILE...",
        about: "print what Telegraf scrapes and sends as a prometheus.yml",
        details: MIGRATED,
        flags: &[],
        example: "scraped migrate telegraf /etc/telegraf/telegraf.conf > prometheus.yml",
        exits: &[FAILED],
        run: migrate::from_telegraf,
    },
    Subcommand {
        name: "migrate grafana-agent",
        arguments: "FILE...",
        about: "print what Grafana Agent in static mode does as a prometheus.yml",
        details: MIGRATED,
        flags: &[],
        example: "scraped migrate grafana-agent /etc/grafana-agent.yaml > prometheus.yml",
        exits: &[FAILED],
        run: migrate::from_grafana_agent,
    },
    Subcommand {
        name: "completion",
        arguments: "bash|zsh|fish",
        about: "print a script that completes command lines in a shell",
        details: "",
        flags: &[],
        example: "scraped completion bash > /etc/bash_completion.d/scraped\nscraped completion zsh > /usr/share/zsh/site-functions/_scraped\n\
                  scraped completion fish > ~/.config/fish/completions/scraped.fish",
        exits: &[FAILED],
        run: completion::run,
    },
    Subcommand {
        name: "man",
        arguments: "",
        about: "print the page of the manual",
        details: "",
        flags: &[],
        example: "scraped man | man -l -\nscraped man > /usr/local/share/man/man1/scraped.1",
        exits: &[],
        run: man::run,
    },
    Subcommand {
        name: "help",
        arguments: "[COMMAND...]",
        about: "say what the program does, or one of its commands",
        details: "",
        flags: &[],
        example: "scraped help check config",
        exits: &[(1, "there is no such command")],
        run: help::run,
    },
    Subcommand {
        name: "version",
        arguments: "",
        about: "print the version",
        details: "",
        flags: &[],
        example: "scraped version",
        exits: &[],
        run: help::print_version,
    },
];
