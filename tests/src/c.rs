//! C programs and the libraries they call, as on the computer of somebody who has installed them.
//!
//! `HCN_CC` and `HCN_CXX` choose other compilers than cc and c++. `HCN_UNDER`, as `valgrind --quiet --error-exitcode=9`, is
//! what programs are run under; they are compiled without sanitizers then, since the two exclude each other.

use std::env;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{Background, Finished, run_ok};
use crate::sandbox::built_hcnd;

/// What finds memory that is not freed, or used wrongly.
pub const CHECKED: &[&str] = &["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];

/// The libraries, their headers, and the programs built with them.
pub struct Installed {
    folder: TempDir,
}

/// Where the programs' sources are.
#[must_use]
pub fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/c")
}

/// Every function of the contract's list (1.3 and 1.4), one in a line.
#[must_use]
pub fn functions() -> Vec<String> {
    fs::read_to_string(sources().join("functions.txt")).unwrap().lines().map(str::to_owned).collect()
}

/// Makes sockets, in this folder, of what is no service, each with the code that a call must get there.
#[must_use]
pub fn no_services(folder: &Path) -> Vec<(PathBuf, u32)> {
    let file = folder.join("file");
    fs::write(&file, "").unwrap();
    let mut all = vec![(PathBuf::from("/nowhere"), 0x8007_06d9), (file, 0x8007_06d9)];
    for (name, answer, code) in [
        ("hangs-up", &b""[..], 0x8007_06be),
        ("nonsense", b"HTTP/1.1 400 Bad Request\r\n\r\n\0", 0x8007_001f),
        ("half", b"{\"parameters\":", 0x8007_06be),
        (
            "older",
            b"{\"error\":\"org.varlink.service.MethodNotFound\",\"parameters\":{\"method\":\"x\"}}\0",
            0x8000_4001,
        ),
    ] {
        let socket = folder.join(name);
        answers(&socket, answer);
        all.push((socket, code));
    }
    all
}

/// A service that says what it likes.
fn answers(socket: &Path, answer: &'static [u8]) {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut call = [0; 4096];
            let _ = stream.read(&mut call);
            let _ = stream.write_all(answer);
        }
    });
}

impl Default for Installed {
    fn default() -> Self {
        Self::new()
    }
}

impl Installed {
    /// Installs the libraries that were built beside hcnd.
    #[must_use]
    pub fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/install-c");
        let built = built_hcnd().parent().unwrap().to_owned();
        run_ok(&[script.as_os_str(), folder.path().as_os_str(), built.as_os_str()]);
        Self { folder }
    }

    /// What it is all below.
    #[must_use]
    pub fn prefix(&self) -> &Path {
        self.folder.path()
    }

    /// A place below it.
    #[must_use]
    pub fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    /// Compiles a program as its user would: with every warning an error, and what pkg-config would say.
    #[must_use]
    pub fn compile(&self, source: &str, options: &[&str]) -> PathBuf {
        let program = self.path(source).with_extension("");
        let [variable, usual, standard] = if source.ends_with(".cc") {
            ["HCN_CXX", "c++", "-std=c++17"]
        } else {
            ["HCN_CC", "cc", "-std=gnu11"]
        };
        let (include, lib) = (self.path("include"), self.path("lib"));
        let mut command = Command::new(env::var(variable).unwrap_or_else(|_| usual.to_owned()));
        command.args([standard, "-Wall", "-Wextra", "-Werror", "-g", "-I"]).arg(include);
        let apart = env::var_os("HCN_UNDER").is_some() && options == CHECKED;
        command.args(if apart { &[] } else { options });
        command.arg(sources().join(source)).arg("-o").arg(&program).arg("-L").arg(&lib);
        command.arg(format!("-Wl,-rpath,{}", lib.display()));
        command.args(["-lcomputenetwork", "-lvmcompute", "-lpthread"]);
        let compiled = Background::start(&mut command).wait(Duration::from_secs(60));
        assert!(compiled.code == Some(0), "{compiled}");
        program
    }

    /// How a program is started.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let under = env::var("HCN_UNDER").unwrap_or_default();
        let mut words = under.split_whitespace();
        let mut command = match words.next() {
            Some(checker) => {
                let mut command = Command::new(checker);
                command.args(words).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.env("LD_LIBRARY_PATH", self.path("lib"));
        command
    }

    /// Runs a program to its end.
    #[must_use]
    pub fn run(&self, program: &Path, arguments: &[&str]) -> Finished {
        Background::start(self.command(program).args(arguments)).wait(Duration::from_secs(60))
    }
}
