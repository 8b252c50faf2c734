//! What an error of the library or of a connection is, in our terms.

use crate::http::error::HttpErrorKind;
use crate::http::error::Phase;
use crate::http::error::system_words;
use crate::http::wire::carry::Carried;
use crate::http::wire::exchange::Exchange;
use std::io;
use ureq::Error;

pub(in crate::http) fn kind_of(exchange: &Exchange, error: Error) -> HttpErrorKind {
    if exchange.is_cancelled() {
        return HttpErrorKind::Cancelled;
    }
    let phase = exchange.phase();
    match error {
        Error::Timeout(_) => HttpErrorKind::Deadline(phase),
        Error::Io(_) if exchange.was_reset() => {
            HttpErrorKind::Io(phase, "read: connection reset by peer".to_owned())
        }
        Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => HttpErrorKind::Eof(phase),
        Error::Io(error) => {
            let verb = if phase == Phase::Send { "write" } else { "read" };
            HttpErrorKind::Io(phase, format!("{verb}: {}", system_words(&error)))
        }
        Error::LargeResponseHeader(..) => {
            HttpErrorKind::LineTooLong { limit_bytes: crate::http::wire::buffers::INPUT_BYTES }
        }
        Error::BadUri(cause) => HttpErrorKind::BadUrl(cause),
        Error::Http(error) => HttpErrorKind::BadUrl(error.to_string()),
        Error::Other(carried) => match carried.downcast::<Carried>() {
            Ok(carried) => carried.0,
            Err(other) => HttpErrorKind::Protocol(phase, other.to_string()),
        },
        Error::Protocol(error) => HttpErrorKind::Protocol(phase, error.to_string()),
        other => HttpErrorKind::Protocol(phase, other.to_string()),
    }
}
