//! Which targets may be files (`file:`), commands (`exec:`) and sockets (`__unix_socket__`) of this machine. Decided
//! here and nowhere else.
//!
//! 1. **Who says it.** A group carries the [`Provenance`] of its provider. The operator's own (the configuration, its
//!    files, its commands) may name what they like. A source on the network never may, by no address, label or parameter:
//!    of its targets only those are local that a relabel rule of the operator has made so. The rule has to say it
//!    itself: a `replace` whose `target_label` is literally `__address__` or `__unix_socket__` and whose `replacement`
//!    begins with the kind and the place as literal text: `file:/var/lib/x/$1.prom`, `exec:/usr/bin/probe $1`,
//!    `/run/$1.sock`. What a rule copies (`$1`, `labelmap`, `lowercase`) stays the network's word, also the second time.
//! 2. **What a copied part can do.** Of a path it names something below the literal directory in front of it, without
//!    `..`, and that directory is not the root. Of a command line it is a part of one argument: the program is literal,
//!    no argument is added or lost, and none becomes an option.
//! 3. **Where it really is.** With `--local-targets.dir` whatever a target opens, runs or connects to lies in one of
//!    these directories once all links are followed. Without, what is named is followed where it leads, but what is
//!    found below a named directory must lie below it ([`Bounds`]). Of a file the descriptor is asked, not the path,
//!    which may lead elsewhere a moment later.

use crate::config::discovery::Provenance;
use scraped_engine::labels::relabel::origin::{Piece, Written};
use std::fmt;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// A kind of local target, by the text before its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalKind {
    /// `file:` in `__address__`.
    File,
    /// `exec:` in `__address__`.
    Command,
    /// A path in `__unix_socket__`.
    Socket,
}

/// Why a target of a source on the network is not local.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No rule says so.
    NotARule,
    /// The rule copies the place too.
    NoPlace,
    /// What was copied leads out of the rule's directory.
    LeadsOut {
        /// The directory.
        dir: String,
    },
    /// What was copied would add, remove or turn an argument into an option.
    ChangesCommand,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotARule => f.write_str(
                "a source on the network names a file, a command or a socket of this machine; only a relabel rule whose \
                 replacement begins with it as plain text may",
            ),
            Self::NoPlace => f.write_str(
                "its relabel rule takes the path itself from the network; write the directory, or the program and a blank, \
                 as plain text before the first $",
            ),
            Self::LeadsOut { dir } => {
                write!(f, "what the network says leads out of {dir}, the directory of its relabel rule")
            }
            Self::ChangesCommand => f.write_str(
                "what the network says would change the command line of its relabel rule: it must be a part of one argument, \
                 without blanks, and no option",
            ),
        }
    }
}

/// Whether a target may be `kind`, and if so below which directory it has to be found; `None`: exactly what is named.
/// `written` says how the label came to be, and is asked only where it matters.
///
/// # Errors
/// The network's word is not enough.
pub fn permit(
    provenance: Provenance,
    kind: LocalKind,
    written: impl FnOnce() -> Option<Written>,
) -> Result<Option<Arc<Path>>, Refusal> {
    match provenance {
        Provenance::Operator => Ok(None),
        Provenance::Network => of_rule(kind, &written().ok_or(Refusal::NotARule)?),
    }
}

fn of_rule(kind: LocalKind, written: &[Piece<String>]) -> Result<Option<Arc<Path>>, Refusal> {
    let Some(Piece::Literal(first)) = written.first() else { return Err(Refusal::NotARule) };
    let prefix = match kind {
        LocalKind::File => "file:",
        LocalKind::Command => "exec:",
        LocalKind::Socket => "",
    };
    let literal = first.strip_prefix(prefix).filter(|path| path.starts_with('/')).ok_or(Refusal::NotARule)?;
    let is_all_literal = written.iter().all(|piece| matches!(piece, Piece::Literal(_)));
    match kind {
        _ if is_all_literal => Ok(None),
        LocalKind::Command if !literal.contains(char::is_whitespace) => Err(Refusal::NoPlace),
        LocalKind::Command => check_arguments(written).map(|()| None),
        LocalKind::File | LocalKind::Socket => below_literal(literal, written),
    }
}

