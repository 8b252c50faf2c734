//! Commands that print something: started without a shell and with a bare environment, bounded in time and in output.
//!
//! Runs on the thread that calls [`run`], which waits for the command. Everything that the command has started goes
//! with it, but for what has made itself a session of its own (`setsid`), as daemons do. Knows nothing of what is
//! printed. Two system calls have no deadline, since there are none that have: starting a program from a file system
//! that hangs, and killing a process that hangs in the system, which is left behind.

use std::fmt;
use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Resource, Signal, WaitOptions, kill_process_group, setrlimit, waitpid};

use crate::descriptors;
use crate::descriptors::Purpose;

/// All that a command finds in its environment, so that what it prints does not depend on who started the daemon.
const ENVIRONMENT: [(&str, &str); 2] =
    [("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"), ("LC_ALL", "C")];

/// How often a command that runs is looked at: whether it has ended, whether it is still wanted.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// A killed command that has not ended by then hangs in the system.
const REAP_PATIENCE: Duration = Duration::from_secs(1);

/// Commands that hang in the system at once; more are not started, since each holds a process for as long as it hangs.
const MAX_HUNG: usize = 16;

/// Processes of the daemon's own that no one waits for any more.
static HUNG: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// What is kept of the error output: enough for a sentence.
const COMPLAINT_BYTES: usize = 1024;

/// Read at once.
const PIECE_BYTES: usize = 16 << 10;

/// How many commands are being started.
static N_STARTING: AtomicUsize = AtomicUsize::new(0);

/// What to run, and within which bounds.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// Program and arguments. A program without a slash is looked for in the usual directories.
    pub command: &'a [String],
    /// When it must have ended.
    pub deadline: Instant,
    /// The most that it may print.
    pub limit_bytes: usize,
}

/// Why a command gave nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecError {
    /// The system did not start it.
    NotStarted {
        /// The program.
        program: PathBuf,
        /// The system's words.
        cause: String,
    },
    /// It was not started: too many that were killed do not end.
    OthersHang {
        /// How many.
        n_hung: usize,
    },
    /// It ended with another status than 0, or by a signal.
    Failed {
        /// `exit status 3`, `signal 9`.
        status: String,
        /// First line of its error output; may be empty. It may hold anything that the command has read, so it is for
        /// the log alone and does not print.
        complaint: String,
    },
    /// It ran too long and was killed.
    Deadline,
    /// It printed more than it may and was killed.
    TooMuchOutput {
        /// The limit.
        limit_bytes: usize,
    },
    /// It is not wanted any more and was killed.
    Cancelled,
    /// Its output is refused, so it was killed.
    Unwanted,
    /// Its output could not be read.
    Io(String),
}

impl fmt::Display for ExecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted { program, cause } => write!(f, "cannot start {}: {cause}", program.display()),
            Self::OthersHang { n_hung } => write!(
                f,
                "the command is not started: {n_hung} that were killed hang in the system (limit: {MAX_HUNG}); a file \
                 system that does not answer makes them hang"
            ),
            Self::Failed { status, complaint } if complaint.is_empty() => {
                write!(f, "the command ended with {status}")
            }
            Self::Failed { status, .. } => write!(
                f,
                "the command ended with {status}; what it says of that is in the log at --log.level=debug"
            ),
            Self::Deadline => {
                f.write_str("context deadline exceeded: the command ran too long and was killed")
            }
            Self::TooMuchOutput { limit_bytes } => {
                write!(f, "the command printed too much and was killed (limit: {limit_bytes}B)")
            }
            Self::Cancelled => f.write_str("the command was killed, it is not wanted any more"),
            Self::Unwanted => f.write_str("the command was killed, its output is not wanted"),
            Self::Io(cause) => write!(f, "the output of the command cannot be read: {cause}"),
        }
    }
}

impl std::error::Error for ExecError {}

/// Runs a command to its end. `take` gets what it prints as it comes, and says whether it wants more.
///
/// # Errors
/// It gave nothing that is to be believed, also what was taken already.
pub fn run(
    run: Run<'_>,
    is_cancelled: impl Fn() -> bool,
    take: impl FnMut(&[u8]) -> bool,
) -> Result<(), ExecError> {
    let ended = Running::start(run)?.collect(run, is_cancelled, take);
    if let Err(ExecError::Failed { status, complaint }) = &ended {
        let program = run.command.first().map(String::as_str).unwrap_or_default();
        log::debug!("{program}: {status}: {complaint}");
    }
    ended
}

