//! What an endpoint may send, how fast, and how large: its own addresses, and policies QOS, EncapOverhead,
//! InterfaceParameters and PortName (contract 2.14, 9.4).

use hcn_dataplane::{Guard, LinkId, Object, Shaper};
use hcn_schema::enums::{EndpointPolicyType, IpamType};
use hcn_schema::settings::{
    EncapOverheadSettings, InterfaceParametersSettings, PortNameSettings, QosSettings,
};
use ipnet::IpNet;

use crate::entity::{Endpoint, Junction, Network};
use crate::lists;

/// Of an attached endpoint; `own` is its own link.
pub(super) fn of_endpoint(network: &Network, endpoint: &Endpoint, own: Option<&LinkId>) -> Vec<Object> {
    let guard = guard(network, endpoint).map(Object::Guard);
    guard.into_iter().chain(shaper(network, endpoint, own).map(Object::Shaper)).collect()
}

/// Where an endpoint stands on the uplink itself the host sees nothing of what it sends.
fn guard(network: &Network, endpoint: &Endpoint) -> Option<Guard> {
    let port = endpoint.port().filter(|_| network.sharing().is_none() && !endpoint.spoofing)?;
    let given_outside = network.document.ipams.iter().any(|ipam| ipam.kind == Some(IpamType::Dhcp));
    let known = !given_outside && !endpoint.addresses.is_empty();
    Some(Guard {
        port: port.to_owned(),
        mac: endpoint.mac,
        addresses: known.then(|| endpoint.addresses.iter().map(IpNet::addr).collect()),
        autoconfigured: known
            && matches!(network.junction, Some(Junction::Enslaved { .. } | Junction::Vlan { .. })),
    })
}

/// Without a rate, and with one of zero, nothing is limited.
fn shaper(network: &Network, endpoint: &Endpoint, own: Option<&LinkId>) -> Option<Shaper> {
    let mut given = lists::settings(&endpoint.document.policies, EndpointPolicyType::Qos);
    let (_, settings): (_, QosSettings) = given.next()?;
    let rate = settings.maximum_outgoing_bandwidth_in_bytes.filter(|rate| *rate > 0)?;
    let received = network.sharing().is_none();
    let link = if received { LinkId::host(endpoint.port()?) } else { own?.clone() };
    Some(Shaper { link, received, rate, mtu: mtu(network, endpoint) })
}

/// Octets: the network's, less what an encapsulation takes, and not more than what the endpoint is to have.
pub(super) fn mtu(network: &Network, endpoint: &Endpoint) -> u32 {
    let policies = &endpoint.document.policies;
    let mut overheads = lists::settings(policies, EndpointPolicyType::EncapOverhead);
    let overhead = overheads.next().and_then(|(_, given): (_, EncapOverheadSettings)| given.overhead);
    let mut parameters = lists::settings(policies, EndpointPolicyType::InterfaceParameters);
    let most = parameters.next().and_then(|(_, given): (_, InterfaceParametersSettings)| given.mtu);
    let left = network.mtu.saturating_sub(overhead.unwrap_or_default().into());
    most.map_or(left, |most| left.min(most.into()))
}

/// What the alias of the endpoint's link says beside its identifier: its name, and that of its port.
pub(super) fn label(endpoint: &Endpoint) -> String {
    let name = endpoint.document.name.as_deref().unwrap_or_default();
    let mut ports = lists::settings(&endpoint.document.policies, EndpointPolicyType::PortName);
    let port = ports.next().and_then(|(_, given): (_, PortNameSettings)| given.name).unwrap_or_default();
    format!("{name} {port}").trim().to_owned()
}
