//! Wrong command lines, and the sentence that each gets.

use std::fmt::Write as _;
use std::fs;

use support::command;

#[test]
fn every_wrong_line_gets_its_sentence() {
    let path = format!("{}/tests/data/flags/wrong_lines.txt", env!("CARGO_MANIFEST_DIR"));
    let wanted = fs::read_to_string(path).unwrap();
    let mut said = String::new();
    let mut n_lines = 0;
    for line in wanted.lines().filter(|line| line.starts_with(['#', '$'])) {
        let _ = writeln!(said, "{line}");
        let Some(line) = line.strip_prefix("$ scraped ") else { continue };
        n_lines += 1;
        let finished = command::scraped(&line.split_whitespace().collect::<Vec<&str>>());
        assert_eq!(finished.stdout, "", "{line}");
        for sentence in finished.stderr.lines() {
            let _ = writeln!(said, "{} {sentence}", finished.code.unwrap());
        }
    }
    assert!(n_lines >= 20);
    assert_eq!(said, wanted, "said:\n{said}");
}

#[test]
fn help_goes_to_the_standard_output() {
    for row in scraped::commands::COMMANDS {
        let words: Vec<&str> = row.name.split(' ').collect();
        let asked: Vec<&str> = words.iter().copied().chain(["--help"]).collect();
        let help = command::scraped(&asked);
        assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""), "{asked:?}");
        assert!(help.stdout.starts_with(&format!("usage: scraped {}", row.name)), "{}", help.stdout);
        assert!(help.stdout.contains("\nexample:\n  $ "), "{}", help.stdout);
        let asked: Vec<&str> = ["help"].into_iter().chain(words).collect();
        assert_eq!(command::scraped(&asked).stdout, help.stdout, "{asked:?}");
    }
    let help = command::scraped(&["--help"]);
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
    for asked in ["help", "-h", "--help-long"] {
        assert_eq!(command::scraped(&[asked]).stdout, help.stdout, "{asked}");
    }
    let version = command::scraped(&["version"]);
    assert_eq!((version.code, version.stdout), (Some(0), command::scraped(&["--version"]).stdout));
}
