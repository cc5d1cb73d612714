//! HostComputeLoadBalancer (contract 2.8).

use serde::{Deserialize, Serialize};

use crate::base::{Health, Version, version};
use crate::enums::{DistributionType, LoadBalancerFlags, OneOf, PortMappingFlags, ProtocolType, as_number};
use crate::{Raw, given};

/// A load balancer document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostComputeLoadBalancer {
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
    /// Free text of the client.
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
    /// GUID of the network; derived from the endpoints when absent.
    #[serde(
        rename = "HostComputeNetwork",
        default,
        deserialize_with = "given::text",
        skip_serializing_if = "Option::is_none"
    )]
    pub host_compute_network: Option<String>,
    /// GUIDs of the back ends, of this host and of others.
    #[serde(
        rename = "HostComputeEndpoints",
        default,
        deserialize_with = "given::texts",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub host_compute_endpoints: Vec<String>,
    /// What back ends see as the client, unless the load balancer returns directly (DSR).
    #[serde(
        rename = "SourceVIP",
        default,
        deserialize_with = "given::text",
        skip_serializing_if = "Option::is_none"
    )]
    pub source_vip: Option<String>,
    /// What clients connect to; none = every address of the host. Old documents say `VirtualIPs`.
    #[serde(
        rename = "FrontendVIPs",
        alias = "VirtualIPs",
        default,
        deserialize_with = "given::texts",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub frontend_vips: Vec<String>,
    /// Which ports.
    #[serde(
        rename = "PortMappings",
        default,
        deserialize_with = "given::objects",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub port_mappings: Vec<LoadBalancerPortMapping>,
    /// Flags.
    #[serde(rename = "Flags", default, skip_serializing_if = "LoadBalancerFlags::is_empty")]
    pub flags: LoadBalancerFlags,
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

/// LoadBalancerPortMapping.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancerPortMapping {
    /// Transport protocol, a number on output.
    #[serde(
        rename = "Protocol",
        default,
        deserialize_with = "given::choice",
        serialize_with = "as_number",
        skip_serializing_if = "Option::is_none"
    )]
    pub protocol: Option<OneOf<ProtocolType>>,
    /// Of the back ends.
    #[serde(
        rename = "InternalPort",
        default,
        deserialize_with = "given::number",
        skip_serializing_if = "Option::is_none"
    )]
    pub internal_port: Option<u16>,
    /// Of the front ends.
    #[serde(
        rename = "ExternalPort",
        default,
        deserialize_with = "given::number",
        skip_serializing_if = "Option::is_none"
    )]
    pub external_port: Option<u16>,
    /// What keeps connections of a client at one back end; a number on output.
    #[serde(
        rename = "DistributionType",
        default,
        deserialize_with = "given::choice",
        serialize_with = "as_number",
        skip_serializing_if = "Option::is_none"
    )]
    pub distribution_type: Option<OneOf<DistributionType>>,
    /// Flags.
    #[serde(rename = "Flags", default, skip_serializing_if = "PortMappingFlags::is_empty")]
    pub flags: PortMappingFlags,
}
