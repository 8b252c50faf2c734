//! Texts that must not be seen: they print as `<secret>` wherever they are printed.
//!
//! Only `http` takes them out again, when it writes a request or loads a key. Nothing here reads a file.

use crate::config::client::secret_names::SECRET_TOKEN;
use std::fmt::{self, Debug, Display, Formatter};
use std::path::PathBuf;

use crate::config::client::go_url::redacted;

/// A text that prints as [`SECRET_TOKEN`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// Hides `text` from here on.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the request or the key that it belongs in; never for a log, an error or a page.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Debug for Secret {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(SECRET_TOKEN)
    }
}

impl Display for Secret {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(SECRET_TOKEN)
    }
}

/// A URL that may hold a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretUrl {
    /// With it.
    pub full: Secret,
    /// As it is printed.
    pub shown: String,
}

impl SecretUrl {
    /// A URL, or a host with whatever stands before it, as typed.
    pub fn new(text: String) -> Self {
        let shown = match text.contains("://") {
            true => redacted(&text),
            false => redacted(&format!("http://{text}")).split_off("http://".len()),
        };
        Self { full: Secret::new(text), shown }
    }
}

/// Where a credential, a certificate or a key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// It stands in the configuration.
    Inline(Secret),
    /// It is read when it is needed, and again when the file has changed.
    File(PathBuf),
}

#[cfg(test)]
mod tests {
    use super::{Secret, SecretUrl, Source};
    use crate::config::client::secret_names::without_secret_parameters;

    #[test]
    fn parameters_that_are_named_like_secrets_are_not_shown() {
        let check = |url: &str, want: &str| assert_eq!(without_secret_parameters(url), want);
        check(
            "http://box/write?db=a&api_key=b&X-Token=c#d",
            "http://box/write?db=a&api_key=xxxxx&X-Token=xxxxx",
        );
        check("/a?key=b&monkey=c&sig=", "/a?key=xxxxx&monkey=c&sig=");
        check("/a/token=b", "/a/token=b");
        check("/a?token", "/a?token");
    }

    #[test]
    fn nothing_prints_a_secret() {
        let secret = Secret::new("hunter2");
        let source = Source::Inline(secret.clone());
        assert_eq!(format!("{secret} {secret:?} {source:?}"), "<secret> <secret> Inline(<secret>)");
        assert_eq!(secret.expose(), "hunter2");
        for (url, shown) in [
            ("http://me:hunter2@box/x", "http://me:xxxxx@box/x"),
            ("me:hunter2@box:8500", "me:xxxxx@box:8500"),
            ("box:8500", "box:8500"),
            ("unix:///run/docker.sock", "unix:///run/docker.sock"),
        ] {
            assert_eq!(SecretUrl::new(url.to_owned()).shown, shown);
        }
    }
}
