//! Which daemons run on this machine, by `/proc`: their command lines say where everything is.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::flags;
use crate::flags::{Command, Flags};

/// A daemon that runs.
#[derive(Debug)]
pub(in crate::commands) struct Running {
    /// Its process.
    pub(in crate::commands) pid: u32,
    /// What relative paths begin at; `None` where that is another user's secret.
    cwd: Option<PathBuf>,
    /// Its command line.
    pub(in crate::commands) flags: Flags,
}

/// All of them, the oldest first.
pub(in crate::commands) fn all() -> Vec<Running> {
    all_of(Path::new("/proc"), std::process::id())
}

fn all_of(proc: &Path, own_pid: u32) -> Vec<Running> {
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    let mut pids: Vec<u32> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != own_pid)
        .collect();
    scraped_engine::sorting::sort(&mut pids);
    pids.into_iter().filter_map(|pid| Running::of(&proc.join(pid.to_string()), pid)).collect()
}

impl Running {
    fn of(dir: &Path, pid: u32) -> Option<Self> {
        let name = fs::read(dir.join("comm")).ok()?;
        if name.trim_ascii_end() != b"scraped" {
            return None;
        }
        let line = fs::read(dir.join("cmdline")).ok()?;
        let line = line.strip_suffix(b"\0").unwrap_or(&line);
        let words = line.split(|byte| *byte == 0).skip(1).map(|word| OsString::from_vec(word.to_vec()));
        // Sub-commands are none of the table's: they are no daemon.
        match flags::parse(words, &[]) {
            Ok(Command::Run(flags)) => {
                Some(Self { pid, cwd: fs::read_link(dir.join("cwd")).ok(), flags: *flags })
            }
            _ => None,
        }
    }

    /// A path of its command line, as this process has to name it.
    fn path(&self, path: &Path) -> Option<PathBuf> {
        match &self.cwd {
            _ if path.is_absolute() => Some(path.to_owned()),
            Some(cwd) => Some(cwd.join(path)),
            None => None,
        }
    }

    /// Its data directory.
    pub(in crate::commands) fn data_dir(&self) -> Option<PathBuf> {
        self.path(&self.flags.wal.path)
    }

    /// Its configuration.
    pub(in crate::commands) fn config_file(&self) -> Option<PathBuf> {
        self.path(&self.flags.config_file)
    }

    /// Where it can be asked; `None` if its command line does not say.
    pub(in crate::commands) fn url(&self) -> Option<String> {
        let address = self.flags.listen_addresses.iter().find(|address| !address.ends_with(":0"))?;
        if self.flags.systemd_socket {
            return None;
        }
        if address.starts_with("unix:") {
            return Some(address.clone());
        }
        let (host, port) = address.rsplit_once(':')?;
        let host = if matches!(host, "" | "0.0.0.0" | "[::]") { "127.0.0.1" } else { host };
        let scheme = if self.has_tls() { "https" } else { "http" };
        let external = self.flags.external_url.as_ref().map(|url| url.path.clone());
        let prefix = self.flags.route_prefix.clone().or(external).unwrap_or_default();
        let prefix = prefix.trim_matches('/');
        Some(match prefix {
            "" => format!("{scheme}://{host}:{port}"),
            prefix => format!("{scheme}://{host}:{port}/{prefix}"),
        })
    }

    fn has_tls(&self) -> bool {
        let Some(path) = self.flags.web_config_file.as_ref().and_then(|path| self.path(path)) else {
            return false;
        };
        fs::read_to_string(path).is_ok_and(|text| text.contains("tls_server_config"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn daemons_are_found_by_their_command_lines() {
        let proc = tempfile::tempdir().unwrap();
        let process = |pid: &str, comm: &str, line: &str| {
            let dir = proc.path().join(pid);
            fs::create_dir(&dir).unwrap();
            fs::write(dir.join("comm"), comm).unwrap();
            fs::write(dir.join("cmdline"), line).unwrap();
            std::os::unix::fs::symlink("/var/lib/box", dir.join("cwd")).unwrap();
        };
        process("7", "scraped\n", "/usr/bin/scraped\0--config.file=c.yml\0--web.listen-address=:9099\0");
        process("8", "scraped\n", "scraped\0query\0up\0");
        process("9", "bash\n", "bash\0");
        process("10", "scraped\n", "scraped\0--storage.agent.path=/data\0--web.listen-address=127.0.0.1:0\0");
        process("11", "scraped\n", "scraped\0run\0--web.external-url=http://x/p/\0");
        let found = all_of(proc.path(), 11_111);
        assert_eq!(found.iter().map(|it| it.pid).collect::<Vec<_>>(), [7, 10, 11]);
        assert_eq!(found[0].data_dir(), Some(PathBuf::from("/var/lib/box/data-agent/")));
        assert_eq!(found[0].config_file(), Some(PathBuf::from("/var/lib/box/c.yml")));
        assert_eq!(found[0].url().as_deref(), Some("http://127.0.0.1:9099"));
        assert_eq!(found[1].data_dir(), Some(PathBuf::from("/data")));
        assert_eq!(found[1].url(), None);
        assert_eq!(found[2].url().as_deref(), Some("http://127.0.0.1:9090/p"));
    }
}