fn below_literal(literal: &str, written: &[Piece<String>]) -> Result<Option<Arc<Path>>, Refusal> {
    let dir = literal.rsplit_once('/').map_or("", |(dir, _)| dir);
    if dir.trim_matches('/').is_empty() {
        return Err(Refusal::NoPlace);
    }
    let rest: String = [&literal[dir.len()..]].into_iter().chain(written.iter().skip(1).map(text)).collect();
    let leads_out = rest.contains('\0') || Path::new(&rest).components().any(|it| it == Component::ParentDir);
    match leads_out {
        true => Err(Refusal::LeadsOut { dir: dir.to_owned() }),
        false => Ok(Some(Path::new(dir).into())),
    }
}

fn check_arguments(written: &[Piece<String>]) -> Result<(), Refusal> {
    let mut line = String::new();
    let mut template = String::new();
    for piece in written {
        let is_captured = matches!(piece, Piece::Captured(_));
        let begins_argument = line.ends_with(|c: char| c.is_ascii_whitespace());
        if is_captured && begins_argument && text(piece).starts_with('-') {
            return Err(Refusal::ChangesCommand);
        }
        line.push_str(text(piece));
        template.push_str(if is_captured { "x" } else { text(piece) });
    }
    let n_words = |text: &str| text.split_ascii_whitespace().count();
    let has_blanks = |piece: &Piece<String>| matches!(piece, Piece::Captured(it) if it.contains(|c: char| c.is_whitespace() || c == '\0'));
    if n_words(&line) != n_words(&template) || written.iter().any(has_blanks) {
        return Err(Refusal::ChangesCommand);
    }
    Ok(())
}

fn text(piece: &Piece<String>) -> &str {
    match piece {
        Piece::Literal(text) | Piece::Captured(text) => text,
    }
}

/// Where what a target opens must lie, links followed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// `--local-targets.dir`.
    given: Arc<[PathBuf]>,
    /// Without that: the directory of the relabel rule.
    of_rule: Option<Arc<Path>>,
}

impl Bounds {
    /// The directories of the flag count before anything else.
    pub fn new(given: Arc<[PathBuf]>, of_rule: Option<Arc<Path>>) -> Self {
        Self { given, of_rule }
    }

    /// Whether anything is out of bounds.
    pub fn are_any(&self) -> bool {
        !self.given.is_empty() || self.of_rule.is_some()
    }

    /// What is named itself; nothing is opened. Gives the path without links.
    ///
    /// # Errors
    /// It is not there, or elsewhere.
    pub fn check_named(&self, named: &Path) -> Result<PathBuf, String> {
        let real = fs::canonicalize(named).map_err(|error| error.to_string())?;
        self.check(named, &real, None).map(|()| real)
    }

