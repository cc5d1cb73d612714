//! What hangs for a reason of one container's holds up nothing else for long, and is found out about later.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod common;
mod filtering;

use std::thread::sleep;
use std::time::{Duration, Instant};

use common::*;
use filtering::*;
use hcn_dataplane::{
    ApplyError, Dataplane, Exceptions, Interception, InterceptionRule, Object, Plan, State, diff,
};
use hcn_linux::Linux;

/// Longer than what may hang is waited for, so that it ends while the test goes on.
const LAG: Duration = Duration::from_secs(4);
/// What others may have to wait for it, and some more.
const AT_MOST: Duration = Duration::from_secs(3);

fn blocked(n: u8, netns: &str, protocol: u8) -> Object {
    let rules = vec![rule(DROP).protocols(&[protocol])];
    filter(n, on_link(eth0(netns)), vec![tier("ACL", rules.clone())], vec![tier("ACL", rules)])
}

fn intercepted(netns: &str) -> Object {
    Object::Interception(Interception {
        link: eth0(netns),
        rules: vec![InterceptionRule {
            protocols: vec![6],
            local: Vec::new(),
            remote: Vec::new(),
            local_ports: Vec::new(),
            remote_ports: Vec::new(),
            user: None,
            outbound: Some(15_001),
            inbound: None,
            outbound_exceptions: Exceptions::default(),
            inbound_exceptions: Exceptions::default(),
        }],
    })
}

fn endpoints() -> Vec<Object> {
    [network(), vec![netns("A")], endpoint(2, "A"), vec![netns("B")], endpoint(3, "B")].concat()
}

fn state(objects: &[Object]) -> State {
    objects.iter().cloned().collect()
}

fn rules_in(netns: &str) -> String {
    sh(&format!("nsenter --net=/run/netns/{netns} nft list ruleset"))
}

/// The plan hangs: it fails in time, and says who is to blame.
fn hangs(linux: &mut Linux, plan: &Plan) -> ApplyError {
    linux.delay(LAG);
    let begun = Instant::now();
    let error = linux.apply(plan).unwrap_err();
    assert!(begun.elapsed() < patience(AT_MOST), "{:?}", begun.elapsed());
    assert_eq!(error.source.errno, Some(libc::ETIMEDOUT), "{error}: {}", error.source);
    error
}

/// Others are done meanwhile, in their usual time.
fn others_go_on(linux: &mut Linux) {
    let begun = Instant::now();
    done(linux, &remove(&endpoint(3, "B")));
    let again = [endpoint(3, "B"), vec![blocked(3, "B", 17)]].concat();
    done(linux, &create(again));
    done(linux, &remove(&[blocked(3, "B", 17)]));
    assert!(begun.elapsed() < patience(Duration::from_secs(1)), "{:?}", begun.elapsed());
}

/// What is left is done as soon as it can be.
fn is_done_later(linux: &mut Linux, left: &Plan) {
    let until = Instant::now() + LAG + AT_MOST;
    loop {
        let begun = Instant::now();
        match linux.apply(left) {
            Ok(applied) => return linux.settle(applied),
            Err(error) => {
                assert_eq!(error.source.errno, Some(libc::ETIMEDOUT), "{error}: {}", error.source);
                assert!(begun.elapsed() < patience(Duration::from_millis(500)), "it is not waited for twice");
            }
        }
        assert!(Instant::now() < until, "it never came to an end");
        sleep(Duration::from_millis(100));
    }
}

#[test]
fn rules_that_hang_are_taken_back_when_it_is_over() {
    isolated("rules_that_hang_are_taken_back_when_it_is_over", || {
        let mut linux = start();
        let before = [endpoints(), vec![blocked(2, "A", 6)]].concat();
        done(&mut linux, &create(before.clone()));
        let rules = rules_in("A");
        let changes: [(&str, Vec<Object>); 4] = [
            ("more", [before.clone(), vec![intercepted("A")]].concat()),
            ("others", [endpoints(), vec![blocked(2, "A", 17)]].concat()),
            ("none", endpoints()),
            ("both", [endpoints(), vec![blocked(2, "A", 17), intercepted("A")]].concat()),
        ];
        for (name, wanted) in changes {
            // It comes to pass after all, or it is refused in the end.
            for refused in [false, true] {
                let plan = diff(&state(&before), &state(&wanted));
                if refused {
                    linux.refuse_message(0, libc::ENOMEM);
                }
                let error = hangs(&mut linux, &plan);
                let left = error.undo.expect("it cannot be taken back yet").left;
                others_go_on(&mut linux);
                is_done_later(&mut linux, &left);
                assert_eq!(rules_in("A"), rules, "{name}, refused: {refused}");
                // And everything is possible again.
                done(&mut linux, &plan);
                done(&mut linux, &diff(&state(&wanted), &state(&before)));
                assert_eq!(rules_in("A"), rules, "{name}, refused: {refused}, then made");
            }
        }
        done(&mut linux, &remove(&before));
    });
}