/// A place among the commands that are being started.
struct Starting(());

impl Starting {
    /// Waits for a place; none if the deadline comes first.
    fn begin(deadline: Instant) -> Option<Self> {
        while N_STARTING.fetch_add(1, Ordering::Relaxed) >= descriptors::max_starting() {
            N_STARTING.fetch_sub(1, Ordering::Relaxed);
            if Instant::now() >= deadline {
                return None;
            }
            thread::sleep(LOOK_INTERVAL / 4);
        }
        Some(Self(()))
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        N_STARTING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A command that has been started. Dropping it kills it and what it has started.
struct Running {
    child: Child,
    complaint: Vec<u8>,
}

impl Running {
    fn start(run: Run<'_>) -> Result<Self, ExecError> {
        let (program, arguments) =
            run.command.split_first().map_or(("", &[][..]), |(it, rest)| (it.as_str(), rest));
        let n_hung = n_hung();
        if n_hung >= MAX_HUNG {
            return Err(ExecError::OthersHang { n_hung });
        }
        let not_started =
            |error: io::Error| ExecError::NotStarted { program: program.into(), cause: error.to_string() };
        // Its pipes must not take what is left for the web server and the log.
        let no_room = || not_started(io::Error::from_raw_os_error(libc::EMFILE));
        let starting = Starting::begin(run.deadline).ok_or_else(no_room)?;
        let mut command = Command::new(program);
        command.args(arguments).env_clear().envs(ENVIRONMENT);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own: whatever it starts is killed with it.
        command.process_group(0);
        give_back_limit(&mut command);
        let child = command.spawn().map_err(not_started)?;
        drop(starting);
        let started = Self { child, complaint: Vec::new() };
        match started.child.stderr.as_ref().is_none_or(|pipe| descriptors::has_room(pipe, Purpose::Exchange))
        {
            true => Ok(started),
            false => Err(no_room()),
        }
    }

    fn collect(
        &mut self,
        run: Run<'_>,
        is_cancelled: impl Fn() -> bool,
        mut take: impl FnMut(&[u8]) -> bool,
    ) -> Result<(), ExecError> {
        let mut pipes = Pipes::of(&mut self.child).map_err(io_error)?;
        loop {
            // First, so that everything that was printed before the end is read after it.
            let ended = self.child.try_wait().map_err(io_error)?;
            pipes.pass_output(&run, &mut take)?;
            pipes.keep_complaint(&mut self.complaint).map_err(io_error)?;
            if let Some(status) = ended {
                return self.judge(status);
            }
            if is_cancelled() {
                return Err(ExecError::Cancelled);
            }
            let left = run.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ExecError::Deadline);
            }
            pipes.wait(left.min(LOOK_INTERVAL));
        }
    }

    fn judge(&self, status: ExitStatus) -> Result<(), ExecError> {
        if status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&self.complaint);
        let complaint = text.lines().next().unwrap_or_default().trim().to_owned();
        let status = match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit status {code}"),
            (None, signal) => format!("signal {}", signal.unwrap_or_default()),
        };
        Err(ExecError::Failed { status, complaint })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The group outlives its first process while anything of it runs; killing no one is no error worth telling.
        let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) else { return };
        let _ = kill_process_group(pid, Signal::KILL);
        let patience_ends = Instant::now() + REAP_PATIENCE;
        while !matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
            if Instant::now() > patience_ends {
                log::warn!("process {} was killed and does not end; it hangs in the system", self.child.id());
                HUNG.lock().push(pid);
                return;
            }
            thread::sleep(LOOK_INTERVAL / 4);
        }
    }
}

/// The daemon has raised its limit of open files; programs that use `select` cannot have that many.
#[allow(unsafe_code, reason = "there is no other way to set a limit of a child before it runs")]
fn give_back_limit(command: &mut Command) {
    let Some(limit) = descriptors::limit_of_children() else { return };
    // SAFETY: between fork and exec only one system call is made; it allocates nothing and takes no lock.
    unsafe { command.pre_exec(move || Ok(setrlimit(Resource::Nofile, limit)?)) };
}

