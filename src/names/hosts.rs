//! `/etc/hosts`: the names that this machine itself knows.
//!
//! Read from its start for each lookup, line by line: what has changed holds at once, and a list of a hundred thousand
//! names that no one is to reach takes no memory.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use crate::names::address::Address;

/// Lines are cut here; so is what a device or a pipe in place of the file would say.
const MAX_LINE_BYTES: u64 = 64 << 10;
const MAX_FILE_BYTES: u64 = 256 << 20;

/// Addresses of a name that are kept.
const MAX_ADDRESSES: usize = 64;

/// Addresses of `host` in the file, in its order; none if there is no such file. Case and a last dot mean nothing.
pub(in crate::names) fn look_up(path: &Path, host: &str) -> Vec<Address> {
    // A file of another kind could keep its reader for ever.
    let file = File::open(path).ok().filter(|file| file.metadata().is_ok_and(|it| it.is_file()));
    file.map_or_else(Vec::new, |file| in_text(BufReader::new(file.take(MAX_FILE_BYTES)), host))
}

fn in_text(mut text: impl BufRead, host: &str) -> Vec<Address> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let mut addresses: Vec<Address> = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        let n_read = (&mut text).take(MAX_LINE_BYTES).read_until(b'\n', &mut line).unwrap_or_default();
        if n_read == 0 || addresses.len() >= MAX_ADDRESSES {
            return addresses;
        }
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_start_matches('\u{feff}').split('#').next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        let Some(address) = words.next() else { continue };
        let is_meant = |name: &str| {
            name.strip_suffix('.').unwrap_or(name).eq_ignore_ascii_case(host) && !host.is_empty()
        };
        if words.any(is_meant)
            && let Some(address) = Address::parse(address)
            && !addresses.contains(&address)
        {
            addresses.push(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{in_text, look_up};
    use crate::names::address::Address;
    use std::path::Path;

    const FILE: &str = "\u{feff}127.0.0.1 localhost\r\n::1\tlocalhost ip6-localhost\n# 10.0.0.9 box\n\
                        10.0.0.1 Box.lan box box.lan. # box2\n10.0.0.2 box.lan\nfe80::1%lo box.lan\n\
                        10.0.0.1 box.lan\n300.0.0.1 bad\nbad bad\n10.0.0.3\n10.1 odd\n10.0.0.4 last";

    #[test]
    fn names_and_aliases_are_found() {
        let check = |host: &str, want: &[&str]| {
            let got: Vec<String> = in_text(FILE.as_bytes(), host).iter().map(Address::to_string).collect();
            assert_eq!(got, want, "{host}");
        };
        check("localhost", &["127.0.0.1", "::1"]);
        check("IP6-LocalHost.", &["::1"]);
        check("box.lan", &["10.0.0.1", "10.0.0.2", "fe80::1%lo"]);
        check("BOX", &["10.0.0.1"]);
        check("last", &["10.0.0.4"]);
        for host in ["box2", "bad", "odd", "", ".", "lan", "10.0.0.3"] {
            check(host, &[]);
        }
        let many: String = (0..1000).map(|n| format!("10.0.{}.{} many\n", n / 250, n % 250)).collect();
        assert_eq!(in_text(many.as_bytes(), "many").len(), 64);
        assert!(in_text(format!("10.0.0.1 {}", "x".repeat(1 << 20)).as_bytes(), "x").is_empty());
    }

    #[test]
    fn what_is_no_file_says_nothing() {
        for path in ["/nonesuch", "/dev/zero", "/proc"] {
            assert!(look_up(Path::new(path), "box").is_empty(), "{path}");
        }
    }
}
