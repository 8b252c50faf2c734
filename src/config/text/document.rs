//! One file while it is read: the directory that its paths are taken from, and what is found out about it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::error::{ConfigError, Mistakes};
use crate::config::text::paths::{dir_of, join_dir, secret_path};
use crate::config::text::yaml;
use scraped_engine::labels::pattern::{Pattern, PatternError};

/// What every field of a file shares.
#[derive(Debug)]
pub(in crate::config) struct Document {
    dir: PathBuf,
    mistakes: Mistakes,
    /// By their text, so that what many jobs have is compiled once.
    patterns: RefCell<HashMap<String, Arc<Pattern>>>,
}

impl Document {
    /// Of the file `path`, which is not opened here.
    pub(in crate::config) fn new(path: &Path) -> Self {
        Self { dir: dir_of(path), mistakes: Mistakes::new(path), patterns: RefCell::default() }
    }

    pub(in crate::config) fn mistakes(&self) -> &Mistakes {
        &self.mistakes
    }

    /// Mistakes by line, and notes.
    pub(in crate::config) fn into_parts(self) -> (Vec<ConfigError>, Vec<String>) {
        self.mistakes.into_parts()
    }

    /// Where a path that stands in the file leads.
    pub(in crate::config) fn join(&self, path: &str) -> PathBuf {
        join_dir(&self.dir, path)
    }

    /// As [`Document::join`], for a file with a secret: it may be one of the unit's credentials.
    ///
    /// # Errors
    /// A sentence: the unit has none.
    pub(in crate::config) fn join_secret(&self, path: &str) -> Result<PathBuf, String> {
        secret_path(&self.dir, path)
    }

    /// The compiled pattern of a text, the same one for each time it is asked for.
    ///
    /// # Errors
    /// The text is no pattern.
    pub(in crate::config) fn pattern(&self, text: &str) -> Result<Arc<Pattern>, PatternError> {
        if let Some(known) = self.patterns.borrow().get(text) {
            return Ok(Arc::clone(known));
        }
        let pattern = Arc::new(Pattern::new(text)?);
        self.patterns.borrow_mut().insert(text.to_owned(), Arc::clone(&pattern));
        Ok(pattern)
    }
}

/// The bytes of a file, no more of them than the parser needs to refuse one that is too large.
pub(in crate::config) fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(yaml::MAX_TEXT_BYTES).unwrap_or(u64::MAX);
    // One more than the limit, for the parser to refuse.
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
