//! Every plan made to fail at every place: afterwards the kernel is as it was.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod common;
mod traffic;

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::*;
use hcn_dataplane::{
    Barrier, Chaos, Claim, Dataplane, Family, HeldPort, HostSide, LinkId, Mac, Masquerade, Object, Op, Plan,
    Protocol, Service, Source, State, Ways, diff,
};
use hcn_linux::Linux;

/// Of the messages that take a plan back, and of the plans, each so manieth is tried; all with `HCN_EACH_UNDO=1`, and all
/// messages of plans with a word in their name with that word.
const STEP: usize = 24;
const PLANS: usize = 4;

fn chosen() -> Option<String> {
    std::env::var("HCN_EACH_UNDO").ok()
}

/// What is there before the plan, the plan, and its name.
type Case = (&'static str, Vec<Object>, Plan);

fn cases() -> Vec<Case> {
    let a = [vec![netns("A")], endpoint(2, "A")].concat();
    let b = [vec![netns("B")], endpoint(3, "B")].concat();
    let ab = [network(), a.clone(), b.clone()].concat();
    let mut both = vec![netns("A"), netns("B"), veth(2, "A"), veth(3, "B")];
    both.extend(endpoint(2, "A").into_iter().skip(1));
    both.extend(endpoint(3, "B").into_iter().skip(1));
    let masquerade = |prefix: &str| Object::Masquerade(Masquerade { prefix: prefix.parse().unwrap() });
    let remasquerade = vec![
        Op::Remove { object: masquerade("10.7.0.0/16"), implied: false },
        Op::Remove { object: masquerade("fd07::/64"), implied: false },
        Op::Create(masquerade("10.7.0.0/20")),
        Op::Create(masquerade("10.7.64.0/20")),
    ];
    let explicit = endpoint(2, "A")
        .into_iter()
        .skip(1)
        .rev()
        .map(|object| Op::Remove { object, implied: false })
        .collect::<Vec<_>>();
    let changed = |object: Object| match object {
        Object::Veth(mut veth) => {
            veth.mac = Mac([2, 0, 0, 0, 2, 77]);
            veth.mtu = 1300;
            Object::Veth(veth)
        }
        other => other,
    };
    let of_one_family = |object: Object| match object {
        Object::Bridge(mut bridge) => {
            bridge.ipv6 = false;
            Object::Bridge(bridge)
        }
        other => other,
    };
    let change = vec![
        Op::Change { from: bridge(), to: of_one_family(bridge()) },
        Op::Change { from: veth(2, "A"), to: changed(veth(2, "A")) },
        Op::Change { from: veth(3, "B"), to: changed(veth(3, "B")) },
    ];
    let host = |object: Object| match object {
        Object::Veth(mut veth) => {
            veth.peer = LinkId::host("hcp00000002");
            Object::Veth(veth)
        }
        other => other,
    };
    let service = |port, backends: &[&str]| {
        let backends: Vec<_> = backends.iter().map(|backend| backend.parse().unwrap()).collect();
        // A flow that is not deleted fails no plan, so there are none of UDP here.
        traffic::service(Protocol::Tcp, (traffic::VIP, port), &backends)
    };
    let services = |services: &[Service]| services.iter().cloned().map(Object::Service).collect::<Vec<_>>();
    let mut sticky = service(82, &["10.7.0.2:80", "10.7.0.3:80"]);
    let of_two = traffic::stick(&mut sticky, 8);
    let mut stuck = service(82, &["10.7.0.4:80"]);
    let of_one = traffic::stick(&mut stuck, 8);
    let mut two = services(&[service(80, &["10.7.0.2:80", "10.7.0.3:80"]), service(81, &[]), sticky]);
    let mut other = service(80, &["10.7.0.3:80", "10.7.0.3:80", "10.7.0.4:80"]);
    (other.from_host, other.source) = (true, Source::Masquerade);
    let affinity = traffic::stick(&mut other, 7);
    let mut internal = service(81, &["10.7.0.2:80"]);
    internal.only_from = vec![BRIDGE.into()];
    let change_services = two
        .iter()
        .cloned()
        .zip(services(&[other, internal, stuck]))
        .map(|(from, to)| Op::Change { from, to })
        .chain([Op::Change { from: of_two.clone(), to: of_one }, Op::Create(affinity)])
        .collect::<Vec<_>>();
    two.insert(0, of_two);
    let held = |port, protocol| Object::HeldPort(HeldPort { family: Family::V4, protocol, port });
    let barrier = |host| {
        Object::Barrier(Barrier {
            bridge: BRIDGE.into(),
            host: if host { HostSide::Closed } else { HostSide::Open },
            ways: Ways::Closed,
        })
    };
    let guarded = vec![held(HELD, Protocol::Tcp), held(HELD, Protocol::Udp), barrier(true)];
    let mut reguard = remove(&guarded[1..]).ops;
    reguard.extend(create([barrier(false), held(HELD, Protocol::Udp)]).ops);
    let replace = [remove(&endpoint(2, "A")).ops, create(endpoint(4, "A")).ops].concat();
    let claim = |address: &str, claimant: &str| {
        let address = address.parse().unwrap();
        Object::Claim(Claim { link: LinkId::host(BRIDGE), address, claimant: claimant.into() })
    };
    let claims = vec![
        claim("10.7.255.1", "one"),
        claim("fd07::1", "one"),
        claim("10.7.255.1", "two"),
        claim("fd07::ff", "one"),
    ];
    let claimed = [network(), claims.clone()].concat();
    let of_bridge: State = claimed.iter().cloned().collect();
    let exchange = claims
        .iter()
        .map(|object| Op::Remove { object: object.clone(), implied: false })
        .chain([claim("fd07::fe", "one"), claim("10.7.255.1", "two")].map(Op::Create))
        .collect();
    let steered = vec![
        Object::Barrier(Barrier {
            bridge: BRIDGE.into(),
            host: HostSide::Open,
            ways: Ways::Only("lo".into()),
        }),
        steering(Family::V4, "lo"),
        steering(Family::V6, "lo"),
    ];
    let alone = vec![steering_of(2, Family::V4, "lo"), steering_of(2, Family::V6, "up0")];
    let other_ways = Object::Barrier(Barrier {
        bridge: BRIDGE.into(),
        host: HostSide::Open,
        ways: Ways::Only("up0".into()),
    });
    let resteer = vec![
        Op::Change { from: steered[0].clone(), to: other_ways },
        Op::Change { from: steering(Family::V4, "lo"), to: steering(Family::V4, "up0") },
        Op::Change { from: steering_of(2, Family::V6, "up0"), to: steering_of(2, Family::V6, "lo") },
    ];
    let detach_steered = remove(&[endpoint(2, "A"), alone.clone()].concat());
    let with_tables = [network(), steered.clone()].concat();
    let with_tables_state: State = with_tables.iter().cloned().collect();
    let answering = vec![responder(&["10.7.0.1/16", "fd07::1/64"], true), lease(2), lease(3)];
    let with_answers = [network(), answering.clone()].concat();
    let with_answers_state: State = with_answers.iter().cloned().collect();
    let otherwise = vec![
        Op::Change { from: answering[0].clone(), to: responder(&["fd07::1/64"], false) },
        Op::Change { from: answering[1].clone(), to: lease(2) },
        Op::Remove { object: answering[2].clone(), implied: false },
    ];
    let second = second_endpoint(3, "A");
    let with_second = [network(), a.clone(), second.clone()].concat();
    let families = [Family::V4, Family::V6];
    let lead_others = families
        .map(|family| Op::Change { from: origin(&[3], family, "A"), to: origin(&[4, 5], family, "A") });
    vec![
        ("attach a second interface", [network(), a.clone()].concat(), create(second.clone())),
        ("lead others by it", with_second.clone(), Plan { ops: lead_others.to_vec() }),
        ("detach it", with_second, remove(&second)),
        ("steer", network(), create(steered.clone())),
        ("steer with the network", vec![], create(with_tables.clone())),
        ("steer no more", with_tables.clone(), remove(&steered)),
        ("steer otherwise", [with_tables.clone(), alone.clone()].concat(), Plan { ops: resteer }),
        ("detach who is steered", [ab.clone(), alone.clone()].concat(), detach_steered),
        ("remove a steered network", with_tables, diff(&with_tables_state, &State::new())),
        ("answer", network(), create(answering.clone())),
        ("answer with the network", vec![], create(with_answers.clone())),
        ("answer otherwise", with_answers.clone(), Plan { ops: otherwise }),
        ("answer no more", with_answers.clone(), remove(&answering)),
        ("remove a network that answers", with_answers, diff(&with_answers_state, &State::new())),
        ("claim", network(), create(claims.clone())),
        ("claim with the network", vec![], create(claimed.clone())),
        ("give up one claim", claimed.clone(), remove(&claims[2..3])),
        ("give up claims", claimed.clone(), remove(&claims)),
        ("other claims", claimed.clone(), Plan { ops: exchange }),
        ("remove a network with claims", claimed, diff(&of_bridge, &State::new())),
        // With an uplink that lives by router advertisements.
        ("create a network", vec![], create(network())),
        ("attach", [network(), vec![netns("A")]].concat(), create(endpoint(2, "A"))),
        ("attach with a namespace", network(), create(a.clone())),
        ("attach two", network(), create(both)),
        ("network with endpoint", vec![], create([network(), a.clone()].concat())),
        ("host endpoint", network(), create([host(veth(2, "A"))])),
        ("detach", ab.clone(), remove(&endpoint(2, "A"))),
        ("detach with the namespace", ab.clone(), remove(&a)),
        ("remove addresses and routes", ab.clone(), Plan { ops: explicit }),
        ("replace", ab.clone(), Plan { ops: replace }),
        ("remove all", ab.clone(), remove(&ab)),
        ("other masquerades", ab.clone(), Plan { ops: remasquerade }),
        ("change", ab.clone(), Plan { ops: change }),
        ("services with a network", vec![], create([network(), two.clone()].concat())),
        ("change services", two.clone(), Plan { ops: change_services }),
        ("remove services", [ab, two.clone()].concat(), remove(&two)),
        ("hold ports and close", vec![], create(guarded.clone())),
        ("hold and close otherwise", guarded.clone(), Plan { ops: reguard }),
        ("open and let go", guarded.clone(), remove(&guarded)),
    ]
}

fn prepare(linux: &mut Linux, before: &[Object]) -> BTreeSet<String> {
    if !succeeds("ip link show up0") {
        sh("ip link add up0 type veth peer name up1");
    }
    sh("echo 1 > /proc/sys/net/ipv6/conf/up0/accept_ra");
    done(linux, &create(before.to_vec()));
    at_rest()
}

/// Removes what a case put there.
fn clean(linux: &mut Linux, before: &[Object]) {
    done(linux, &remove(before));
    for file in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        sh(&format!("echo 0 > /proc/sys/net/{file}"));
    }
}

