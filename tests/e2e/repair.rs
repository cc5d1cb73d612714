//! Is what others change of hcnd's in the kernel put right, soon and wholly, and told; and does a fight end?
#![allow(clippy::print_stdout, reason = "figures for whoever asks for them")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

#[path = "repair/world.rs"]
mod world;

use std::fs;
use std::sync::Mutex;
use std::thread::sleep;
use std::time::{Duration, Instant};

use hcn_tests::client::{Client, Container, DUAL, membership};
use hcn_tests::traffic::wait_for_outside;
use hcn_tests::{Sandbox, eventually, in_sandbox, patience, run};
use serde_json::{Value, json};
use world::{Everything, World, differences, everything, settled};

const DEGRADED: u32 = 0x803b_0017;
/// Within this what was changed is put right.
/// Times are measured, and hcnd looks the less often the longer a look takes: who else works here would count.
static ALONE: Mutex<()> = Mutex::new(());
const SOON: Duration = Duration::from_secs(1);

/// The sum of a number of the service.
fn number(name: &str) -> u64 {
    let text = Client::new().ok("Service.Metrics", &json!({}))["text"].as_str().unwrap().to_owned();
    let values =
        text.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit(' ').next());
    values.map(|value| value.parse::<f64>().unwrap() as u64).sum()
}

/// Waits until nothing differs from before.
fn wait_for(before: &Everything, what: &str) {
    let begun = Instant::now();
    loop {
        let lines = differences(before, &everything());
        if lines.is_empty() {
            return;
        }
        if begun.elapsed() > patience(SOON) * 4 {
            let log = fs::read_to_string("/run/hcnd/hcnd.log").unwrap_or_default();
            let last: Vec<&str> = log.lines().rev().take(20).collect();
            panic!("{what} stays:\n{}\nlast:\n{}", lines.join("\n"), last.join("\n"));
        }
        sleep(Duration::from_millis(10));
    }
}

/// A connection that is told of repairs and fights.
fn subscribe() -> Client {
    let mut client = Client::new();
    client.wire.send("io.hcn.Events.Subscribe", &json!({}), true).unwrap();
    assert_eq!(client.wire.receive().unwrap().parameters["registered"], true);
    client
}

/// The next of these events, if there is one in time.
fn next(subscriber: &mut Client, action: &str, time: Duration) -> Option<Value> {
    let end = Instant::now() + patience(time);
    loop {
        let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let event = subscriber.wire.receive_within(left).unwrap()?.parameters;
        if event["action"] == action {
            return Some(event);
        }
    }
}

fn execute(command: &str) -> bool {
    command.split(" && ").all(|part| run(&part.split(' ').collect::<Vec<_>>()).code == Some(0))
}

#[test]
fn what_others_change_is_put_right_within_a_second() {
    let _alone = ALONE.lock();
    in_sandbox!(Sandbox::new(), {
        wait_for_outside();
        let mut client = Client::new();
        let world = World::new(&mut client, 1);
        let before = settled();
        sleep(Duration::from_millis(500));
        assert_eq!(number("hcnd_drift_repaired_total"), 0, "what is right needs no repair");
        let mut subscriber = subscribe();
        let mut times = Vec::new();
        for (what, damage) in world.damages() {
            let begun = Instant::now();
            assert!(execute(&damage), "{damage}");
            let event = next(&mut subscriber, "repair", SOON * 5);
            let took = begun.elapsed();
            let event = event.unwrap_or_else(|| panic!("{what}: nobody tells of a repair"));
            let objects = event["data"]["Data"]["Objects"].as_array().unwrap();
            assert!(event["notification"].is_null() && !objects.is_empty(), "{event}");
            wait_for(&before, &what);
            // Those that followed.
            while next(&mut subscriber, "repair", Duration::ZERO).is_some() {}
            times.push((took, what));
        }
        assert_eq!(number("hcnd_entities_degraded"), 0);
        assert!(number("hcnd_drift_repaired_total") >= times.len() as u64);
        world.assert_works();
        times.sort();
        for (took, what) in &times {
            println!("{:>6} ms  {what}", took.as_millis());
        }
        let slow: Vec<_> = times.iter().filter(|(took, _)| *took > patience(SOON)).collect();
        assert!(slow.is_empty(), "{slow:?}");
    });
}

