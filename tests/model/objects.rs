//! The objects of the model: a network, an endpoint, a front end. Each knows how its calls look on the wire, how
//! answers are read, and what they mean.

use std::fmt;

use hcn_tests::wire::Reply;
use serde_json::{Value, json};

use crate::linear::Model;
use crate::random::Random;

const EXISTS_NETWORK: u64 = 0x803b_0010;
const NO_NETWORK: u64 = 0x803b_0001;
const NO_ENDPOINT: u64 = 0x803b_0002;
const ELSEWHERE: u64 = 0x803b_002b;
const NOT_FOUND: u64 = 0x8007_0490;
const EXISTS: u64 = 0x8007_1392;
const PORT_EXISTS: u64 = 0x803b_0013;
/// What a failure of the data plane is told as.
const FAILED: [u64; 2] = [0x8007_001f, 0x803b_002e];

/// What a call was answered: a code, and what was read.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    code: u64,
    read: Value,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, read } = self;
        write!(f, "0x{code:08x} {} {}", read["Dns"], read["HostComputeNamespace"])
    }
}

impl Answer {
    pub(crate) fn of(reply: &Reply) -> Self {
        let code = if reply.error.is_some() { reply.parameters["hresult"].as_u64().unwrap() } else { 0 };
        Self { code, read: reply.parameters["properties"].clone() }
    }

    fn failed(&self) -> bool {
        FAILED.contains(&self.code)
    }
}

/// An object that clients call.
pub(crate) trait Object: Model<Answer = Answer> {
    /// How many there are.
    const COUNT: u64;
    /// What it is before the first call.
    fn initial() -> Self::State;
    /// A call, by chance.
    fn call(random: &mut Random) -> Self::Call;
    /// The call on the wire: method and parameters.
    fn message(number: u64, call: &Self::Call) -> (&'static str, Value);
}

fn id(kind: u64, number: u64) -> String {
    format!("{kind:08X}-0000-4000-8000-{number:012X}")
}

/// The namespaces that endpoints are attached to.
pub(crate) fn namespace(number: u64) -> String {
    id(9, number)
}

/// The network of the endpoints.
pub(crate) fn base() -> String {
    id(8, 0)
}

fn v2() -> Value {
    json!({"Major": 2, "Minor": 0})
}

/// A network: whether it is there, and the DNS domain that it has.
pub(crate) struct Network;

#[derive(Debug)]
pub(crate) enum NetworkCall {
    Create(u64),
    SetDomain(u64),
    Read,
    Delete,
}

impl Model for Network {
    const IN_ORDER: bool = true;
    type State = Option<u64>;
    type Call = NetworkCall;
    type Answer = Answer;

    fn step(state: &Self::State, call: &Self::Call, answer: &Answer) -> Option<Self::State> {
        if answer.failed() {
            return Some(*state);
        }
        let (code, next) = match (call, state) {
            (NetworkCall::Create(value), None) => (0, Some(*value)),
            (NetworkCall::Create(_), Some(_)) => (EXISTS_NETWORK, *state),
            (NetworkCall::SetDomain(value), Some(_)) => (0, Some(*value)),
            (NetworkCall::Delete, Some(_)) => (0, None),
            (NetworkCall::Read, Some(value)) => {
                (if answer.read["Dns"]["Domain"] == json!(domain(*value)) { 0 } else { u64::MAX }, *state)
            }
            (_, None) => (NO_NETWORK, None),
        };
        (answer.code == code).then_some(next)
    }
}

fn domain(value: u64) -> String {
    format!("d{value}.test")
}

impl Object for Network {
    const COUNT: u64 = 3;

    fn initial() -> Self::State {
        None
    }

    fn call(random: &mut Random) -> NetworkCall {
        match random.below(8) {
            0..3 => NetworkCall::Create(random.below(1000)),
            3..5 => NetworkCall::SetDomain(random.below(1000)),
            5 | 6 => NetworkCall::Read,
            _ => NetworkCall::Delete,
        }
    }

    fn message(number: u64, call: &NetworkCall) -> (&'static str, Value) {
        let id = id(1, number);
        match call {
            NetworkCall::Create(value) => {
                let prefix = format!("10.{number}.0.0/24");
                let settings = json!({"Name": format!("model-{number}"), "SchemaVersion": v2(), "Type": "NAT",
                    "Dns": {"Domain": domain(*value)}, "Ipams": [{"Subnets": [{"IpAddressPrefix": prefix}]}]});
                ("io.hcn.Network.Create", json!({"id": id, "settings": settings}))
            }
            NetworkCall::SetDomain(value) => {
                let settings = json!({"ResourceType": "DNS", "RequestType": "Update",
                    "Settings": {"Domain": domain(*value)}});
                ("io.hcn.Network.Modify", json!({"id": id, "settings": settings}))
            }
            NetworkCall::Read => {
                ("io.hcn.Network.Query", json!({"id": id, "query": {"SchemaVersion": v2()}}))
            }
            NetworkCall::Delete => ("io.hcn.Network.Delete", json!({"id": id})),
        }
    }
}

/// An endpoint: whether it is there, and which namespace it is in.
pub(crate) struct Endpoint;

#[derive(Debug)]
pub(crate) enum EndpointCall {
    Create,
    Attach(u64),
    Detach(u64),
    Read,
    Delete,
}

impl Model for Endpoint {
    const IN_ORDER: bool = true;
    type State = Option<Option<u64>>;
    type Call = EndpointCall;
    type Answer = Answer;

