//! Why a command line is not taken.

use std::fmt;

/// All its mistakes at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlagError {
    /// A sentence each, which names the flag and the way out.
    Mistakes(Vec<String>),
    /// Flags of a Prometheus server are among them.
    ServerOnly {
        /// As they were given.
        flags: Vec<String>,
        /// What does the same here, and other mistakes.
        sentences: Vec<String>,
    },
}

impl FlagError {
    /// The sentences, one by one.
    pub fn sentences(&self) -> Vec<String> {
        match self {
            Self::Mistakes(sentences) => sentences.clone(),
            // Prometheus' words (`cmd/prometheus/main.go`).
            Self::ServerOnly { flags, sentences } => {
                let flags: Vec<String> = flags.iter().map(|flag| format!("{flag:?}")).collect();
                let refusal =
                    format!("The following flag(s) can not be used in agent mode: [{}]", flags.join(" "));
                std::iter::once(refusal).chain(sentences.iter().cloned()).collect()
            }
        }
    }
}

impl fmt::Display for FlagError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentences().join("\n"))
    }
}

impl std::error::Error for FlagError {}

impl From<String> for FlagError {
    fn from(sentence: String) -> Self {
        Self::Mistakes(vec![sentence])
    }
}