#[test]
fn taking_back_that_hangs_is_found_out_about() {
    isolated("taking_back_that_hangs_is_found_out_about", || {
        let mut linux = start();
        let before = [endpoints(), vec![blocked(2, "A", 6)]].concat();
        done(&mut linux, &create(before.clone()));
        let rules = rules_in("A");
        let wanted = [endpoints(), vec![blocked(2, "A", 17), intercepted("A")]].concat();
        let plan = diff(&state(&before), &state(&wanted));
        for refused in [false, true] {
            let applied = apply(&mut linux, &plan);
            if refused {
                linux.refuse_message(0, libc::ENOMEM);
            }
            linux.delay(LAG);
            let undo = linux.undo(applied).expect_err("it hangs");
            is_done_later(&mut linux, &undo.left);
            assert_eq!(rules_in("A"), rules, "refused: {refused}");
        }
        done(&mut linux, &remove(&before));
    });
}

#[test]
fn a_namespace_goes_whatever_hangs_in_it() {
    isolated("a_namespace_goes_whatever_hangs_in_it", || {
        let mut linux = start();
        let all = [endpoints(), vec![blocked(2, "A", 6), intercepted("A")]].concat();
        let without: State = [network(), vec![netns("B")], endpoint(3, "B")].concat().into_iter().collect();
        done(&mut linux, &create([endpoints(), vec![blocked(2, "A", 6)]].concat()));
        hangs(&mut linux, &create([intercepted("A")]));
        let begun = Instant::now();
        done(&mut linux, &diff(&state(&all), &without));
        assert!(begun.elapsed() < patience(Duration::from_secs(1)), "{:?}", begun.elapsed());
        assert!(!succeeds("test -e /run/netns/A"));
    });
}

#[test]
fn a_start_goes_on_though_rules_of_one_namespace_hang() {
    isolated("a_start_goes_on_though_rules_of_one_namespace_hang", || {
        // One namespace alone: the rules of which hang first is chance.
        let wanted: State =
            [network(), vec![netns("A")], endpoint(2, "A"), vec![blocked(2, "A", 6), intercepted("A")]]
                .concat()
                .into_iter()
                .collect();
        let (mut linux, found) = start_with(&State::new());
        done(&mut linux, &diff(&found, &wanted));
        let rules = rules_in("A");
        drop(linux);
        let mut linux = Linux::start(config()).unwrap();
        linux.delay(LAG);
        let begun = Instant::now();
        let found = linux.adopt(&wanted).unwrap();
        assert!(begun.elapsed() < patience(AT_MOST), "{:?}", begun.elapsed());
        let left = diff(&found, &wanted);
        assert_eq!(left.ops.len(), 2, "{left}");
        is_done_later(&mut linux, &left);
        assert_eq!(rules_in("A"), rules);
        done(&mut linux, &diff(&wanted, &State::new()));
    });
}

#[test]
fn a_path_that_does_not_answer_is_given_up() {
    isolated("a_path_that_does_not_answer_is_given_up", || {
        let mut linux = start();
        sh("touch /run/theirs && unshare --net=/run/theirs true");
        linux.delay(LAG);
        let begun = Instant::now();
        let facts = linux.netns("/run/theirs");
        assert!(begun.elapsed() < patience(AT_MOST), "{:?}", begun.elapsed());
        // Still it does not, and nobody waits for it again.
        let begun = Instant::now();
        assert!(linux.netns("/run/theirs").problem.is_some());
        assert!(begun.elapsed() < patience(Duration::from_millis(500)), "{:?}", begun.elapsed());
        let problem = facts.problem.expect("it did not answer");
        assert_eq!(
            (problem.errno, problem.message.as_str()),
            (Some(libc::ETIMEDOUT), "its file system does not answer")
        );
        // In the end it answers.
        let until = Instant::now() + LAG;
        while linux.netns("/run/theirs").problem.is_some() {
            assert!(Instant::now() < until, "it never does");
            sleep(Duration::from_millis(100));
        }
        sh("umount /run/theirs");
    });
}
