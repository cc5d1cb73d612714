//! A small service with one entity of each kind, whose kernel does everything at once, and what must hold of it after
//! every call.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hcn_core::{Action, Context, Engine, Entity, EntityKey, Registry, compile, read};
use hcn_dataplane::{Dataplane as _, Fake, HostAddress, HostFacts, HostLink, State};
use hcn_schema::call::{Answer, Call, Kind, Reference, Verb};
use hcn_schema::hns::HnsVersion;
use hcn_schema::{Error, Guid, HResult, Result};
use serde_json::Value;

/// What there is from the start, and with which document it is made; IDs are [`id`] of the index.
const PRELUDE: [(Kind, Option<usize>, &str); 10] = [
    (
        Kind::Network,
        None,
        r#"{"Name":"nat","Type":"NAT","Ipams":[{"Subnets":[{"IpAddressPrefix":"10.7.0.0/24"},{"IpAddressPrefix":"fd07::/64"}]}],
            "Policies":[{"Type":"SetPolicy","Settings":{"Id":"set","Values":"192.0.2.1"}}],"SchemaVersion":{"Major":2}}"#,
    ),
    (Kind::Endpoint, Some(0), r#"{"Name":"one","SchemaVersion":{"Major":2}}"#),
    (Kind::Endpoint, Some(0), r#"{"Name":"two","SchemaVersion":{"Major":2}}"#),
    (Kind::Namespace, None, r#"{"Type":"Host","SchemaVersion":{"Major":2}}"#),
    (
        Kind::LoadBalancer,
        None,
        r#"{"HostComputeEndpoints":["00000000-0000-4002-8000-000000000007"],"PortMappings":[{"Protocol":6,"InternalPort":80,
            "ExternalPort":8080}],"SchemaVersion":{"Major":2}}"#,
    ),
    (
        Kind::SdnRoute,
        None,
        r#"{"HostComputeEndpoints":["00000000-0000-4003-8000-000000000007"],"Routes":[{"DestinationPrefix":"10.9.0.0/24"}],
            "SchemaVersion":{"Major":2}}"#,
    ),
    (
        Kind::Network,
        None,
        r#"{"Name":"overlay","Type":"Overlay","Ipams":[{"Subnets":[{"IpAddressPrefix":"10.8.0.0/24","Routes":[{"NextHop":
            "10.8.0.1","DestinationPrefix":"0.0.0.0/0"}],"Policies":[{"Type":"VSID","Settings":{"IsolationId":4097}}]}]}],
            "SchemaVersion":{"Major":2}}"#,
    ),
    (Kind::Endpoint, Some(6), r#"{"SchemaVersion":{"Major":2}}"#),
    (
        Kind::GuestNetworkService,
        None,
        r#"{"VirtualMachineId":"5F0B1190-63BE-4E0C-B974-BD0F55675A42","SchemaVersion":{"Major":2}}"#,
    ),
    (
        Kind::PortReservation,
        None,
        r#"{"GuestNetworkService":"00000000-0000-4009-8000-000000000007","Protocol":1,"Access":1,"Port":18445}"#,
    ),
];

/// The ID of an entity of the prelude.
pub fn id(index: usize) -> Guid {
    Guid::random_from(index as u64 + 1, 7)
}

/// The service.
#[derive(Default)]
pub struct World {
    engine: Engine,
    /// What readers see.
    pub published: Registry,
    kernel: Fake,
    calls: u64,
    /// What there is, oldest first.
    pub keys: Vec<EntityKey>,
}

impl World {
    /// A service with all of the prelude.
    pub fn new() -> Self {
        static SNAPSHOT: OnceLock<(Registry, State)> = OnceLock::new();
        let (published, state) = SNAPSHOT.get_or_init(|| {
            let world = Self::made();
            (world.published, world.kernel.state)
        });
        // As it is started again, which takes a tenth of making it.
        let entities: Vec<Entity> = published.entities().collect();
        let mut world = Self { engine: Engine::restored(&entities, 0), ..Self::default() };
        world.published = published.clone();
        world.kernel.state = state.clone();
        world.keys = PRELUDE
            .iter()
            .enumerate()
            .map(|(index, (kind, ..))| EntityKey { kind: *kind, id: id(index) })
            .collect();
        world
    }

    /// The same, made by calls.
    fn made() -> Self {
        let mut world = Self::default();
        for (index, (kind, parent, document)) in PRELUDE.into_iter().enumerate() {
            let parent = parent.map(|index| Reference { id: id(index), incarnation: None });
            let verb = Verb::Create { id: Some(id(index)), parent, document: Some(document.to_owned()) };
            let made = world.call(kind, verb);
            assert!(made.is_ok(), "{kind}: {made:?}");
        }
        let request = format!(
            r#"{{"ResourceType":"Endpoint","RequestType":"Add","Settings":{{"EndpointId":"{}"}}}}"#,
            id(1)
        );
        let target = Reference { id: id(3), incarnation: None };
        world.call(Kind::Namespace, Verb::Modify { target, document: Some(request) }).expect("an attach");
        world
    }

    /// The entity that an octet means.
    pub fn key(&self, octet: u8) -> EntityKey {
        self.keys[usize::from(octet.wrapping_sub(b'0')) % self.keys.len()]
    }

