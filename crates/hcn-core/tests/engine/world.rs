//! The engine with a kernel in memory, driven by hand.
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(unreachable_pub, reason = "a module of each test")]

use std::sync::Arc;
use std::time::Duration;

use hcn_core::{Action, Context, Engine, Failure, Job, Registry, read};
use hcn_dataplane::{Dataplane as _, Fake, HostFacts};
use hcn_schema::call::{Action as Deed, Answer, Call, Kind, Reference, Verb};
use hcn_schema::hns::HnsVersion;
use hcn_schema::notification::Event;
use hcn_schema::{Error, Guid, HResult};

/// An engine with a published registry and a fake kernel, driven by hand.
#[derive(Default)]
pub struct World {
    pub engine: Engine,
    pub published: Registry,
    pub kernel: Fake,
    pub now: Duration,
    pub last_call: u64,
    pub replies: Vec<(u64, Result<Answer, Error>)>,
    pub jobs: Vec<Job>,
    /// What subscribers were told.
    pub events: Vec<Event>,
}

impl World {
    pub fn guid(n: u64) -> Guid {
        Guid::random_from(n, 7)
    }

    pub fn submit(&mut self, kind: Kind, verb: Verb) -> u64 {
        self.last_call += 1;
        let context = Context {
            now: self.now,
            filetime: 1,
            fresh_id: Self::guid(1000 + self.last_call),
            host: Arc::new(HostFacts::default()),
            caller_uid: 1000,
            caller_pid: None,
            settings: Arc::default(),
            hns: HnsVersion::default(),
        };
        let actions = self.engine.submit(self.last_call, Call { kind, verb }, context);
        self.perform(actions);
        self.last_call
    }

