//! Is what others change of hcnd's in the kernel put right, soon and wholly, and told; and does a fight end?
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

#[path = "repair/world.rs"]
mod world;

use std::fs;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use hcn_tests::client::{Client, DUAL};
use hcn_tests::traffic::{HOST, in_netns, seen_as, serve, wait_for_outside};
use hcn_tests::{Sandbox, eventually, in_sandbox, patience, run, run_ok};
use serde_json::{Value, json};
use world::{World, differences, everything};

const DEGRADED: u32 = 0x803b_0017;
/// Within this all is as before.
const SOON: Duration = Duration::from_secs(1);

/// The sum of a number of the service.
fn number(name: &str) -> u64 {
    let text = Client::new().ok("Service.Metrics", &json!({}))["text"].as_str().unwrap().to_owned();
    let values =
        text.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit(' ').next());
    values.map(|value| value.parse::<f64>().unwrap() as u64).sum()
}

/// Waits until nothing differs from before; how long that took.
fn wait_for(before: &world::Everything, what: &str) -> Duration {
    let begun = Instant::now();
    loop {
        let lines = differences(before, &everything());
        if lines.is_empty() {
            return begun.elapsed();
        }
        if begun.elapsed() > patience(SOON) * 4 {
            let log = fs::read_to_string("/run/hcnd/hcnd.log").unwrap_or_default();
            let last: Vec<&str> = log.lines().rev().take(20).collect();
            panic!("{what} stays:\n{}\nlast:\n{}", lines.join("\n"), last.join("\n"));
        }
        sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_others_change_is_put_right_within_a_second() {
    in_sandbox!(Sandbox::new(), {
        wait_for_outside();
        let mut client = Client::new();
        let world = World::new(&mut client);
        let before = world::settled();
        sleep(Duration::from_millis(500));
        assert_eq!(number("hcnd_drift_repaired_total"), 0, "what is right needs no repair");
        let mut times = Vec::new();
        for (what, damage) in world.damages() {
            let repaired = number("hcnd_drift_repaired_total");
            for command in damage.split(" && ") {
                let done = run(&command.split(' ').collect::<Vec<_>>());
                assert_eq!(done.code, Some(0), "{what}: {done}");
            }
            let took = wait_for(&before, &what);
            eventually("it is counted", || number("hcnd_drift_repaired_total") > repaired);
            times.push((took, what));
        }
        assert_eq!(number("hcnd_entities_degraded"), 0);
        world.assert_works();
        times.sort();
        for (took, what) in &times {
            println!("{:>6} ms  {what}", took.as_millis());
        }
        let slow: Vec<_> = times.iter().filter(|(took, _)| *took > patience(SOON)).collect();
        assert!(slow.is_empty(), "{slow:?}");
    });
}
