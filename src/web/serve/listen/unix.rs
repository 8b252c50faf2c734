//! Unix sockets: who may write to the file may ask.

use rustix::fs::{Mode, chmod};
use rustix::io::Errno;
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use crate::web::serve::listen::error::ListenError;
use crate::web::serve::listen::listener::{Address, BACKLOG, Listener, SEND_BUFFER_BYTES, UNIX};
use crate::web::serve::listen::socket_file::SocketFile;

/// For this user and this group.
const MODE: Mode = Mode::RUSR.union(Mode::WUSR).union(Mode::RGRP).union(Mode::WGRP);

/// Listens on `path`. A socket that a process has left behind gives way; one that is answered on, and any other file,
/// does not.
pub(super) fn listen(path: &str) -> Result<Listener, ListenError> {
    let address = format!("{UNIX}{path}");
    let path = Path::new(path);
    let outcome = bind(path).or_else(|cause| match cause.kind() {
        io::ErrorKind::AddrInUse => {
            let is_socket = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
            if !is_socket {
                return Err(ListenError::NotASocket { address: address.clone() });
            }
            if is_answered(path) {
                return Err(ListenError::InUse { address: address.clone() });
            }
            let again = fs::remove_file(path).and_then(|()| bind(path));
            again.map_err(|cause| ListenError::Refused { address: address.clone(), cause })
        }
        _ => Err(ListenError::Refused { address: address.clone(), cause }),
    });
    let (socket, file) = outcome?;
    Ok(Listener::new(socket, Address::Unix(path.to_owned()), Some(file)))
}

fn bind(path: &Path) -> io::Result<(Socket, SocketFile)> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    let _ = socket.set_send_buffer_size(SEND_BUFFER_BYTES);
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile::new(path)?;
    // Nothing can connect before it listens.
    chmod(path, MODE)?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok((socket, file))
}

/// Whether a process listens behind a socket. One whose queue is full does.
fn is_answered(path: &Path) -> bool {
    let outcome = Socket::new(Domain::UNIX, Type::STREAM, None).and_then(|socket| {
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)
    });
    match outcome {
        Ok(()) => true,
        Err(cause) => Errno::from_io_error(&cause) != Some(Errno::CONNREFUSED),
    }
}
