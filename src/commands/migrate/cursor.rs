//! Where a reader of another tool's language stands in its text.

/// Levels of a file: no tool's configuration has more, and each takes a piece of the stack.
pub(in crate::commands::migrate) const MAX_DEPTH: usize = 50;

/// How comments of a language begin and end.
type Comments = &'static [(&'static str, &'static str)];

/// A place in a text.
pub(in crate::commands::migrate) struct Cursor<'a> {
    /// What is not read yet.
    pub(in crate::commands::migrate) rest: &'a str,
    whole: &'a str,
    comments: Comments,
    /// Levels around what is read.
    depth: usize,
}

impl<'a> Cursor<'a> {
    /// At the start of `content`.
    pub(in crate::commands::migrate) fn new(content: &'a str, comments: Comments) -> Self {
        Self { rest: content, whole: content, comments, depth: 0 }
    }

    /// A sentence about what stands here, with its line.
    pub(in crate::commands::migrate) fn fail<T>(&self, what: &str) -> Result<T, String> {
        let n_read = self.whole.len() - self.rest.len();
        Err(format!("line {}: {what}", 1 + self.whole[..n_read].matches('\n').count()))
    }

    /// Goes over blanks, line ends and comments.
    pub(in crate::commands::migrate) fn skip(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            let comment = self.comments.iter().find(|(start, _)| self.rest.starts_with(start));
            let Some((_, end)) = comment else { return };
            self.rest = self.rest.split_once(end).map_or("", |(_, rest)| rest);
        }
    }

    /// Goes over blanks of this line.
    pub(in crate::commands::migrate) fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    /// Goes over `token` if it stands here.
    pub(in crate::commands::migrate) fn eat(&mut self, token: &str) -> bool {
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Goes on to `end`, a place in the rest, and gives what stands before it.
    pub(in crate::commands::migrate) fn take(&mut self, end: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    /// Goes on to the first of these characters, or to the end of the text, and gives what stands before it.
    pub(in crate::commands::migrate) fn take_until(&mut self, is_end: impl Fn(char) -> bool) -> &'a str {
        self.take(self.rest.find(is_end).unwrap_or(self.rest.len()))
    }

    /// Reads what stands inside of something.
    pub(in crate::commands::migrate) fn inside<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, String>,
    ) -> Result<T, String> {
        if self.depth == MAX_DEPTH {
            return self.too_deep();
        }
        self.depth += 1;
        let done = read(self);
        self.depth -= 1;
        done
    }

    /// The sentence for more than [`MAX_DEPTH`] levels.
    pub(in crate::commands::migrate) fn too_deep<T>(&self) -> Result<T, String> {
        self.fail(&format!("more than {MAX_DEPTH} levels"))
    }

    /// The text behind an opening `fence`, up to the closing one, with its escapes.
    pub(in crate::commands::migrate) fn fenced(
        &mut self,
        fence: &str,
        has_escapes: bool,
    ) -> Result<&'a str, String> {
        let mut end = 0;
        loop {
            let left = &self.rest[end..];
            match left.chars().next() {
                None => return self.fail("a text has no end"),
                Some(_) if left.starts_with(fence) => break,
                Some('\\') if has_escapes => end += 1 + left[1..].chars().next().map_or(0, char::len_utf8),
                Some(character) => end += character.len_utf8(),
            }
        }
        let text = self.take(end);
        self.eat(fence);
        Ok(text)
    }
}

/// A text without its escapes.
pub(in crate::commands::migrate) fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(character) = chars.next() {
        match (character, character == '\\') {
            (_, false) => out.push(character),
            _ => match chars.next() {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some(other) => out.push(other),
                None => {}
            },
        }
    }
    out
}
