//! The REST paths of HNS (contract 5.1, 5.2): what a request asks for, and what comes back in which envelope.
//!
//! What can be read from the records is answered at once; everything else is left to the daemon, with what its answer
//! becomes.

use hcn_schema::call::{Action, Call, HnsRequest, Kind, Reference, Verb};
use hcn_schema::hns::{Feature, HnsVersion};
use hcn_schema::v1::HnsAccelnet;
use hcn_schema::{Error, Guid, HResult, Raw, Result};
use serde::Serialize;
use serde_json::json;

use super::policy_list;
use crate::decide::{missing, require};
use crate::entity::EntityKey;
use crate::registry::Registry;
use crate::{read, text};

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// This, which is known already.
    Output(Raw),
    /// That a call is carried out.
    Call {
        /// The call.
        call: Call,
        /// What becomes of its answer.
        then: Then,
    },
    /// The list of MAC addresses for accelerated networking; the list as it is then is the output.
    Accelnet(Accelnet),
}

/// What a call's success becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Then {
    /// A success without output.
    Nothing,
    /// The same, and if there is no such entity, the call on another kind.
    Otherwise(Kind),
    /// The document that the call answers.
    Answer,
    /// The document of the entity that it made or changed.
    Document,
    /// This, which was known before: the document of what is deleted.
    Output(Raw),
}

/// What happens to the list of MAC addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accelnet {
    /// Nothing.
    Get,
    /// It becomes this one.
    Set(Vec<String>),
    /// It becomes empty.
    Clear,
}

/// What the first part of a path names, where it is entities.
struct Collection {
    name: &'static str,
    kinds: &'static [Kind],
    /// What `POST /COLLECTION/ID/ACTION` does.
    actions: &'static [(&'static str, Action)],
    /// Whether entities can be changed by `POST /COLLECTION/ID`.
    updates: bool,
}

const COLLECTIONS: [Collection; 4] = [
    Collection { name: "networks", kinds: &[Kind::Network], actions: &[], updates: true },
    Collection {
        name: "endpoints",
        kinds: &[Kind::Endpoint],
        actions: &[("attach", Action::Attach), ("detach", Action::Detach)],
        updates: true,
    },
    Collection {
        name: "policylists",
        kinds: &[Kind::LoadBalancer, Kind::SdnRoute],
        actions: &[],
        updates: false,
    },
    Collection {
        name: "namespaces",
        kinds: &[Kind::Namespace],
        actions: &[("addresource", Action::AddResource), ("removeresource", Action::RemoveResource)],
        updates: false,
    },
];

/// Lists of what Windows has and hcnd has not.
const EMPTY: [&str; 3] = ["activities", "plugins", "portpools"];

/// The last part of a path that asks for more.
const DETAILED: &str = "detailed";

/// The methods.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Get,
    Post,
    Delete,
}

/// Finds out what a request asks for.
///
/// # Errors
/// 0x80070490 for paths that there are not, 0x80004001 for methods that a path does not know, 0x803b0019 for IDs that are
/// none, 0x803b0015 for what came with a later version than the client's; those of reading.
pub fn asked(registry: &Registry, version: HnsVersion, request: &HnsRequest) -> Result<Asked> {
    let method = match request.method.as_str() {
        "GET" => Method::Get,
        "POST" => Method::Post,
        "DELETE" => Method::Delete,
        other => {
            let message = format!("there is no method {}", text::shown(other));
            return Err(Error::new(HResult::NOT_IMPLEMENTED, message).expected("GET, POST or DELETE"));
        }
    };
    let path = request.path.to_ascii_lowercase();
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let body = request.body.clone().filter(|body| !body.trim().is_empty());
    let is = |name: &str| parts.first() == Some(&name);
    if let Some(collection) = COLLECTIONS.iter().find(|collection| is(collection.name)) {
        return entities(registry, collection, method, &parts[1..], body, request);
    }
    match (method, parts.as_slice()) {
        (Method::Get, ["globals", "version"]) => Ok(Asked::Output(Raw::of(&version))),
        (Method::Get, ["endpointstats", id]) => {
            let verb = Verb::QueryStats { target: reference(guid(id)?), query: None };
            Ok(Asked::Call { call: Call { kind: Kind::Endpoint, verb }, then: Then::Answer })
        }
        (Method::Get, ["endpointaddresses", id]) => {
            let verb = Verb::QueryAddresses { target: reference(guid(id)?), query: None };
            Ok(Asked::Call { call: Call { kind: Kind::Endpoint, verb }, then: Then::Answer })
        }
        (_, ["accelnet"]) => {
            require(version, Feature::Accelnet, "")?;
            Ok(Asked::Accelnet(match method {
                Method::Get => Accelnet::Get,
                Method::Post => Accelnet::Set(mac_addresses(body.as_deref())?),
                Method::Delete => Accelnet::Clear,
            }))
        }
        (Method::Get, [name]) if EMPTY.contains(name) => Ok(Asked::Output(Raw::of::<[(); 0]>(&[]))),
        (_, ["globals", "version"] | ["endpointstats" | "endpointaddresses", _]) => {
            Err(not_implemented(request))
        }
        (_, [name]) if EMPTY.contains(name) => Err(not_implemented(request)),
        _ => Err(no_path(request)),
    }
}