    /// A file that is open, found as `named`; in the directory `listed` if that is the target.
    ///
    /// # Errors
    /// It is elsewhere.
    pub fn check_open(&self, named: &Path, file: &File, listed: Option<&Path>) -> Result<(), String> {
        if !self.are_any() && listed.is_none() {
            return Ok(());
        }
        let by_descriptor = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()));
        // Without /proc the path has to do.
        let real = by_descriptor.or_else(|_| fs::canonicalize(named)).map_err(|error| error.to_string())?;
        self.check(named, &real, listed)
    }

    fn check(&self, named: &Path, real: &Path, listed: Option<&Path>) -> Result<(), String> {
        let is_in = |dir: &Path| fs::canonicalize(dir).is_ok_and(|dir| real.starts_with(dir));
        let leads =
            if real == named { "is".to_owned() } else { format!("leads to {}, which is", real.display()) };
        if !self.given.is_empty() {
            if self.given.iter().any(|dir| is_in(dir)) {
                return Ok(());
            }
            let dirs: Vec<String> = self.given.iter().map(|dir| dir.display().to_string()).collect();
            let dirs = dirs.join(", ");
            return Err(format!(
                "{leads} outside of the directories of --local-targets.dir ({dirs}); give its too"
            ));
        }
        // Of a directory that a rule has named in part, both: it may have become a link since it was listed.
        match [self.of_rule.as_deref(), listed].into_iter().flatten().find(|dir| !is_in(dir)) {
            None => Ok(()),
            Some(dir) => Err(format!(
                "{leads} outside of {}, which is what the configuration names; --local-targets.dir may allow it",
                dir.display()
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a rule has written, with `<` and `>` around what it copied.
    fn written(text: &str) -> Written {
        let mut pieces = Written::new();
        for (idx, part) in
            text.split(['<', '>']).enumerate().filter(|(idx, part)| idx % 2 == 1 || !part.is_empty())
        {
            let part = part.to_owned();
            pieces.push(if idx % 2 == 1 { Piece::Captured(part) } else { Piece::Literal(part) });
        }
        pieces
    }

    #[test]
    fn the_network_says_a_part_of_what_a_rule_says() {
        let check = |kind, text: &str, want: Result<Option<&str>, Refusal>| {
            let got = permit(Provenance::Network, kind, || Some(written(text)));
            let want = want.map(|dir| dir.map(|dir| Arc::from(Path::new(dir))));
            assert_eq!(got, want, "{text}");
        };
        let leads_out = |dir: &str| Err(Refusal::LeadsOut { dir: dir.to_owned() });
        use LocalKind::{Command, File, Socket};
        check(File, "file:/var/lib/x/a.prom", Ok(None));
        check(File, "file:/var/lib/x/<a>.prom", Ok(Some("/var/lib/x")));
        check(File, "file:/var/lib/x-<a>/m", Ok(Some("/var/lib")));
        check(File, "file:/var/lib/x/<a/b>", Ok(Some("/var/lib/x")));
        check(File, "file:/var/lib/x/<>", Ok(Some("/var/lib/x")));
        check(File, "file:/var/<../etc/shadow>", leads_out("/var"));
        check(File, "file:/var/<.>./shadow", leads_out("/var"));
        check(File, "file:/var/<.><.>/shadow", leads_out("/var"));
        check(File, "file:/var/<a\0b>", leads_out("/var"));
        check(File, "file:/<etc/shadow>", Err(Refusal::NoPlace));
        check(File, "file://<etc/shadow>", Err(Refusal::NoPlace));
        check(File, "<file:/var/lib/x/a>", Err(Refusal::NotARule));
        check(File, "<>file:/var/lib/x/a", Err(Refusal::NotARule));
        check(File, "file:</var/lib/x/a>", Err(Refusal::NotARule));
        check(File, "fi<le:/var/lib/x/a>", Err(Refusal::NotARule));
        check(Socket, "/run/<a>.sock", Ok(Some("/run")));
        check(Socket, "/run/x.sock", Ok(None));
        check(Socket, "/<run/x.sock>", Err(Refusal::NoPlace));
        check(Socket, "<a>", Err(Refusal::NotARule));
        check(Command, "exec:/bin/probe", Ok(None));
        check(Command, "exec:/bin/probe <a>", Ok(None));
        check(Command, "exec:/bin/probe --host=<-a> <b><-c>", Ok(None));
        check(Command, "exec:/bin/probe<a>", Err(Refusal::NoPlace));
        check(Command, "exec:/bin/<sh> x", Err(Refusal::NoPlace));
        for changed in ["<a b>", "<>", "<-a>", "<a\tb>", "<a\u{a0}b>", "x <-><a>"] {
            check(Command, &format!("exec:/bin/probe {changed}"), Err(Refusal::ChangesCommand));
        }
        // A part of an argument may be nothing.
        check(Command, "exec:/bin/probe x<>", Ok(None));
        let nobody = || None;
        assert_eq!(permit(Provenance::Network, File, nobody), Err(Refusal::NotARule));
        assert_eq!(permit(Provenance::Operator, File, nobody), Ok(None));
    }
}