#[test]
fn after_a_failed_operation_all_is_as_before() {
    isolated("after_a_failed_operation_all_is_as_before", || {
        let mut linux = Chaos::new(start());
        for (name, objects, plan) in cases() {
            let before = prepare(&mut linux.inner, &objects);
            for k in 0..plan.ops.len() {
                linux.fail_at = Some(k);
                let error = linux.apply(&plan).unwrap_err();
                assert!(error.undo.is_none(), "{name}, operation {k}: {:?}", error.undo);
                settles_at(&before, &format!("{name}, operation {k} failed"));
            }
            clean(&mut linux.inner, &objects);
        }
    });
}

#[test]
fn after_a_refused_message_all_is_as_before() {
    isolated("after_a_refused_message_all_is_as_before", || {
        let mut linux = start();
        let mut tried = 0;
        for (name, objects, plan) in cases() {
            let before = prepare(&mut linux, &objects);
            tried += refuse_each(&mut linux, name, &plan, 1, |_, what| settles_at(&before, what));
            clean(&mut linux, &objects);
        }
        println!("measured: {tried} messages refused, one at a time");
    });
}

/// Does what is left to be done, as the service does it every few seconds: by then what was given up is deleted.
fn try_again(linux: &mut Linux, left: &Plan, place: &str) {
    let until = soon();
    loop {
        sleep(Duration::from_millis(150));
        match linux.apply(left) {
            Ok(applied) => return linux.settle(applied),
            Err(error) => assert!(Instant::now() < until, "{place}, of\n{left}: {error}: {}", error.source),
        }
    }
}

