//! hcnd is killed at any moment while clients change things, again and again. Each time, with the next one: what was
//! acknowledged is there, what was not is there wholly or not at all, the kernel is as the records say, and the traffic of
//! endpoints that nobody touched has not noticed.
//!
//! `HCN_CRASH_CYCLES` says how often.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "a test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use hcn_tests::client::{Client, DUAL, membership, network_document, with_version};
use hcn_tests::daemon::{END, Hcnd};
use hcn_tests::kernel::{assert_unchanged, dump, enter_own_namespaces};
use hcn_tests::stream::{Stream, sent_again};
use hcn_tests::wire::Wire;
use hcn_tests::{Background, Sandbox, eventually, in_sandbox, patience, run};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A kill is heard when the kernel has finished what it was asked for, and given back what the process held.
const KILLED: Duration = Duration::from_secs(60);
/// More than a kill and a start take.
const CYCLE: Duration = Duration::from_secs(5);
const CLIENTS: usize = 3;
const SLOTS: usize = 3;

/// Numbers that come the same in each run (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

/// What a client owns: the network is slot 0 of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Network,
    Endpoint,
    Namespace,
    LoadBalancer,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Network, Self::Endpoint, Self::Namespace, Self::LoadBalancer];

    fn name(self) -> &'static str {
        ["Network", "Endpoint", "Namespace", "LoadBalancer"][self as usize]
    }
}

type Key = (Kind, usize);

/// How an entity is, as far as the client changes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Entity {
    /// Of an endpoint: the slot of the namespace that it is in.
    namespace: Option<usize>,
    /// Of an endpoint: how many policies were added.
    policies: usize,
    /// Of a load balancer: the slots of its endpoints.
    endpoints: Vec<usize>,
}

type World = BTreeMap<Key, Entity>;

/// A client with IDs of its own, which knows what it was told.
struct Changer {
    number: usize,
    dice: Dice,
    /// What is acknowledged.
    known: World,
    /// What is, if the call that was not answered was carried out.
    asked: Option<World>,
    calls: usize,
    socket: PathBuf,
}

impl Changer {
    fn new(number: usize, socket: &Path) -> Self {
        let dice = Dice(0x9e37_79b9_7f4a_7c15 ^ (number as u64 + 1) << 20);
        Self { number, dice, known: World::new(), asked: None, calls: 0, socket: socket.to_owned() }
    }

    fn id(&self, (kind, slot): Key) -> String {
        format!("{slot:04X}{:02X}{:02X}-0000-4000-8000-0000000000AA", kind as usize, self.number)
    }

    fn has(&self, kind: Kind, slot: usize) -> bool {
        self.known.contains_key(&(kind, slot))
    }

    /// Something to do that must succeed: the call, and the world after it.
    fn choose(&mut self) -> Option<(&'static str, Value, World)> {
        let mut after = self.known.clone();
        if !self.has(Kind::Network, 0) {
            let (v4, v6) = (format!("10.{}.0.0/24", self.number), format!("fd00:{}::/64", self.number));
            let settings = network_document(&[&v4, &v6]);
            after.insert((Kind::Network, 0), Entity::default());
            return Some((
                "Network.Create",
                json!({"id": self.id((Kind::Network, 0)), "settings": settings}),
                after,
            ));
        }
        let (slot, other) = (self.dice.below(SLOTS), self.dice.below(SLOTS));
        let empty = with_version(&json!({}));
        match self.dice.below(11) {
            0 => self.toggle(Kind::Namespace, slot, "Namespace.Create", json!({"settings": empty})),
            1..=3 => {
                let given = json!({"network_id": self.id((Kind::Network, 0)), "settings": empty});
                self.toggle(Kind::Endpoint, slot, "Endpoint.Create", given)
            }
            4..=6 => self.toggle_membership(slot, other),
            7 => {
                after.get_mut(&(Kind::Endpoint, slot))?.policies += 1;
                let policy = json!({"Type": "L2Driver", "Settings": {"N": 1}});
                let request = json!({"ResourceType": "Policy", "RequestType": "Add",
                    "Settings": {"Policies": [policy]}});
                Some((
                    "Endpoint.Modify",
                    json!({"id": self.id((Kind::Endpoint, slot)), "settings": request}),
                    after,
                ))
            }
            8 | 9 => {
                let endpoints: Vec<usize> = (0..SLOTS).filter(|of| self.has(Kind::Endpoint, *of)).collect();
                let ids: Vec<String> = endpoints.iter().map(|of| self.id((Kind::Endpoint, *of))).collect();
                let front = format!("198.18.{}.{}", self.number, slot + 1);
                let settings = with_version(&json!({"HostComputeEndpoints": ids, "FrontendVIPs": [front],
                    "PortMappings": [{"Protocol": 6, "InternalPort": 80, "ExternalPort": 80}]}));
                if endpoints.is_empty() {
                    return None;
                }
                let mut chosen = self.toggle(
                    Kind::LoadBalancer,
                    slot,
                    "LoadBalancer.Create",
                    json!({"settings": settings}),
                )?;
                if let Some(made) = chosen.2.get_mut(&(Kind::LoadBalancer, slot)) {
                    made.endpoints = endpoints;
                }
                Some(chosen)
            }
            // Everything on it goes with it.
            _ if self.dice.below(4) == 0 => {
                after.retain(|(kind, _), _| *kind == Kind::Namespace);
                for slot in 0..SLOTS {
                    if self.known.contains_key(&(Kind::LoadBalancer, slot)) {
                        return None;
                    }
                }
                Some(("Network.Delete", json!({"id": self.id((Kind::Network, 0))}), after))
            }
            _ => None,
        }
    }

