//! `bench kube-proxy`: what a node with many services costs kube-proxy and hcnd: its first round, those where nothing or
//! little has changed, and the end of all; and how long load balancers over many endpoints take.

mod proxier;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use self::proxier::{Calls, Node, Outcome, Pod, Proxier, Service};
use super::machine::{self, Memory};
use super::wire::{self, Wire};

/// Pods of each service.
const PODS: u32 = 4;
/// One of them is on this node: so many in all.
const HERE: u32 = 250;
/// The others are elsewhere, and several services' at once: one for so many services.
const SHARED: u32 = 2;
/// How many endpoints are listed for their goal, and how often.
const LISTED: usize = 10_000;
const ROUNDS: usize = 5;
/// The goals: a list of endpoints, and load balancers over endpoints.
const LIST_MS: f64 = 100.0;
const MADE_S: f64 = 2.0;
const BALANCERS: u32 = 2_000;
const ENDPOINTS: u32 = 5_000;

/// A connection that counts.
struct Client {
    wire: Wire,
    calls: u64,
}

impl Client {
    fn connect(socket: &Path) -> anyhow::Result<Self> {
        let wire =
            Wire::connect(socket).with_context(|| format!("nobody listens at {}", socket.display()))?;
        Ok(Self { wire, calls: 0 })
    }
}

impl Calls for Client {
    fn call(&mut self, method: &str, parameters: &Value) -> Outcome<Value> {
        self.calls += 1;
        self.wire.call(method, parameters).map_err(|error| format!("{error:#}"))
    }

    fn all(&mut self, method: &str, parameters: &[Value]) -> Outcome<Vec<Value>> {
        self.calls += parameters.len() as u64;
        self.wire.call_all(method, parameters).map_err(|error| format!("{error:#}"))
    }
}

/// Runs inside the sandbox.
pub(super) fn run(services: u32) -> anyhow::Result<()> {
    if std::env::var_os("HCND_SANDBOX").is_none() {
        bail!("this changes networks; run `cargo xtask bench kube-proxy`, which makes a sandbox first");
    }
    let socket: PathBuf = std::env::var_os("HCND_SOCKET").context("HCND_SOCKET is not set")?.into();
    rounds(&socket, services)?;
    many_balancers(&socket)
}

/// The overlay of this node, and its pods that are on it.
fn overlay(client: &mut Client) -> Outcome<String> {
    let subnets = json!([{
        "IpAddressPrefix": "10.240.0.0/16", "Policies": [{"Type": "VSID", "Settings": {"IsolationId": 4096}}],
        "Routes": [{"NextHop": "10.240.0.1", "DestinationPrefix": "0.0.0.0/0"}],
    }]);
    let routes: Vec<Value> = (0..4)
        .map(|node| {
            json!({"Type": "RemoteSubnetRoute", "Settings": {
                "DestinationPrefix": format!("10.{}.0.0/16", 241 + node), "IsolationId": 4096,
                "ProviderAddress": format!("203.0.113.{}", 20 + node),
                "DistributedRouterMacAddress": format!("00-15-5d-aa-bb-{node:02x}"),
            }})
        })
        .collect();
    let mut policies = vec![json!({"Type": "NetAdapterName", "Settings": {"NetworkAdapterName": "eth0"}})];
    policies.extend(routes);
    let settings = json!({
        "Name": "flannel.4096", "Type": "Overlay", "Policies": policies, "Flags": 8,
        "Ipams": [{"Type": "Static", "Subnets": subnets}], "SchemaVersion": {"Major": 2, "Minor": 0},
    });
    let made = client.call("io.hcn.Network.Create", &json!({"settings": settings}))?;
    let network = made["id"].as_str().ok_or("a reply without an ID")?.to_owned();
    for number in 0..HERE {
        let settings = json!({
            "IpConfigurations": [{"IpAddress": here(number)}], "SchemaVersion": {"Major": 2, "Minor": 0},
        });
        client.call("io.hcn.Endpoint.Create", &json!({"network_id": network, "settings": settings}))?;
    }
    Ok(network)
}

/// The address of a pod of this node.
fn here(number: u32) -> IpAddr {
    numbered(240, 10 + number % HERE)
}

