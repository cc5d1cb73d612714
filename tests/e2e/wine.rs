//! Do programs for Windows, which nobody has changed, get from hcnd under Wine what Windows would give them?
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]
#![allow(clippy::print_stderr, reason = "figures are told")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use hcn_tests::c::{Installed, functions, no_services};
use hcn_tests::kernel::{assert_unchanged, dump};
use hcn_tests::service::{sandbox_hcnd, sandbox_socket};
use hcn_tests::windows::{FIRST, assert_ok, compile, prepare, program, root};
use hcn_tests::{Background, Finished, Sandbox, eventually, in_sandbox, run_ok};
use nix::sys::signal::{Signal, kill};
use tempfile::TempDir;

/// Longer than anything but a hang.
const LONG: Duration = Duration::from_secs(240);

fn run(path: &Path, arguments: &[&str]) -> Finished {
    Background::start(&mut program(path, arguments)).wait(LONG)
}

/// The names that a DLL exports.
fn exports(dll: &str) -> Vec<String> {
    let listed = run_ok(&["x86_64-w64-mingw32-objdump", "-p", dll]);
    let (_, table) = listed.split_once("[Ordinal/Name Pointer] Table").expect("a table of names");
    let rows = table.lines().skip(1).take_while(|line| line.trim_start().starts_with('['));
    rows.map(|row| row.split_whitespace().last().unwrap().to_owned()).collect()
}

#[test]
fn the_dlls_export_the_functions_of_the_contract_and_nothing_else() {
    let folder = format!("{}/x86_64-windows", prepare());
    assert_eq!(exports(&format!("{folder}/computenetwork.dll")), functions());
    assert_eq!(exports(&format!("{folder}/vmcompute.dll")), ["HNSCall"]);
}

#[test]
fn programs_in_c_do_the_same_as_on_linux() {
    in_sandbox!(Sandbox::new().deadline(LONG), {
        let folder = TempDir::new().unwrap();
        let first = run(&compile(folder.path(), "first.c"), &[]);
        assert_ok(&first);
        assert!(first.stdout.contains("\"Name\":\"first\""), "{first}");
        let functions = functions();
        let names: Vec<&str> = functions.iter().map(String::as_str).collect();
        assert_ok(&run(&compile(folder.path(), "loaded.c"), &names));
        assert_ok(&run(&compile(folder.path(), "threads.c"), &[]));

        let everything = compile(folder.path(), "everything.c");
        let before = dump();
        let seen = folder.path().join("seen");
        let mut running = Background::start(&mut program(&everything, &[seen.to_str().unwrap()]));
        running.wait_for_stdout("made");
        let inside = run_ok(&["ip", "-n", "F0000001-0000-0000-0000-000000000001", "-br", "-4", "addr"]);
        assert!(inside.contains("192.168.100.7/24"), "{inside}");
        assert!(run_ok(&["ip", "-br", "addr", "show", "type", "bridge"]).contains("192.168.100.1/24"));
        fs::write(&seen, "").unwrap();
        assert_ok(&running.wait(LONG));
        assert_unchanged(&before, "everything is deleted");
    });
}

#[test]
fn a_program_outlives_the_service() {
    in_sandbox!(Sandbox::new().deadline(LONG), {
        let folder = TempDir::new().unwrap();
        let mut running = Background::start(&mut program(&compile(folder.path(), "restart.c"), &[]));
        running.wait_for_stdout("ready");
        let hcnd = sandbox_hcnd();
        kill(hcnd, Signal::SIGKILL).unwrap();
        // With all its threads, of which the last one closes its files.
        eventually("hcnd has ended", || !Path::new(&format!("/proc/{hcnd}")).exists());
        running.wait_for_stdout("ended");
        let _next = Background::start(
            Command::new("hcnd").arg("--socket").arg(sandbox_socket()).env_remove("HCND_SOCKET"),
        );
        running.wait_for_stdout("back");
        assert_ok(&running.wait(LONG));
    });
}

