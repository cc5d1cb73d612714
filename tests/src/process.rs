//! Running programs in tests: to their end with all they wrote, in the background, in a namespace; and what runs
//! below a process.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::time::patience;

const POLL: Duration = Duration::from_millis(5);
/// Longer than anything but a hang.
const DEADLINE: Duration = Duration::from_secs(60);

/// A program that has ended.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code, unless a signal killed it.
    pub code: Option<i32>,
    /// The signal that killed it, by number.
    pub signal: Option<i32>,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
    what: String,
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.what)?;
        match (self.code, self.signal) {
            (Some(code), _) => writeln!(f, "exit code {code}")?,
            (None, signal) => writeln!(f, "killed by signal {signal:?}")?,
        }
        write!(f, "--- stdout\n{}\n--- stderr\n{}", self.stdout.trim_end(), self.stderr.trim_end())
    }
}

/// Runs a program to its end.
pub fn run<S: AsRef<OsStr>>(argv: &[S]) -> Finished {
    let (program, arguments) = argv.split_first().expect("a program to run");
    finish(Command::new(program).args(arguments).stdin(Stdio::null()), DEADLINE)
}

/// Runs a program that must succeed, and returns what it wrote to stdout.
pub fn run_ok<S: AsRef<OsStr>>(argv: &[S]) -> String {
    let finished = run(argv);
    assert!(finished.code == Some(0), "{finished}");
    finished.stdout
}

/// Runs a program in a network namespace, given by its name or by the path of its file.
pub fn netns_exec<S: AsRef<OsStr>>(netns: &str, argv: &[S]) -> Finished {
    let by_path = format!("--net={netns}");
    let enter =
        if netns.starts_with('/') { vec!["nsenter", &by_path] } else { vec!["ip", "netns", "exec", netns] };
    let program = enter.into_iter().map(OsStr::new);
    run(&program.chain(argv.iter().map(AsRef::as_ref)).collect::<Vec<_>>())
}

/// Runs `command` to its end, or kills it at the deadline and fails.
pub(crate) fn finish(command: &mut Command, deadline: Duration) -> Finished {
    let mut running = Background::start(command);
    running.wait(deadline)
}

/// A program that runs beside the test and is killed when the test is done with it.
#[derive(Debug)]
pub struct Background {
    child: Child,
    // Files, not pipes: nobody has to read while it runs, and an orphan that keeps them open delays nobody.
    stdout: File,
    stderr: File,
    what: String,
    kept: Option<TempDir>,
}

impl Background {
    /// Starts `command`; its output can be read at any time.
    pub fn start(command: &mut Command) -> Self {
        let stdout = tempfile::tempfile().expect("a temporary file");
        let stderr = tempfile::tempfile().expect("a temporary file");
        command.stdout(stdout.try_clone().expect("a second descriptor"));
        command.stderr(stderr.try_clone().expect("a second descriptor"));
        let what = format!("{command:?}");
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {what}: {error}"));
        Self { child, stdout, stderr, what, kept: None }
    }

    /// Keeps a folder as long as the program.
    pub(crate) fn keep(&mut self, folder: Option<TempDir>) {
        self.kept = folder;
    }

    /// Its process ID.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().expect("a process ID"))
    }

    /// What it has written to stdout so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        content(&self.stdout)
    }

    /// What it has written to stderr so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        content(&self.stderr)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap_or_else(|errno| panic!("cannot signal {}: {errno}", self.what));
    }

    /// Waits until it has written `text` to stdout.
    pub fn wait_for_stdout(&mut self, text: &str) {
        let end = Instant::now() + patience(DEADLINE);
        while !self.stdout().contains(text) {
            let ended = self.child.try_wait().expect("the state of a child");
            if let Some(status) = ended.filter(|_| !self.stdout().contains(text)) {
                panic!("it ended without writing {text:?}: {}", self.finished(status));
            }
            let late = Instant::now() >= end;
            assert!(!late, "{} did not write {text:?}: {}{}", self.what, self.stdout(), self.stderr());
            sleep(POLL);
        }
    }

    /// Waits for its end, or kills it at the deadline, as that is on this machine, and fails.
    pub fn wait(&mut self, deadline: Duration) -> Finished {
        let end = Instant::now() + patience(deadline);
        loop {
            if let Some(status) = self.child.try_wait().expect("the state of a child") {
                return self.finished(status);
            }
            if Instant::now() >= end {
                let _ = self.child.kill();
                let status = self.child.wait().expect("the end of a child");
                panic!("it did not end within {deadline:?}: {}", self.finished(status));
            }
            sleep(POLL);
        }
    }

    fn finished(&self, status: ExitStatus) -> Finished {
        Finished {
            code: status.code(),
            signal: status.signal(),
            stdout: self.stdout(),
            stderr: self.stderr(),
            what: self.what.clone(),
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The position is shared with the child, whose next write must not go to where we stopped reading; so the file is
/// opened a second time.
fn content(file: &File) -> String {
    let bytes = fs::read(format!("/proc/self/fd/{}", file.as_raw_fd())).expect("a readable file");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Waits until `condition` holds; fails with `what` after ten seconds, as they are on this machine.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + patience(Duration::from_secs(10));
    while !condition() {
        assert!(Instant::now() < end, "not in time: {what}");
        sleep(POLL);
    }
}

/// Whether there is such a process that has not ended; a zombie has.
#[must_use]
pub fn is_running(pid: Pid) -> bool {
    stat(pid).is_some_and(|(state, _)| state != "Z" && state != "X")
}

/// Every process below `ancestor`, the nearest first.
#[must_use]
pub fn descendants(ancestor: Pid) -> Vec<Pid> {
    let mut found = vec![ancestor];
    let mut next = 0;
    let all: Vec<(Pid, Pid)> = fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .map(Pid::from_raw)
        .filter_map(|pid| Some((pid, stat(pid)?.1)))
        .collect();
    while let Some(parent) = found.get(next).copied() {
        found.extend(all.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}

/// State and parent of a process.
fn stat(pid: Pid) -> Option<(String, Pid)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before them may contain spaces and parentheses.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.to_owned();
    Some((state, Pid::from_raw(fields.next()?.parse().ok()?)))
}
