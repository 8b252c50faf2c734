//! `--web.config.file` as it is now: looked at when somebody comes, and what was good stays good.

use crate::config::web;
use crate::config::web::WebConfig;
use crate::http::tls::server::{Acceptor, ServerTls};
use crate::http::watched::Watched;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// On which terms clients come in.
#[derive(Debug)]
pub struct Terms {
    file: Option<File>,
    current: Version,
}

#[derive(Debug)]
struct File {
    path: PathBuf,
    content: Watched<Vec<u8>>,
    /// The newest content, if it has not replaced what is in force.
    refused: Option<Refused>,
}

/// What one content says, with the files that it names.
#[derive(Debug, Default)]
struct Version {
    content: Arc<Vec<u8>>,
    config: WebConfig,
    tls: Option<ServerTls>,
}

#[derive(Debug)]
struct Refused {
    content: Arc<Vec<u8>>,
    /// `None`: it is not even a configuration. Otherwise what it names may become good.
    version: Option<Version>,
    sentence: String,
}

impl Terms {
    /// Without `--web.config.file`: everyone may come.
    pub fn open() -> Self {
        Self { file: None, current: Version::default() }
    }

    /// Those of a file.
    ///
    /// # Errors
    /// Every mistake in it, or what is wrong with a file that it names.
    pub fn of_file(path: &Path) -> Result<Self, String> {
        let content = Watched::new(path, |bytes| Ok(bytes.to_vec()));
        let bytes = content.current()?;
        let mut current = Version::parse(path, bytes)?;
        current.prove().map_err(|sentence| format!("{}: {sentence}", path.display()))?;
        Ok(Self { file: Some(File { path: path.to_owned(), content, refused: None }), current })
    }

    /// What is in force.
    pub fn config(&self) -> &WebConfig {
        &self.current.config
    }

    /// Looks whether the file has changed; at most once a second. True if other terms are in force from now on.
    pub(super) fn look(&mut self) -> bool {
        let Some(file) = &mut self.file else { return false };
        let Some(version) = file.newer_than(&mut self.current) else { return false };
        log::info!("{} has changed; what it says is in force", file.path.display());
        for note in &version.config.notes {
            log::info!("{note}");
        }
        self.current = version;
        true
    }

    /// TLS as it is in force; none: plain HTTP.
    pub(super) fn acceptor(&mut self) -> io::Result<Option<Acceptor>> {
        self.current.tls.as_mut().map(ServerTls::acceptor).transpose().map_err(io::Error::other)
    }
}

impl Version {
    fn parse(path: &Path, content: Arc<Vec<u8>>) -> Result<Self, String> {
        let config = web::parse(path, &content).map_err(|mistakes| mistakes.to_string())?;
        let tls = config.tls.as_ref().map(ServerTls::new);
        Ok(Self { content, config, tls })
    }

    /// Whether the files that it names are good.
    fn prove(&mut self) -> Result<(), String> {
        self.tls.as_mut().map_or(Ok(()), |tls| tls.acceptor().map(drop))
    }

    /// Whether it may replace `before` while the server runs.
    fn may_follow(&mut self, before: &Version) -> Result<(), String> {
        if self.tls.is_some() != before.tls.is_some() {
            return Err("tls_server_config is switched on and off by a restart alone".to_owned());
        }
        self.prove()
    }
}

impl File {
    /// What is to replace `current`, if there is something and it is good. What is not is said once.
    fn newer_than(&mut self, current: &mut Version) -> Option<Version> {
        let newest = self.content.current().ok()?;
        if Arc::ptr_eq(&newest, &current.content) {
            self.refused = None;
            return None;
        }
        let known = self.refused.take().filter(|refused| Arc::ptr_eq(&refused.content, &newest));
        let (version, before) = match known {
            Some(Refused { version, sentence, .. }) => (version.ok_or_else(|| sentence.clone()), sentence),
            None => (Version::parse(&self.path, Arc::clone(&newest)), String::new()),
        };
        let (version, sentence) = match version {
            Ok(mut version) => match version.may_follow(current) {
                Ok(()) => return Some(version),
                Err(sentence) => (Some(version), sentence),
            },
            Err(sentence) => (None, sentence),
        };
        if sentence != before {
            log::error!("{}: {sentence}; what was in force before stays so", self.path.display());
        }
        self.refused = Some(Refused { content: newest, version, sentence });
        None
    }
}
