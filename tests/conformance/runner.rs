//! The conformance cases over the fake kernel and over the real one, plainly and with every operation of every
//! plan failing once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

use std::collections::HashSet;
use std::env;
use std::os::unix::net::UnixStream;
use std::panic::catch_unwind;
use std::process::Command;
use std::time::Duration;

use hcn_dataplane::{Dataplane, Fake, State};
use hcn_tests::c::Installed;
use hcn_tests::conformance::front::c::{self, Programs};
use hcn_tests::conformance::front::http::{self, Http};
use hcn_tests::conformance::front::run_through;
use hcn_tests::conformance::{Answer, Case, Subject, cases, chosen, delete_everything, plainly, snapshot};
use hcn_tests::kernel::{assert_unchanged, dump, enter_own_namespaces, settled_dump};
use hcn_tests::service::{InProcess, Shared, fake_host, sandbox_hcnd, sandbox_socket};
use hcn_tests::windows;
use hcn_tests::wire::{Reply, Wire};
use hcn_tests::{Background, Sandbox, eventually, in_sandbox, is_running, run_ok};
use nix::sys::signal::{Signal, kill};
use serde_json::Value;
use tempfile::TempDir;

/// Longer than a clean end takes.
const END: Duration = Duration::from_secs(10);

fn is_change(method: &str, parameters: &Value) -> bool {
    let changes = ["Create", "Modify", "Delete"].iter().any(|verb| method.ends_with(verb));
    changes || (method.ends_with("V1.Call") && parameters["method"] != "GET")
}

/// The code of a failure, whichever version of HNS was called.
fn code_of(reply: &Reply) -> Option<u64> {
    reply.parameters["hresult"].as_u64().or_else(|| reply.parameters["response"]["ErrorCode"].as_u64())
}

/// A daemon in this process; `call` is how it is called.
struct Inside<D, C> {
    daemon: InProcess<D>,
    call: C,
    repeats: bool,
    /// Its data plane is the kernel, and nobody has told it what that lacks.
    real: bool,
}

impl<D: Dataplane + 'static> InsidePlainly<D> {
    fn start(case: &Case, dataplane: &Shared<D>) -> Self {
        Self {
            daemon: start(case, dataplane),
            call: |_, wire, method, parameters| plainly(wire, method, parameters),
            repeats: false,
            real: false,
        }
    }
}

type InsidePlainly<D> = Inside<D, fn(&InProcess<D>, &mut Wire, &str, &Value) -> Reply>;

fn start<D: Dataplane + 'static>(case: &Case, dataplane: &Shared<D>) -> InProcess<D> {
    let dataplane = dataplane.clone();
    // A file costs time.
    if case.needs().is_empty() { InProcess::start(dataplane) } else { InProcess::start_durable(dataplane) }
}

impl<D, C> Subject for Inside<D, C>
where
    D: Dataplane + 'static,
    C: FnMut(&InProcess<D>, &mut Wire, &str, &Value) -> Reply,
{
    type Connection = Wire;

    fn connect(&mut self) -> Wire {
        Wire::connect(&self.daemon.socket()).unwrap()
    }

    fn call(&mut self, wire: &mut Wire, method: &str, parameters: &Value) -> Answer {
        Ok((self.call)(&self.daemon, wire, method, parameters))
    }

    fn repeats(&self) -> bool {
        self.repeats
    }

    fn lacks(&self, feature: &str) -> bool {
        self.real && !hcn_linux::features().has(feature)
    }

    fn knows_kernel(&self) -> bool {
        false
    }

    fn start_again(&mut self, reboot: bool) {
        self.daemon.start_again(reboot);
    }

    fn call_while_stopping(&mut self, wire: &mut Wire, method: &str, parameters: &Value) -> Answer {
        self.daemon.call_while_stopping(|| Ok(plainly(wire, method, parameters)))
    }
}

/// The daemon that a sandbox started, or one that took its place.
struct InSandbox {
    again: Option<Background>,
}

impl Subject for InSandbox {
    type Connection = Wire;

    fn connect(&mut self) -> Wire {
        Wire::connect(&sandbox_socket()).unwrap()
    }

    fn lacks(&self, feature: &str) -> bool {
        !hcn_linux::features().has(feature)
    }

