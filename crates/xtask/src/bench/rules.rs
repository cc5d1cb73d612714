//! `bench rules`: what rules cost packets to the endpoint that has them, and to its neighbour that has none; and how long
//! it takes to change one while many are there.

use std::thread::sleep;
use std::time::Duration;

use anyhow::bail;
use serde_json::{Value, json};

use super::machine;
use super::table::Samples;
use super::types::documents::{Container, Host};
use super::types::path::{Figures, Path};

/// How many rules the endpoint has.
const LISTS: [usize; 4] = [0, 1, 100, 1_000];
/// How many rules others have while one is changed: so many endpoints with a list of so many.
const OTHERS: [(usize, usize); 3] = [(0, 0), (10, 100), (10, 1_000)];
/// The length of the list that is changed.
const CHANGED: usize = 10;
/// Between two changes, so that what one leaves to be done is not counted with the next.
const REST: Duration = Duration::from_millis(40);
const ROUNDS: usize = 40;

/// Runs inside the sandbox.
pub(super) fn run(turns: u32) -> anyhow::Result<()> {
    if std::env::var_os("HCND_SANDBOX").is_none() {
        bail!("this changes networks; run `cargo xtask bench rules`, which makes a sandbox first");
    }
    println!("{}", machine::describe());
    let mut hcnd = Host::first()?;
    let network = hcnd.network("NAT", "10.41.0.0/24", true, &json!([]))?;
    let [client, ruled, neighbour] = containers(&mut hcnd, &network)?;
    let to = |server: &Container| Path {
        from: client.netns.clone(),
        to: server.netns.clone(),
        address: server.address,
    };
    let paths = [to(&ruled), to(&neighbour)];
    println!(
        "medians of {turns} turns each; containers of one bridge; all rules are asked, and none is about the packets\n\n\
         rules   to the endpoint: round trip p50 us   connections/s   to its neighbour: round trip p50 us   connections/s"
    );
    let mut figures = vec![[const { Vec::new() }; 2]; LISTS.len()];
    for _ in 0..turns {
        for (rules, figures) in LISTS.iter().zip(&mut figures) {
            hcnd.update(&ruled.endpoint, &list(*rules, 0))?;
            for (path, figures) in paths.iter().zip(figures) {
                figures.push(path.measure()?);
            }
        }
    }
    for (rules, [own, other]) in LISTS.iter().zip(&figures) {
        let (own, other) = (Figures::medians(own), Figures::medians(other));
        println!(
            "{rules:5} {:38.1} {:15.0} {:38.1} {:15.0}",
            own.round_trip, own.connections, other.round_trip, other.connections
        );
    }
    hcnd.update(&ruled.endpoint, &json!([]))?;
    change(&mut hcnd, &network, &client)
}

fn change(hcnd: &mut Host, network: &str, changed: &Container) -> anyhow::Result<()> {
    println!("\nrules of others   a list of {CHANGED} is changed: p50 us       p95 us");
    let mut others: Vec<Container> = Vec::new();
    for (endpoints, rules) in OTHERS {
        while others.len() < endpoints {
            others.push(hcnd.container(network)?);
        }
        for other in &others {
            hcnd.update(&other.endpoint, &list(rules, 0))?;
        }
        hcnd.update(&changed.endpoint, &list(CHANGED, 0))?;
        let mut samples = Samples::default();
        for round in 0..ROUNDS {
            let policies = list(CHANGED, 1 + round % 2);
            sleep(REST);
            samples.time(|| hcnd.update(&changed.endpoint, &policies))?;
        }
        let (p50, p95) = (samples.percentile(50), samples.percentile(95));
        println!("{:15} {p50:33.0} {p95:12.0}", endpoints * rules);
    }
    Ok(())
}

fn containers(hcnd: &mut Host, network: &str) -> anyhow::Result<[Container; 3]> {
    Ok([hcnd.container(network)?, hcnd.container(network)?, hcnd.container(network)?])
}

/// Rules that are about no packet of these measurements; `variant` tells the last one apart.
fn list(count: usize, variant: usize) -> Value {
    let rule = |number: usize| {
        let last = number + 1 == count;
        let port = 20_000 + number + if last { variant } else { 0 };
        json!({"Type": "ACL", "Settings": {
            "Protocols": "6", "Action": "Block", "Direction": "In", "RemoteAddresses": "10.41.0.0/24",
            "LocalPorts": port.to_string(), "RuleType": "Switch", "Priority": 100 + number,
        }})
    };
    (0..count).map(rule).collect()
}
