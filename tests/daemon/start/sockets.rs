//! Unix sockets to listen on, and sockets that systemd hands over.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use support::PATIENCE;
use support::scraped::Scraped;
use support::wait_until;
use tempfile::TempDir;

const CONFIG: &str = "scrape_configs: []\n";

fn dir() -> Arc<TempDir> {
    let dir = TempDir::with_prefix("scraped-test-").expect("a directory");
    fs::write(dir.path().join("scraped.yml"), CONFIG).expect("writable");
    Arc::new(dir)
}

/// The status of one request.
fn status(mut stream: impl Read + Write, host: &str) -> Option<u16> {
    write!(stream, "GET /-/ready HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}

fn status_of_socket(path: &Path) -> Option<u16> {
    let stream = UnixStream::connect(path).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    status(stream, "whatever.example")
}

#[test]
fn a_unix_socket_is_for_this_user_and_group_and_goes_with_the_daemon() {
    let dir = dir();
    let path = dir.path().join("scraped.sock");
    let address = format!("--web.listen-address=unix:{}", path.display());
    // A process that was killed has left one behind.
    drop(UnixListener::bind(&path).expect("a socket"));
    let scraped = Scraped::start_in(Arc::clone(&dir), &[&address]);
    assert_eq!(status_of_socket(&path), Some(200));
    let metadata = fs::symlink_metadata(&path).expect("there");
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o660);
    assert!(scraped.stderr().contains(&format!("pages at unix:{}, path /targets", path.display())));

    let second = self::dir();
    let second = Scraped::spawn_in(second, &[&address]);
    wait_until("the second one has ended", || second.has_ended());
    assert!(second.stderr().contains("is in use by another process"), "{}", second.stderr());
    assert_eq!(status_of_socket(&path), Some(200));

    assert!(scraped.stop().success());
    assert!(!path.exists());
}

#[test]
fn a_file_that_is_no_socket_stays() {
    let dir = dir();
    let path = dir.path().join("notes");
    fs::write(&path, "mine").expect("writable");
    let scraped =
        Scraped::spawn_in(Arc::clone(&dir), &[&format!("--web.listen-address=unix:{}", path.display())]);
    wait_until("it has ended", || scraped.has_ended());
    assert!(scraped.stderr().contains("there is a file that is no socket"), "{}", scraped.stderr());
    assert_eq!(fs::read_to_string(&path).expect("there"), "mine");
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts it as systemd does: descriptor 3 is `socket`.
fn start_by_socket(dir: &Path, socket: impl Into<OwnedFd>) -> Killed {
    let script = "export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$@\" 3<&0 </dev/null";
    let child = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(support::program())
        .arg(format!("--config.file={}", dir.join("scraped.yml").display()))
        .arg(format!("--storage.agent.path={}", dir.join("data").display()))
        .arg("--web.systemd-socket")
        .stdin(Stdio::from(socket.into()))
        .stderr(Stdio::null())
        .spawn();
    Killed(child.expect("sh"))
}

#[test]
fn sockets_of_systemd_are_served_and_stay() {
    let dir = dir();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let daemon = start_by_socket(dir.path(), listener.try_clone().expect("a descriptor"));
    let answers = || {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        status(stream, "localhost")
    };
    wait_until("it is ready", || answers() == Some(200));
    drop(daemon);

    let path = dir.path().join("handed-over.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    let daemon = start_by_socket(dir.path(), listener);
    wait_until("it is ready", || status_of_socket(&path) == Some(200));
    drop(daemon);
    assert!(path.exists());
}

#[test]
fn without_a_socket_of_systemd_it_does_not_start() {
    let scraped = Scraped::spawn_in(dir(), &["--web.systemd-socket"]);
    wait_until("it has ended", || scraped.has_ended());
    let stderr = scraped.stderr();
    assert!(stderr.contains("no socket activation file descriptors found"), "{stderr}");
}
