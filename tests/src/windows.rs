//! Programs for Windows, and Wine, under which they run: `scripts/hcn-wine`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::c::sources;
use crate::process::{Background, Finished};
use crate::sandbox::built_hcnd;

/// Making Wine's prefix and compiling for Windows takes a while where neither was done before.
pub const FIRST: Duration = Duration::from_secs(300);

/// The repository.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// The search path, with the build that is tested first.
fn path() -> String {
    let built = built_hcnd().parent().unwrap().to_owned();
    format!("{}:{}", built.display(), env::var("PATH").unwrap())
}

/// A program, with its arguments, under the build that is tested.
#[must_use]
pub fn program(path_of: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(root().join("scripts/hcn-wine"));
    command.env("PATH", path()).arg(path_of).args(arguments);
    command
}

/// Makes all that programs need; the folder of the DLLs and their import libraries.
#[must_use]
pub fn prepare() -> String {
    let prepared = Background::start(&mut program(Path::new("--prepare"), &[])).wait(FIRST);
    assert_ok(&prepared);
    prepared.stdout.trim().to_owned()
}

/// Compiles a program of C for Windows.
#[must_use]
pub fn compile(folder: &Path, source: &str) -> PathBuf {
    let libraries = prepare();
    let program = folder.join(source).with_extension("exe");
    let mut compiler = Command::new("x86_64-w64-mingw32-gcc");
    compiler.args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-static", "-o"]).arg(&program);
    for library in ["libcomputenetwork", "libvmcompute"] {
        compiler.arg("-I").arg(root().join("crates").join(library).join("include"));
    }
    compiler.arg(sources().join(source)).args(["-L", &libraries]);
    compiler.args(["-lcomputenetwork", "-lvmcompute", "-lole32", "-lpthread"]);
    assert_ok(&Background::start(&mut compiler).wait(FIRST));
    program
}

/// Fails unless a program has ended well.
pub fn assert_ok(finished: &Finished) {
    assert!(finished.code == Some(0), "{finished}");
}