/// Commands that were killed and left behind, those that have ended by now not counted.
fn n_hung() -> usize {
    let mut hung = HUNG.lock();
    hung.retain(|pid| matches!(waitpid(Some(*pid), WaitOptions::NOHANG), Ok(None)));
    hung.len()
}

/// What a command prints; a pipe is gone once it has ended.
struct Pipes {
    output: Option<ChildStdout>,
    complaint: Option<ChildStderr>,
    n_taken: usize,
    piece: [u8; PIECE_BYTES],
}

impl Pipes {
    fn of(child: &mut Child) -> io::Result<Self> {
        let (output, complaint) = (child.stdout.take(), child.stderr.take());
        output.as_ref().map_or(Ok(()), set_nonblocking)?;
        complaint.as_ref().map_or(Ok(()), set_nonblocking)?;
        Ok(Self { output, complaint, n_taken: 0, piece: [0; PIECE_BYTES] })
    }

    /// Hands on all that there is of the output.
    fn pass_output(&mut self, run: &Run<'_>, mut take: impl FnMut(&[u8]) -> bool) -> Result<(), ExecError> {
        while let Some(bytes) = read(&mut self.output, &mut self.piece).map_err(io_error)? {
            self.n_taken += bytes.len();
            if self.n_taken > run.limit_bytes {
                return Err(ExecError::TooMuchOutput { limit_bytes: run.limit_bytes });
            }
            if !take(bytes) {
                return Err(ExecError::Unwanted);
            }
            if Instant::now() >= run.deadline {
                return Err(ExecError::Deadline);
            }
        }
        Ok(())
    }

    /// One piece of the error output. What is not kept is read all the same: a command must not wait for a full pipe.
    fn keep_complaint(&mut self, kept: &mut Vec<u8>) -> io::Result<()> {
        if let Some(bytes) = read(&mut self.complaint, &mut self.piece)? {
            let n_kept = bytes.len().min(COMPLAINT_BYTES.saturating_sub(kept.len()));
            kept.extend_from_slice(bytes.get(..n_kept).unwrap_or_default());
        }
        Ok(())
    }

    /// Until one of them has something, at most this long.
    fn wait(&self, at_most: Duration) {
        let output = self.output.iter().map(|pipe| PollFd::new(pipe, PollFlags::IN));
        let complaint = self.complaint.iter().map(|pipe| PollFd::new(pipe, PollFlags::IN));
        let mut pipes: Vec<PollFd<'_>> = output.chain(complaint).collect();
        let pause = Timespec { tv_sec: 0, tv_nsec: at_most.subsec_nanos().into() };
        // An interrupted wait is a short one.
        let _ = poll(&mut pipes, Some(&pause));
    }
}

