//! What a target says its page is: `Content-Type` read as Go's `mime.ParseMediaType` reads it, then Prometheus' choice
//! of parser (`model/textparse/interface.go`: `extractMediaType`).

/// Each is compared with all others, and a target may send 16 KiB of them.
const MAX_PARAMETERS: usize = 64;

/// A format that Prometheus knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `text/plain`, whatever its version.
    Text,
    /// `application/openmetrics-text`.
    OpenMetrics,
    /// `application/vnd.google.protobuf`.
    Protobuf,
}

impl Format {
    /// The media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain",
            Self::OpenMetrics => "application/openmetrics-text",
            Self::Protobuf => "application/vnd.google.protobuf",
        }
    }
}

/// Why a `Content-Type` names no format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentTypeError {
    /// It is missing or empty.
    Blank,
    /// It is no media type; Go's sentence.
    Unparsable(&'static str),
    /// It is the type of something else.
    Unsupported,
}

/// The format that a `Content-Type` names.
///
/// # Errors
/// It names none; a fallback may say what to take it for.
pub fn format_of(content_type: &str) -> Result<Format, ContentTypeError> {
    if content_type.is_empty() {
        return Err(ContentTypeError::Blank);
    }
    let (media_type, parameters) = match content_type.split_once(';') {
        Some((media_type, _)) => content_type.split_at(media_type.len()),
        None => (content_type, ""),
    };
    let media_type = media_type.trim();
    check_media_type(media_type).map_err(ContentTypeError::Unparsable)?;
    check_parameters(parameters).map_err(ContentTypeError::Unparsable)?;
    [Format::Text, Format::OpenMetrics, Format::Protobuf]
        .into_iter()
        .find(|format| media_type.eq_ignore_ascii_case(format.media_type()))
        .ok_or(ContentTypeError::Unsupported)
}

fn check_media_type(media_type: &str) -> Result<(), &'static str> {
    let (main_type, rest) = token(media_type);
    if main_type.is_empty() {
        return Err("mime: no media type");
    }
    if rest.is_empty() {
        return Ok(());
    }
    let rest = rest.strip_prefix('/').ok_or("mime: expected slash after first token")?;
    match token(rest) {
        ("", _) => Err("mime: expected token after slash"),
        (_, "") => Ok(()),
        _ => Err("mime: unexpected content after media subtype"),
    }
}

/// `parameters` starts with a semicolon or is empty.
fn check_parameters(parameters: &str) -> Result<(), &'static str> {
    if parameters.bytes().filter(|byte| *byte == b';').count() > MAX_PARAMETERS {
        return Err("mime: invalid media parameter");
    }
    let mut rest = parameters.trim_start();
    while !rest.is_empty() {
        let Some((name, value, behind)) = parameter(rest) else {
            return if rest.trim() == ";" { Ok(()) } else { Err("mime: invalid media parameter") };
        };
        // There are two or three of them: looking again allocates nothing.
        let mut later = behind.trim_start();
        while let Some((later_name, later_value, behind)) = parameter(later) {
            if later_name.eq_ignore_ascii_case(name) && later_value != value {
                return Err("mime: duplicate parameter name");
            }
            later = behind.trim_start();
        }
        rest = behind.trim_start();
    }
    Ok(())
}

/// `; name=value` at the start of `text`, and what is behind it. A quoted value keeps its quotes.
fn parameter(text: &str) -> Option<(&str, &str, &str)> {
    let (name, rest) = token(text.strip_prefix(';')?.trim_start());
    let rest = rest.trim_start().strip_prefix('=')?.trim_start();
    let (value, behind) = if rest.starts_with('"') { quoted(rest)? } else { token(rest) };
    (!name.is_empty() && !value.is_empty()).then_some((name, value, behind))
}

/// RFC 9110's token.
fn token(text: &str) -> (&str, &str) {
    let is_token_byte = |byte: u8| byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&byte);
    let len = text.bytes().take_while(|byte| is_token_byte(*byte)).count();
    text.split_at(len)
}

fn quoted(text: &str) -> Option<(&str, &str)> {
    let mut is_escaped = false;
    for (pos, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return Some(text.split_at(pos + 1)),
            b'\r' | b'\n' => return None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_content_types_as_prometheus() {
        let check = |content_type: &str, want: Result<Format, ContentTypeError>| {
            assert_eq!(format_of(content_type), want, "{content_type:?}");
        };
        let unparsable = |sentence| Err(ContentTypeError::Unparsable(sentence));
        check("text/plain", Ok(Format::Text));
        check("text/plain; version=0.0.4; charset=utf-8", Ok(Format::Text));
        check("text/plain; version=1.0.0; escaping=allow-utf-8", Ok(Format::Text));
        check("TEXT/Plain;", Ok(Format::Text));
        check("text/plain; ", Ok(Format::Text));
        check("text/plain; charset=\"u\\\"tf;8\"", Ok(Format::Text));
        check("application/openmetrics-text; version=1.0.0; charset=utf-8", Ok(Format::OpenMetrics));
        check(
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
            Ok(Format::Protobuf),
        );
        check("", Err(ContentTypeError::Blank));
        check("text/html", Err(ContentTypeError::Unsupported));
        check("application/json; charset=utf-8", Err(ContentTypeError::Unsupported));
        check("text", Err(ContentTypeError::Unsupported));
        check(";;;", unparsable("mime: no media type"));
        check("text/", unparsable("mime: expected token after slash"));
        check("text plain", unparsable("mime: expected slash after first token"));
        check("text/plain extra", unparsable("mime: unexpected content after media subtype"));
        check("text/plain; charset", unparsable("mime: invalid media parameter"));
        check("text/plain; a=1; a=2", unparsable("mime: duplicate parameter name"));
        check("text/plain; a=1; A=1", Ok(Format::Text));
    }
}
