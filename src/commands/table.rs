//! The table of sub-commands, in the order in which they are printed. Help, completion, the page of the manual and the
//! README's reference are made of it.

use crate::commands::about::{completion, help, man};
use crate::commands::check::{config, metrics, web_config};
use crate::commands::{query, scrape};
use crate::flags::{CommandFlag, Subcommand};

/// Found wrong, with the sentence on the standard output.
const FOUND: (u8, &str) = (1, "a mistake was found");
/// Could not be done.
const FAILED: (u8, &str) = (1, "it could not be done; the reason is on the error output");

const FORMAT: CommandFlag =
    CommandFlag { name: "format", value: "table|json", doc: "For people or for programs (default table)." };
const CONFIG_FILE: CommandFlag =
    CommandFlag { name: "config.file", value: "FILE", doc: "Where the job stands (default prometheus.yml)." };
const DATA_DIR: CommandFlag = CommandFlag {
    name: "storage.agent.path",
    value: "DIR",
    doc: "The daemon's data directory (default data-agent/).",
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
                name: "agent",
                value: "",
                doc: "Taken for promtool's sake: there is no other mode.",
            },
        ],
        example: "scraped check config /etc/scraped/prometheus.yml",
        exits: &[FOUND],
        run: config::run,
    },
    Subcommand {
        name: "check metrics",
        arguments: "",
        about: "find the first mistake of a page on the standard input, with line, column and reason",
        details: "A page that ends in # EOF is read as OpenMetrics, any other as the text format.",
        flags: &[],
        example: "curl -s http://127.0.0.1:9100/metrics | scraped check metrics",
        exits: &[FOUND],
        run: metrics::run,
    },
    Subcommand {
        name: "check web-config",
        arguments: "FILE...",
        about: "find every mistake of files for --web.config.file",
        details: "The certificates and keys that they name are read as well.",
        flags: &[],
        example: "scraped check web-config /etc/scraped/web.yml",
        exits: &[FOUND],
        run: web_config::run,
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
        ],
        example: "scraped scrape http://127.0.0.1:9100/metrics",
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
            DATA_DIR,
            FORMAT,
        ],
        example: "scraped query 'node_load1{job=\"node\"}' --since 10m",
        exits: &[FAILED],
        run: query::command,
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