    /// What the host looks like.
    pub fn host() -> HostFacts {
        let address = |address: &str, link: &str| HostAddress {
            link: link.to_owned(),
            address: address.parse().expect("an address"),
        };
        HostFacts {
            addresses: vec![address("203.0.113.10/24", "eth0"), address("198.51.100.10/24", "eth1")],
            uplink: Some("eth0".to_owned()),
            links: ["eth0", "eth1"]
                .map(|name| HostLink { name: name.to_owned(), mtu: 1500, ..HostLink::default() })
                .to_vec(),
            ..HostFacts::default()
        }
    }

    /// Makes a call, reading or changing. Whatever came of it: the records, their indexes and the kernel are as one.
    pub fn call(&mut self, kind: Kind, verb: Verb) -> Result<Answer> {
        let changes = verb.is_change();
        let call = Call { kind, verb };
        let result = if changes { self.change(call) } else { self.read(&call) };
        match &result {
            Err(error) => is_clear(error),
            Ok(Answer::Document(document)) => {
                serde_json::from_str::<Value>(document.get()).expect("a document is JSON");
            }
            Ok(_) => {}
        }
        if changes && result.is_ok() {
            self.check();
        }
        result
    }

    fn read(&self, call: &Call) -> Result<Answer> {
        if let Verb::Explain { target, question } = &call.verb {
            let (host, question) = (Self::host(), question.as_deref());
            let answer = read::explain(&self.published, &host, call.kind, *target, question, |_, _| None);
            return answer.map(Answer::Document);
        }
        read::read(&self.published, call)
    }

    fn change(&mut self, call: Call) -> Result<Answer> {
        self.calls += 1;
        let context = Context {
            now: Duration::ZERO,
            filetime: 7,
            fresh_id: Guid::random_from(1000 + self.calls, 7),
            host: Arc::new(Self::host()),
            caller_uid: 1000,
            caller_pid: None,
            settings: Arc::default(),
            hns: HnsVersion::default(),
        };
        let mut actions = self.engine.submit(self.calls, call, context);
        let mut reply = None;
        while !actions.is_empty() {
            let mut next = Vec::new();
            for action in actions {
                match action {
                    Action::Announce(event) => drop(event),
                    Action::Start(job) => {
                        let applied = self.kernel.apply(&job.plan).expect("a plan that the kernel takes");
                        self.kernel.settle(applied);
                        next.extend(self.engine.finish(job.ticket, Ok(()), Duration::ZERO));
                    }
                    Action::Publish(change) => self.published.apply(&change),
                    Action::Reply(_, result) => reply = Some(result),
                }
            }
            actions = next;
        }
        reply.expect("a call that waits for nothing is answered")
    }

    /// What the kernel holds.
    pub fn kernel(&self) -> State {
        self.kernel.state.clone()
    }

    fn check(&mut self) {
        assert!(self.engine.is_idle(), "something is still under way");
        assert!(*self.engine.working() == self.published, "readers see other records than those that decide");
        let entities: Vec<Entity> = self.published.entities().collect();
        assert!(Registry::of(&entities) == self.published, "the indexes are not those of the records");
        let meant = compile::all(&self.published);
        assert_eq!(self.kernel.state, meant, "the kernel holds something else than the records mean");
        for entity in &entities {
            let (key, value) = hcn_store::fuzzing::encode(entity);
            let stored = hcn_store::fuzzing::decode(&key, &value);
            assert_eq!(stored.as_ref(), Ok(entity), "after a restart the record is another one");
        }
        self.keys.retain(|key| self.published.get(*key).is_some());
        for entity in &entities {
            if !self.keys.contains(&entity.key()) {
                self.keys.push(entity.key());
            }
        }
    }
}

/// Whether a refusal is one that a client can do something with.
pub fn is_clear(error: &Error) {
    assert_ne!(error.code.name(), "HRESULT", "{error} has a code outside the contract");
    assert_ne!(error.code, HResult::OK);
    assert!(!error.message.is_empty(), "{error} says nothing");
    let record = hcn_schema::to_text(&error.record());
    serde_json::from_str::<Value>(&record).expect("a record is JSON");
}

/// The variables of a conformance case replaced by entities of the prelude, by their usual names.
pub fn filled(value: &Value) -> Value {
    match value {
        Value::String(text) => {
            let mut text = text.clone();
            while let Some(start) = text.find("${")
                && let Some(length) = text[start..].find('}')
            {
                let name = text[start + 2..start + length].to_owned();
                let index = match name.as_bytes() {
                    [b'E' | b'e', b'2' | b'b', ..] => 2,
                    [b'E' | b'e', ..] => 1,
                    [b'N', b'S' | b's', ..] | [b'S', ..] => 3,
                    [b'L' | b'B', ..] => 4,
                    [b'R', ..] => 5,
                    _ => 0,
                };
                text.replace_range(start..=start + length, &id(index).to_string());
            }
            Value::String(text)
        }
        Value::Array(values) => values.iter().map(filled).collect(),
        Value::Object(members) => members.iter().map(|(name, value)| (name.clone(), filled(value))).collect(),
        other => other.clone(),
    }
}
