//! Policies: what settings each type takes and refuses, what requests do to the lists, sets and who names them; and that
//! whatever is sent is refused with a code or comes back byte for byte.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

mod anything;
mod constraints;
mod documents;
mod endpoints;
mod explain;
mod filters;
mod gates;
mod networks;
mod overlays;
mod preserving;
mod requests;
mod sets;
mod shaping;
mod translation;

use std::sync::Arc;
use std::time::Duration;

use hcn_core::{Action, Context, Engine, Failure, Job, Registry, Settings, read};
use hcn_dataplane::{HostAddress, HostFacts, HostLink, Kernel};
use hcn_schema::call::{Answer, Call, Kind, Reference, Verb};
use hcn_schema::endpoint::HostComputeEndpoint;
use hcn_schema::hns::HnsVersion;
use hcn_schema::network::HostComputeNetwork;
use hcn_schema::{Error, Guid, HResult};

/// A service on a host with one link that leads outside, and another one.
#[derive(Default)]
struct Service {
    engine: Engine,
    published: Registry,
    hns: HnsVersion,
    kernel: Kernel,
    settings: Settings,
    calls: u64,
    jobs: Vec<Job>,
    replies: Vec<(u64, Result<Guid, Error>)>,
}

impl Service {
    fn submit(&mut self, kind: Kind, verb: Verb) -> u64 {
        self.calls += 1;
        let address = HostAddress { link: "eth0".to_owned(), address: "203.0.113.10/24".parse().unwrap() };
        let host = HostFacts {
            addresses: vec![address],
            uplink: Some("eth0".to_owned()),
            links: ["eth0", "eth1"]
                .map(|name| HostLink { name: name.to_owned(), mtu: 1500, ..HostLink::default() })
                .to_vec(),
            kernel: self.kernel,
            ..HostFacts::default()
        };
        let context = Context {
            now: Duration::ZERO,
            filetime: 1,
            fresh_id: Guid::random_from(self.calls, 7),
            host: Arc::new(host),
            caller_uid: 0,
            caller_pid: None,
            settings: Arc::new(Settings {
                sids: [("S-1-5-32-556".to_owned(), 7)].into(),
                ..self.settings.clone()
            }),
            hns: self.hns,
        };
        let actions = self.engine.submit(self.calls, Call { kind, verb }, context);
        self.perform(actions);
        self.calls
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Start(job) => self.jobs.push(job),
                Action::Publish(change) => self.published.apply(&change),
                Action::Announce(_) => {}
                Action::Reply(call, answer) => {
                    let id = answer.map(|answer| match answer {
                        Answer::Entity { id, .. } => id,
                        _ => Guid::ZERO,
                    });
                    self.replies.push((call, id));
                }
            }
        }
    }

    /// Lets the oldest job succeed or fail.
    fn finish(&mut self, fails: bool) {
        let job = self.jobs.remove(0);
        let failure = || Failure { message: "refused".to_owned(), left: None, code: None };
        let result = if fails { Err(failure()) } else { Ok(()) };
        let actions = self.engine.finish(job.ticket, result, Duration::ZERO);
        self.perform(actions);
    }

    fn finish_all(&mut self) {
        while !self.jobs.is_empty() {
            self.finish(false);
        }
    }

    fn reply(&self, call: u64) -> Option<&Result<Guid, Error>> {
        self.replies.iter().find(|(id, _)| *id == call).map(|(_, reply)| reply)
    }

    fn call(&mut self, kind: Kind, verb: Verb) -> Result<Guid, Error> {
        let call = self.submit(kind, verb);
        self.finish_all();
        self.reply(call).expect("an answer").clone()
    }

    /// Makes a network with one subnet.
    fn network(&mut self, mode: &str, policies: &str) -> Result<Guid, Error> {
        let subnet = self.calls;
        let document = format!(
            r#"{{"Type":"{mode}","Ipams":[{{"Subnets":[{{"IpAddressPrefix":"10.0.{subnet}.0/24"}}]}}],
                "Policies":{policies},"SchemaVersion":{{"Major":2}}}}"#
        );
        self.call(Kind::Network, Verb::Create { id: None, parent: None, document: Some(document) })
    }

    fn submit_endpoint(&mut self, network: Guid, policies: &str) -> u64 {
        let document = format!(r#"{{"Policies":{policies},"SchemaVersion":{{"Major":2}}}}"#);
        let parent = Some(Reference { id: network, incarnation: None });
        self.submit(Kind::Endpoint, Verb::Create { id: None, parent, document: Some(document) })
    }

    fn endpoint(&mut self, network: Guid, policies: &str) -> Result<Guid, Error> {
        let call = self.submit_endpoint(network, policies);
        self.finish_all();
        self.reply(call).expect("an answer").clone()
    }

    fn submit_modify(&mut self, kind: Kind, id: Guid, request: &str, policies: &str) -> u64 {
        let document = format!(
            r#"{{"ResourceType":"Policy","RequestType":"{request}","Settings":{{"Policies":{policies}}}}}"#
        );
        let target = Reference { id, incarnation: None };
        self.submit(kind, Verb::Modify { target, document: Some(document) })
    }

    fn modify(&mut self, kind: Kind, id: Guid, request: &str, policies: &str) -> Result<(), Error> {
        let call = self.submit_modify(kind, id, request, policies);
        self.finish_all();
        self.reply(call).expect("an answer").clone().map(drop)
    }

    fn delete(&mut self, kind: Kind, id: Guid) {
        self.call(kind, Verb::Delete { id }).unwrap();
    }

    /// The policies as a query gives them: `TYPE SETTINGS` each.
    fn policies(&self, kind: Kind, id: Guid) -> Vec<String> {
        let query = Some(r#"{"SchemaVersion":{"Major":2}}"#.to_owned());
        let verb = Verb::Query { target: Reference { id, incarnation: None }, query };
        let Ok(Answer::Document(document)) = read::read(&self.published, &Call { kind, verb }) else {
            panic!("no document")
        };
        let shown = |kind: String, settings: Option<&hcn_schema::Raw>| match settings {
            Some(settings) => format!("{} {}", kind.trim_matches('"'), settings.get()),
            None => kind.trim_matches('"').to_owned(),
        };
        match kind {
            Kind::Network => {
                let document: HostComputeNetwork = hcn_schema::parse(document.get()).unwrap();
                let policies = document.policies.iter();
                policies.map(|p| shown(hcn_schema::to_text(&p.kind), p.settings.as_ref())).collect()
            }
            _ => {
                let document: HostComputeEndpoint = hcn_schema::parse(document.get()).unwrap();
                let policies = document.policies.iter();
                policies.map(|p| shown(hcn_schema::to_text(&p.kind), p.settings.as_ref())).collect()
            }
        }
    }
}

/// A list of one policy.
fn one(kind: &str, settings: &str) -> String {
    format!(r#"[{{"Type":"{kind}","Settings":{settings}}}]"#)
}

/// Asserts that a call was refused, and where.
#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Error>, code: HResult, path: &str) {
    let error = result.expect_err("it was accepted");
    assert_eq!((error.code, error.path.as_deref()), (code, Some(path)), "{error}");
}
