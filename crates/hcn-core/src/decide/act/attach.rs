//! Attaching endpoints to the host, to containers and to virtual machines, and detaching them (B47, B48, B50).

use std::sync::Arc;

use hcn_schema::call::{Answer, Kind, Reference};
use hcn_schema::modify::VmEndpointRequest;
use hcn_schema::v1::HnsAttachRequest;
use hcn_schema::{Error, Guid, HResult, Result};

use crate::decide::{Decision, Outcome, Refusal, View, endpoint, namespace, shards};
use crate::entity::{Change, Endpoint, Entity, Namespace, Place};
use crate::{names, text};

/// The number of the host's own compartment; 0 counts as not given.
const HOST_NUMBER: u32 = 1;

/// What an endpoint is attached to.
#[derive(Clone, Copy)]
enum System {
    Container,
    VirtualMachine,
    Host,
}

impl System {
    fn of(request: &HnsAttachRequest) -> Result<Self> {
        let names =
            [("Container", Self::Container), ("VirtualMachine", Self::VirtualMachine), ("Host", Self::Host)];
        let Some(given) = request.system_type.as_deref() else { return Ok(Self::Container) };
        let found = names.iter().find(|(name, _)| name.eq_ignore_ascii_case(given));
        found.map(|(_, system)| *system).ok_or_else(|| {
            Error::new(HResult::INVALID_ARGUMENT, format!("there is no system type {}", text::shown(given)))
                .at("SystemType")
                .expected("Container, VirtualMachine or Host")
        })
    }
}

pub(super) fn attach(view: &View<'_>, target: Reference, given: &str) -> Outcome<Decision> {
    let endpoint = Arc::clone(view.endpoint(target)?);
    let request: HnsAttachRequest = hcn_schema::parse(given)?;
    let system = System::of(&request)?;
    if endpoint.remote {
        return Err(Refusal::Error(endpoint::not_here(&endpoint)));
    }
    match system {
        System::Host => to_host(view, &endpoint, &request),
        System::VirtualMachine => to_machine(view, &endpoint, &request),
        System::Container => to_container(view, &endpoint, &request),
    }
}

/// To the host, or to the namespace of another compartment.
fn to_host(view: &View<'_>, endpoint: &Arc<Endpoint>, request: &HnsAttachRequest) -> Outcome<Decision> {
    let namespace = compartment(view, request)?;
    if namespace.is_none()
        && let Some(number) = request.compartment_id.filter(|number| *number > HOST_NUMBER)
    {
        let error = Error::new(HResult::NOT_FOUND, format!("no namespace has the number {number}"));
        return Err(Refusal::Error(error.at("CompartmentId").expected("1, or the number of a namespace")));
    }
    if endpoint.place().is_some() {
        return Err(Refusal::Error(endpoint::attached_already(endpoint)));
    }
    if let Some(namespace) = namespace {
        return into_namespace(view, &namespace, endpoint);
    }
    let interface = Some(names::host_peer(&endpoint.veth));
    let room = shards::room(view, endpoint)?;
    let new = Endpoint { on_host: true, interface, shard: room.shard, ..Endpoint::clone(endpoint) };
    let mut decision = endpoint::plugged(view, endpoint, new);
    room.take(&mut decision);
    Ok(decision)
}

fn to_machine(view: &View<'_>, endpoint: &Arc<Endpoint>, request: &HnsAttachRequest) -> Outcome<Decision> {
    let nic = request.virtual_nic_name.clone();
    // The name of the adapter begins with the machine's ID, if anything.
    let machine =
        nic.as_deref().and_then(|nic| nic.split("--").next()).filter(|id| id.parse::<Guid>().is_ok());
    let port = VmEndpointRequest {
        port_id: None,
        virtual_machine_id: machine.map(str::to_owned),
        virtual_nic_name: nic,
    };
    endpoint::vm_port(view, endpoint, &port, "")
}

/// To a container; and to its namespace if the request tells which one it is. An endpoint can be shared by several.
fn to_container(view: &View<'_>, endpoint: &Arc<Endpoint>, request: &HnsAttachRequest) -> Outcome<Decision> {
    let container = container_of(request)?;
    let namespace = compartment(view, request)?;
    let id = namespace.as_ref().map(|namespace| namespace.meta.id);
    let elsewhere = match endpoint.place() {
        Some(Place::Host | Place::VmPort(_)) => true,
        Some(Place::Namespace(present)) => id.is_some_and(|id| id != present),
        Some(Place::Containers) | None => false,
    };
    if elsewhere {
        return Err(Refusal::Error(endpoint::attached_already(endpoint)));
    }
    let enters = namespace.filter(|_| endpoint.namespace.is_none());
    let known = endpoint.containers.contains(&container);
    if known && enters.is_none() {
        return Ok(Decision::new(Change::default(), Answer::Done));
    }
    let mut new = Endpoint::clone(endpoint);
    if !known {
        new.containers.push(container);
    }
    let containers = new.containers.clone();
    match enters {
        Some(namespace) => {
            let mut decision = into_namespace(view, &namespace, endpoint)?;
            set_containers(&mut decision, &containers);
            Ok(decision)
        }
        None if endpoint.place().is_none() => Ok(endpoint::plugged(view, endpoint, new)),
        None => Ok(endpoint::replaced(view, endpoint, new)),
    }
}

