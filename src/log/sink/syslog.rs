//! The system's log daemon: a datagram per line to `/dev/log`, as `syslog(3)` sends it.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::process;

const SOCKET: &str = "/dev/log";
/// LOG_DAEMON.
const FACILITY: u8 = 3 << 3;

/// The connection, made for the first line and again once it is lost.
#[derive(Debug, Default)]
pub(in crate::log) struct Syslog(Option<UnixDatagram>);

impl Syslog {
    pub(in crate::log) fn write(&mut self, priority: u8, line: &str) -> io::Result<()> {
        let text =
            format!("<{}>scraped[{}]: {}", FACILITY | priority, process::id(), line.trim_end_matches('\n'));
        // A daemon that was started again has a new socket under the old name.
        for _ in 0..2 {
            let socket = match self.0.take() {
                Some(socket) => socket,
                None => connect()?,
            };
            match socket.send(text.as_bytes()) {
                // Nobody waits for a daemon that does not read.
                Ok(_) => {
                    self.0 = Some(socket);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.0 = Some(socket);
                    return Err(error);
                }
                Err(_) => {}
            }
        }
        Err(io::ErrorKind::NotConnected.into())
    }
}

fn connect() -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect(SOCKET)?;
    Ok(socket)
}