#[test]
fn a_fight_ends_with_a_degraded_entity() {
    let _alone = ALONE.lock();
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let container = client.container(&network, &json!({}));
        let mut subscriber = subscribe();
        let delete = ["ip", "-n", &container.namespace, "route", "delete", "default"];
        let mut deleted = 0;
        let end = Instant::now() + patience(Duration::from_secs(20));
        let fought = loop {
            if run(&delete).code == Some(0) {
                deleted += 1;
            }
            if let Some(event) = next(&mut subscriber, "fight", Duration::from_millis(5)) {
                break event;
            }
            assert!(Instant::now() < end, "deleted {deleted} times, and made again each time");
        };
        assert!((10..=25).contains(&deleted), "{deleted}");
        assert_eq!(
            (&fought["kind"], &fought["id"]),
            (&json!("Endpoint"), &json!(container.endpoint)),
            "{fought}"
        );
        assert!(fought["data"]["Data"]["Objects"][0].as_str().unwrap().contains("route"), "{fought}");
        assert_eq!(number("hcnd_entities_degraded"), 1);
        let modify = json!({"ResourceType": "Policy", "RequestType": "Add", "Settings": {"Policies": []}});
        let refused =
            client.refused("Endpoint.Modify", &json!({"id": container.endpoint, "settings": modify}));
        assert_eq!(refused, DEGRADED);
        // It is left alone, and so are the others not.
        assert_ne!(run(&delete).code, Some(0));
        assert!(execute(&format!("ip -n {} link set lo down", container.namespace)));
        assert!(next(&mut subscriber, "repair", SOON * 5).is_some_and(|event| event["kind"] == "Namespace"));
        assert_ne!(run(&delete).code, Some(0));
    });
}

/// How long the soak lasts; `HCN_SOAK_SECONDS` makes it longer.
fn soak_time() -> Duration {
    let seconds = std::env::var("HCN_SOAK_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(15))
}

/// What comes and goes while others delete.
fn churn(client: &mut Client, network: &str, made: &mut Vec<Container>) {
    if made.len() < 5 {
        made.push(client.container(network, &json!({})));
    } else {
        release(client, &made.remove(0));
    }
}

/// Somebody may have taken something of it away just now: then it is put right first.
fn release(client: &mut Client, container: &Container) {
    let Container { namespace, endpoint, .. } = container;
    eventually("it is detached", || {
        client.call("Namespace.Modify", &membership("Remove", namespace, endpoint)).error.is_none()
    });
    for (kind, id) in [("Endpoint", endpoint), ("Namespace", namespace)] {
        eventually("it is deleted", || {
            client.call(&format!("{kind}.Delete"), &json!({"id": id})).error.is_none()
        });
    }
}

#[test]
fn nothing_differs_after_a_time_of_churn_and_deletions() {
    let _alone = ALONE.lock();
    in_sandbox!(Sandbox::new().deadline(soak_time() + Duration::from_secs(120)), {
        wait_for_outside();
        let mut client = Client::new();
        // So many that nothing looks like a fight.
        let world = World::new(&mut client, 4);
        let network = client.network(&["198.51.100.0/24", "2001:db8:51::/64"]);
        let before = settled();
        let mut made = Vec::new();
        let damages = world.damages();
        let begun = Instant::now();
        let (mut round, mut damaged) = (0, 0);
        let mut at = 0x9e37_79b9_u64;
        while begun.elapsed() < soak_time() {
            churn(&mut client, &network, &mut made);
            if begun.elapsed() > Duration::from_secs(1) * round {
                // One thing of all, in no order; what is gone already cannot be deleted.
                at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let (_, damage) = &damages[(at >> 33) as usize % damages.len()];
                damaged += u64::from(execute(damage));
                round += 1;
            }
            sleep(Duration::from_millis(20));
        }
        println!("{damaged} of {round} deletions, {} repairs", number("hcnd_drift_repaired_total"));
        assert!(damaged > 0);
        for container in made {
            release(&mut client, &container);
        }
        wait_for(&before, "the soak");
        assert_eq!(number("hcnd_entities_degraded"), 0);
        world.assert_works();
    });
}
