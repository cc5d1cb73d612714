//! A service whose kernel does everything at once.

use std::sync::Arc;
use std::time::Duration;

use hcn_core::{Action, Context, Engine, Registry, read};
use hcn_dataplane::{Dataplane, Fake, HostAddress, HostFacts, HostLink, Object};
use hcn_schema::call::{Answer, Call, Kind, Reference, Verb};
use hcn_schema::hns::HnsVersion;
use hcn_schema::notification::Event;
use hcn_schema::{Error, Guid, HResult};
use serde_json::{Value, json};

#[derive(Default)]
pub(crate) struct World {
    engine: Engine,
    pub(crate) published: Registry,
    kernel: Fake,
    calls: u64,
    pub(crate) hns: HnsVersion,
    /// What was announced since somebody looked.
    pub(crate) events: Vec<Event>,
}

impl World {
    pub(crate) fn change(&mut self, kind: Kind, verb: Verb) -> Result<Answer, Error> {
        self.calls += 1;
        let address = |address: &str, link: &str| HostAddress {
            link: link.to_owned(),
            address: address.parse().unwrap(),
        };
        let host = HostFacts {
            addresses: vec![address("203.0.113.10/24", "eth0"), address("198.51.100.10/24", "eth1")],
            uplink: Some("eth0".to_owned()),
            links: ["eth0", "eth1"]
                .map(|name| HostLink { name: name.to_owned(), mtu: 1500, ..HostLink::default() })
                .to_vec(),
            ..HostFacts::default()
        };
        let context = Context {
            now: Duration::ZERO,
            filetime: 7,
            fresh_id: Guid::random_from(1000 + self.calls, 7),
            host: Arc::new(host),
            caller_uid: 1000,
            caller_pid: None,
            settings: Arc::default(),
            hns: self.hns,
        };
        let mut actions = self.engine.submit(self.calls, Call { kind, verb }, context);
        let mut reply = None;
        while !actions.is_empty() {
            let mut next = Vec::new();
            for action in actions {
                match action {
                    Action::Announce(event) => self.events.push(event),
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
        assert_eq!(self.engine.working(), &self.published);
        reply.expect("nothing is waited for")
    }

    pub(crate) fn try_create(&mut self, kind: Kind, document: &Value) -> Result<Guid, Error> {
        let verb = Verb::Create { id: None, parent: None, document: Some(document.to_string()) };
        match self.change(kind, verb)? {
            Answer::Entity { id, .. } => Ok(id),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn create(&mut self, kind: Kind, document: Value) -> Guid {
        self.try_create(kind, &document).unwrap_or_else(|error| panic!("{document}: {error}"))
    }

    /// The code and the path of a refusal.
    pub(crate) fn refused(&mut self, kind: Kind, document: Value) -> (HResult, String) {
        let error = self.try_create(kind, &document).expect_err("a refusal");
        (error.code, error.path.unwrap_or_default())
    }

    pub(crate) fn delete(&mut self, kind: Kind, id: Guid) {
        self.change(kind, Verb::Delete { id }).unwrap();
    }

    pub(crate) fn query(&self, kind: Kind, id: Guid, query: &str) -> Value {
        let query = Some(query.to_owned());
        let verb = Verb::Query { target: Reference { id, incarnation: None }, query };
        match read::read(&self.published, &Call { kind, verb }) {
            Ok(Answer::Document(document)) => serde_json::from_str(document.get()).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn v1(&self, kind: Kind, id: Guid) -> Value {
        self.query(kind, id, r#"{"SchemaVersion":{"Major":1}}"#)
    }

    pub(crate) fn v2(&self, kind: Kind, id: Guid) -> Value {
        self.query(kind, id, r#"{"SchemaVersion":{"Major":2}}"#)
    }

    /// How many entities a filter finds.
    pub(crate) fn found(&self, kind: Kind, filter: Value) -> usize {
        let query = Some(json!({"Filter": filter.to_string()}).to_string());
        match read::read(&self.published, &Call { kind, verb: Verb::Enumerate { query } }) {
            Ok(Answer::Ids(ids)) => ids.len(),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn has_link(&self, name: &str) -> bool {
        self.kernel.state.iter().any(|(_, object)| matches!(object, Object::Veth(veth) if veth.name == name))
    }

    /// The resolver configurations that there are.
    pub(crate) fn resolvers(&self) -> Vec<String> {
        let contents = |object: &Object| match object {
            Object::Resolver(resolver) => Some(resolver.contents.clone()),
            _ => None,
        };
        self.kernel.state.iter().filter_map(|(_, object)| contents(object)).collect()
    }

    /// A NAT network with a subnet.
    pub(crate) fn network(&mut self) -> Guid {
        self.create(
            Kind::Network,
            json!({"Name":"nat","Type":"nat","Subnets":[{"AddressPrefix":"192.0.2.0/24","GatewayAddress":"192.0.2.1"}]}),
        )
    }
}

/// Fails unless every member of `part` is in `whole`, also inside of objects and arrays.
#[track_caller]
pub(crate) fn assert_has(whole: &Value, part: &Value) {
    fn lacks(whole: &Value, part: &Value) -> bool {
        match (whole, part) {
            (Value::Object(whole), Value::Object(part)) => {
                part.iter().any(|(key, part)| whole.get(key).is_none_or(|whole| lacks(whole, part)))
            }
            (Value::Array(whole), Value::Array(part)) => {
                whole.len() != part.len() || whole.iter().zip(part).any(|(whole, part)| lacks(whole, part))
            }
            _ => whole != part,
        }
    }
    assert!(!lacks(whole, part), "{whole:#}\nlacks something of\n{part:#}");
}
