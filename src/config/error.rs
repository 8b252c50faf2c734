//! Mistakes in a configuration: file, line, path of the key, a sentence.
//!
//! Loading goes on after a mistake, so that one run names them all.

use scraped_engine::sorting::sort_by_key;
use std::cell::RefCell;
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};

/// After this many mistakes the rest is only counted: it is the wrong file.
const MAX_SHOWN: usize = 1000;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file it is in.
    pub file: PathBuf,
    /// From 1; 0 when it is about the whole file.
    pub line: u32,
    /// As `scrape_configs[2].scrape_interval`; empty when it is about the whole file.
    pub key: String,
    /// What is wrong, and the way out where there is one.
    pub sentence: String,
}

impl Display for ConfigError {
    /// `FILE:LINE: KEY: SENTENCE`, without the parts there are none of.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.sentence)
    }
}

/// Everything that is wrong with a configuration, main file first, each file by line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    /// At least one.
    pub mistakes: Vec<ConfigError>,
}

impl Display for ConfigErrors {
    /// One line a mistake, without a line break at the end.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (idx, mistake) in self.mistakes.iter().take(MAX_SHOWN).enumerate() {
            if idx > 0 {
                f.write_str("\n")?;
            }
            // One line a mistake, whatever was typed.
            f.write_str(&mistake.to_string().replace(['\n', '\r'], " "))?;
        }
        if self.mistakes.len() > MAX_SHOWN {
            write!(f, "\nand {} more mistakes", self.mistakes.len() - MAX_SHOWN)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// What is known of one file while it is read: what is wrong, and what is right but without effect.
#[derive(Debug)]
pub(in crate::config) struct Mistakes {
    file: PathBuf,
    list: RefCell<Vec<ConfigError>>,
    notes: RefCell<Vec<String>>,
}

impl Mistakes {
    pub(in crate::config) fn new(file: &Path) -> Self {
        Self { file: file.to_owned(), list: RefCell::default(), notes: RefCell::default() }
    }

    pub(in crate::config) fn add(&self, line: u32, key: &str, sentence: String) {
        let mistake = ConfigError { file: self.file.clone(), line, key: key.to_owned(), sentence };
        self.list.borrow_mut().push(mistake);
    }

    /// Notes each sentence once.
    pub(in crate::config) fn note(&self, sentence: String) {
        let mut notes = self.notes.borrow_mut();
        if !notes.contains(&sentence) {
            notes.push(sentence);
        }
    }

    /// Mistakes by line, and notes.
    pub(in crate::config) fn into_parts(self) -> (Vec<ConfigError>, Vec<String>) {
        let mut list = self.list.into_inner();
        sort_by_key(&mut list, |mistake| mistake.line);
        (list, self.notes.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::{ConfigErrors, Mistakes};
    use std::path::Path;

    #[test]
    fn one_line_a_mistake_in_order() {
        let mistakes = Mistakes::new(Path::new("etc/scraped.yml"));
        mistakes.add(
            7,
            "scrape_configs[2].scrape_interval",
            "not a valid duration string: \"1\n\"".to_owned(),
        );
        mistakes.add(0, "", "cannot read it".to_owned());
        let (mistakes, _) = mistakes.into_parts();
        assert_eq!(
            ConfigErrors { mistakes }.to_string(),
            "etc/scraped.yml: cannot read it\n\
             etc/scraped.yml:7: scrape_configs[2].scrape_interval: not a valid duration string: \"1 \""
        );
    }
}
