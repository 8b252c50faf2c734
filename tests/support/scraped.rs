//! The real binary under a handle: started with a configuration in a directory of its own, watched, signalled, stopped.

use std::env;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use tempfile::TempDir;

use crate::process_output::ProcessOutput;
use crate::system::deny::deny;
use crate::wait_until;

/// A running `scraped`. Dropping it kills it.
#[derive(Debug)]
pub struct Scraped {
    child: Child,
    dir: Arc<TempDir>,
    address: String,
    stderr: ProcessOutput,
}

/// Whether each scrape is written at once.
const MEMORY_FIRST: &str = "--storage.agent.memory-first";

/// The argument of tests that are about what is on the disk, in both modes of the tests.
pub const ON_DISK: &str = "--storage.agent.memory-first=off";

/// What daemons are given where a test says nothing of memory: `off`, unless this variable has another value.
const MEMORY_FIRST_VARIABLE: &str = "SCRAPED_TEST_MEMORY_FIRST";

/// Daemons that were given that: their data directories and addresses.
static WITH_MEMORY: Mutex<Vec<(PathBuf, String)>> = Mutex::new(Vec::new());

fn memory_first() -> String {
    env::var(MEMORY_FIRST_VARIABLE).unwrap_or_else(|_| "off".to_owned())
}

/// Whether the newest part of the log is in memory where a test says nothing of that: then what an endpoint has had may never
/// be on the disk.
pub fn is_memory_first() -> bool {
    memory_first() != "off"
}

/// Has a daemon that was given what the variable says write what is in memory and not sent. Where none runs there is nothing
/// to write.
pub fn flush(data_dir: &Path) {
    let with_memory = WITH_MEMORY.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some((_, address)) = with_memory.iter().find(|(dir, _)| dir == data_dir) {
        // It may have been killed.
        ask(address, "POST", "/-/flush");
    }
}

/// An answer of the daemon's web server.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Status line and headers.
    pub head: String,
    /// The body, its pieces put together.
    pub body: String,
}

impl Scraped {
    /// Starts with `config` as its configuration file and waits until it is ready.
    pub fn start(config: &str) -> Self {
        Self::start_with(config, &[])
    }

    /// The same with more arguments.
    pub fn start_with(config: &str, arguments: &[&str]) -> Self {
        let dir = TempDir::with_prefix("scraped-test-").expect("a directory");
        fs::write(dir.path().join("scraped.yml"), config).expect("writable");
        Self::start_in(Arc::new(dir), arguments)
    }

    /// Starts on a directory that holds a `scraped.yml`, perhaps with data of an earlier run, and waits until it is
    /// ready.
    pub fn start_in(dir: Arc<TempDir>, arguments: &[&str]) -> Self {
        Self::spawn_in(dir, arguments).ready()
    }

    /// Waits until it is ready.
    pub fn ready(self) -> Self {
        wait_until("the daemon is ready", || {
            assert!(!self.has_ended(), "the daemon ended: {}", self.stderr());
            self.try_get("/-/ready").is_some_and(|answer| answer.status == 200)
        });
        self
    }

    /// Starts with `config` and one more variable in its environment, and does not wait.
    pub fn spawn_under(variable: (&str, &str), config: &str) -> Self {
        Self::spawn_in_environment(&[variable], config)
    }

    /// The same with some variables.
    pub fn spawn_in_environment(variables: &[(&str, &str)], config: &str) -> Self {
        let dir = TempDir::with_prefix("scraped-test-").expect("a directory");
        fs::write(dir.path().join("scraped.yml"), config).expect("writable");
        Self::spawn(Arc::new(dir), &[], variables, None)
    }

    /// The same on a directory that holds a `scraped.yml`, with more arguments.
    pub fn spawn_under_in(variable: (&str, &str), dir: Arc<TempDir>, arguments: &[&str]) -> Self {
        Self::spawn(dir, arguments, &[variable], None)
    }

    /// Starts with more variables in its environment, and does not wait.
    pub fn spawn_with(dir: Arc<TempDir>, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::spawn(dir, arguments, variables, None)
    }

    /// Starts in the control group with this file of its processes, and waits until it is ready.
    pub fn start_in_group(procs: &Path, dir: Arc<TempDir>, arguments: &[&str]) -> Self {
        let mut shell = Command::new("sh");
        let script = format!("echo $$ >{} && exec \"$@\"", procs.display());
        shell.args(["-c", &script, "sh"]).arg(crate::program());
        Self::spawn_by(shell, dir, arguments, &[]).ready()
    }

