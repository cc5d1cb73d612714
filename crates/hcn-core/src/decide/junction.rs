//! How a network that is part of a network outside is joined to its uplink.

use hcn_dataplane::{HostLink, HostRoute, Kernel, Mac, Sharing};
use hcn_schema::call::Kind;
use hcn_schema::enums::{EndpointPolicyType, NetworkMode, NetworkPolicyType, OneOf, SubnetPolicyType};
use hcn_schema::network::{HostComputeNetwork, Subnet as SubnetDocument};
use hcn_schema::policy::{EndpointPolicy, SubnetPolicy};
use hcn_schema::settings::{SourceMacAddressSettings, VlanSettings};
use hcn_schema::{Error, HResult, Result};

use super::{L2BridgeBy, Outcome, Refusal, TransparentBy, View};
use crate::entity::{Junction, Network, Subnet, Uplink};
use crate::{names, text};

/// What a network to be stands on.
pub(super) struct Ground<'a> {
    pub document: &'a HostComputeNetwork,
    pub mode: NetworkMode,
    pub uplink: Option<&'a Uplink>,
    pub subnets: &'a [Subnet],
}

/// How the network is joined to its uplink, by its type and the administrator's settings. None: as other types are, or
/// by the host as a router that nobody outside is to take for a bridge.
pub(super) fn choose(view: &View<'_>, ground: &Ground<'_>) -> Outcome<Option<Junction>> {
    let (NetworkMode::Transparent | NetworkMode::L2Bridge | NetworkMode::L2Tunnel, Some(uplink)) =
        (ground.mode, ground.uplink)
    else {
        return Ok(None);
    };
    let context = view.context;
    if let Some((id, path)) = vlan_of(ground.document)? {
        if !context.host.kernel.vlan {
            let why = Lack { name: "vlan (CONFIG_VLAN_8021Q)", path: &path };
            return Err(Refusal::Error(why.error("tag frames")));
        }
        let same = |junction: &Junction| matches!(junction, Junction::Vlan { id: other, .. } if *other == id);
        alone(view, uplink, same, &format!("VLAN {id} of it"))?;
        let link = names::link(view.registry, "hvl", view.context.fresh_id);
        return Ok(Some(Junction::Vlan { id, link }));
    }
    let outside = ground.subnets.iter().any(|subnet| subnet.outside);
    match ground.mode {
        NetworkMode::Transparent => match context.settings.transparent {
            TransparentBy::Macvlan => shared(view, uplink, Sharing::Macvlan).map(Some),
            TransparentBy::Bridge => enslaved(view, uplink).map(Some),
        },
        NetworkMode::L2Bridge if !outside => Ok(None),
        NetworkMode::L2Bridge if context.settings.l2_bridge == L2BridgeBy::Ipvlan => {
            shared(view, uplink, Sharing::Ipvlan).map(Some)
        }
        _ => Ok(Some(Junction::Routed)),
    }
}

/// The MAC address of the network's bridge, where it stands for the uplink: that of the uplink, so that nobody outside
/// notices, unless the document wants another one.
pub(super) fn bridge_mac(
    view: &View<'_>,
    ground: &Ground<'_>,
    junction: Option<&Junction>,
) -> Result<Option<Mac>> {
    if !matches!(junction, Some(Junction::Enslaved { .. })) {
        return Ok(None);
    }
    for (index, policy) in ground.document.policies.iter().enumerate() {
        if policy.kind == Some(OneOf::Known(NetworkPolicyType::SourceMacAddress))
            && let Some(raw) = &policy.settings
        {
            let path = format!("Policies[{index}].Settings");
            let given: SourceMacAddressSettings =
                hcn_schema::parse(raw.get()).map_err(|error| error.within(&path))?;
            let given = given.source_mac_address.unwrap_or_default();
            return text::mac(&given, HResult::INVALID_POLICY, &format!("{path}.SourceMacAddress")).map(Some);
        }
    }
    Ok(ground.uplink.and_then(|uplink| view.context.host.link(&uplink.link)).and_then(|link| link.mac))
}

/// Notes subnets that come to a network later. They cannot be of another VLAN.
pub(super) fn add_subnets(
    network: &mut Network,
    documents: &[SubnetDocument],
    subnets: &[Subnet],
) -> Result<()> {
    let own = match &network.junction {
        Some(Junction::Vlan { id, .. }) => Some(*id),
        _ => None,
    };
    for (index, document) in documents.iter().enumerate() {
        let path = format!("Settings.Subnets[{index}]");
        let vlan = tag_of(&document.policies, &path)?;
        if let Some((id, path)) = vlan
            && joins(network.mode)
            && own != Some(id)
        {
            let message = match own {
                Some(own) => format!("the network is in VLAN {own}"),
                None => "the network is in no VLAN".to_owned(),
            };
            return Err(Error::new(HResult::REQUEST_UNSUPPORTED, message)
                .at(path)
                .expected("the VLAN that the network was made with"));
        }
    }
    if network.mode == NetworkMode::L2Bridge
        && network.junction.is_none()
        && subnets.iter().any(|subnet| subnet.outside)
    {
        network.junction = Some(Junction::Routed);
    }
    Ok(())
}

