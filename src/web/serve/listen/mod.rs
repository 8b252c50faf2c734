//! Sockets that listen: on the addresses of `--web.listen-address`, or handed over by systemd.

pub mod error;
pub mod listener;
mod socket_file;
mod systemd;
mod tcp;
mod unix;

use crate::web::serve::listen::error::ListenError;
use crate::web::serve::listen::listener::{Listener, UNIX};

/// Listens on all of `addresses`, each `HOST:PORT` or `unix:PATH`.
///
/// # Errors
/// See [`ListenError`]; an address of a name that this machine does not have is none if there is another.
pub fn all(addresses: &[String]) -> Result<Vec<Listener>, ListenError> {
    let mut listeners: Vec<Listener> = Vec::new();
    for text in addresses {
        match text.strip_prefix(UNIX) {
            Some(path) => listeners.push(unix::listen(path)?),
            None => tcp::add(text, &mut listeners)?,
        }
    }
    Ok(listeners)
}

/// What systemd has opened for this process (`LISTEN_FDS`). Called once, by the first thread.
///
/// # Errors
/// See [`ListenError`].
pub fn handed_over() -> Result<Vec<Listener>, ListenError> {
    systemd::listeners()
}