#[test]
fn what_is_no_service_is_told_within_a_second() {
    in_sandbox!(Sandbox::new().deadline(LONG), {
        let folder = TempDir::new().unwrap();
        let unanswered = compile(folder.path(), "unanswered.c");
        for (socket, code) in no_services(folder.path()) {
            let mut asked = program(&unanswered, &[&format!("{code:x}")]);
            assert_ok(&Background::start(asked.env("HCND_SOCKET", socket)).wait(LONG));
        }
    });
}

#[test]
fn what_wine_costs() {
    let folder = TempDir::new().unwrap();
    let windows = compile(folder.path(), "latency.c");
    let installed = Installed::new();
    let linux = installed.compile("latency.c", &[]);

    // With a sandbox of its own, a service in it and a Wine that is not started yet.
    let start = Instant::now();
    let alone = Background::start(program(&windows, &[]).env_remove("HCND_SOCKET")).wait(FIRST);
    let whole = start.elapsed();
    assert_ok(&alone);
    // The second program in one sandbox, beside the native one there.
    let runner = root().join("scripts/hcn-wine");
    let script = format!(
        "'{0}' '{1}' >/dev/null; date +%s%N; '{0}' '{1}'; date +%s%N; '{2}'",
        runner.display(),
        windows.display(),
        linux.display()
    );
    let both = Sandbox::new().run(&["sh", "-c", &script]);
    assert_ok(&both);
    let told: Vec<u64> = both.stdout.lines().map(|line| line.trim().parse().unwrap()).collect();
    let [before, wine, after, native] = told[..] else { panic!("{both}") };
    let warm = Duration::from_nanos(after - before).saturating_sub(Duration::from_micros(wine * 1000));
    eprintln!("one enumerate: {wine} µs through Wine, {native} µs by the library for Linux");
    eprintln!(
        "a program: {:?} with a sandbox, hcnd and Wine started for it, {warm:?} where they run already",
        whole.saturating_sub(Duration::from_micros(wine * 1000))
    );
    assert!(wine < native * 3 + 1000, "Wine takes {wine} µs, Linux {native} µs");
}

/// The tests in Go: those of clients/go, and hcsshim's own.
fn compile_go(folder: &TempDir, package: &str, options: &[&str]) -> PathBuf {
    let program = folder.path().join("go.test.exe");
    let mut go = Command::new("go");
    go.args(["test", "-c", "-vet=off", "-o"]).arg(&program).args(options).arg(package);
    go.current_dir(root().join("tests/clients/go")).env("GOOS", "windows").env("GOARCH", "amd64");
    assert_ok(&Background::start(&mut go).wait(FIRST));
    program
}

#[test]
fn go_code_is_formatted_and_vetted() {
    let folder = root().join("tests/clients/go");
    assert_eq!(run_ok(&["gofmt", "-l", folder.to_str().unwrap()]), "");
    let mut vet = Command::new("go");
    vet.args(["vet", "."]).current_dir(folder).env("GOOS", "windows").env("GOARCH", "amd64");
    assert_ok(&Background::start(&mut vet).wait(FIRST));
}

#[test]
fn hcsshim_makes_networks_that_carry_packets() {
    let folder = TempDir::new().unwrap();
    let tests = compile_go(&folder, ".", &[]);
    in_sandbox!(Sandbox::new().deadline(LONG), {
        let before = dump();
        let ended = run(&tests, &["-test.v"]);
        assert_ok(&ended);
        let passed = ended.stdout.matches("--- PASS").count();
        assert!(passed >= 16 && ended.stdout.ends_with("PASS\n"), "{passed}: {ended}");
        assert_unchanged(&before, "every test has deleted what it made");
    });
}

#[test]
fn hcsshims_own_tests_pass() {
    let folder = TempDir::new().unwrap();
    let tests = compile_go(&folder, "github.com/Microsoft/hcsshim/hcn", &["-tags", "integration"]);
    in_sandbox!(Sandbox::new().deadline(LONG), {
        let ended = run(&tests, &["-test.v"]);
        assert_ok(&ended);
        let passed = ended.stdout.matches("\n--- PASS").count();
        assert!(passed >= 78 && !ended.stdout.contains("--- SKIP"), "{passed}: {ended}");
    });
}