    fn start_again(&mut self, reboot: bool) {
        assert!(!reboot, "not here");
        if let Some(mut again) = self.again.take() {
            again.signal(Signal::SIGTERM);
            again.wait(END);
        } else {
            let hcnd = sandbox_hcnd();
            kill(hcnd, Signal::SIGTERM).unwrap();
            eventually("hcnd has ended", || !is_running(hcnd));
        }
        let mut command = Command::new("hcnd");
        command.arg("--socket").arg(sandbox_socket()).env_remove("HCND_SOCKET");
        self.again = Some(Background::start(&mut command));
        eventually("the next hcnd listens", || UnixStream::connect(sandbox_socket()).is_ok());
    }

    fn call_while_stopping(&mut self, _: &mut Wire, method: &str, _: &Value) -> Answer {
        panic!("{method} while hcnd stops: not here");
    }
}

#[test]
fn cases_hold_over_the_fake_kernel() {
    let mut failed = Vec::new();
    for case in cases("in this process, plainly") {
        // Here all that fails is found in one go.
        let run = catch_unwind(|| {
            let dataplane = fake_host();
            let mut subject = Inside::start(&case, &dataplane);
            case.run(&mut subject);
            delete_everything(&mut subject.connect());
            assert_eq!(dataplane.lock().inner.state, State::new(), "case {} left something", case.name);
        });
        if run.is_err() {
            failed.push(case.name);
        }
    }
    assert!(failed.is_empty(), "{} cases failed: {}", failed.len(), failed.join(", "));
}

#[test]
fn cases_hold_over_the_linux_kernel() {
    in_sandbox!(Sandbox::new().deadline(Duration::from_secs(300)), {
        let mut subject = InSandbox { again: None };
        let before = dump();
        for case in cases("the daemon of a sandbox") {
            case.run(&mut subject);
            delete_everything(&mut subject.connect());
            assert_unchanged(&before, &format!("case {} left something", case.name));
        }
    });
}

/// Every case through a program that makes the calls it is told, however it is started.
fn cases_hold_through(front: &str, cases: &[Case], start: impl Fn() -> Command) {
    let programs = Programs::default();
    run_through(front, cases, &c::WITHOUT, |daemon| {
        programs.start(start().env("HCND_SOCKET", daemon.socket()))
    });
}

#[test]
fn cases_hold_through_the_c_library() {
    let installed = Installed::new();
    let program = installed.compile("front.c", &[]);
    cases_hold_through("the C library", &cases("a front"), || installed.command(&program));
}

/// `HCN_WINE_CASES=all` runs all of them, which takes a processor half a minute; otherwise each eighth is run.
#[test]
fn cases_hold_through_the_dlls_under_wine() {
    let folder = TempDir::new().unwrap();
    let program = windows::compile(folder.path(), "front.c");
    let all = env::var("HCN_WINE_CASES").is_ok_and(|which| which == "all");
    let cases: Vec<Case> = cases("a front").into_iter().step_by(if all { 1 } else { 8 }).collect();
    cases_hold_through("the DLLs under Wine", &cases, || windows::program(&program, &[]));
}

#[test]
fn cases_hold_over_http() {
    let mut cases = cases("a front");
    cases.retain(|case| case.calls("V1.Call"));
    run_through("HTTP", &cases, &http::WITHOUT, |daemon| {
        Http::connect(&daemon.socket(), daemon.hns_socket())
    });
}

/// Performs a call after each operation of its plan has failed once: every time the call must fail, and nothing
/// may differ afterwards. Counts the failures.
fn fail_everywhere<D: Dataplane>(
    dataplane: &Shared<D>,
    wire: &mut Wire,
    (method, parameters): (&str, &Value),
    unchanged: &mut dyn FnMut(&str),
    count: &mut usize,
) -> Reply {
    for k in 0.. {
        let documents = snapshot(wire);
        let injected = {
            let mut chaos = dataplane.lock();
            chaos.fail_at = Some(k);
            chaos.injected
        };
        let reply = plainly(wire, method, parameters);
        {
            let mut chaos = dataplane.lock();
            chaos.fail_at = None;
            if chaos.injected == injected {
                // The plan is shorter, or the call needed none: it was performed.
                return reply;
            }
        }
        *count += 1;
        let place = format!("{method} with operation {k} failing");
        let code = code_of(&reply).unwrap_or_else(|| panic!("{place}: {}", reply.raw));
        assert!([0x8007_001f, 0x803b_002e].contains(&code), "{place}: {}", reply.raw);
        assert_eq!(documents, snapshot(wire), "{place}");
        unchanged(&place);
    }
    unreachable!()
}

