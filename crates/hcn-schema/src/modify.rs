//! Modify requests (contract 2.12).

use serde::Deserialize;

use crate::document::document;
use crate::enums::{Enumeration, GuestNetworkServiceState, ModifyRequestType, OneOf};
use crate::network::{IpSubnet, Subnet};
use crate::policy::Policy;
use crate::{Error, HResult, Raw, Result, given};

/// A request to modify a resource of kind `R`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(bound(deserialize = "R: Enumeration"))]
pub struct ModifyRequest<R> {
    #[serde(rename = "ResourceType", default = "none", deserialize_with = "given::choice")]
    resource_type: Option<OneOf<R>>,
    #[serde(rename = "RequestType", default, deserialize_with = "given::choice")]
    request_type: Option<OneOf<ModifyRequestType>>,
    /// Part of the contract's schema; no client sends it.
    #[serde(rename = "ResourceUri", default, deserialize_with = "given::text")]
    pub resource_uri: Option<String>,
    /// What the resource shall be, raw.
    #[serde(rename = "Settings", default, deserialize_with = "given::settings")]
    pub settings: Option<Raw>,
}

fn none<T>() -> Option<T> {
    None
}

impl<R: Enumeration> ModifyRequest<R> {
    /// What to do to which resource. Absent = the zero enumerator.
    ///
    /// # Errors
    /// [`HResult::REQUEST_UNSUPPORTED`] for names that the contract does not have.
    pub fn target(&self) -> Result<(R, ModifyRequestType)> {
        Ok((
            known(self.resource_type.as_ref(), "ResourceType")?,
            known(self.request_type.as_ref(), "RequestType")?,
        ))
    }

    /// The settings as a document of type `T`.
    ///
    /// # Errors
    /// [`HResult::INVALID_JSON`] when they are of another shape.
    pub fn settings<'a, T: Deserialize<'a>>(&'a self) -> Result<T> {
        // None are the same as empty ones; what is missing in them is told by its name.
        let settings = self.settings.as_ref().map_or("{}", Raw::get);
        crate::parse(settings).map_err(|error| error.within("Settings"))
    }
}

fn known<T: Enumeration>(value: Option<&OneOf<T>>, path: &str) -> Result<T> {
    match value {
        None => Ok(T::VALUES[0].0),
        Some(OneOf::Known(value)) => Ok(*value),
        Some(OneOf::Unknown(text)) => {
            Err(Error::new(HResult::REQUEST_UNSUPPORTED, format!("there is no {path} {text:?}"))
                .at(path)
                .expected(T::names()))
        }
    }
}

/// Settings of a policy request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(bound(deserialize = "T: Enumeration"))]
pub struct PolicyRequest<T> {
    /// The policies to add, remove or update.
    #[serde(rename = "Policies", default = "Vec::new", deserialize_with = "given::objects")]
    pub policies: Vec<Policy<T>>,
}

document! {
    /// Settings of a subnet request.
    SubnetRequest ("SubnetNetworkRequest") {
        /// The subnets to add or remove.
        subnets: objects(Subnet) "Subnets",
    }
}

document! {
    /// Settings of a request about parts of a subnet.
    IpSubnetRequest ("IPSubnetNetworkRequest") {
        /// GUID of the subnet.
        subnet_id: guid "SubnetId",
        /// The parts to add or remove.
        ip_subnets: objects(IpSubnet) "IpSubnets",
    }
}

document! {
    /// Settings of a request about an extension of a network's switch.
    Extension {
        /// GUID of the extension.
        id: guid "Id",
        /// Whether it shall work.
        is_enabled: bool "IsEnabled",
    }
}

document! {
    /// Settings of a request about the port of an endpoint: the adapter of a virtual machine that is plugged in.
    VmEndpointRequest {
        /// GUID of the port.
        port_id: guid "PortId",
        /// Name of the adapter: `MACHINE--ENDPOINT`, each a GUID.
        virtual_nic_name: text "VirtualNicName",
        /// GUID of the virtual machine.
        virtual_machine_id: guid "VirtualMachineId",
    }
}

document! {
    /// Settings of a request about an endpoint of a namespace.
    NamespaceEndpointRequest {
        /// GUID of the endpoint.
        endpoint_id: guid "EndpointId",
    }
}

document! {
    /// Settings of a request about a container of a namespace.
    NamespaceContainerRequest {
        /// Identifier of the container, any text.
        container_id: text "ContainerId",
    }
}

document! {
    /// Settings of a request about the state of a guest network service.
    GuestNetworkServiceStateRequest {
        /// The state that it shall be in.
        state: choice(GuestNetworkServiceState) "State",
    }
}
