//! What is printed of the table of sub-commands, and the README: all say the same.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use scraped::commands::COMMANDS;
use support::command::{self, finish};
use tempfile::TempDir;

#[test]
fn the_readme_lists_every_command() {
    let mut wanted = String::from("| command | what it does |\n|---|---|\n");
    for row in COMMANDS {
        let words = format!("{} {}", row.name, row.arguments).trim().replace('|', "\\|");
        let _ = writeln!(wanted, "| `{words}` | {} |", row.about);
    }
    let readme = fs::read_to_string(format!("{}/README.md", env!("CARGO_MANIFEST_DIR"))).unwrap();
    assert!(readme.contains(&wanted), "README.md has another table of commands than this:\n\n{wanted}");
}

#[test]
fn the_page_of_the_manual_is_roff() {
    let page = command::scraped(&["man"]);
    assert_eq!(page.code, Some(0));
    for row in COMMANDS {
        let heading = format!(".SS \"{}\"", row.usage().replace('-', "\\-"));
        assert!(page.stdout.contains(&heading), "{heading}");
    }
    // Where there is a roff, it has nothing to complain of.
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("scraped.1");
    fs::write(&file, &page.stdout).unwrap();
    if Command::new("groff").arg("--version").output().is_ok() {
        let shown = finish(Command::new("groff").args(["-man", "-Tascii", "-ww"]).arg(&file));
        assert_eq!((shown.code, shown.stderr.as_str()), (Some(0), ""));
        assert!(shown.stdout.contains("how wide the terminal is"), "{}", shown.stdout);
    } else {
        println!("no groff here: the page is not shown");
    }
}

/// What bash offers for a line whose last word is being typed.
fn completed(line: &[&str]) -> String {
    let words = line.iter().map(|word| format!("'{word}'")).collect::<Vec<String>>().join(" ");
    let script = format!(
        "source <({} completion bash); COMP_WORDS=({words}); COMP_CWORD={}; _scraped; printf '%s ' \"${{COMPREPLY[@]}}\"",
        support::program().display(),
        line.len() - 1
    );
    let finished = finish(Command::new("bash").args(["-c", &script]));
    assert_eq!(finished.stderr, "");
    finished.stdout.trim().to_owned()
}

#[test]
fn bash_completes_lines() {
    assert_eq!(completed(&["scraped", "qu"]), "query");
    assert_eq!(completed(&["scraped", "check", "web"]), "web-config");
    assert_eq!(completed(&["scraped", "check", "config", "--synt"]), "--syntax-only");
    assert_eq!(completed(&["scraped", "query", "up", "--format", "j"]), "json");
    assert_eq!(completed(&["scraped", "query", "up", "--format", "=", "t"]), "table");
    assert_eq!(completed(&["scraped", "--web.listen"]), "--web.listen-address");
    assert_eq!(completed(&["scraped", "completion", "f"]), "fish");
}

#[test]
fn other_shells_know_every_command() {
    for shell in ["zsh", "fish"] {
        let script = command::scraped(&["completion", shell]);
        assert_eq!(script.code, Some(0));
        for row in COMMANDS {
            let last = row.name.rsplit(' ').next().unwrap();
            assert!(script.stdout.contains(last), "{shell}: {last}");
            for flag in row.flags {
                assert!(script.stdout.contains(flag.name), "{shell}: {}", flag.name);
            }
        }
        // Only where the shell is installed.
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("script");
        fs::write(&file, &script.stdout).unwrap();
        if Command::new(shell).arg("--version").output().is_ok() {
            let read = finish(Command::new(shell).arg("-n").arg(&file));
            assert_eq!((read.code, read.stderr.as_str()), (Some(0), ""), "{shell}");
        } else {
            println!("no {shell} here: its script is not read");
        }
    }
}