fn numbered(second: u8, number: u32) -> IpAddr {
    let [_, _, third, fourth] = number.to_be_bytes();
    Ipv4Addr::new(10, second, third, fourth).into()
}

fn service(number: u32, of: u32) -> Service {
    let elsewhere = (of / SHARED).max(PODS);
    let away = (1..PODS).map(|step| {
        let number = (number + step * 37) % elsewhere;
        let node = u8::try_from(number % 4).unwrap_or_default();
        Pod { address: numbered(241 + node, 10 + number / 4), here: false }
    });
    Service {
        vip: numbered(96, 1 + number),
        protocol: 6,
        port: 80,
        target: 8080,
        node_port: None,
        external: Vec::new(),
        ingress: Vec::new(),
        local: false,
        preserves_destination: false,
        affinity: false,
        health_port: None,
        pods: [Pod { address: here(number), here: true }].into_iter().chain(away).collect(),
    }
}

fn rounds(socket: &Path, count: u32) -> anyhow::Result<()> {
    let hcnd = machine::hcnd()?;
    let mut client = Client::connect(socket)?;
    let network = overlay(&mut client).map_err(anyhow::Error::msg)?;
    let node = Node {
        network: "flannel.4096".to_owned(),
        address: "203.0.113.10".to_owned(),
        mac: "52-54-00-00-00-0a".to_owned(),
        source_vip: "10.240.255.1".to_owned(),
        dsr: false,
        root: "root".to_owned(),
    };
    let mut proxier = Proxier::new(client, node);
    let mut services: BTreeMap<String, Service> =
        (0..count).map(|number| (format!("{number:06}"), service(number, count))).collect();
    println!("{count} services with {PODS} pods each, one client\n");
    println!(
        "a round in which                          ms      calls   us a call   hcnd us a call   hcnd MiB"
    );
    let empty = Memory::of(hcnd)?;
    let mut last = 0;
    let mut round = |what: &str, proxier: &mut Proxier<Client>, services: &BTreeMap<String, Service>| {
        let (start, busy) = (Instant::now(), machine::processor_time(hcnd)?);
        proxier.sync(services).map_err(anyhow::Error::msg)?;
        let took = start.elapsed();
        let busy = machine::processor_time(hcnd)?.saturating_sub(busy).as_secs_f64() * 1e6;
        let calls = proxier.calls.calls - last;
        last = proxier.calls.calls;
        let each = took.as_secs_f64() * 1e6 / calls as f64;
        let (busy, memory) = (busy / calls as f64, mebibytes(Memory::of(hcnd)?));
        println!(
            "{what:34} {:9.0} {calls:10} {each:11.1} {busy:16.1} {memory:10.1}",
            took.as_secs_f64() * 1e3
        );
        anyhow::Ok(took)
    };
    round("all services are new", &mut proxier, &services)?;
    if services.keys().any(|name| proxier.balancers(name).len() != 1) {
        bail!("a service has not got its load balancer");
    }
    let steady = round("nothing has changed", &mut proxier, &services)?;
    let full = Memory::of(hcnd)?;
    for changed in services.values_mut().step_by(100) {
        changed.pods.truncate(2);
    }
    let updates = proxier.updates;
    let changed = round("1 % have other pods", &mut proxier, &services)?;
    let updates = proxier.updates - updates;
    if updates != services.len().div_ceil(100) {
        bail!("{updates} load balancers took over other back ends");
    }
    let listed = list(&mut proxier.calls, &network)?;
    round("all services are gone", &mut proxier, &BTreeMap::new())?;
    let more = changed.saturating_sub(steady).as_secs_f64() * 1e3;
    println!("\n{updates} changes in place cost {more:.0} ms more than none");
    let kib = full.anonymous.saturating_sub(empty.anonymous) as f64;
    println!(
        "memory: {:.1} KiB for each service, with its share of endpoints",
        kib / f64::from(count.max(1))
    );
    if let Some((endpoints, best)) = listed {
        let verdict = if best.as_secs_f64() * 1e3 <= LIST_MS { "met" } else { "MISSED" };
        println!(
            "{endpoints} endpoints are listed in {:.0} ms (P16 <= {LIST_MS} ms: {verdict})",
            best.as_secs_f64() * 1e3
        );
    }
    proxier.calls.call("io.hcn.Network.Delete", &json!({"id": network})).map_err(anyhow::Error::msg)?;
    Ok(())
}