/// The VLAN that the port of an endpoint with these policies is in; `path` is that of the list.
pub(super) fn endpoint_vlan(
    view: &View<'_>,
    network: &Network,
    policies: &[EndpointPolicy],
    path: &str,
) -> Result<Option<u16>> {
    let is_vlan = |policy: &EndpointPolicy| policy.kind == Some(OneOf::Known(EndpointPolicyType::Vlan));
    let Some(index) = policies.iter().position(is_vlan) else { return Ok(None) };
    let path = format!("{path}[{index}].Settings.IsolationId");
    let settings = policies[index].settings.as_ref().map(|raw| hcn_schema::parse::<VlanSettings>(raw.get()));
    let id =
        settings.transpose()?.and_then(|settings| settings.isolation_id).and_then(|id| id.try_into().ok());
    let Some(id) = id else { return Ok(None) };
    let refuse = |message: String| Err(Error::new(HResult::REQUEST_UNSUPPORTED, message).at(&path));
    match &network.junction {
        Some(Junction::Vlan { id: own, .. }) if *own == id => Ok(None),
        Some(Junction::Vlan { id: own, .. }) => {
            refuse(format!("the network is in VLAN {own}, and so are its endpoints"))
        }
        Some(Junction::Shared(_)) => refuse(
            "the endpoints of the network stand on its uplink; only a bridge can put them into VLANs"
                .to_owned(),
        ),
        _ if !view.context.host.kernel.bridge_vlan => {
            let why = Lack { name: "bridge vlan filtering (CONFIG_BRIDGE_VLAN_FILTERING)", path: &path };
            Err(why.error("put an endpoint into a VLAN"))
        }
        _ => Ok(Some(id)),
    }
}

/// Refuses ports of virtual machines where there is no bridge that they could be plugged into.
pub(super) fn check_vm_port(network: &Network) -> Result<()> {
    if network.sharing().is_none() {
        return Ok(());
    }
    let message = "the endpoints of the network stand on its uplink: there is no bridge for a port of a virtual \
                   machine";
    Err(Error::new(HResult::REQUEST_UNSUPPORTED, message)
        .expected("a network of another type, or [uplinks] transparent = \"bridge\""))
}

/// Whether networks of a type are parts of a network outside.
fn joins(mode: NetworkMode) -> bool {
    matches!(mode, NetworkMode::Transparent | NetworkMode::L2Bridge | NetworkMode::L2Tunnel)
}

/// The VLAN of a document's subnets, and where it is said.
fn vlan_of(document: &HostComputeNetwork) -> Result<Option<(u16, String)>> {
    let mut found: Option<(u16, String)> = None;
    for (i, ipam) in document.ipams.iter().enumerate() {
        for (s, subnet) in ipam.subnets.iter().enumerate() {
            match (tag_of(&subnet.policies, &format!("Ipams[{i}].Subnets[{s}]"))?, &found) {
                (Some((id, path)), Some((first, _))) if id != *first => {
                    let message = format!("another subnet is in VLAN {first}");
                    return Err(Error::new(HResult::REQUEST_UNSUPPORTED, message)
                        .at(path)
                        .expected("one VLAN for all subnets of a network"));
                }
                (Some(tag), None) => found = Some(tag),
                _ => {}
            }
        }
    }
    Ok(found)
}

/// The VLAN among the policies of a subnet, and where it is said.
fn tag_of(policies: &[SubnetPolicy], path: &str) -> Result<Option<(u16, String)>> {
    let is_vlan = |policy: &SubnetPolicy| policy.kind == Some(OneOf::Known(SubnetPolicyType::Vlan));
    let Some(index) = policies.iter().position(is_vlan) else { return Ok(None) };
    let policy = &policies[index];
    let path = format!("{path}.Policies[{index}]");
    let settings = policy.settings.as_ref().filter(|raw| !raw.is_blank());
    let (id, path) = match settings {
        Some(raw) => {
            let given: VlanSettings = hcn_schema::parse(raw.get()).map_err(|error| error.within(&path))?;
            (given.isolation_id, format!("{path}.Settings.IsolationId"))
        }
        None => (policy.isolation_id, format!("{path}.IsolationId")),
    };
    Ok(id.and_then(|id| u16::try_from(id).ok()).map(|id| (id, path)))
}

