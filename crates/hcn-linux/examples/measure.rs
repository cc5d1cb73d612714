//! Prints what attaching and detaching an endpoint costs, to be held against the floor program of
//! performance.md. Run it as root in namespaces of its own:
//! `unshare -n -m target/release/examples/measure [ENDPOINTS [ROUNDS]]`.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use hcn_dataplane::{
    Address, Bridge, Dataplane, LinkId, Mac, Netns, NetnsFile, Object, Op, Plan, Route, Veth,
};
use hcn_linux::{Config, Linux};

const BRIDGE: &str = "hcn00000001";

fn endpoint(n: usize) -> Vec<Object> {
    let link = LinkId { netns: Netns::Named(format!("M{n}")), name: "eth0".into() };
    let [.., high, low] = n.to_be_bytes();
    vec![
        Object::Veth(Veth {
            name: format!("hve{n:08x}"),
            alias: format!("hcn endpoint {n}"),
            bridge: BRIDGE.into(),
            peer: link.clone(),
            mac: Mac([2, 0, 0, 0, high, low]),
            mtu: 1500,
            ipv6: false,
        }),
        Object::Address(Address {
            link: link.clone(),
            address: format!("10.7.{high}.{low}/16").parse().unwrap(),
            prefix_route: true,
        }),
        Object::Route(Route {
            link,
            destination: "0.0.0.0/0".parse().unwrap(),
            gateway: Some("10.7.255.1".parse().unwrap()),
            metric: 0,
        }),
    ]
}

fn create(objects: Vec<Object>) -> Plan {
    Plan { ops: objects.into_iter().map(Op::Create).collect() }
}

fn remove(objects: &[Object]) -> Plan {
    let ops = objects.iter().rev().map(|object| Op::Remove {
        object: object.clone(),
        implied: !matches!(object, Object::Veth(_)),
    });
    Plan { ops: ops.collect() }
}

fn timed(linux: &mut Linux, plan: &Plan) -> Duration {
    let start = Instant::now();
    let applied = linux.apply(plan).unwrap();
    let took = start.elapsed();
    linux.settle(applied);
    took
}

/// Waits without letting the processor fall asleep, as the floor program does not either.
fn rest(time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        std::hint::spin_loop();
    }
}

fn line(name: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: usize| times[(times.len() - 1) * share / 100].as_micros();
    println!("{name}: p50 {} µs, p95 {} µs, {} samples", at(50), at(95), times.len());
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse().unwrap());
    let (endpoints, rounds) = (arguments.next().unwrap_or(1), arguments.next().unwrap_or(100));
    let folder = std::env::temp_dir().join(format!("hcn-measure-{}", std::process::id()));
    let config = Config { netns_dir: folder.join("netns"), netns_etc: PathBuf::from("/nonexistent") };
    let mut linux = Linux::start(config).unwrap();
    let bridge = Bridge {
        name: BRIDGE.into(),
        alias: "measure".into(),
        mac: Mac([2, 0, 0, 0, 255, 1]),
        mtu: 1500,
        ipv6: false,
    };
    timed(&mut linux, &create(vec![Object::Bridge(bridge)]));
    let netns = |n: usize| Object::Netns(NetnsFile { name: format!("M{n}") });
    let mut namespaces = Vec::new();
    for n in 2..endpoints + 2 {
        namespaces.push(timed(&mut linux, &create(vec![netns(n)])));
    }
    for n in 2..endpoints + 1 {
        timed(&mut linux, &create(endpoint(n)));
    }
    let last = endpoint(endpoints + 1);
    let (mut attaches, mut detaches) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        attaches.push(timed(&mut linux, &create(last.clone())));
        rest(Duration::from_millis(5));
        detaches.push(timed(&mut linux, &remove(&last)));
        // The reaper's work is not to be measured with the next attach.
        rest(Duration::from_millis(80));
    }
    println!("with {endpoints} endpoints on the bridge:");
    line("create a namespace", namespaces);
    line("attach", attaches);
    line("detach", detaches);
    for n in 2..endpoints + 1 {
        timed(&mut linux, &remove(&endpoint(n)));
    }
    let all = (2..endpoints + 2).map(netns).collect::<Vec<_>>();
    let start = Instant::now();
    timed(&mut linux, &remove(&[]));
    let plan = Plan { ops: all.into_iter().map(|object| Op::Remove { object, implied: false }).collect() };
    timed(&mut linux, &plan);
    drop(linux);
    println!("all gone after {} ms", start.elapsed().as_millis());
    let _ = nix::mount::umount(&folder.join("netns"));
    let _ = std::fs::remove_dir_all(folder);
}