/// What a pipe holds now, if anything; at its end the pipe goes.
fn read<'piece>(pipe: &mut Option<impl Read>, piece: &'piece mut [u8]) -> io::Result<Option<&'piece [u8]>> {
    let Some(open) = pipe else { return Ok(None) };
    match open.read(piece) {
        Ok(0) => {
            *pipe = None;
            Ok(None)
        }
        Ok(n_read) => Ok(piece.get(..n_read)),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn io_error(error: io::Error) -> ExecError {
    ExecError::Io(error.to_string())
}

fn set_nonblocking(pipe: &impl rustix::fd::AsFd) -> io::Result<()> {
    fcntl_setfl(pipe, fcntl_getfl(pipe)? | OFlags::NONBLOCK)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{ExecError, HUNG, Run, n_hung, run};
    use std::time::{Duration, Instant};

    const PATIENCE: Duration = Duration::from_secs(30);

    fn sh(script: &str, timeout: Duration) -> Result<String, ExecError> {
        let command = ["/bin/sh", "-c", script].map(str::to_owned);
        let deadline = Instant::now() + timeout;
        let order = Run { command: &command, deadline, limit_bytes: 100_000 };
        let mut output = Vec::new();
        let outcome = run(
            order,
            || false,
            |piece| {
                output.extend_from_slice(piece);
                true
            },
        );
        outcome.map(|()| String::from_utf8(output).unwrap())
    }

    fn failed(status: &str, complaint: &str) -> Result<String, ExecError> {
        Err(ExecError::Failed { status: status.to_owned(), complaint: complaint.to_owned() })
    }

    #[test]
    fn what_is_printed_is_read() {
        assert_eq!(sh("echo a; echo b", PATIENCE), Ok("a\nb\n".to_owned()));
        assert_eq!(sh("echo /; exec >&-; sleep 0.1", PATIENCE), Ok("/\n".to_owned()));
        let many = sh(
            "i=0; while [ $i -lt 1000 ]; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done",
            PATIENCE,
        );
        assert_eq!(many.map(|text| text.len()), Ok(41_000));
        // What a command leaves behind does not keep it from being over.
        let began_at = Instant::now();
        assert_eq!(sh("sleep 100 & echo over", PATIENCE), Ok("over\n".to_owned()));
        assert!(began_at.elapsed() < PATIENCE);
    }

    #[test]
    fn the_environment_is_bare() {
        // `_`, `PWD` and the like are the shell's own.
        let names = sh("env", PATIENCE).unwrap();
        for line in names.lines() {
            let name = line.split('=').next().unwrap();
            assert!(["PATH", "LC_ALL", "PWD", "_", "SHLVL", "OLDPWD"].contains(&name), "{line}");
        }
        assert!(names.contains("LC_ALL=C\n"), "{names}");
    }

    #[test]
    fn commands_that_fail() {
        assert_eq!(
            sh("echo no such thing >&2; echo more >&2; exit 3", PATIENCE),
            failed("exit status 3", "no such thing")
        );
        assert_eq!(sh("kill -9 $$", PATIENCE), failed("signal 9", ""));
        // A pipe of errors that no one would empty.
        let loud = "i=0; while [ $i -lt 20000 ]; do echo 0123456789 >&2; i=$((i+1)); done; exit 1";
        assert_eq!(sh(loud, PATIENCE), failed("exit status 1", "0123456789"));
        let command = ["/nonexistent/command".to_owned()];
        let order = Run { command: &command, deadline: Instant::now() + PATIENCE, limit_bytes: 1 };
        let error = run(order, || false, |_| true).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot start /nonexistent/command: No such file or directory (os error 2)"
        );
    }

    #[test]
    fn commands_that_do_not_end() {
        let short = Duration::from_millis(200);
        let began_at = Instant::now();
        assert_eq!(sh("sleep 100", short), Err(ExecError::Deadline));
        assert_eq!(sh("trap '' TERM INT; sleep 100; sleep 100", short), Err(ExecError::Deadline));
        assert_eq!(sh("sleep 100 | cat", short), Err(ExecError::Deadline));
        assert_eq!(
            sh("while :; do echo x; done", PATIENCE),
            Err(ExecError::TooMuchOutput { limit_bytes: 100_000 })
        );
        let command = ["sleep", "100"].map(str::to_owned);
        let order = Run { command: &command, deadline: Instant::now() + PATIENCE, limit_bytes: 1 };
        assert_eq!(run(order, || began_at.elapsed() > short, |_| true), Err(ExecError::Cancelled));
        let command = ["yes"].map(str::to_owned);
        let order = Run { command: &command, deadline: Instant::now() + PATIENCE, limit_bytes: usize::MAX };
        assert_eq!(run(order, || false, |_| began_at.elapsed() < short), Err(ExecError::Unwanted));
        assert!(began_at.elapsed() < PATIENCE);
    }

    #[test]
    #[allow(clippy::zombie_processes, reason = "that there is none left is what is looked at")]
    fn one_that_was_left_behind_is_looked_after_until_it_ends() {
        let child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        HUNG.lock().push(pid);
        assert_eq!(n_hung(), 1);
        // As when a file system answers again.
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        let began_at = Instant::now();
        while n_hung() > 0 {
            assert!(began_at.elapsed() < PATIENCE);
            std::thread::sleep(Duration::from_millis(1));
        }
        // Not a zombie either.
        assert!(!std::fs::exists(format!("/proc/{}", child.id())).unwrap());
    }
}
