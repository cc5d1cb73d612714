//! ADD: an endpoint, in the namespace that the container's network namespace is for hcnd.

use std::io;
use std::path::Path;

use hcn_client::blocking::Client;
use hcn_client::{ErrorClass, Guid, Kind, Target};
use serde_json::{Value, json};

use crate::attachment::{self, OWNER};
use crate::config::Config;
use crate::endpoint::{self, Endpoint};
use crate::environment::Container;
use crate::error::{Code, Error, Result, is_missing};
use crate::network::{self, Network};
use crate::version::Version;
use crate::{kernel, remove, result};

/// How often a namespace is made anew that others remove as empty meanwhile.
const ATTEMPTS: usize = 5;

pub(crate) fn run(
    client: &mut Client,
    config: &Config,
    version: Version,
    container: &Container,
) -> Result<Value> {
    let netns = container.netns()?;
    let identity = kernel::identity(netns).map_err(|error| unreachable(netns, &error))?;
    let network = network::find_or_create(client, config)?;
    let endpoint = endpoint::describe(config, container, &network)?;
    let id = attachment::endpoint_id(&config.name, &container.id, &container.interface);
    create(client, id, &network, &endpoint, netns)?;
    let done = attach(client, id, identity, netns).and_then(|()| {
        let document = network::document(client, Kind::Endpoint, id)?;
        let document =
            document.ok_or_else(|| Error::new(Code::Failed, "somebody has deleted the endpoint"))?;
        let interface = kernel::interface(netns, &container.interface);
        let mtu = interface.map_err(|error| unreachable(netns, &error))?.and_then(|interface| interface.mtu);
        Ok(result::of(config, version, container, netns, &document, mtu))
    });
    if done.is_err() {
        // Why it failed is what matters; what cannot be removed now DEL removes.
        let _ = remove::attachment(client, id);
        let _ = remove::if_empty(client, attachment::namespace_id(identity.0, identity.1));
    }
    done
}

pub(crate) fn unreachable(netns: &Path, error: &io::Error) -> Error {
    let code = if error.kind() == io::ErrorKind::NotFound { Code::UnknownContainer } else { Code::Io };
    Error::new(code, format!("CNI_NETNS {}: {error}", netns.display()))
}

/// Makes the endpoint. One that an earlier container of the same names has left is in no namespace, or in another one:
/// the host has started anew since, and nobody has called DEL.
fn create(client: &mut Client, id: Guid, network: &Network, endpoint: &Endpoint, netns: &Path) -> Result<()> {
    let target = Some(Target::Id(network.id));
    let document = endpoint.document.to_string();
    let error = match client.create(Kind::Endpoint, Some(id), target, &document) {
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    let repeated =
        matches!(&error, hcn_client::Error::Failed { error, .. } if error.path.as_deref() == Some("ID"));
    if !repeated {
        return Err(endpoint.placed(error));
    }
    let present = network::document(client, Kind::Endpoint, id)?.unwrap_or_default();
    let namespace = present["HostComputeNamespace"].as_str().and_then(|id| id.parse().ok());
    if namespace.is_some_and(|namespace| is_at(namespace, netns)) {
        return Err(Error::new(Code::Conflict, "the container has this attachment already").with_details(id));
    }
    remove::attachment(client, id)?;
    client.create(Kind::Endpoint, Some(id), target, &document).map_err(|error| endpoint.placed(error))?;
    Ok(())
}

/// Whether a namespace of hcnd's is the network namespace at a path.
pub(crate) fn is_at(namespace: Guid, netns: &Path) -> bool {
    let known = kernel::identity(Path::new(&format!("/run/netns/{namespace}")));
    known.is_ok_and(|known| kernel::identity(netns).is_ok_and(|there| there == known))
}

fn attach(client: &mut Client, endpoint: Guid, identity: (u64, u64), netns: &Path) -> Result<()> {
    let request = json!({
        "ResourceType": "Endpoint", "RequestType": "Add", "Settings": {"EndpointId": endpoint},
    })
    .to_string();
    for _ in 0..ATTEMPTS {
        let namespace = namespace(client, identity, netns)?;
        match client.modify(Kind::Namespace, Target::Id(namespace), &request) {
            Ok(()) => return Ok(()),
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::new(Code::TryAgainLater, "somebody deletes the container's namespace again and again"))
}

/// The namespace that a network namespace is for hcnd, made if hcnd does not know it.
fn namespace(client: &mut Client, identity: (u64, u64), netns: &Path) -> Result<Guid> {
    let id = attachment::namespace_id(identity.0, identity.1);
    let document = json!({
        "SchemaVersion": {"Major": 2}, "Owner": OWNER, "AdditionalParams": {"NetnsPath": netns},
    });
    let Err(error) = client.create(Kind::Namespace, Some(id), None, &document.to_string()) else {
        return Ok(id);
    };
    if error.class() != ErrorClass::Conflict {
        return Err(error.into());
    }
    let is_there = network::document(client, Kind::Namespace, id)?.is_some();
    if is_there {
        return Ok(id);
    }
    // It is one that hcnd, or another of its clients, has made.
    let known = client.enumerate(Kind::Namespace, None)?;
    known.into_iter().find(|known| is_at(*known, netns)).ok_or_else(|| error.into())
}