/// Something that the kernel lacks, and the property that needs it.
struct Lack<'a> {
    name: &'a str,
    path: &'a str,
}

impl Lack<'_> {
    fn error(&self, to: &str) -> Error {
        let message = format!("this kernel cannot {to}: it lacks {}", self.name);
        Error::new(HResult::REQUEST_UNSUPPORTED, message)
            .at(self.path)
            .expected(format!("a kernel with {}", self.name))
    }
}

/// Endpoints stand on the uplink.
fn shared(view: &View<'_>, uplink: &Uplink, sharing: Sharing) -> Outcome<Junction> {
    let Kernel { macvlan, ipvlan, .. } = view.context.host.kernel;
    let (present, name) = match sharing {
        Sharing::Macvlan | Sharing::MacvlanVepa => (macvlan, "macvlan (CONFIG_MACVLAN)"),
        Sharing::Ipvlan => (ipvlan, "ipvlan (CONFIG_IPVLAN)"),
    };
    if !present {
        let why = Lack { name, path: "Type" };
        return Err(Refusal::Error(why.error("let endpoints stand on an uplink")));
    }
    // The kernel gives a link to one of the two.
    let differs = move |junction: &Junction| match junction {
        Junction::Enslaved { .. } => true,
        Junction::Shared(Sharing::Ipvlan) => sharing != Sharing::Ipvlan,
        Junction::Shared(_) => sharing == Sharing::Ipvlan,
        _ => false,
    };
    alone(view, uplink, differs, "its uplink")?;
    check_fit(view, uplink)?;
    Ok(Junction::Shared(sharing))
}

/// The uplink becomes a port of the bridge.
fn enslaved(view: &View<'_>, uplink: &Uplink) -> Outcome<Junction> {
    let takes = |junction: &Junction| matches!(junction, Junction::Enslaved { .. } | Junction::Shared(_));
    alone(view, uplink, takes, "its uplink")?;
    check_fit(view, uplink)?;
    let host = &view.context.host;
    let addresses: Vec<_> = host
        .addresses
        .iter()
        .filter(|address| address.link == uplink.link)
        .map(|address| address.address)
        .collect();
    let from_address = |route: &&HostRoute| {
        route.gateway.is_none() && addresses.iter().any(|address| address.trunc() == route.destination)
    };
    let by_it = host.routes.iter().filter(|route| route.link == uplink.link);
    let mut routes: Vec<HostRoute> = by_it.filter(|route| !from_address(route)).cloned().collect();
    routes.sort_by_key(|route| route.gateway.is_some());
    Ok(Junction::Enslaved { addresses, routes })
}

/// Refuses a second network where one of those `excluding` has the uplink.
fn alone(view: &View<'_>, uplink: &Uplink, excluding: impl Fn(&Junction) -> bool, what: &str) -> Outcome<()> {
    let on_it = |network: &&std::sync::Arc<Network>| {
        // Meanwhile its bridge stands for it.
        let stands_for_it = network.is_enslaving() && network.bridge == uplink.link;
        (stands_for_it || network.uplink.as_ref().is_some_and(|other| other.link == uplink.link))
            && network.junction.as_ref().is_some_and(&excluding)
    };
    let Some(other) = view.registry.networks.iter().find(on_it) else { return Ok(()) };
    view.settled(Kind::Network, other.meta.id)?;
    let message =
        format!("the network {} {} has {what}, {}", other.meta.id, text::shown(other.name()), uplink.link);
    Err(Refusal::Error(
        Error::new(HResult::LAYER_ALREADY_EXISTS, message)
            .at("Policies")
            .expected("NetAdapterName of a link of the host that no other network has"),
    ))
}

/// Refuses links that nothing with a MAC address of its own can stand behind.
fn check_fit(view: &View<'_>, uplink: &Uplink) -> Result<()> {
    let Some(link) = view.context.host.link(&uplink.link) else { return Ok(()) };
    let HostLink { name, loopback, wireless, port, .. } = link;
    let why = if *loopback {
        "is the loopback"
    } else if *wireless {
        "is wireless: it carries frames of its own MAC address alone"
    } else if *port {
        "is a port of a bridge or part of another link already"
    } else {
        return Ok(());
    };
    Err(Error::new(HResult::REQUEST_UNSUPPORTED, format!("the link {name} cannot be shared: it {why}"))
        .at("Policies")
        .expected("NetAdapterName of an Ethernet link of the host"))
}
