//! `scraped support-bundle`: what somebody needs who helps from afar, in one tar archive: configuration without its
//! secrets, flags, state, targets, metrics, and the end of the log if it is a file.
//!
//! Everything but that file is what the daemon shows on its pages, where secrets are left out.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::commands::service;
use crate::commands::service::Service;
use crate::config::load;
use crate::flags::{Arguments, Done, Outcome, version};
use crate::http::address::escape::escape_query;
use crate::terminal::Terminal;

/// What the daemon is asked for, and the file that the answer becomes.
const ASKED: [(&str, &str); 15] = [
    ("config.json", "/api/v1/status/config"),
    ("flags.json", "/api/v1/status/flags"),
    ("runtimeinfo.json", "/api/v1/status/runtimeinfo"),
    ("buildinfo.json", "/api/v1/status/buildinfo"),
    ("walreplay.json", "/api/v1/status/walreplay"),
    ("features.json", "/api/v1/features"),
    ("notifications.json", "/api/v1/notifications"),
    ("targets.json", "/api/v1/targets"),
    ("attempts.json", "/api/v1/targets/attempts"),
    ("metrics.txt", "/metrics"),
    ("healthy.txt", "/-/healthy"),
    ("ready.txt", "/-/ready"),
    ("overview.html", "/"),
    ("status.html", "/status"),
    ("storage.html", "/storage"),
];
/// Of the log's file.
const LOG_TAIL_BYTES: u64 = 1 << 20;
/// Of a tar archive.
const BLOCK_BYTES: usize = 512;

/// `scraped support-bundle`.
pub(in crate::commands) fn run(arguments: &Arguments, terminal: &mut Terminal) -> Done {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let path = match arguments.file(0) {
        path if path.as_os_str().is_empty() => Path::new(&format!("scraped-support-{now_s}.tar")).to_owned(),
        path => path.to_owned(),
    };
    let mut files = vec![("version.txt".to_owned(), version().into_bytes())];
    let (mut missing, mut own_log) = (Vec::new(), None);
    match Service::find(arguments).and_then(|mut service| service.get("/-/healthy").map(|_| service)) {
        Ok(mut service) => {
            ask(&mut service, &mut files, &mut missing);
            own_log = log_file_of(&mut service);
        }
        Err(error) => {
            missing.push(error.to_string());
            files.push(("config.yml".to_owned(), of_file(arguments)));
        }
    }
    if let Some(log) = arguments.flag_file("log").or(own_log) {
        match tail(&log) {
            Ok(bytes) => files.push(("log.txt".to_owned(), bytes)),
            Err(cause) => missing.push(format!("{}: {cause}", log.display())),
        }
    }
    files.push((
        "missing.txt".to_owned(),
        missing.iter().map(|line| format!("{line}\n")).collect::<String>().into_bytes(),
    ));
    let mut out =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(|cause| {
            io::Error::new(cause.kind(), format!("cannot make {}: {cause}", path.display()))
        })?;
    write_tar(&files, now_s, &mut out)?;
    for line in &missing {
        let _ = writeln!(io::stderr().lock(), "scraped: {line}");
    }
    writeln!(
        terminal,
        "{}: {} files; look at them before you send it to anyone",
        path.display(),
        files.len()
    )?;
    Ok(Outcome::Good)
}

fn ask(service: &mut Service, files: &mut Vec<(String, Vec<u8>)>, missing: &mut Vec<String>) {
    let mut take = |service: &mut Service, name: &str, path: &str| match service.get(path) {
        Ok(answer) => files.push((name.to_owned(), answer.body)),
        Err(error) => missing.push(error.to_string()),
    };
    for (name, path) in ASKED {
        take(service, name, path);
    }
    // Those of `scrape_config_files` stand in no other list.
    let pools = service.data("/api/v1/scrape_pools").unwrap_or_default();
    for (idx, pool) in pools["scrapePools"].as_array().into_iter().flatten().enumerate() {
        let mut path = String::from("/api/v1/scrape_pools/config?scrapePool=");
        escape_query(&mut path, pool.as_str().unwrap_or_default());
        take(service, &format!("jobs/{idx:04}.json"), &path);
    }
}

/// Where the daemon writes its log, if it was given a file.
fn log_file_of(service: &mut Service) -> Option<PathBuf> {
    let flags = service.data("/api/v1/status/flags").ok()?;
    let file = flags["log.file"].as_str().filter(|file| !file.is_empty())?;
    let info = service.data("/api/v1/status/runtimeinfo").ok()?;
    Some(Path::new(info["CWD"].as_str()?).join(file))
}

/// The configuration on disk, if the daemon cannot be asked.
fn of_file(arguments: &Arguments) -> Vec<u8> {
    let path = service::config_file(arguments.flag_file("config.file").as_deref());
    match load(&path) {
        Ok(config) => {
            let jobs = config.scrape_configs.iter().skip(config.n_main_file_jobs).map(|job| job.to_yaml());
            let jobs = jobs.map(|job| format!("---\n{job}"));
            (config.to_yaml() + &jobs.collect::<String>()).into_bytes()
        }
        // Sentences about mistakes may hold what was typed.
        Err(errors) => {
            let places =
                errors.mistakes.iter().map(|it| format!("{}:{}: {}\n", it.file.display(), it.line, it.key));
            format!("the configuration has mistakes at:\n{}", places.collect::<String>()).into_bytes()
        }
    }
}

fn tail(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let n_bytes = file.metadata()?.len();
    file.seek(SeekFrom::Start(n_bytes.saturating_sub(LOG_TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// POSIX's ustar.
fn write_tar(files: &[(String, Vec<u8>)], now_s: u64, out: &mut dyn Write) -> io::Result<()> {
    for (name, bytes) in files {
        let mut header = [0_u8; BLOCK_BYTES];
        let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, &format!("scraped-support/{name}"));
        put(100, "0000600\0");
        put(108, "0000000\0");
        put(116, "0000000\0");
        put(124, &format!("{:011o}\0", bytes.len()));
        put(136, &format!("{now_s:011o}\0"));
        put(148, "        ");
        put(156, "0");
        put(257, "ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out.write_all(&header)?;
        out.write_all(bytes)?;
        out.write_all(&[0; BLOCK_BYTES][..bytes.len().next_multiple_of(BLOCK_BYTES) - bytes.len()])?;
    }
    out.write_all(&[0; 2 * BLOCK_BYTES])
}
