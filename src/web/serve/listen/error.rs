//! Why the web server cannot listen.

use std::fmt;
use std::io;

/// Why an address cannot be listened on.
#[derive(Debug)]
pub enum ListenError {
    /// It is taken.
    InUse {
        /// As it was given.
        address: String,
    },
    /// It was given twice.
    Twice {
        /// As it was given.
        address: String,
    },
    /// It is none, or its name has no address.
    Unknown {
        /// As it was given.
        address: String,
        /// Go's words.
        cause: String,
    },
    /// There is a file where a unix socket is to be, and it is no socket.
    NotASocket {
        /// As it was given.
        address: String,
    },
    /// `--web.systemd-socket`, and no socket was handed over.
    NothingHandedOver,
    /// What was handed over is no socket that listens.
    HandedOver {
        /// Number of the descriptor.
        descriptor: i32,
        /// What the system said.
        cause: io::Error,
    },
    /// Anything else.
    Refused {
        /// As it was given.
        address: String,
        /// What the system said.
        cause: io::Error,
    },
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { address } => write!(
                f,
                "{address} is in use by another process; stop that one or choose another address with \
                 --web.listen-address=HOST:PORT"
            ),
            Self::Twice { address } => write!(
                f,
                "listen tcp {address}: bind: address already in use: --web.listen-address names it twice; leave one out"
            ),
            Self::Unknown { address, cause } => {
                write!(
                    f,
                    "listen tcp: {cause}; {address:?} is nothing to listen on, choose another with \
                     --web.listen-address=HOST:PORT"
                )
            }
            Self::NotASocket { address } => write!(
                f,
                "cannot listen on {address}: there is a file that is no socket; move it away or choose another path with \
                 --web.listen-address=unix:PATH"
            ),
            Self::NothingHandedOver => write!(
                f,
                "no socket activation file descriptors found: --web.systemd-socket is for a service that is started by a \
                 .socket unit; start that unit, or leave the flag out"
            ),
            Self::HandedOver { descriptor, cause } => write!(
                f,
                "descriptor {descriptor}, handed over by systemd, cannot be listened on: {cause}; the .socket unit must have \
                 ListenStream= lines alone, and Accept=no"
            ),
            Self::Refused { address, cause } => {
                write!(
                    f,
                    "cannot listen on {address}: {cause}; choose another with --web.listen-address=HOST:PORT"
                )
            }
        }
    }
}

impl std::error::Error for ListenError {}
