//! systemd's notifications: datagrams to the socket that a unit with `Type=notify` names in the environment.
//!
//! As `sd_notify(3)` and `sd_watchdog_enabled(3)` say; other supervisors (s6, runit with `sdnotify`, podman) speak the same.
//! Who has no supervisor sends nothing.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The way to the supervisor.
#[derive(Debug, Default)]
pub struct Notifier {
    /// The socket of this process and the supervisor's address; `None` without a supervisor.
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// As `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` say.
    ///
    /// # Errors
    /// A supervisor is named, and cannot be reached.
    pub fn from_env() -> io::Result<Notifier> {
        let Some(name) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Ok(Notifier::default());
        };
        let socket = UnixDatagram::unbound()?;
        // A supervisor that does not read must not hold up the daemon.
        socket.set_nonblocking(true)?;
        Ok(Notifier { socket: Some((socket, address(&name)?)), watchdog: watchdog() })
    }

    /// Whether there is a supervisor.
    pub fn is_heard(&self) -> bool {
        self.socket.is_some()
    }

    /// How often the supervisor wants to hear of us at least; `None`: it does not.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// The start is complete, or a reload has ended.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// A reload begins; `ready` ends it.
    pub fn reloading(&self) {
        // The supervisor tells by the time which of its requests is answered.
        let now = clock_gettime(ClockId::Monotonic);
        let us = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1000);
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={us}"));
    }

    /// The stop begins.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// One line that says how things are.
    pub fn status(&self, line: &str) {
        self.send(&format!("STATUS={line}"));
    }

    /// All is going on.
    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// What goes on (a start, a stop) takes at most so much longer.
    pub fn extend(&self, time: Duration) {
        self.send(&format!("EXTEND_TIMEOUT_USEC={}", time.as_micros()));
    }

    fn send(&self, message: &str) {
        let Some((socket, address)) = &self.socket else { return };
        if let Err(error) = socket.send_to_addr(message.as_bytes(), address) {
            log::debug!("the supervisor cannot be told {message:?}: {error}");
        }
    }
}

/// A path, or a name of the kernel's own behind `@`.
fn address(name: &OsString) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest),
        _ => SocketAddr::from_pathname(name),
    }
}

fn watchdog() -> Option<Duration> {
    let number = |name: &str| env::var(name).ok()?.parse::<u64>().ok();
    let is_for_us = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(process::id()));
    number("WATCHDOG_USEC").filter(|us| is_for_us && *us > 0).map(Duration::from_micros)
}
