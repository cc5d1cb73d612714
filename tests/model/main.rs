//! Several clients call a service whose kernel is slow and sometimes refuses, all at random, on the same few objects;
//! then the answers are compared with a model that does one call after the other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

mod linear;
mod objects;
mod random;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use hcn_dataplane::{
    Applied, ApplyError, Counters, Dataplane, Fake, HostFacts, LinkId, OpError, Plan, State, UndoError,
};
use hcn_tests::service::{InProcess, Shared};
use hcn_tests::wire::Wire;
use linear::{Event, check};
use objects::{Answer, Endpoint, Frontend, Network, Object};
use random::Random;
use serde_json::json;

const CLIENTS: usize = 4;
/// Calls of a client in a round, over all objects of a kind.
const CALLS: usize = 60;

/// A kernel that takes its time, and now and then refuses an operation.
struct Restless {
    inner: Fake,
    random: Random,
}

impl Restless {
    fn rest(&mut self) {
        thread::sleep(Duration::from_micros(self.random.below(800)));
    }
}

impl Dataplane for Restless {
    fn apply(&mut self, plan: &Plan) -> Result<Applied, ApplyError> {
        self.rest();
        if self.random.below(12) == 0 {
            let source = OpError { errno: None, message: "no mood for it".to_owned() };
            return Err(ApplyError { index: 0, op: plan.ops[0].to_string(), source, undo: None });
        }
        self.inner.apply(plan)
    }
    fn settle(&mut self, applied: Applied) {
        self.inner.settle(applied);
    }
    fn undo(&mut self, applied: Applied) -> Result<(), UndoError> {
        self.rest();
        self.inner.undo(applied)
    }
    fn adopt(&mut self, wanted: &State) -> Result<State, OpError> {
        self.inner.adopt(wanted)
    }
    fn host(&mut self, links: &[String]) -> Result<HostFacts, OpError> {
        self.rest();
        self.inner.host(links)
    }
    fn counters(&mut self, link: &LinkId) -> Result<Option<Counters>, OpError> {
        self.inner.counters(link)
    }
}

/// What the objects of the model stand on; tried until the kernel takes it.
fn prepare(socket: &Path) {
    let mut wire = Wire::connect(socket).unwrap();
    let version = json!({"Major": 2, "Minor": 0});
    let base = json!({"id": objects::base(), "settings": {"SchemaVersion": version,
        "Ipams": [{"Subnets": [{"IpAddressPrefix": "10.200.0.0/16"}]}]}});
    let mut calls = vec![("io.hcn.Network.Create", base)];
    for number in 0..2 {
        let namespace = json!({"id": objects::namespace(number), "settings": {"SchemaVersion": version}});
        calls.push(("io.hcn.Namespace.Create", namespace));
    }
    for (method, parameters) in calls {
        while wire.call(method, &parameters).unwrap().error.is_some() {}
    }
}

/// One client: calls by chance, up to three of them on their way at once.
fn client<O: Object>(
    socket: &Path,
    number: usize,
    seed: u64,
    clock: &AtomicU64,
) -> Vec<(u64, Event<O::Call, Answer>)> {
    let mut wire = Wire::connect(socket).unwrap();
    let mut random = Random::new(seed);
    let now = || clock.fetch_add(1, Ordering::SeqCst);
    let mut events = Vec::new();
    while events.len() < CALLS {
        let mut sent = Vec::new();
        for _ in 0..=random.below(3) {
            let object = random.below(O::COUNT);
            let call = O::call(&mut random);
            let (method, parameters) = O::message(object, &call);
            sent.push((object, call, now()));
            wire.send(method, &parameters, false).unwrap();
        }
        for (object, call, at) in sent {
            let answer = Answer::of(&wire.receive().unwrap());
            events.push((object, Event { client: number, sent: at, answered: now(), call, answer }));
        }
    }
    events
}

fn round<O>(seed: u64)
where
    O: Object + 'static,
    O::Call: Send,
{
    let kernel = Restless { inner: Fake::new(), random: Random::new(seed) };
    let daemon = InProcess::start(Shared::new(kernel));
    let socket: PathBuf = daemon.socket();
    prepare(&socket);
    let clock = Arc::new(AtomicU64::new(0));
    let threads: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (socket, clock) = (socket.clone(), Arc::clone(&clock));
            let seed = seed * 100 + number as u64;
            thread::spawn(move || client::<O>(&socket, number, seed, &clock))
        })
        .collect();
    let mut histories: Vec<Vec<Event<O::Call, Answer>>> = (0..O::COUNT).map(|_| Vec::new()).collect();
    for (object, event) in threads.into_iter().flat_map(|thread| thread.join().unwrap()) {
        histories[usize::try_from(object).unwrap()].push(event);
    }
    for (object, mut history) in histories.into_iter().enumerate() {
        history.sort_by_key(|event| event.sent);
        if let Err(order) = check::<O>(&O::initial(), &history) {
            let line = |index: usize| {
                let Event { client, sent, answered, call, answer } = &history[index];
                format!("client {client}, {sent} to {answered}: {call:?} -> {answer:?}")
            };
            let mut lines: Vec<String> = order.iter().map(|index| line(*index)).collect();
            lines.push("No order explains more. Those that were sent next:".to_owned());
            lines.extend((0..history.len()).filter(|index| !order.contains(index)).take(8).map(line));
            panic!("seed {seed}, object {object}:\n{}", lines.join("\n"));
        }
    }
}

#[test]
fn calls_on_a_network_take_effect_one_after_the_other() {
    (1..=12).for_each(round::<Network>);
}

#[test]
fn calls_on_an_endpoint_take_effect_one_after_the_other() {
    (1..=12).for_each(round::<Endpoint>);
}

#[test]
fn a_front_end_has_one_owner_at_a_time() {
    (1..=12).for_each(round::<Frontend>);
}
