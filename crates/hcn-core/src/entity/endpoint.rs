//! The record of an endpoint.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use hcn_dataplane::{Frontend, Mac};
use hcn_schema::endpoint::HostComputeEndpoint;
use hcn_schema::enums::EndpointPolicyType;
use hcn_schema::settings::OutboundNatSettings;
use hcn_schema::{Guid, Raw};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Meta, RoutingTable};
use crate::lists;

/// A route of an endpoint, parsed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Destination, host bits zero.
    pub destination: IpNet,
    /// Next hop; none = on link.
    pub gateway: Option<IpAddr>,
    /// Lower wins.
    pub metric: Option<u16>,
}

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Common part.
    pub meta: Meta,
    /// The document as it is returned, without the fields that are filled on query.
    pub document: HostComputeEndpoint,
    /// Its network.
    pub network: Guid,
    /// The namespace that it is attached to.
    pub namespace: Option<Guid>,
    /// Whether it lives on another host (flag RemoteEndpoint): it has no link then.
    pub remote: bool,
    /// Addresses with their prefix lengths, in the order of the document.
    pub addresses: Vec<IpNet>,
    /// MAC address.
    pub mac: Mac,
    /// Parsed port mappings.
    pub ports: Vec<PortMapping>,
    /// Parsed routes; those that cannot be routes of Linux (default without a next hop) are left out.
    pub routes: Vec<Route>,
    /// Interface name of the host end while attached.
    pub veth: String,
    /// Interface name in the namespace while attached.
    pub interface: Option<String>,
    /// Which of the namespace's interfaces it is, from 0, where the name does not tell: the routes of earlier ones win.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<u32>,
    /// Which of the network's bridges its port is on, while it is attached.
    #[serde(default)]
    pub shard: u16,
    /// The VLAN of its untagged frames, if its port is to be in one.
    #[serde(default)]
    pub vlan: Option<u16>,
    /// Whether its DNS settings are those of the network, and change with them.
    #[serde(default)]
    pub network_dns: bool,
    /// Whether it is attached to the host itself, as HNS version 1 does it.
    #[serde(default)]
    pub on_host: bool,
    /// Containers that share it, as HNS version 1 attaches them, by the identifiers that clients gave.
    #[serde(default)]
    pub containers: Vec<String>,
    /// The port of a virtual machine that it is attached to.
    #[serde(default)]
    pub vm_port: Option<VmPort>,
    /// The users that its policies name by their SIDs, as far as the configuration knows them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub users: BTreeMap<String, u32>,
    /// The routing table of the one link that it may leave by, if it may leave by one alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<RoutingTable>,
    /// Whether it may send in the name of others.
    #[serde(default)]
    pub spoofing: bool,
    /// Policies as a version 1 client wrote them, where their version 1 form would say it otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flat: Vec<Raw>,
}

impl Endpoint {
    /// The interface name of its port on a bridge of its network, while it has one.
    pub fn port(&self) -> Option<&str> {
        match (&self.interface, &self.vm_port) {
            (Some(_), _) => Some(&self.veth),
            (None, Some(port)) if !port.tap.is_empty() => Some(&port.tap),
            _ => None,
        }
    }

    /// Which of the namespace's interfaces it is, from 0: that of `ethN` is N.
    pub fn rank(&self) -> u32 {
        let told = || self.interface.as_ref()?.strip_prefix("eth")?.parse::<u16>().ok();
        self.rank.or_else(|| told().map(u32::from)).unwrap_or_default()
    }

    /// The addresses that its packets leave with, where policies say one.
    pub fn virtual_addresses(&self) -> impl Iterator<Item = IpAddr> {
        let policies = lists::settings(&self.document.policies, EndpointPolicyType::OutBoundNat);
        policies.filter_map(|(_, given): (_, OutboundNatSettings)| given.virtual_ip?.parse().ok())
    }

    /// What it is attached to.
    pub fn place(&self) -> Option<Place<'_>> {
        self.namespace
            .map(Place::Namespace)
            .or(self.on_host.then_some(Place::Host))
            .or(self.vm_port.as_ref().map(Place::VmPort))
            .or((!self.containers.is_empty()).then_some(Place::Containers))
    }
}

/// What an endpoint is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// A namespace.
    Namespace(Guid),
    /// The host.
    Host,
    /// A port of a virtual machine.
    VmPort(&'a VmPort),
    /// Containers that no namespace is known of.
    Containers,
}

/// A port of a virtual machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmPort {
    /// Identifier of the port; it becomes the endpoint's SwitchPortId.
    pub id: Guid,
    /// Name of the virtual network card, as it was given.
    pub nic: String,
    /// The virtual machine.
    pub machine: Option<Guid>,
    /// Interface name of its TAP interface.
    #[serde(default)]
    pub tap: String,
    /// The user who may open it besides root.
    #[serde(default)]
    pub owner: Option<u32>,
}

/// A port mapping of an endpoint, parsed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// What packets are sent to.
    pub frontend: Frontend,
    /// The endpoint's address and port that they get to.
    pub target: SocketAddr,
    /// Whether the host's own programs can use it, too.
    pub from_host: bool,
    /// Whether hcnd keeps the port from the host's programs; else the client does, or it need not be kept.
    pub held: bool,
}