    /// Starts another file of the program, and waits until it is ready.
    pub fn start_program(program: &Path, dir: Arc<TempDir>, arguments: &[&str]) -> Self {
        Self::spawn_by(Command::new(program), dir, arguments, &[]).ready()
    }

    /// Starts where the kernel answers `syscall` with `errno`, and waits until it is ready.
    pub fn start_denied(dir: Arc<TempDir>, arguments: &[&str], (syscall, errno): (i64, i32)) -> Self {
        Self::spawn(dir, arguments, &[], Some((syscall, errno))).ready()
    }

    /// Starts and does not wait: for starts that fail.
    pub fn spawn_in(dir: Arc<TempDir>, arguments: &[&str]) -> Self {
        Self::spawn(dir, arguments, &[], None)
    }

    /// Starts with `config` under these limits of open files, soft and hard, and waits until it is ready.
    pub fn start_limited(soft: u64, hard: u64, config: &str, arguments: &[&str]) -> Self {
        let dir = TempDir::with_prefix("scraped-test-").expect("a directory");
        fs::write(dir.path().join("scraped.yml"), config).expect("writable");
        let mut shell = Command::new("sh");
        let script = format!("ulimit -Sn {soft} && ulimit -Hn {hard} && exec \"$@\"");
        shell.args(["-c", &script, "sh"]).arg(crate::program());
        Self::spawn_by(shell, Arc::new(dir), arguments, &[]).ready()
    }

    /// Starts by a command that runs the program behind its arguments, and does not wait.
    pub fn spawn_through(
        mut command: Command,
        dir: Arc<TempDir>,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        command.arg(crate::program());
        Self::spawn_by(command, dir, arguments, variables)
    }

    fn spawn(
        dir: Arc<TempDir>,
        arguments: &[&str],
        variables: &[(&str, &str)],
        denied: Option<(i64, i32)>,
    ) -> Self {
        let mut command = Command::new(crate::program());
        if let Some((syscall, errno)) = denied {
            deny(&mut command, syscall, errno);
        }
        Self::spawn_by(command, dir, arguments, variables)
    }

    fn spawn_by(
        mut command: Command,
        dir: Arc<TempDir>,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let address = free_address();
        // What is on the disk is what tests compare with what has arrived; those about memory say so.
        let is_about_memory = arguments.iter().any(|it| it.starts_with(MEMORY_FIRST));
        let by_the_variable = match is_about_memory {
            true => Vec::new(),
            false if is_memory_first() => {
                let with_memory = (dir.path().join("data"), address.clone());
                WITH_MEMORY.lock().unwrap_or_else(PoisonError::into_inner).push(with_memory);
                // For `/-/flush`.
                vec![format!("{MEMORY_FIRST}={}", memory_first()), "--web.enable-lifecycle".to_owned()]
            }
            false => vec![ON_DISK.to_owned()],
        };
        let mut child = command
            .arg(format!("--config.file={}", dir.path().join("scraped.yml").display()))
            .arg(format!("--storage.agent.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .args(by_the_variable)
            .args(arguments)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let stderr = ProcessOutput::of(child.stderr.take().expect("piped"));
        Self { child, dir, address, stderr }
    }

    /// `127.0.0.1:port` of its web server.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The directory with `scraped.yml` and `data`.
    pub fn dir(&self) -> Arc<TempDir> {
        Arc::clone(&self.dir)
    }

    /// `--storage.agent.path`.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Writes a file beside the configuration, at once and whole.
    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        write_whole(self.dir.path(), name, content)
    }

    /// All that it has written to stderr.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// GETs a path of its web server.
    pub fn get(&self, path: &str) -> Answer {
        self.try_get(path).expect("the web server answers")
    }

    /// The same; `None` when nobody answers.
    pub fn try_get(&self, path: &str) -> Option<Answer> {
        ask(&self.address, "GET", path)
    }

    /// POSTs to a path of its web server.
    pub fn post(&self, path: &str) -> Answer {
        self.ask("POST", path)
    }

    /// Any request to its web server.
    pub fn ask(&self, method: &str, path: &str) -> Answer {
        ask(&self.address, method, path).expect("the web server answers")
    }

    /// Sends a signal, named as `kill` names it: `HUP`, `TERM`, `INT`, `KILL`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.id().to_string()).status();
        assert!(status.expect("kill runs").success());
    }

    /// Replaces the configuration and reloads it by signal.
    pub fn reload_with(&self, config: &str) {
        self.write("scraped.yml", config);
        self.signal("HUP");
    }

    /// Whether the process has ended.
    pub fn has_ended(&self) -> bool {
        let id = i32::try_from(self.id()).ok().and_then(Pid::from_raw).expect("the id of a process");
        // It is left for `wait` to reap; an error says that it has been.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(id), options).map_or(true, |status| status.is_some())
    }