#[test]
fn what_the_kernel_refuses_to_take_back_is_told_and_taken_back_later() {
    isolated("what_the_kernel_refuses_to_take_back_is_told_and_taken_back_later", || {
        let mut linux = start();
        let (mut tried, mut told) = (0, 0);
        let chosen = chosen();
        let (step, plans) = if chosen.is_some() { (1, 1) } else { (STEP, PLANS) };
        let word = chosen.filter(|word| word != "1").unwrap_or_default();
        for (number, (name, objects, plan)) in cases().into_iter().enumerate().step_by(plans) {
            if !name.contains(&word) {
                continue;
            }
            let before = prepare(&mut linux, &objects);
            let wanted: State = objects.iter().cloned().collect();
            // Each message is refused once for each way of going on: trying again, and a new start.
            for (k, restart) in (number % step..).step_by(step).flat_map(|k| [(k, false), (k, true)]) {
                let applied = linux.apply(&plan).unwrap();
                linux.refuse_message(k, libc::ENOMEM);
                let undone = linux.undo(applied);
                if linux.fault_pending() {
                    undone.unwrap();
                    break;
                }
                tried += 1;
                let mut place = format!("{name}, message {k} of taking it back, restart: {restart}");
                if let Err(undo) = undone {
                    place = format!("{place}: {undo}");
                    told += 1;
                    assert!(undo.to_string().contains("os error 12"), "{place}: {undo}");
                    for op in &undo.left.ops {
                        assert!(undo.to_string().contains(&op.to_string()), "{place}: {op} is not in {undo}");
                    }
                    if restart {
                        drop(linux);
                        let (next, found) = start_with(&wanted);
                        linux = next;
                        done(&mut linux, &diff(&found, &wanted));
                    } else {
                        try_again(&mut linux, &undo.left, &place);
                    }
                }
                settles_at(&before, &place);
            }
            clean(&mut linux, &objects);
        }
        println!("measured: {tried} messages refused while taking back, {told} of them told");
        assert!(told > 3);
    });
}
