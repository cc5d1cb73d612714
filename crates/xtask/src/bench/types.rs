//! `bench types`: what packets cost on networks of each type, beside the same made by hand on hosts without hcnd, whose
//! rules therefore do not weigh on them. Both sides take turns.

mod by_hand;
pub(super) mod documents;
pub(super) mod path;

use anyhow::{Context as _, bail};

use super::machine;
use path::{Figures, Path};

/// One type of network on both sides.
struct Case {
    name: &'static str,
    /// Sets both sides up and says between which ends packets go.
    set_up: fn() -> anyhow::Result<Sides>,
}

/// Where packets go on either side.
struct Sides {
    hcnd: Path,
    by_hand: Path,
}

const CASES: [Case; 8] = [
    Case { name: "Internal, same bridge", set_up: internal },
    Case { name: "Private, same bridge", set_up: private },
    Case { name: "NAT to outside", set_up: nat },
    Case { name: "ICS to outside", set_up: ics },
    Case { name: "L2Bridge, own prefix, to outside", set_up: l2_bridge_own },
    Case { name: "L2Bridge, uplink's prefix, to outside", set_up: l2_bridge },
    Case { name: "Transparent (macvlan) to outside", set_up: transparent },
    Case { name: "Overlay, host to host", set_up: overlay },
];

/// Runs inside the sandbox.
pub(super) fn run(turns: u32, only: &[String]) -> anyhow::Result<()> {
    if std::env::var_os("HCND_SANDBOX").is_none() {
        bail!("this changes networks; run `cargo xtask bench types`, which makes a sandbox first");
    }
    by_hand::hosts().context("cannot make the hosts without hcnd")?;
    println!("{}", machine::describe());
    println!(
        "medians of {turns} turns each; both ends on one processor, throughput on all; by hand on hosts without hcnd\n"
    );
    println!(
        "                                         throughput Gbit/s      round trip p50 us     connections/s\n\
         type                                     hcnd  hand  ratio     hcnd  hand  ratio     hcnd   hand  ratio"
    );
    let wanted = |case: &&Case| only.is_empty() || only.iter().any(|name| case.name.contains(name.as_str()));
    for case in CASES.iter().filter(wanted) {
        let sides = (case.set_up)().with_context(|| format!("cannot set up {}", case.name))?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for turn in 0..turns {
            // Each comes first as often as second.
            let mut both = [(&sides.hcnd, &mut ours), (&sides.by_hand, &mut theirs)];
            if turn % 2 == 1 {
                both.reverse();
            }
            for (path, figures) in both {
                figures.push(path.measure().with_context(|| format!("{}: {path}", case.name))?);
            }
        }
        println!("{}", line(case.name, &Figures::medians(&ours), &Figures::medians(&theirs)));
    }
    Ok(())
}

fn line(name: &str, ours: &Figures, theirs: &Figures) -> String {
    let (a, b) = (ours, theirs);
    format!(
        "{name:38} {:6.1} {:5.1} {:6.2}   {:6.1} {:5.1} {:6.2}   {:6.0} {:6.0} {:6.2}",
        a.gigabits,
        b.gigabits,
        a.gigabits / b.gigabits,
        a.round_trip,
        b.round_trip,
        a.round_trip / b.round_trip,
        a.connections,
        b.connections,
        a.connections / b.connections
    )
}

/// Two containers of one network on either side.
fn same_bridge(kind: &str, third: u8, gateway: bool) -> anyhow::Result<Sides> {
    let mut hcnd = documents::Host::first()?;
    let network = hcnd.network(kind, &format!("10.{third}.0.0/24"), gateway, &serde_json::json!([]))?;
    let (from, to) = (hcnd.container(&network)?, hcnd.container(&network)?);
    let bridge = by_hand::bridge(by_hand::FIRST, third, gateway)?;
    let (near, far) = (bridge.container(2)?, bridge.container(3)?);
    Ok(Sides {
        hcnd: Path { from: from.netns, to: to.netns, address: to.address },
        by_hand: Path { from: near.netns, to: far.netns, address: far.address },
    })
}

fn internal() -> anyhow::Result<Sides> {
    same_bridge("Internal", 21, true)
}

fn private() -> anyhow::Result<Sides> {
    same_bridge("Private", 22, false)
}

/// From a container to the namespace outside.
fn to_outside(from: String, by_hand: String) -> Sides {
    let path = |from| Path { from, to: "/run/netns/outside".into(), address: by_hand::OUTSIDE };
    Sides { hcnd: path(from), by_hand: path(by_hand) }
}

fn nat() -> anyhow::Result<Sides> {
    translated("NAT", 23)
}

fn ics() -> anyhow::Result<Sides> {
    translated("ICS", 24)
}

fn translated(kind: &str, third: u8) -> anyhow::Result<Sides> {
    let mut hcnd = documents::Host::first()?;
    let network = hcnd.network(kind, &format!("10.{third}.0.0/24"), true, &serde_json::json!([]))?;
    let from = hcnd.container(&network)?;
    let bridge = by_hand::bridge(by_hand::FIRST, third, true)?;
    by_hand::masquerade(by_hand::FIRST, third)?;
    Ok(to_outside(from.netns, bridge.container(2)?.netns))
}

fn l2_bridge_own() -> anyhow::Result<Sides> {
    let mut hcnd = documents::Host::first()?;
    let network = hcnd.network("L2Bridge", "10.25.0.0/24", true, &documents::by_eth0())?;
    let from = hcnd.container(&network)?;
    let bridge = by_hand::bridge(by_hand::FIRST, 125, true)?;
    let container = bridge.container(2)?;
    by_hand::route_back("10.25.0.0/24", "203.0.113.10")?;
    by_hand::route_back("10.125.0.0/24", "203.0.113.101")?;
    Ok(to_outside(from.netns, container.netns))
}

fn l2_bridge() -> anyhow::Result<Sides> {
    let mut hcnd = documents::Host::first()?;
    let network = hcnd.uplink_network("L2Bridge")?;
    let from = hcnd.container_at(&network, "203.0.113.40")?;
    Ok(to_outside(from.netns, by_hand::proxied("203.0.113.140")?))
}

fn transparent() -> anyhow::Result<Sides> {
    let mut hcnd = documents::Host::first()?;
    let network = hcnd.uplink_network("Transparent")?;
    let from = hcnd.container_at(&network, "203.0.113.41")?;
    Ok(to_outside(from.netns, by_hand::macvlan("203.0.113.141")?))
}

fn overlay() -> anyhow::Result<Sides> {
    let mut hosts = [documents::Host::first()?, documents::Host::second()?];
    let [from, to] = documents::overlay(&mut hosts)?;
    let [near, far] = by_hand::vxlan()?;
    Ok(Sides {
        hcnd: Path { from: from.netns, to: to.netns, address: to.address },
        by_hand: Path { from: near.netns, to: far.netns, address: far.address },
    })
}