    /// Sends SIGTERM and waits for the end.
    pub fn stop(mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    /// Waits for the end.
    pub fn wait(&mut self) -> ExitStatus {
        wait_until("the daemon ends", || self.has_ended());
        self.child.wait().expect("a child")
    }
}

impl Drop for Scraped {
    #[allow(clippy::print_stderr, reason = "shown with the test that failed")]
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        WITH_MEMORY
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|(_, address)| *address != self.address);
        if thread::panicking() {
            eprintln!("stderr of scraped:\n{}", self.stderr());
        }
    }
}

/// Writes beside and renames, as an editor does.
pub fn write_whole(dir: &Path, name: &str, content: &str) -> PathBuf {
    let path = dir.join(name);
    let beside = dir.join(format!(".{name}.new"));
    fs::write(&beside, content).expect("writable");
    fs::rename(&beside, &path).expect("same directory");
    path
}

/// An address that no one listens on now, and that the system gives to no one who does not ask for it.
pub fn free_address() -> String {
    free_listener().local_addr().expect("a bound socket").to_string()
}

/// A listener on such an address. None is given twice: a daemon may still ask for the server that a test has ended, and must
/// not meet another test's.
pub fn free_listener() -> TcpListener {
    static BLOCK: OnceLock<Block> = OnceLock::new();
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let block = BLOCK.get_or_init(Block::claim);
    loop {
        let turn = NEXT.fetch_add(1, Ordering::Relaxed);
        // The first port is the claim.
        let port = block.first_port + 1 + turn % (BLOCK_PORTS - 1);
        if let Ok(listener) = listen(port) {
            return listener;
        }
    }
}

fn listen(port: usize) -> io::Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", port as u16))
}

/// Ports of this process alone: the servers of another one's tests, which run beside, must not be met either.
struct Block {
    first_port: usize,
    /// Who holds the first port has the block, until it ends.
    _claim: TcpListener,
}

impl Block {
    fn claim() -> Self {
        PORTS
            .step_by(BLOCK_PORTS)
            .find_map(|first_port| Some(Block { first_port, _claim: listen(first_port).ok()? }))
            .expect("no more than eight processes of tests at a time")
    }
}

/// Below those that Linux gives to connections and to listeners on port 0.
const PORTS: Range<usize> = 12_000..32_000;

/// Ports of a block; a run of the daemon's tests uses some 1,500.
const BLOCK_PORTS: usize = 2_500;

/// One request on a connection of its own; `None` when nobody answers.
pub fn ask(address: &str, method: &str, path: &str) -> Option<Answer> {
    ask_with(address, method, path, &format!("Host: {address}\r\n"))
}

/// One request with these header lines on a connection of its own; `None` when nobody answers.
pub fn ask_with(address: &str, method: &str, path: &str, headers: &str) -> Option<Answer> {
    send(address, method, path, headers, b"")
}

/// The same with a body.
pub fn send(address: &str, method: &str, path: &str, headers: &str, body: &[u8]) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(crate::PATIENCE)).ok()?;
    let n_bytes = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\n{headers}Connection: close\r\nContent-Length: {n_bytes}\r\n\r\n"
    );
    stream.write_all(&[head.as_bytes(), body].concat()).ok()?;
    let mut response = Vec::new();
    stream.read_to_end(&mut response).ok()?;
    Answer::read(&response)
}

impl Answer {
    /// What came until the end of a connection; `None` if it is not a whole answer.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let head_len = bytes.windows(4).position(|end| end == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&bytes[..head_len]).into_owned();
        let body = &bytes[head_len + 4..];
        let status = head.split(' ').nth(1)?.parse().ok()?;
        // An answer to HEAD has none of its chunks.
        let is_chunked = !body.is_empty() && head.contains("Transfer-Encoding: chunked");
        let body = if is_chunked { without_chunks(body)? } else { body.to_vec() };
        Some(Self { status, head, body: String::from_utf8_lossy(&body).into_owned() })
    }
}

/// A page without the tag of its one script: whatever else could run was put there by somebody.
pub fn without_own_script(page: &str) -> String {
    page.replacen("<script src=\"/script.js\" defer></script>", "", 1)
}

/// The body of its chunks; `None` if it ends early.
pub fn without_chunks(mut chunks: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line_len = chunks.windows(2).position(|end| end == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&chunks[..line_len]).ok()?, 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        let start = line_len + 2;
        body.extend_from_slice(chunks.get(start..start + size)?);
        chunks = chunks.get(start + size + 2..)?;
    }
}