fn mebibytes(memory: Memory) -> f64 {
    memory.resident as f64 / 1024.0
}

/// Lists endpoints as clients do: their IDs, and then each; the median. None if there are too few.
fn list(client: &mut Client, network: &str) -> anyhow::Result<Option<(usize, Duration)>> {
    let filter = json!({"VirtualNetwork": network}).to_string();
    let query = json!({"SchemaVersion": {"Major": 2, "Minor": 0}, "Filter": filter});
    let mut samples = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let listed = client.wire.call("io.hcn.Endpoint.Enumerate", &json!({"query": query}))?;
        let ids = listed["ids"].as_array().context("no list came back")?;
        if ids.len() < LISTED {
            return Ok(None);
        }
        let enumerated = start.elapsed();
        // The goal is about hcnd: calls are written before, replies are read, but not parsed.
        let each: Vec<Value> = ids[..LISTED]
            .iter()
            .map(|id| json!({"id": id, "query": {"SchemaVersion": {"Major": 2, "Minor": 0}}}))
            .collect();
        let calls = wire::calls("io.hcn.Endpoint.Query", &each)?;
        let start = Instant::now();
        client.wire.exchange_all(&calls, |reply| {
            if reply.starts_with(b"{\"error\"") { bail!("a query failed") } else { Ok(()) }
        })?;
        samples.push(enumerated + start.elapsed());
    }
    samples.sort_unstable();
    Ok(samples.get(ROUNDS / 2).map(|median| (LISTED, *median)))
}

/// One client makes endpoints of other hosts and load balancers over them, one call after the other.
fn many_balancers(socket: &Path) -> anyhow::Result<()> {
    let mut client = Client::connect(socket)?;
    let network = overlay(&mut client).map_err(anyhow::Error::msg)?;
    let start = Instant::now();
    let mut endpoints = Vec::new();
    for number in 0..ENDPOINTS {
        let settings = json!({
            "IpConfigurations": [{"IpAddress": numbered(241, 1 + number)}], "Flags": 1,
            "MacAddress": format!("02-11-0a-f1-{:02x}-{:02x}", number >> 8 & 0xff, number & 0xff),
            "Policies": [{"Type": "ProviderAddress", "Settings": {"ProviderAddress": "203.0.113.20"}}],
            "SchemaVersion": {"Major": 2, "Minor": 0},
        });
        let made = client
            .wire
            .call("io.hcn.Endpoint.Create", &json!({"network_id": network, "settings": settings}))?;
        endpoints.push(made["id"].clone());
    }
    let endpoints_made = start.elapsed();
    let start = Instant::now();
    let mut balancers = Vec::new();
    for number in 0..BALANCERS {
        let backends: Vec<&Value> =
            (0..PODS).map(|step| &endpoints[((number * PODS + step) % ENDPOINTS) as usize]).collect();
        let settings = json!({
            "HostComputeEndpoints": backends, "SourceVIP": "10.240.255.1", "FrontendVIPs": [numbered(97, 1 + number)],
            "PortMappings": [{"Protocol": 6, "InternalPort": 8080, "ExternalPort": 80}],
            "SchemaVersion": {"Major": 2, "Minor": 0},
        });
        let made = client.wire.call("io.hcn.LoadBalancer.Create", &json!({"settings": settings}))?;
        balancers.push(made["id"].clone());
    }
    let made = start.elapsed().as_secs_f64();
    let verdict = if made <= MADE_S { "met" } else { "MISSED" };
    println!(
        "\n{BALANCERS} load balancers over {ENDPOINTS} endpoints by one client: {made:.2} s (P10 <= {MADE_S} s: {verdict}), \
         after {:.2} s for the endpoints",
        endpoints_made.as_secs_f64()
    );
    for id in balancers {
        client.wire.call("io.hcn.LoadBalancer.Delete", &json!({"id": id}))?;
    }
    client.wire.call("io.hcn.Network.Delete", &json!({"id": network}))?;
    Ok(())
}
