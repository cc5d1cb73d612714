//! The conformance cases over the fake kernel and over the real one, plainly and with every operation of every
//! plan failing once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

use std::time::Duration;

use hcn_dataplane::{Dataplane, State};
use hcn_tests::conformance::{Case, cases, delete_everything, plainly, snapshot};
use hcn_tests::kernel::{assert_unchanged, dump, enter_own_namespaces, settled_dump};
use hcn_tests::service::{InProcess, Shared, fake_host, sandbox_socket};
use hcn_tests::wire::{Reply, Wire};
use hcn_tests::{Sandbox, in_sandbox, run_ok};
use serde_json::Value;

fn is_change(method: &str) -> bool {
    ["Create", "Modify", "Delete"].iter().any(|verb| method.ends_with(verb))
}

#[test]
fn cases_hold_over_the_fake_kernel() {
    for case in cases() {
        let dataplane = fake_host();
        let daemon = InProcess::start(dataplane.clone());
        case.run(&daemon.socket(), &mut plainly);
        delete_everything(&mut Wire::connect(&daemon.socket()).unwrap());
        assert_eq!(dataplane.lock().inner.state, State::new(), "case {} left something", case.name);
    }
}

#[test]
fn cases_hold_over_the_linux_kernel() {
    in_sandbox!(Sandbox::new(), {
        let socket = sandbox_socket();
        let before = dump();
        for case in cases() {
            case.run(&socket, &mut plainly);
            delete_everything(&mut Wire::connect(&socket).unwrap());
            assert_unchanged(&before, &format!("case {} left something", case.name));
        }
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
        let code = reply.parameters["hresult"].as_u64().unwrap_or_else(|| panic!("{place}: {}", reply.raw));
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
    let daemon = InProcess::start(dataplane.clone());
    let mut count = 0;
    case.run(&daemon.socket(), &mut |wire, method, parameters| {
        if !is_change(method) {
            return plainly(wire, method, parameters);
        }
        let before = state();
        let mut check = |place: &str| unchanged(&before, &format!("case {}: {place}", case.name));
        fail_everywhere(dataplane, wire, (method, parameters), &mut check, &mut count)
    });
    delete_everything(&mut Wire::connect(&daemon.socket()).unwrap());
    count
}

#[test]
fn a_failure_of_any_operation_changes_nothing_in_the_fake_kernel() {
    let mut count = 0;
    for case in cases() {
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
    assert!(count > 100, "only {count} failures were injected");
}

#[test]
fn what_cannot_be_made_durable_is_taken_back() {
    let mut count = 0;
    for case in cases() {
        let dataplane = fake_host();
        let daemon = InProcess::start(dataplane.clone());
        case.run(&daemon.socket(), &mut |wire, method, parameters| {
            if is_change(method) {
                let (documents, state) = (snapshot(wire), dataplane.lock().inner.state.clone());
                daemon.fail_commits(1);
                let reply = plainly(wire, method, parameters);
                daemon.fail_commits(0);
                if reply.raw.contains("injected failure") {
                    count += 1;
                } else {
                    // Refused for another reason, or there was nothing to change.
                    assert_eq!(state, dataplane.lock().inner.state, "case {}: {}", case.name, reply.raw);
                }
                assert_eq!(documents, snapshot(wire), "case {}: {method} {parameters}", case.name);
                assert_eq!(state, dataplane.lock().inner.state, "case {}: {method}", case.name);
            }
            plainly(wire, method, parameters)
        });
    }
    assert!(count > 50, "only {count} failures were injected");
}

#[test]
fn a_failure_of_any_operation_changes_nothing_in_the_linux_kernel() {
    let sandbox = Sandbox::new().deadline(Duration::from_secs(600));
    in_sandbox!(sandbox, {
        enter_own_namespaces();
        add_uplink();
        let linux = hcn_linux::Linux::start(hcn_linux::Config::default()).unwrap();
        let dataplane = Shared::new(linux);
        // Each start takes over what the one before left: nothing.
        dataplane.lock().adopt(&State::new()).unwrap();
        let clean = dump();
        let mut count = 0;
        for case in cases() {
            count += run_with_failures(&case, &dataplane, &mut settled_dump, &mut |before, place| {
                assert_unchanged(before, place);
            });
            assert_unchanged(&clean, &format!("case {} left something", case.name));
        }
        assert!(count > 100, "only {count} failures were injected");
    });
}

/// The addresses that the cases expect of a host.
fn add_uplink() {
    run_ok(&["ip", "link", "add", "eth0", "type", "bridge"]);
    run_ok(&["ip", "link", "set", "eth0", "up"]);
    run_ok(&["ip", "addr", "add", "203.0.113.10/24", "dev", "eth0"]);
    run_ok(&["ip", "addr", "add", "2001:db8:ffff::10/64", "dev", "eth0", "nodad"]);
}