    pub fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Announce(event) => self.events.push(event),
                Action::Start(job) => self.jobs.push(job),
                Action::Publish(change) => self.published.apply(&change),
                Action::Reply(call, result) => self.replies.push((call, result)),
            }
        }
    }

    /// Lets the oldest job succeed, or fail at an operation.
    pub fn finish(&mut self, fail: bool) {
        let job = self.jobs.remove(0);
        let result = if fail {
            Err(Failure { message: "refused".to_owned(), left: None, code: None })
        } else {
            let applied = self.kernel.apply(&job.plan).expect("a plan that the kernel takes");
            self.kernel.settle(applied);
            Ok(())
        };
        let actions = self.engine.finish(job.ticket, result, self.now);
        self.perform(actions);
    }

    pub fn finish_all(&mut self) {
        while !self.jobs.is_empty() {
            self.finish(false);
        }
    }

    pub fn reply(&self, call: u64) -> Option<&Result<Answer, Error>> {
        self.replies.iter().find(|(id, _)| *id == call).map(|(_, result)| result)
    }

    pub fn code(&self, call: u64) -> Option<HResult> {
        self.reply(call).and_then(|result| result.as_ref().err()).map(|error| error.code)
    }

    pub fn create_network(&mut self, id: u64, name: &str) -> u64 {
        let document = format!(
            r#"{{"Name":"{name}","Ipams":[{{"Subnets":[{{"IpAddressPrefix":"10.0.{id}.0/28"}}]}}],"SchemaVersion":{{"Major":2}}}}"#
        );
        let verb = Verb::Create { id: Some(Self::guid(id)), parent: None, document: Some(document) };
        self.submit(Kind::Network, verb)
    }

    pub fn create_endpoint(&mut self, id: u64, network: u64) -> u64 {
        let parent = Some(Reference { id: Self::guid(network), incarnation: None });
        let document = Some(r#"{"SchemaVersion":{"Major":2}}"#.to_owned());
        self.submit(Kind::Endpoint, Verb::Create { id: Some(Self::guid(id)), parent, document })
    }

    pub fn create_namespace(&mut self, id: u64) -> u64 {
        let document = Some(r#"{"SchemaVersion":{"Major":2}}"#.to_owned());
        self.submit(Kind::Namespace, Verb::Create { id: Some(Self::guid(id)), parent: None, document })
    }

    /// Gives an endpoint a port mapping instead of those that it has; port 0 = any.
    pub fn publish(&mut self, endpoint: u64, port: u16) -> u64 {
        let document = format!(
            r#"{{"ResourceType":"Policy","RequestType":"Update","Settings":{{"Policies":[{{"Type":"PortMapping",
                "Settings":{{"InternalPort":80,"ExternalPort":{port}}}}}]}}}}"#
        );
        let target = Reference { id: Self::guid(endpoint), incarnation: None };
        self.submit(Kind::Endpoint, Verb::Modify { target, document: Some(document) })
    }

    /// Makes or modifies a load balancer on a port of the host.
    pub fn balance(&mut self, id: u64, endpoints: &[u64], port: u16, again: bool) -> u64 {
        let endpoints: Vec<String> = endpoints.iter().map(|id| format!("\"{}\"", Self::guid(*id))).collect();
        let document = Some(format!(
            r#"{{"HostComputeEndpoints":[{}],"PortMappings":[{{"Protocol":6,"InternalPort":80,"ExternalPort":{port}}}],
                "SchemaVersion":{{"Major":2}}}}"#,
            endpoints.join(",")
        ));
        let id = Self::guid(id);
        if again {
            let target = Reference { id, incarnation: None };
            self.submit(Kind::LoadBalancer, Verb::Modify { target, document })
        } else {
            self.submit(Kind::LoadBalancer, Verb::Create { id: Some(id), parent: None, document })
        }
    }

    /// Makes or modifies an SDN route.
    pub fn route(&mut self, id: u64, endpoints: &[u64], prefix: u16, again: bool) -> u64 {
        let endpoints: Vec<String> = endpoints.iter().map(|id| format!("\"{}\"", Self::guid(*id))).collect();
        let document = Some(format!(
            r#"{{"HostComputeEndpoints":[{}],"Routes":[{{"DestinationPrefix":"10.9.{prefix}.0/24"}}],
                "SchemaVersion":{{"Major":2}}}}"#,
            endpoints.join(",")
        ));
        let id = Self::guid(id);
        let target = Reference { id, incarnation: None };
        let verb = match again {
            true => Verb::Modify { target, document },
            false => Verb::Create { id: Some(id), parent: None, document },
        };
        self.submit(Kind::SdnRoute, verb)
    }

    /// Gives an endpoint policies that translate and route.
    pub fn translate(&mut self, endpoint: u64, number: u16) -> u64 {
        let document = format!(
            r#"{{"ResourceType":"Policy","RequestType":"Update","Settings":{{"Policies":[
                {{"Type":"OutBoundNAT","Settings":{{"Exceptions":["10.{number}.0.0/16"]}}}},
                {{"Type":"L4WFPPROXY","Settings":{{"OutboundProxyPort":"1500{number}"}}}},
                {{"Type":"SDNRoute","Settings":{{"DestinationPrefix":"10.9.{number}.0/24"}}}}]}}}}"#
        );
        let target = Reference { id: Self::guid(endpoint), incarnation: None };
        self.submit(Kind::Endpoint, Verb::Modify { target, document: Some(document) })
    }

    pub fn members(&mut self, namespace: u64, request: &str, endpoint: u64) -> u64 {
        let document = format!(
            r#"{{"ResourceType":"Endpoint","RequestType":"{request}","Settings":{{"EndpointId":"{}"}}}}"#,
            Self::guid(endpoint)
        );
        let target = Reference { id: Self::guid(namespace), incarnation: None };
        self.submit(Kind::Namespace, Verb::Modify { target, document: Some(document) })
    }

    /// Attaches or detaches an endpoint as version 1 does it.
    pub fn attach(&mut self, endpoint: u64, attach: bool, to: &str, number: u32) -> u64 {
        let document =
            format!(r#"{{"SystemType":"{to}","ContainerId":"c{}","CompartmentId":{number}}}"#, number % 2);
        let target = Reference { id: Self::guid(endpoint), incarnation: None };
        let action = if attach { Deed::Attach } else { Deed::Detach };
        self.submit(Kind::Endpoint, Verb::Act { target, action, document: Some(document) })
    }

    /// Plugs an endpoint into a virtual machine, or pulls it out.
    pub fn plug(&mut self, endpoint: u64, plug: bool, port: u64) -> u64 {
        let document = if plug {
            format!(
                r#"{{"ResourceType":"Port","RequestType":"Add","Settings":{{"PortId":"{}"}}}}"#,
                Self::guid(port)
            )
        } else {
            r#"{"ResourceType":"Port","RequestType":"Remove","Settings":{}}"#.to_owned()
        };
        let target = Reference { id: Self::guid(endpoint), incarnation: None };
        self.submit(Kind::Endpoint, Verb::Modify { target, document: Some(document) })
    }

    /// Adds a rule to an endpoint or to all of a network, or takes it out.
    pub fn rule(&mut self, (kind, id): (Kind, u64), request: &str, rule_type: &str, set: &str) -> u64 {
        let policy = if kind == Kind::Network { "NetworkACL" } else { "ACL" };
        let settings = format!(
            r#"{{"Action":"Block","Direction":"In","RuleType":"{rule_type}","LocalAddresses":"{set}"}}"#
        );
        let document = format!(
            r#"{{"ResourceType":"Policy","RequestType":"{request}","Settings":{{"Policies":
                [{{"Type":"{policy}","Settings":{settings}}}]}}}}"#
        );
        let target = Reference { id: Self::guid(id), incarnation: None };
        self.submit(kind, Verb::Modify { target, document: Some(document) })
    }

    /// Adds a set of addresses to a network, gives it others, or takes it out.
    pub fn set(&mut self, network: u64, request: &str, set: &str, last: u8) -> u64 {
        let document = format!(
            r#"{{"ResourceType":"Policy","RequestType":"{request}","Settings":{{"Policies":
                [{{"Type":"SetPolicy","Settings":{{"Id":"{set}","Values":"192.0.2.{last}"}}}}]}}}}"#
        );
        let target = Reference { id: Self::guid(network), incarnation: None };
        self.submit(Kind::Network, Verb::Modify { target, document: Some(document) })
    }

    pub fn delete(&mut self, kind: Kind, id: u64) -> u64 {
        self.submit(kind, Verb::Delete { id: Self::guid(id) })
    }

    pub fn enumerate(&self, kind: Kind) -> usize {
        match read::read(&self.published, &Call { kind, verb: Verb::Enumerate { query: None } }) {
            Ok(Answer::Ids(ids)) => ids.len(),
            other => panic!("{other:?}"),
        }
    }
}
