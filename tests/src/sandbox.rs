//! How a test gets its body, or any command, into a sandbox, and as whom.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{Background, Finished, finish};

/// Set inside to the name of the test whose body is to run there.
const INSIDE: &str = "HCN_TEST_INSIDE";
/// Nobody, on every distribution.
const ORDINARY_UID: u32 = 65534;
/// A test that takes longer than this hangs.
const DEADLINE: Duration = Duration::from_secs(120);

/// Runs the body of a test inside a sandbox: `in_sandbox!(Sandbox::new(), { ... })`.
///
/// The test runs its own executable again inside `hcnd sandbox`, where the same macro runs the body.
#[macro_export]
macro_rules! in_sandbox {
    ($sandbox:expr, $body:block) => {{
        fn here() {}
        $crate::Sandbox::run_test($sandbox, $crate::test_name_of(&here), || $body);
    }};
}

/// Who starts the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// Whoever runs the tests.
    Tester,
    /// Somebody who is not root: uid 65534 if the tests run as root.
    OrdinaryUser,
}

/// A sandbox to be.
#[derive(Debug)]
pub struct Sandbox {
    caller: Caller,
    options: Vec<String>,
    deadline: Duration,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Sandbox {
    /// With an uplink, started by whoever runs the tests.
    #[must_use]
    pub fn new() -> Self {
        Self { caller: Caller::Tester, options: Vec::new(), deadline: DEADLINE }
    }

    /// Started by somebody who is not root.
    #[must_use]
    pub fn as_ordinary_user() -> Self {
        Self::new().started_by(Caller::OrdinaryUser)
    }

    /// Started by `caller`.
    #[must_use]
    pub fn started_by(mut self, caller: Caller) -> Self {
        self.caller = caller;
        self
    }

    /// With another option of `hcnd sandbox`.
    #[must_use]
    pub fn option(mut self, option: &str) -> Self {
        self.options.push(option.to_owned());
        self
    }

    /// With several hosts on one segment, each with an hcnd of its own: see [`Node`](crate::Node).
    #[must_use]
    pub fn nodes(self, number: u8) -> Self {
        self.option("--nodes").option(&number.to_string())
    }

    /// With another deadline than two minutes.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs `body` inside; called by [`in_sandbox!`](crate::in_sandbox), which knows the test's name.
    pub fn run_test(self, name: &str, body: impl FnOnce()) {
        if env::var_os(INSIDE).is_some_and(|inside| inside == *name) {
            return body();
        }
        let test = env::current_exe().expect("the path of this test");
        let programs = Programs::for_caller(self.caller, Some(&test));
        let mut command = self.command_of(&programs);
        command.arg("--").arg(programs.path(&test));
        command.args(["--exact", name, "--nocapture", "--test-threads", "1"]).env(INSIDE, name);
        let finished = finish(&mut command, self.deadline);
        // A name that matches no test would succeed too.
        let ran = finished.stdout.contains("test result: ok. 1 passed");
        assert!(finished.code == Some(0) && ran, "{name} failed inside its sandbox: {finished}");
        // What it measured, without what its test harness says; it begins on the line that names the test.
        let head = format!("test {name} ... ");
        let said = finished.stdout.lines().map(|line| line.trim_start_matches(&head));
        let said = said.filter(|line| !line.is_empty() && *line != "ok" && *line != "running 1 test");
        said.filter(|line| !line.starts_with("test result: ")).for_each(|line| eprintln!("{line}"));
        eprintln!("{}", finished.stderr.trim_end());
    }

    /// Runs a command inside and returns how it ended.
    #[must_use]
    pub fn run<S: AsRef<OsStr>>(&self, argv: &[S]) -> Finished {
        let programs = Programs::for_caller(self.caller, None);
        finish(self.command_of(&programs).arg("--").args(argv), self.deadline)
    }

    /// Starts a command inside and leaves it running.
    #[must_use]
    pub fn start<S: AsRef<OsStr>>(&self, argv: &[S]) -> Background {
        let programs = Programs::for_caller(self.caller, None);
        let mut started = Background::start(self.command_of(&programs).arg("--").args(argv));
        started.keep(programs.copies);
        started
    }

    fn command_of(&self, programs: &Programs) -> Command {
        let mut command = programs.command();
        command.arg("sandbox").args(&self.options).stdin(Stdio::null());
        command
    }
}

/// The name by which libtest knows the test function in which `here` is defined.
#[must_use]
pub fn test_name_of<T>(_here: &T) -> &'static str {
    let path = std::any::type_name::<T>().trim_end_matches("::here").trim_end_matches("::{{closure}}");
    path.split_once("::").map_or(path, |(_crate, name)| name)
}

/// The executables under test, where the caller can reach them.
struct Programs {
    hcnd: PathBuf,
    caller: Caller,
    copies: Option<TempDir>,
}

impl Programs {
    fn for_caller(caller: Caller, test: Option<&Path>) -> Self {
        let hcnd = built_hcnd();
        if caller == Caller::Tester || !nix::unistd::geteuid().is_root() {
            return Self { hcnd, caller: Caller::Tester, copies: None };
        }
        // The target folder may lie where only root can go.
        let copies = tempfile::Builder::new().prefix("hcn-tests-").tempdir().expect("a temporary folder");
        fs::set_permissions(copies.path(), Permissions::from_mode(0o755)).expect("a folder for everybody");
        let hcnctl = hcnd.with_file_name("hcnctl");
        for program in [Some(hcnd.as_path()), Some(hcnctl.as_path()).filter(|path| path.exists()), test] {
            let Some(program) = program else { continue };
            let copy = copies.path().join(program.file_name().expect("a file name"));
            fs::copy(program, &copy).unwrap_or_else(|error| panic!("copy {}: {error}", program.display()));
            fs::set_permissions(&copy, Permissions::from_mode(0o755)).expect("an executable copy");
        }
        Self { hcnd: copies.path().join("hcnd"), caller, copies: Some(copies) }
    }

    fn path(&self, program: &Path) -> PathBuf {
        match &self.copies {
            Some(copies) => copies.path().join(program.file_name().expect("a file name")),
            None => program.to_owned(),
        }
    }

    fn command(&self) -> Command {
        if self.caller == Caller::Tester {
            return Command::new(&self.hcnd);
        }
        let mut command = Command::new("setpriv");
        command.arg(format!("--reuid={ORDINARY_UID}")).arg(format!("--regid={ORDINARY_UID}"));
        command.arg("--clear-groups").arg(&self.hcnd);
        if let Some(copies) = &self.copies {
            command.current_dir(copies.path());
        }
        command
    }
}

/// hcnd as cargo built it, beside the folder of the tests.
#[must_use]
pub fn built_hcnd() -> PathBuf {
    let test = env::current_exe().expect("the path of this test");
    let hcnd = test.parent().and_then(Path::parent).expect("a target folder").join("hcnd");
    assert!(hcnd.exists(), "there is no {}: run cargo build --workspace first", hcnd.display());
    hcnd
}
