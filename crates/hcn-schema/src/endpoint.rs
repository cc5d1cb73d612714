//! HostComputeEndpoint (contract 2.6).

use serde::{Deserialize, Serialize};

use crate::base::{Health, Version, version};
use crate::dns::Dns;
use crate::enums::EndpointFlags;
use crate::policy::EndpointPolicy;
use crate::route::Route;
use crate::{Raw, given};

/// An endpoint document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostComputeEndpoint {
    /// GUID.
    #[serde(
        rename = "ID",
        default,
        deserialize_with = "given::text",
        skip_serializing_if = "Option::is_none"
    )]
    pub id: Option<String>,
    /// Free text of the client.
    #[serde(
        rename = "Owner",
        default,
        deserialize_with = "given::text",
        skip_serializing_if = "Option::is_none"
    )]
    pub owner: Option<String>,
    /// Need not be unique.
    #[serde(
        rename = "Name",
        default,
        deserialize_with = "given::text",
        skip_serializing_if = "Option::is_none"
    )]
    pub name: Option<String>,
    /// Revision; output only.
    #[serde(
        rename = "Version",
        default,
        deserialize_with = "given::number",
        skip_serializing_if = "Option::is_none"
    )]
    pub version: Option<u64>,
    /// Kept as it came.
    #[serde(
        rename = "AdditionalParams",
        default,
        deserialize_with = "given::raw",
        skip_serializing_if = "Option::is_none"
    )]
    pub additional_params: Option<Raw>,
    /// GUID of the network.
    #[serde(
        rename = "HostComputeNetwork",
        default,
        deserialize_with = "given::text",
        skip_serializing_if = "Option::is_none"
    )]
    pub host_compute_network: Option<String>,
    /// GUID of the namespace; output only.
    #[serde(
        rename = "HostComputeNamespace",
        default,
        deserialize_with = "given::text",
        skip_serializing_if = "Option::is_none"
    )]
    pub host_compute_namespace: Option<String>,
    /// Policies, settings kept raw.
    #[serde(
        rename = "Policies",
        default,
        deserialize_with = "given::objects",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub policies: Vec<EndpointPolicy>,
    /// Addresses; the order is kept.
    #[serde(
        rename = "IpConfigurations",
        default,
        deserialize_with = "given::objects",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub ip_configurations: Vec<IpConfig>,
    /// DNS settings; the network's when absent.
    #[serde(
        rename = "Dns",
        default,
        deserialize_with = "given::object",
        skip_serializing_if = "Option::is_none"
    )]
    pub dns: Option<Dns>,
    /// Routes; the subnet's default routes when absent.
    #[serde(
        rename = "Routes",
        default,
        deserialize_with = "given::objects",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub routes: Vec<Route>,
    /// Written with dashes in upper case.
    #[serde(
        rename = "MacAddress",
        default,
        deserialize_with = "given::text",
        skip_serializing_if = "Option::is_none"
    )]
    pub mac_address: Option<String>,
    /// Flags; written as a number.
    #[serde(rename = "Flags", default, skip_serializing_if = "EndpointFlags::is_empty")]
    pub flags: EndpointFlags,
    /// Life-cycle state (see [`State`]); output only.
    #[serde(
        rename = "State",
        default,
        deserialize_with = "given::number",
        skip_serializing_if = "Option::is_none"
    )]
    pub state: Option<u16>,
    /// Filled by the service.
    #[serde(
        rename = "Health",
        default,
        deserialize_with = "given::object",
        skip_serializing_if = "Option::is_none"
    )]
    pub health: Option<Health>,
    /// Version of the document.
    #[serde(
        rename = "SchemaVersion",
        default,
        deserialize_with = "version",
        skip_serializing_if = "Option::is_none"
    )]
    pub schema_version: Option<Version>,
}

/// IpConfig.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpConfig {
    /// Address; returned as it came.
    #[serde(
        rename = "IpAddress",
        default,
        deserialize_with = "given::text",
        skip_serializing_if = "Option::is_none"
    )]
    pub ip_address: Option<String>,
    /// Prefix length in bits; the subnet's when absent.
    #[serde(
        rename = "PrefixLength",
        default,
        deserialize_with = "given::number",
        skip_serializing_if = "Option::is_none"
    )]
    pub prefix_length: Option<u8>,
    /// GUID of the IpSubnet that the address belongs to.
    #[serde(
        rename = "IpSubnetId",
        default,
        deserialize_with = "given::text",
        skip_serializing_if = "Option::is_none"
    )]
    pub ip_subnet_id: Option<String>,
}

/// Life-cycle states of an endpoint (contract 2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum State {
    /// Not in any namespace.
    Created = 1,
    /// Attached to the host or to a virtual machine.
    Attached = 2,
    /// In a namespace of containers.
    AttachedSharing = 3,
    /// Something of it could not be undone; it is being retried.
    Degraded = 5,
}
