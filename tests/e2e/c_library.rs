//! Do C programs that were written for computenetwork.dll and vmcompute.dll work on Linux?
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use hcn_tests::c::{CHECKED, Installed, functions, no_services, sources};
use hcn_tests::kernel::{assert_unchanged, dump};
use hcn_tests::service::{sandbox_hcnd, sandbox_socket};
use hcn_tests::{Background, Finished, Sandbox, eventually, in_sandbox, run_ok};
use nix::sys::signal::{Signal, kill};

fn assert_ok(finished: &Finished) {
    assert!(finished.code == Some(0) && finished.stderr.is_empty(), "{finished}");
}

#[test]
fn the_libraries_export_the_functions_of_the_contract_and_nothing_else() {
    let installed = Installed::new();
    let exported = |name: &str| {
        let listed = run_ok(&["nm", "-D", "--defined-only", installed.path(name).to_str().unwrap()]);
        let mut names: Vec<String> =
            listed.lines().map(|line| line.split_whitespace().last().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    let functions = functions();
    assert_eq!(functions.len(), 57);
    let memory = ["CoTaskMemAlloc", "CoTaskMemFree", "CoTaskMemRealloc"].map(str::to_owned);
    assert_eq!(exported("lib/libcomputenetwork.so"), [&memory[..], &functions].concat());
    assert_eq!(exported("lib/libvmcompute.so"), ["CoTaskMemFree", "HNSCall"]);
    for name in ["computenetwork", "vmcompute"] {
        let library = format!("lib/lib{name}.so");
        let said = run_ok(&["readelf", "-d", installed.path(&library).to_str().unwrap()]);
        assert!(said.contains(&format!("soname: [lib{name}.so.1]")), "{said}");
        let described = fs::read_to_string(installed.path(&format!("lib/pkgconfig/{name}.pc"))).unwrap();
        assert!(described.contains(&format!("prefix={}\n", installed.prefix().display())), "{described}");
        assert!(described.contains(&format!(" -l{name}\n")) && !described.contains('@'), "{described}");
    }
}

#[test]
fn the_smallest_program_works_and_so_does_the_language_of_the_header() {
    in_sandbox!(Sandbox::new(), {
        let installed = Installed::new();
        let first = installed.run(&installed.compile("first.c", &[]), &[]);
        assert_ok(&first);
        assert!(first.stdout.contains("\"Name\":\"first\""), "{first}");
        // As code for Windows has its texts.
        let again = fs::read_to_string(sources().join("first.c")).unwrap().replace("u\"", "L\"");
        let program = installed.path("short.c");
        fs::write(&program, again).unwrap();
        assert_ok(&installed.run(&installed.compile(program.to_str().unwrap(), &["-fshort-wchar"]), &[]));
        assert_ok(&installed.run(&installed.compile("header.cc", &["-pedantic"]), &[]));
        let functions = functions();
        let names: Vec<&str> = functions.iter().map(String::as_str).collect();
        assert_ok(&installed.run(&installed.compile("loaded.c", &["-ldl"]), &names));
    });
}

#[test]
fn every_function_does_what_the_contract_says_and_the_kernel_agrees() {
    in_sandbox!(Sandbox::new(), {
        let installed = Installed::new();
        let program = installed.compile("everything.c", CHECKED);
        let before = dump();
        let seen = installed.path("seen");
        let mut running = Background::start(installed.command(&program).arg(&seen));
        eventually("everything is made", || {
            assert_eq!(running.stderr(), "");
            running.stdout().contains("made")
        });
        let inside = run_ok(&["ip", "-n", "F0000001-0000-0000-0000-000000000001", "-br", "-4", "addr"]);
        assert!(inside.contains("192.168.100.7/24"), "{inside}");
        assert!(run_ok(&["ip", "-br", "addr", "show", "type", "bridge"]).contains("192.168.100.1/24"));
        fs::write(&seen, "").unwrap();
        let ended = running.wait(Duration::from_secs(30));
        assert_ok(&ended);
        assert!(ended.stdout.ends_with("gone\n"), "{ended}");
        assert_unchanged(&before, "everything is deleted");
    });
}

#[test]
fn threads_do_not_meet_and_callbacks_hear_everything() {
    in_sandbox!(Sandbox::new(), {
        let installed = Installed::new();
        assert_ok(&installed.run(&installed.compile("threads.c", CHECKED), &[]));
    });
}

#[test]
fn a_program_outlives_the_service() {
    in_sandbox!(Sandbox::new(), {
        let installed = Installed::new();
        let program = installed.compile("restart.c", &[]);
        let running = Background::start(&mut installed.command(&program));
        let says = |what: &str| {
            eventually(what, || {
                assert_eq!(running.stderr(), "");
                running.stdout().contains(what)
            });
        };
        says("ready");
        let hcnd = sandbox_hcnd();
        kill(hcnd, Signal::SIGKILL).unwrap();
        // With all its threads, of which the last one closes its files.
        eventually("hcnd has ended", || !Path::new(&format!("/proc/{hcnd}")).exists());
        says("ended");
        let _next = Background::start(
            Command::new("hcnd").arg("--socket").arg(sandbox_socket()).env_remove("HCND_SOCKET"),
        );
        eventually("back", || {
            assert_eq!(running.stderr(), "");
            running.stdout().contains("back")
        });
    });
}

#[test]
fn what_is_no_service_is_told_within_a_second() {
    let installed = Installed::new();
    let program = installed.compile("first.c", &[]);
    let said = |socket: &Path| {
        let start = Instant::now();
        let mut command = installed.command(&program);
        let ended = Background::start(command.env("HCND_SOCKET", socket)).wait(Duration::from_secs(30));
        assert!(start.elapsed() < hcn_tests::patience(Duration::from_secs(1)), "{ended}");
        assert_eq!(ended.code, Some(1), "{ended}");
        ended.stdout
    };
    for (socket, code) in no_services(installed.prefix()) {
        let said = said(&socket);
        assert!(said.contains(&format!("\"ErrorCode\":{code}")), "{}: {said}", socket.display());
    }
}