    /// Creates what is not there, and deletes what is.
    fn toggle(
        &self,
        kind: Kind,
        slot: usize,
        create: &'static str,
        mut given: Value,
    ) -> Option<(&'static str, Value, World)> {
        let mut after = self.known.clone();
        let id = self.id((kind, slot));
        if after.remove(&(kind, slot)).is_none() {
            after.insert((kind, slot), Entity::default());
            given["id"] = json!(id);
            return Some((create, given, after));
        }
        let delete = match kind {
            Kind::Network => "Network.Delete",
            Kind::Endpoint => "Endpoint.Delete",
            Kind::Namespace => "Namespace.Delete",
            Kind::LoadBalancer => "LoadBalancer.Delete",
        };
        let in_use = |entity: &Entity| match kind {
            Kind::Endpoint => entity.endpoints.contains(&slot),
            Kind::Namespace => entity.namespace == Some(slot),
            _ => false,
        };
        (!after.values().any(in_use)).then(|| (delete, json!({"id": id}), after))
    }

    fn toggle_membership(&self, endpoint: usize, namespace: usize) -> Option<(&'static str, Value, World)> {
        let mut after = self.known.clone();
        let entity = after.get_mut(&(Kind::Endpoint, endpoint))?;
        let id = self.id((Kind::Endpoint, endpoint));
        let (verb, namespace) = match entity.namespace.take() {
            Some(namespace) => ("Remove", namespace),
            None if self.has(Kind::Namespace, namespace) => {
                entity.namespace = Some(namespace);
                ("Add", namespace)
            }
            None => return None,
        };
        Some(("Namespace.Modify", membership(verb, &self.id((Kind::Namespace, namespace)), &id), after))
    }

    /// Changes things until hcnd is gone.
    fn change(&mut self) {
        let Ok(mut wire) = Wire::connect(&self.socket) else { return };
        loop {
            let Some((method, parameters, after)) = self.choose() else { continue };
            match wire.call(&format!("io.hcn.{method}"), &parameters) {
                Ok(reply) => {
                    assert_eq!(
                        reply.error, None,
                        "{method} {parameters}: {} with {:?}",
                        reply.raw, self.known
                    );
                    self.known = after;
                    self.calls += 1;
                }
                Err(_) => {
                    self.asked = Some(after);
                    return;
                }
            }
        }
    }

    /// How its entities are, by their documents.
    fn found(&self, client: &mut Client) -> World {
        let mut found = World::new();
        for kind in Kind::ALL {
            let ids = client.ids(kind.name());
            let slots = (0..SLOTS).filter(|slot| ids.contains(&self.id((kind, *slot))));
            for slot in slots {
                let document = client.query(kind.name(), &self.id((kind, slot)));
                let mut entity = Entity::default();
                let slot_of = |kind, id: &Value| (0..SLOTS).find(|slot| *id == json!(self.id((kind, *slot))));
                if kind == Kind::Endpoint {
                    entity.namespace = slot_of(Kind::Namespace, &document["HostComputeNamespace"]);
                    let policies = document["Policies"].as_array().cloned().unwrap_or_default();
                    entity.policies = policies.iter().filter(|policy| policy["Type"] == "L2Driver").count();
                    assert_eq!(document["IpConfigurations"].as_array().unwrap().len(), 2, "{document}");
                }
                if kind == Kind::LoadBalancer {
                    let endpoints = document["HostComputeEndpoints"].as_array().cloned().unwrap_or_default();
                    entity.endpoints =
                        endpoints.iter().filter_map(|id| slot_of(Kind::Endpoint, id)).collect();
                }
                found.insert((kind, slot), entity);
            }
        }
        found
    }

    /// Compares what is with what must be, and goes on from there.
    fn check(&mut self, client: &mut Client, cycle: usize) {
        let found = self.found(client);
        let asked = self.asked.take();
        assert!(
            found == self.known || Some(&found) == asked.as_ref(),
            "cycle {cycle}, client {}: there is {found:#?}, acknowledged {:#?}, asked for {asked:#?}",
            self.number,
            self.known
        );
        self.known = found;
    }

    fn delete_all(&mut self, client: &mut Client) {
        for kind in [Kind::LoadBalancer, Kind::Endpoint, Kind::Namespace, Kind::Network] {
            for slot in (0..SLOTS).filter(|slot| self.has(kind, *slot)) {
                client.delete(kind.name(), &self.id((kind, slot)));
            }
        }
    }
}