    fn step(state: &Self::State, call: &Self::Call, answer: &Answer) -> Option<Self::State> {
        if answer.failed() {
            return Some(*state);
        }
        let (code, next) = match (call, state) {
            (EndpointCall::Create, None) => (0, Some(None)),
            (EndpointCall::Create, Some(_)) => (EXISTS, *state),
            (EndpointCall::Attach(to), Some(None)) => (0, Some(Some(*to))),
            (EndpointCall::Attach(to), Some(Some(present))) => {
                (if to == present { 0 } else { ELSEWHERE }, *state)
            }
            (EndpointCall::Detach(from), Some(Some(present))) if from == present => (0, Some(None)),
            (EndpointCall::Detach(_), _) => (NOT_FOUND, *state),
            (EndpointCall::Delete, Some(_)) => (0, None),
            (EndpointCall::Read, Some(place)) => {
                let expected = place.map_or(Value::Null, |number| json!(namespace(number)));
                (if answer.read["HostComputeNamespace"] == expected { 0 } else { u64::MAX }, *state)
            }
            (_, None) => (NO_ENDPOINT, None),
        };
        (answer.code == code).then_some(next)
    }
}

impl Object for Endpoint {
    const COUNT: u64 = 4;

    fn initial() -> Self::State {
        None
    }

    fn call(random: &mut Random) -> EndpointCall {
        match random.below(10) {
            0..3 => EndpointCall::Create,
            3..6 => EndpointCall::Attach(random.below(2)),
            6 | 7 => EndpointCall::Detach(random.below(2)),
            8 => EndpointCall::Read,
            _ => EndpointCall::Delete,
        }
    }

    fn message(number: u64, call: &EndpointCall) -> (&'static str, Value) {
        let id = id(2, number);
        let member = |request: &str, to: u64| {
            let settings =
                json!({"ResourceType": "Endpoint", "RequestType": request, "Settings": {"EndpointId": id}});
            ("io.hcn.Namespace.Modify", json!({"id": namespace(to), "settings": settings}))
        };
        match call {
            EndpointCall::Create => {
                let settings = json!({"Name": "model", "SchemaVersion": v2()});
                ("io.hcn.Endpoint.Create", json!({"id": id, "network_id": base(), "settings": settings}))
            }
            EndpointCall::Attach(to) => member("Add", *to),
            EndpointCall::Detach(from) => member("Remove", *from),
            EndpointCall::Read => {
                ("io.hcn.Endpoint.Query", json!({"id": id, "query": {"SchemaVersion": v2()}}))
            }
            EndpointCall::Delete => ("io.hcn.Endpoint.Delete", json!({"id": id})),
        }
    }
}

/// A front end: which of two load balancers has it.
pub(crate) struct Frontend;

#[derive(Debug)]
pub(crate) enum FrontendCall {
    Create(u64),
    Read(u64),
    Delete(u64),
}

impl Model for Frontend {
    // Its load balancers are entities of their own: a call on one may overtake a call that waits for the other.
    const IN_ORDER: bool = false;
    type State = Option<u64>;
    type Call = FrontendCall;
    type Answer = Answer;

    fn step(state: &Self::State, call: &Self::Call, answer: &Answer) -> Option<Self::State> {
        if answer.failed() {
            return Some(*state);
        }
        let (code, next) = match call {
            FrontendCall::Create(new) => match state {
                None => (0, Some(*new)),
                Some(present) if present == new => (EXISTS, *state),
                Some(_) => (PORT_EXISTS, *state),
            },
            FrontendCall::Read(which) => (if *state == Some(*which) { 0 } else { NOT_FOUND }, *state),
            FrontendCall::Delete(which) if *state == Some(*which) => (0, None),
            FrontendCall::Delete(_) => (NOT_FOUND, *state),
        };
        (answer.code == code).then_some(next)
    }
}

impl Object for Frontend {
    const COUNT: u64 = 3;

    fn initial() -> Self::State {
        None
    }

    fn call(random: &mut Random) -> FrontendCall {
        let which = random.below(2);
        match random.below(6) {
            0..3 => FrontendCall::Create(which),
            3 => FrontendCall::Read(which),
            _ => FrontendCall::Delete(which),
        }
    }

    fn message(number: u64, call: &FrontendCall) -> (&'static str, Value) {
        let of = |which: &u64| id(3, 2 * number + which);
        match call {
            FrontendCall::Create(which) => {
                let settings = json!({"FrontendVIPs": ["198.18.0.1"], "SchemaVersion": v2(),
                    "PortMappings": [{"Protocol": 6, "InternalPort": 80, "ExternalPort": 8000 + number}]});
                ("io.hcn.LoadBalancer.Create", json!({"id": of(which), "settings": settings}))
            }
            FrontendCall::Read(which) => {
                ("io.hcn.LoadBalancer.Query", json!({"id": of(which), "query": {"SchemaVersion": v2()}}))
            }
            FrontendCall::Delete(which) => ("io.hcn.LoadBalancer.Delete", json!({"id": of(which)})),
        }
    }
}
