//! DEL and GC: attachments go, with the namespace that is empty then. What is gone already is as wanted.

use std::collections::HashSet;

use hcn_client::blocking::Client;
use hcn_client::{ErrorClass, Guid, Kind, Request, Target};
use serde_json::{Value, json};

use crate::attachment::{self, OWNER};
use crate::config::Config;
use crate::environment::Container;
use crate::error::{Error, Result, is_missing};
use crate::kernel;
use crate::network::{self, V2};

/// DEL.
pub(crate) fn run(client: &mut Client, network: &str, container: &Container) -> Result<()> {
    attachment(client, attachment::endpoint_id(network, &container.id, &container.interface))?;
    // An ADD that was cut off may have left the namespace alone.
    match container.netns.as_deref().map(kernel::identity) {
        Some(Ok((device, inode))) => if_empty(client, attachment::namespace_id(device, inode)),
        _ => Ok(()),
    }
}

/// Deletes the endpoint of an attachment, and its namespace if that is empty then.
pub(crate) fn attachment(client: &mut Client, endpoint: Guid) -> Result<()> {
    match network::document(client, Kind::Endpoint, endpoint)? {
        Some(document) => remove(client, endpoint, &document),
        None => Ok(()),
    }
}

fn remove(client: &mut Client, endpoint: Guid, document: &Value) -> Result<()> {
    delete(client, Kind::Endpoint, endpoint)?;
    match document["HostComputeNamespace"].as_str().and_then(|id| id.parse().ok()) {
        Some(namespace) => if_empty(client, namespace),
        None => Ok(()),
    }
}

/// Deletes a namespace that the plugin has made, unless there is still something in it.
pub(crate) fn if_empty(client: &mut Client, namespace: Guid) -> Result<()> {
    let Some(document) = network::document(client, Kind::Namespace, namespace)? else { return Ok(()) };
    let holds = document["Resources"].as_array().is_some_and(|resources| !resources.is_empty());
    if document["Owner"] != OWNER || holds {
        return Ok(());
    }
    delete(client, Kind::Namespace, namespace)
}

fn delete(client: &mut Client, kind: Kind, id: Guid) -> Result<()> {
    match client.delete(kind, id) {
        Err(error) if is_missing(&error) => Ok(()),
        // Another container's ADD has put something into the namespace meanwhile.
        Err(error) if kind == Kind::Namespace && error.class() == ErrorClass::Conflict => Ok(()),
        other => Ok(other?),
    }
}

/// GC: removes the attachments of this configuration that the runtime does not know, and namespaces that were left
/// empty. Goes on after a failure, and tells the first.
pub(crate) fn collect(client: &mut Client, config: &Config) -> Result<()> {
    let key = "cni.dev/valid-attachments";
    // To take a missing list for an empty one would disconnect every container.
    let valid = config.valid_attachments.as_ref().ok_or_else(|| Error::at(key, "it is missing"))?;
    let valid: HashSet<Guid> = valid
        .iter()
        .map(|valid| attachment::endpoint_id(&config.name, &valid.container, &valid.interface))
        .collect();
    let mut ids = network::with_members(client, Kind::Endpoint, &json!({"Owner": OWNER}))?;
    ids.retain(|id| !valid.contains(id));
    let queries: hcn_client::Result<Vec<_>> =
        ids.iter().map(|id| Request::query(Kind::Endpoint, Target::Id(*id), Some(V2))).collect();
    let mut failures = Vec::new();
    for (id, document) in ids.iter().zip(client.request_all(&queries?)?) {
        let document = match document {
            Ok(document) => network::parsed(document.get())?,
            Err(error) if is_missing(&error) => continue,
            Err(error) => return Err(error.into()),
        };
        if attachment::network_of(&document) == Some(&config.name) {
            failures.extend(remove(client, *id, &document).err());
        }
    }
    for namespace in network::with_members(client, Kind::Namespace, &json!({"Owner": OWNER}))? {
        failures.extend(if_empty(client, namespace).err());
    }
    failures.into_iter().next().map_or(Ok(()), Err)
}