/// Differences between kernel and records that the doctor names.
fn differences(client: &mut Client) -> Vec<String> {
    let about = ["drift", "leftovers", "entities"];
    let bad = client.doctor().into_iter().filter(|finding| about.contains(&finding.check.as_str()));
    bad.map(|finding| format!("{} {}: {}", finding.check, finding.subject, finding.found)).collect()
}

/// What another program does while hcnd is dead, or while it starts: to an endpoint of a client, if it has one attached.
fn harm(changer: &Changer, dice: &mut Dice) {
    let attached = changer
        .known
        .iter()
        .find(|((kind, _), entity)| *kind == Kind::Endpoint && entity.namespace.is_some());
    let Some((key, entity)) = attached else { return };
    let netns = changer.id((Kind::Namespace, entity.namespace.unwrap()));
    let veth = format!("hve{}", changer.id(*key)[..8].to_lowercase());
    let harms: [&[&str]; 4] = [
        &["ip", "link", "del", &veth],
        &["ip", "link", "set", &veth, "down"],
        &["ip", "-n", &netns, "route", "flush", "default"],
        &["ip", "link", "set", &veth, "nomaster"],
    ];
    // What the change that was not acknowledged has taken away cannot be harmed.
    let _ = run(harms[dice.below(harms.len())]);
}

#[test]
fn whenever_hcnd_is_killed_everything_acknowledged_is_there_and_nothing_else() {
    let cycles: usize =
        std::env::var("HCN_CRASH_CYCLES").ok().and_then(|text| text.parse().ok()).unwrap_or(8);
    in_sandbox!(Sandbox::new().deadline(Duration::from_secs(120) + CYCLE * cycles as u32), {
        enter_own_namespaces();
        let folder = TempDir::new().unwrap();
        let mut hcnd = Hcnd::start(folder.path());
        let mut client = Client::of(&hcnd.socket);
        let network = client.network(&DUAL);
        let [a, b] = [(); 2].map(|()| client.container(&network, &json!({})));
        let before = dump();
        let stream = Stream::start_within(
            Duration::from_secs(5),
            &a.namespace,
            &b.namespace,
            (a.addresses[0].as_str(), 7001),
            7001,
        );
        let mut ping = Background::start(
            Command::new("ip")
                .args(["netns", "exec", &b.namespace, "ping", "-n", "-q", "-i", "0.005"])
                .arg(&a.addresses[0]),
        );
        let mut changers: Vec<Changer> =
            (1..=CLIENTS).map(|number| Changer::new(number, &hcnd.socket)).collect();
        let mut dice = Dice(0x2545_f491_4f6c_dd1d);
        let (mut unanswered, mut carried_out, started) = (0, 0, Instant::now());
        for cycle in 0..cycles {
            let after = Duration::from_micros(dice.below(120_000) as u64);
            thread::scope(|scope| {
                for changer in &mut changers {
                    scope.spawn(|| changer.change());
                }
                sleep(after);
                hcnd.process.signal(Signal::SIGKILL);
            });
            hcnd.process.wait(KILLED);
            if cycle % 3 == 0 {
                harm(&changers[dice.below(CLIENTS)], &mut dice);
            }
            hcnd = thread::scope(|scope| {
                let starting = scope.spawn(|| Hcnd::start(folder.path()));
                if cycle % 3 == 1 {
                    sleep(Duration::from_millis(dice.below(30) as u64));
                    harm(&changers[dice.below(CLIENTS)], &mut dice);
                }
                starting.join().unwrap()
            });
            let mut client = Client::of(&hcnd.socket);
            for changer in &mut changers {
                let asked = changer.asked.clone();
                changer.check(&mut client, cycle);
                unanswered += usize::from(asked.is_some());
                carried_out += usize::from(asked.as_ref() == Some(&changer.known));
            }
            let end = Instant::now() + patience(Duration::from_secs(20));
            loop {
                let found = differences(&mut client);
                if found.is_empty() {
                    break;
                }
                assert!(Instant::now() < end, "cycle {cycle}: {found:#?}");
            }
        }
        let took = started.elapsed();
        ping.signal(Signal::SIGINT);
        let pinged = ping.wait(END);
        assert!(pinged.stdout.contains(" 0% packet loss"), "{pinged}");
        assert_eq!([&a, &b].map(|of| sent_again(&of.namespace)), [0, 0], "segments were lost");
        let received = stream.end();
        let mut client = Client::of(&hcnd.socket);
        let calls: usize = changers.iter().map(|changer| changer.calls).sum();
        changers.iter_mut().for_each(|changer| changer.delete_all(&mut client));
        assert_unchanged(&before, "something is left");
        println!(
            "measured: {cycles} kills in {took:?}: {calls} changes acknowledged, {unanswered} unanswered, of which \
             {carried_out} were carried out; {received} numbers of the stream, {}",
            pinged.stdout.lines().find(|line| line.contains("packet loss")).unwrap_or_default()
        );
        assert!(calls > cycles, "{calls} calls");
        eventually("the last one ends", || hcnd.end(Signal::SIGTERM).code == Some(0));
    });
}