fn into_namespace(view: &View<'_>, namespace: &Arc<Namespace>, endpoint: &Endpoint) -> Outcome<Decision> {
    let decision = namespace::attach(view, namespace, endpoint.meta.id);
    decision.map_err(|refusal| refusal.map(|error| Error { path: None, ..error }))
}

/// The namespace that a request names by its number.
fn compartment(view: &View<'_>, request: &HnsAttachRequest) -> Outcome<Option<Arc<Namespace>>> {
    let Some(number) = request.compartment_id.filter(|number| *number > HOST_NUMBER) else { return Ok(None) };
    let Some(found) = view.registry.namespaces.iter().find(|namespace| namespace.number == number) else {
        return Ok(None);
    };
    let target = Reference { id: found.meta.id, incarnation: None };
    Ok(Some(Arc::clone(view.namespace(target)?)))
}

fn container_of(request: &HnsAttachRequest) -> Result<String> {
    let path = "ContainerId";
    let container = request.container_id.clone().ok_or_else(|| {
        Error::new(HResult::INVALID_ARGUMENT, "the request names no container").at(path).expected("a text")
    })?;
    text::check_free(Some(&container), path)?;
    Ok(container)
}

pub(super) fn detach(view: &View<'_>, target: Reference, given: &str) -> Outcome<Decision> {
    let endpoint = Arc::clone(view.endpoint(target)?);
    let request: HnsAttachRequest = hcn_schema::parse(given)?;
    let not_attached = |to: &str| {
        let message = format!("the endpoint {} is not attached to {to}", endpoint.meta.id);
        Err(Refusal::Error(Error::new(HResult::ENDPOINT_NOT_ATTACHED, message)))
    };
    let plain = || Endpoint {
        on_host: false,
        vm_port: None,
        interface: None,
        rank: None,
        shard: 0,
        ..Endpoint::clone(&endpoint)
    };
    match System::of(&request)? {
        System::Host => match endpoint.place() {
            Some(Place::Host) => Ok(endpoint::plugged(view, &endpoint, plain())),
            Some(Place::Namespace(id)) if endpoint.containers.is_empty() => {
                leave_namespace(view, &endpoint, id)
            }
            _ => not_attached("the host"),
        },
        System::VirtualMachine if endpoint.vm_port.is_some() => {
            Ok(endpoint::plugged(view, &endpoint, plain()))
        }
        System::VirtualMachine => not_attached("a virtual machine"),
        System::Container => {
            let container = container_of(&request)?;
            let mut left = endpoint.containers.clone();
            left.retain(|other| *other != container);
            if left.len() == endpoint.containers.len() {
                return not_attached(&format!("the container {}", text::shown(&container)));
            }
            // The last one takes the endpoint out of the namespace, too.
            if left.is_empty()
                && let Some(id) = endpoint.namespace
            {
                let mut decision = leave_namespace(view, &endpoint, id)?;
                set_containers(&mut decision, &left);
                return Ok(decision);
            }
            let detached = left.is_empty();
            let new = Endpoint { containers: left, ..Endpoint::clone(&endpoint) };
            Ok(if detached {
                endpoint::plugged(view, &endpoint, new)
            } else {
                endpoint::replaced(view, &endpoint, new)
            })
        }
    }
}

fn leave_namespace(view: &View<'_>, endpoint: &Endpoint, id: Guid) -> Outcome<Decision> {
    view.all_settled(&[(Kind::Namespace, id), (Kind::Endpoint, endpoint.meta.id)])?;
    let namespace = Arc::clone(view.namespace(Reference { id, incarnation: None })?);
    namespace::detach(view, &namespace, endpoint.meta.id)
}

/// Gives the endpoint of a decision these containers.
fn set_containers(decision: &mut Decision, containers: &[String]) {
    for step in &mut decision.change.steps {
        if let Some(Entity::Endpoint(endpoint)) = &mut step.after {
            Arc::make_mut(endpoint).containers = containers.to_vec();
        }
    }
}