/// A request about entities; `parts` is what follows the collection's name.
fn entities(
    registry: &Registry,
    collection: &Collection,
    method: Method,
    parts: &[&str],
    body: Option<String>,
    request: &HnsRequest,
) -> Result<Asked> {
    let kinds = collection.kinds;
    match (method, parts) {
        (Method::Get, []) => Ok(Asked::Output(list(registry, kinds, false))),
        (Method::Get, [DETAILED]) => Ok(Asked::Output(list(registry, kinds, true))),
        (Method::Post, []) => {
            let kind = match kinds {
                [kind] => *kind,
                _ => policy_list::kind_of(body.as_deref().unwrap_or_default())?,
            };
            let verb = Verb::Create { id: None, parent: None, document: body };
            Ok(Asked::Call { call: Call { kind, verb }, then: Then::Document })
        }
        (Method::Get, [id]) => one(registry, kinds, guid(id)?, false).map(Asked::Output),
        (Method::Get, [id, DETAILED]) => one(registry, kinds, guid(id)?, true).map(Asked::Output),
        (Method::Post, [id]) if collection.updates => {
            let verb = Verb::Act { target: reference(guid(id)?), action: Action::Update, document: body };
            Ok(Asked::Call { call: Call { kind: kinds[0], verb }, then: Then::Document })
        }
        (Method::Delete, [id]) => {
            let id = guid(id)?;
            let kind = kind_of(registry, kinds, id);
            let then = match one(registry, &[kind], id, false) {
                Ok(document) => Then::Output(document),
                // Whether it is there, and of which kind, is decided when it is its turn.
                Err(_) => kinds.get(1).map_or(Then::Nothing, |other| Then::Otherwise(*other)),
            };
            Ok(Asked::Call { call: Call { kind, verb: Verb::Delete { id } }, then })
        }
        (_, [id, name]) => match collection.actions.iter().find(|(action, _)| action == name) {
            Some((_, action)) if method == Method::Post => {
                let verb = Verb::Act { target: reference(guid(id)?), action: *action, document: body };
                let attaches = matches!(action, Action::Attach | Action::Detach);
                let then = if attaches { Then::Nothing } else { Then::Document };
                Ok(Asked::Call { call: Call { kind: kinds[0], verb }, then })
            }
            Some(_) => Err(not_implemented(request)),
            None => Err(no_path(request)),
        },
        (_, [] | [_]) => Err(not_implemented(request)),
        _ => Err(no_path(request)),
    }
}

fn no_path(request: &HnsRequest) -> Error {
    Error::new(HResult::NOT_FOUND, format!("there is no path {}", text::shown(&request.path)))
}

fn not_implemented(request: &HnsRequest) -> Error {
    let message = format!("{} is not for {}", request.method, text::shown(&request.path));
    Error::new(HResult::NOT_IMPLEMENTED, message)
}

fn guid(id: &str) -> Result<Guid> {
    text::guid(id, "ID")
}

fn reference(id: Guid) -> Reference {
    Reference { id, incarnation: None }
}

fn mac_addresses(body: Option<&str>) -> Result<Vec<String>> {
    let given: HnsAccelnet = hcn_schema::parse(body.unwrap_or_default())?;
    let address = |(index, element): (usize, hcn_schema::v1::HnsMacAddress)| {
        let address = element.mac_address.unwrap_or_default();
        let path = format!("MacAddressList[{index}].MacAddress");
        text::mac(&address, HResult::INVALID_ARGUMENT, &path).map(|_| address)
    };
    given.mac_address_list.into_iter().enumerate().map(address).collect()
}

/// The output of the list of MAC addresses.
pub fn accelnet(addresses: &[String]) -> Raw {
    let list: Vec<_> = addresses.iter().map(|address| json!({"MacAddress": address})).collect();
    Raw::of(&json!({"MacAddressList": list}))
}

/// The kind of which an entity with this ID is there; the first one if there is none.
fn kind_of(registry: &Registry, kinds: &[Kind], id: Guid) -> Kind {
    let found = kinds.iter().find(|kind| registry.get(EntityKey { kind: **kind, id }).is_some());
    *found.unwrap_or(&kinds[0])
}

fn one(registry: &Registry, kinds: &[Kind], id: Guid, detailed: bool) -> Result<Raw> {
    let kind = kind_of(registry, kinds, id);
    let entity = registry.get(EntityKey { kind, id }).ok_or_else(|| missing(kind, reference(id)))?;
    Ok(read::flat_document(registry, &entity, detailed))
}

fn list(registry: &Registry, kinds: &[Kind], detailed: bool) -> Raw {
    let entities = kinds.iter().flat_map(|kind| registry.of_kind(*kind));
    let documents: Vec<Raw> =
        entities.map(|entity| read::flat_document(registry, &entity, detailed)).collect();
    Raw::of(&documents)
}

/// The document of an entity, if it is still there.
pub fn document(registry: &Registry, kind: Kind, id: Guid) -> Option<Raw> {
    one(registry, &[kind], id, false).ok()
}

/// The envelope of a success.
pub fn success(output: Option<&Raw>) -> Raw {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Envelope<'a> {
        success: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        output: Option<&'a Raw>,
    }
    Raw::of(&Envelope { success: true, output })
}

/// The envelope of a failure.
pub fn failure(error: &Error) -> Raw {
    Raw::of(&error.record())
}
