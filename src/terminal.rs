//! Where sub-commands print: how wide it is, whether it takes colours, and how far a long one has come.
//!
//! Colours are for terminals alone and never with `NO_COLOR`. Progress goes to the error output, so that what is printed
//! can be read by a program.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// What takes less time says nothing.
const QUIET: Duration = Duration::from_secs(1);
/// Between two looks of a bar.
const REDRAW: Duration = Duration::from_millis(100);
/// Characters within the brackets of a bar.
const BAR_COLUMNS: u64 = 30;
/// Of a terminal that does not say how wide it is.
const USUAL_COLUMNS: usize = 80;

/// The standard output, or what stands in for it.
pub struct Terminal {
    out: Box<dyn Write>,
    is_terminal: bool,
    has_colours: bool,
    columns: Option<usize>,
}

/// What a piece of text means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Something is wrong.
    Red,
    /// All is well.
    Green,
    /// Worth a look.
    Yellow,
    /// Beside the matter.
    Grey,
}

impl Terminal {
    /// The standard output of this process.
    pub fn stdout() -> Self {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            is_terminal,
            has_colours: is_terminal && !is_dumb && !is_set("NO_COLOR"),
            columns: is_terminal.then(columns_of_stdout),
            out: Box::new(stdout.lock()),
        }
    }

    /// What is no terminal: a file, a pipe, memory.
    pub fn plain(out: Box<dyn Write>) -> Self {
        Self { out, is_terminal: false, has_colours: false, columns: None }
    }

    /// Whether a person looks at it.
    pub fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Its width in characters; `None` where lines may be as long as they are.
    pub fn columns(&self) -> Option<usize> {
        self.columns
    }

    /// Its height in lines, likewise.
    pub fn rows(&self) -> Option<usize> {
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok().filter(|_| self.is_terminal)?;
        Some(usize::from(size.ws_row)).filter(|rows| *rows > 0)
    }

    /// The text in a colour, where there are colours.
    pub fn coloured(&self, colour: Colour, text: &str) -> String {
        let code = match colour {
            Colour::Red => 31,
            Colour::Green => 32,
            Colour::Yellow => 33,
            Colour::Grey => 90,
        };
        match self.has_colours {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

impl Write for Terminal {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn columns_of_stdout() -> usize {
    let named = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let asked = || rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col));
    named.or_else(asked).filter(|columns| *columns > 0).unwrap_or(USUAL_COLUMNS)
}

/// How far something has come that may take longer than a second: a bar on a terminal, a line now and then elsewhere.
pub struct Progress {
    what: &'static str,
    total: u64,
    is_terminal: bool,
    began: Instant,
    next: Instant,
    is_drawn: bool,
}

impl Progress {
    /// Begins; `total` is in whatever [`Progress::at`] counts.
    pub fn new(what: &'static str, total: u64) -> Self {
        let began = Instant::now();
        let is_terminal = io::stderr().is_terminal();
        Self { what, total, is_terminal, began, next: began + QUIET, is_drawn: false }
    }

    /// This much is done.
    pub fn at(&mut self, done: u64) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        // Each line after twice the time of the one before.
        self.next = if self.is_terminal { now + REDRAW } else { now + (now - self.began) };
        self.is_drawn = self.is_terminal;
        let text = match self.is_terminal {
            true => format!("\r\x1b[K{}", bar(self.what, done, self.total)),
            false => format!("{}: {done} of {} ({} %)\n", self.what, self.total, percent(done, self.total)),
        };
        // Who has closed the error output does not look.
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_drawn {
            let _ = io::stderr().lock().write_all(b"\r\x1b[K");
        }
    }
}

fn percent(done: u64, total: u64) -> u64 {
    done.min(total) * 100 / total.max(1)
}

fn bar(what: &str, done: u64, total: u64) -> String {
    let percent = percent(done, total);
    let n_full = (percent * BAR_COLUMNS / 100) as usize;
    let n_empty = BAR_COLUMNS as usize - n_full;
    format!("{what} [{}{}] {percent} %", "#".repeat(n_full), " ".repeat(n_empty))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars() {
        assert_eq!(bar("reading", 0, 10), "reading [                              ] 0 %");
        assert_eq!(bar("reading", 5, 10), "reading [###############               ] 50 %");
        assert_eq!(bar("reading", 11, 10), "reading [##############################] 100 %");
        assert_eq!(bar("reading", 0, 0), "reading [                              ] 0 %");
    }

    #[test]
    fn colours_are_for_terminals() {
        let mut terminal = Terminal::plain(Box::new(io::sink()));
        assert_eq!(terminal.coloured(Colour::Red, "down"), "down");
        terminal.has_colours = true;
        assert_eq!(terminal.coloured(Colour::Red, "down"), "\x1b[31mdown\x1b[0m");
    }
}