/// Runs a case with failures; `unchanged` is told what the kernel's side must be compared with.
fn run_with_failures<D: Dataplane + 'static, S>(
    case: &Case,
    dataplane: &Shared<D>,
    state: &mut dyn FnMut() -> S,
    unchanged: &mut dyn FnMut(&S, &str),
) -> usize {
    let mut count = 0;
    let call = |_: &InProcess<D>, wire: &mut Wire, method: &str, parameters: &Value| {
        if !is_change(method, parameters) {
            return plainly(wire, method, parameters);
        }
        // Where looking is expensive, the first failure, which comes before anything is done, shows what was there.
        let is_expensive = dataplane.lock().known.is_some();
        let mut before = (!is_expensive).then(&mut *state);
        let mut check = |place: &str| match &before {
            Some(before) => unchanged(before, &format!("case {}: {place}", case.name)),
            None => before = Some(state()),
        };
        fail_everywhere(dataplane, wire, (method, parameters), &mut check, &mut count)
    };
    let mut subject = Inside {
        daemon: start(case, dataplane),
        call,
        repeats: true,
        real: dataplane.lock().known.is_some(),
    };
    case.run(&mut subject);
    delete_everything(&mut subject.connect());
    drop(subject);
    count
}

#[test]
fn a_failure_of_any_operation_changes_nothing_in_the_fake_kernel() {
    let mut count = 0;
    for case in cases("in this process, failing") {
        let dataplane = fake_host();
        let kernel = dataplane.clone();
        count += run_with_failures(
            &case,
            &dataplane,
            &mut || kernel.lock().inner.state.clone(),
            &mut |before, place| assert_eq!(*before, kernel.lock().inner.state, "{place}"),
        );
        assert_eq!(dataplane.lock().inner.state, State::new(), "case {} left something", case.name);
    }
    assert!(count > 100 || chosen().is_some(), "only {count} failures were injected");
}

#[test]
fn what_cannot_be_made_durable_is_taken_back() {
    let mut count = 0;
    for case in cases("in this process, without a disk") {
        let dataplane = fake_host();
        let kernel = dataplane.clone();
        let call = |daemon: &InProcess<Fake>, wire: &mut Wire, method: &str, parameters: &Value| {
            if is_change(method, parameters) {
                let (documents, state) = (snapshot(wire), kernel.lock().inner.state.clone());
                daemon.fail_commits(1);
                let reply = plainly(wire, method, parameters);
                daemon.fail_commits(0);
                if reply.raw.contains("injected failure") {
                    count += 1;
                } else {
                    // Refused for another reason, or there was nothing to change.
                    assert_eq!(state, kernel.lock().inner.state, "case {}: {}", case.name, reply.raw);
                }
                assert_eq!(documents, snapshot(wire), "case {}: {method} {parameters}", case.name);
                assert_eq!(state, kernel.lock().inner.state, "case {}: {method}", case.name);
            }
            plainly(wire, method, parameters)
        };
        case.run(&mut Inside { daemon: start(&case, &dataplane), call, repeats: true, real: false });
    }
    assert!(count > 50 || chosen().is_some(), "only {count} failures were injected");
}

#[test]
fn a_failure_of_any_operation_changes_nothing_in_the_linux_kernel() {
    let sandbox = Sandbox::new().deadline(Duration::from_secs(600));
    in_sandbox!(sandbox, {
        enter_own_namespaces();
        add_uplink();
        let linux = hcn_linux::Linux::start(hcn_linux::Config::default()).unwrap();
        let dataplane = Shared::new(linux);
        // Looking at the whole kernel takes its time.
        dataplane.lock().known = Some(HashSet::new());
        // Each start takes over what the one before left: nothing.
        dataplane.lock().adopt(&State::new()).unwrap();
        let clean = dump();
        let mut count = 0;
        for case in cases("in this process, failing over the Linux kernel") {
            count += run_with_failures(&case, &dataplane, &mut settled_dump, &mut |before, place| {
                assert_unchanged(before, place);
            });
            assert_unchanged(&clean, &format!("case {} left something", case.name));
        }
        assert!(count > 100 || chosen().is_some(), "only {count} failures were injected");
    });
}

/// The addresses that the cases expect of a host.
fn add_uplink() {
    run_ok(&["ip", "link", "add", "eth0", "type", "bridge"]);
    run_ok(&["ip", "link", "set", "eth0", "up"]);
    run_ok(&["ip", "addr", "add", "203.0.113.10/24", "dev", "eth0"]);
    run_ok(&["ip", "addr", "add", "2001:db8:ffff::10/64", "dev", "eth0", "nodad"]);
}
