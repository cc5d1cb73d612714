//! What policies ACL, TierAcl, NetworkACL and SetPolicy mean (contract 2.13, 2.14, B74 to B76).
//!
//! Each of the lists lets a packet pass or not, and all must: NetworkACL, then ACL, then the tiers. So an Allow of the first
//! two leads on to what comes after them.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use hcn_dataplane::{
    AddressSet, Addresses, Filter, FilterRule, LinkId, Netns, Object, Ports, Site, Tier, Verdict,
};
use hcn_schema::Raw;
use hcn_schema::enums::{
    ActionType, DirectionType, EndpointPolicyType, Enumeration, NetworkPolicyType, OneOf, RuleType,
    SetPolicyType,
};
use hcn_schema::policy::Policy;
use hcn_schema::settings::{AclSettings, SetPolicySettings, TierAclRule, TierAclSettings};
use ipnet::IpNet;

use super::outside;
use crate::entity::{Endpoint, Network};
use crate::lists::{Match, matches_of};
use crate::{lists, names};

/// What Windows calls VXLAN among the protocols (feature AclSupportForProtocol252): UDP to this port, where the network has
/// no other.
const VXLAN: u8 = 252;
const VXLAN_PORT: u16 = 4789;
const UDP: u8 = 17;

/// The sets of a network.
pub(super) fn of_network(network: &Network) -> Vec<Object> {
    let sets = members(network);
    let named = sets.into_iter().map(|(id, members)| AddressSet { name: set_name(network, &id), members });
    named.map(Object::AddressSet).collect()
}

/// What may come to an attached endpoint and go from it; `own` is its own link, where that is on this host.
pub(super) fn of_endpoint(network: &Network, endpoint: &Endpoint, own: Option<&LinkId>) -> Vec<Object> {
    let Some(port) = own.map(|_| endpoint.veth.as_str()).or(endpoint.port()) else { return Vec::new() };
    let lists = Lists::of(network, endpoint);
    if lists.is_empty() {
        return Vec::new();
    }
    let in_namespace = own.filter(|link| link.netns != Netns::Host);
    let at_switch = match own {
        _ if network.sharing().is_some() || endpoint.addresses.is_empty() => own.cloned().map(Site::Link),
        Some(link) if link.netns == Netns::Host => Some(Site::Host(network.bridge.clone())),
        _ => Some(Site::Bridge(network.bridge.clone())),
    };
    let filter = |site: Site, rule_types: &[RuleType]| {
        let inline = matches!(site, Site::Link(_)).then(|| members(network));
        let tiers = |direction| lists.tiers(direction, rule_types, network, inline.as_ref());
        let [incoming, outgoing] = [DirectionType::In, DirectionType::Out].map(tiers);
        let addresses = known_addresses(endpoint);
        (!incoming.is_empty() || !outgoing.is_empty())
            .then(|| Object::Filter(Filter { port: port.to_owned(), site, addresses, incoming, outgoing }))
    };
    // The rules of the host's stack are those of the switch, too, where there is one place for both: on the link itself, in
    // the host's namespace, for a virtual machine.
    let both = [RuleType::Switch, RuleType::Host];
    match (at_switch, in_namespace) {
        (Some(switch @ Site::Bridge(_)), Some(link)) => {
            let at_switch = filter(switch, &[RuleType::Switch]);
            at_switch.into_iter().chain(filter(Site::Link(link.clone()), &[RuleType::Host])).collect()
        }
        (Some(site), _) => filter(site, &both).into_iter().collect(),
        (None, _) => Vec::new(),
    }
}

/// Whether rules are enforced where packets of an endpoint pass the first bridge of its network: there its port must be.
pub(crate) fn is_filtered(network: &Network, endpoint: &Endpoint) -> bool {
    let any = |rule_type| Lists::of(network, endpoint).any(rule_type);
    network.sharing().is_none()
        && (any(RuleType::Switch) || endpoint.vm_port.is_some() && any(RuleType::Host))
}

/// The addresses that an endpoint is known by: its own, and the link-local one that its interface gives itself.
fn known_addresses(endpoint: &Endpoint) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = endpoint.addresses.iter().map(IpNet::addr).collect();
    if addresses.iter().any(IpAddr::is_ipv6) {
        addresses.push(outside::link_local(endpoint.mac));
    }
    addresses
}

/// The rules about an endpoint, as the documents have them.
struct Lists {
    network: Vec<(usize, AclSettings)>,
    endpoint: Vec<(usize, AclSettings)>,
    tiers: Vec<(usize, TierAclSettings)>,
}

impl Lists {
    fn of(network: &Network, endpoint: &Endpoint) -> Self {
        let policies = &endpoint.document.policies;
        let mut tiers: Vec<_> = lists::settings(policies, EndpointPolicyType::TierAcl).collect();
        tiers.sort_by_key(|(_, tier): &(usize, TierAclSettings)| tier.order.unwrap_or_default());
        Self {
            network: lists::settings(&network.document.policies, NetworkPolicyType::NetworkAcl).collect(),
            endpoint: lists::settings(policies, EndpointPolicyType::Acl).collect(),
            tiers,
        }
    }

    fn is_empty(&self) -> bool {
        self.network.is_empty() && self.endpoint.is_empty() && self.tiers.is_empty()
    }

    fn any(&self, rule_type: RuleType) -> bool {
        let of_type = |(_, rule): &(usize, AclSettings)| type_of(rule) == rule_type;
        self.network.iter().any(of_type)
            || self.endpoint.iter().any(of_type)
            || (rule_type == RuleType::Switch && !self.tiers.is_empty())
    }

    /// The tiers for one direction; `inline` has the members of sets where rules cannot name them.
    fn tiers(
        &self,
        direction: DirectionType,
        rule_types: &[RuleType],
        network: &Network,
        inline: Option<&HashMap<String, Vec<IpNet>>>,
    ) -> Vec<Tier> {
        let reader = Reader { direction, network, inline };
        let acls = |policy: &str, list: &[(usize, AclSettings)]| {
            let mine = |(_, rule): &&(usize, AclSettings)| {
                known(rule.direction.as_ref()) == Some(direction) && rule_types.contains(&type_of(rule))
            };
            let mut rules: Vec<&(usize, AclSettings)> = list.iter().filter(mine).collect();
            rules.sort_by(|(_, one), (_, other)| {
                order((one.priority, one.action.as_ref()), (other.priority, other.action.as_ref()))
            });
            let read = |(index, rule): &&(usize, AclSettings)| {
                let verdict = verdict(rule.action.as_ref(), Verdict::Next)?;
                Some(reader.rules(&named(policy, *index, rule.id.as_deref()), &matches_of!(rule), verdict))
            };
            Tier { name: policy.to_owned(), rules: rules.iter().filter_map(read).flatten().collect() }
        };
        let mut tiers = vec![acls("NetworkACL", &self.network), acls("ACL", &self.endpoint)];
        if rule_types.contains(&RuleType::Switch) {
            let mine =
                self.tiers.iter().filter(|(_, tier)| known(tier.direction.as_ref()) == Some(direction));
            tiers.extend(mine.map(|(index, tier)| reader.tier(*index, tier)));
        }
        tiers.retain(|tier| !tier.rules.is_empty());
        // Nothing comes after the last one.
        for rule in tiers.last_mut().into_iter().flat_map(|tier| &mut tier.rules) {
            if rule.verdict == Verdict::Next {
                rule.verdict = Verdict::Allow;
            }
        }
        tiers
    }
}

/// Turns what the documents say into rules for one direction.
struct Reader<'a> {
    direction: DirectionType,
    network: &'a Network,
    inline: Option<&'a HashMap<String, Vec<IpNet>>>,
}

impl Reader<'_> {
    fn tier(&self, index: usize, tier: &TierAclSettings) -> Tier {
        let name = named("TierAcl", index, tier.name.as_deref());
        let mut rules: Vec<&TierAclRule> = tier.tier_acl_rules.iter().collect();
        rules.sort_by(|one, other| {
            order((one.priority, one.action.as_ref()), (other.priority, other.action.as_ref()))
        });
        let read = |rule: &&TierAclRule| {
            let verdict = verdict(rule.action.as_ref(), Verdict::Allow)?;
            let id = rule.id.as_deref().unwrap_or_default();
            Some(self.rules(&format!("{name} {id}"), &matches_of!(rule), verdict))
        };
        Tier { rules: rules.iter().filter_map(read).flatten().collect(), name }
    }

    /// The rules that one of the documents means: none if it can match nothing.
    fn rules(&self, name: &str, given: &Match<'_>, verdict: Verdict) -> Vec<FilterRule> {
        let (mut source, mut destination) = (Vec::new(), Vec::new());
        let incoming = self.direction == DirectionType::In;
        // Sets stand for sources among the local addresses and for destinations among the remote ones, whatever the
        // direction is: so Azure NPM writes them (contract 2.14).
        for (list, is_local) in [(given.local_addresses, true), (given.remote_addresses, false)] {
            let (sets, prefixes): (Vec<&str>, Vec<&str>) =
                lists::words(list).partition(|word| lists::place(word).is_none());
            let side = if is_local == incoming { &mut destination } else { &mut source };
            if !prefixes.is_empty() {
                side.push(Addresses::Prefixes(prefixes.into_iter().filter_map(lists::place).collect()));
            }
            let side = if is_local { &mut source } else { &mut destination };
            side.extend(sets.into_iter().map(|id| self.set(id)));
        }
        let nothing =
            |addresses: &Addresses| matches!(addresses, Addresses::Prefixes(list) if list.is_empty());
        if source.iter().chain(&destination).any(nothing) {
            return Vec::new();
        }
        let (local, remote) = (lists::port_ranges(given.local_ports), lists::port_ranges(given.remote_ports));
        let (source_ports, destination_ports) = if incoming { (remote, local) } else { (local, remote) };
        let mut protocols = lists::protocols(given.protocols);
        let encapsulated = protocols.contains(&VXLAN);
        protocols.retain(|protocol| *protocol != VXLAN);
        let name = name.to_owned();
        let mut rules = Vec::new();
        if encapsulated {
            let port = self.network.tunnel.as_ref().map_or(VXLAN_PORT, |tunnel| tunnel.port);
            rules.push(FilterRule {
                name: name.clone(),
                protocols: vec![UDP],
                source: source.clone(),
                destination: destination.clone(),
                source_ports: Vec::new(),
                destination_ports: vec![Ports { first: port, last: port }],
                verdict,
            });
        }
        if !encapsulated || !protocols.is_empty() {
            rules.push(FilterRule {
                name,
                protocols,
                source,
                destination,
                source_ports,
                destination_ports,
                verdict,
            });
        }
        rules
    }

    fn set(&self, id: &str) -> Addresses {
        match self.inline {
            Some(sets) => Addresses::Prefixes(sets.get(id).cloned().unwrap_or_default()),
            None => Addresses::Set(set_name(self.network, id)),
        }
    }
}

/// The sets that have other members on one network than on the other.
pub(super) fn changed_sets(one: &Network, other: &Network) -> HashSet<String> {
    let (before, after) = (members(one), members(other));
    let ids = before.keys().chain(after.keys());
    ids.filter(|id| before.get(*id) != after.get(*id)).cloned().collect()
}

/// Whether rules about all endpoints of a network may name one of these sets.
pub(super) fn network_names(network: &Network, sets: &HashSet<String>) -> bool {
    may_name(&network.document.policies, NetworkPolicyType::NetworkAcl, sets)
}

/// Whether rules of an endpoint may.
pub(super) fn endpoint_names(endpoint: &Endpoint, sets: &HashSet<String>) -> bool {
    let policies = &endpoint.document.policies;
    [EndpointPolicyType::Acl, EndpointPolicyType::TierAcl]
        .into_iter()
        .any(|kind| may_name(policies, kind, sets))
}

/// By the text alone: there may be many rules, and reading one takes its time.
fn may_name<T: Enumeration + PartialEq>(policies: &[Policy<T>], kind: T, sets: &HashSet<String>) -> bool {
    let of_kind = |policy: &&Policy<T>| known(policy.kind.as_ref()) == Some(kind);
    let texts = policies.iter().filter(of_kind).filter_map(|policy| policy.settings.as_ref());
    let names = |text: &str| text.contains('\\') || sets.iter().any(|id| text.contains(id.as_str()));
    !sets.is_empty() && texts.map(Raw::get).any(names)
}

/// The addresses of the sets of a network, by their Ids; a set of sets has those of all of them.
fn members(network: &Network) -> HashMap<String, Vec<IpNet>> {
    let sets: Vec<SetPolicySettings> =
        lists::settings(&network.document.policies, NetworkPolicyType::SetPolicy)
            .map(|(_, set)| set)
            .collect();
    let (nested, plain): (Vec<_>, Vec<_>) = sets.iter().partition(|set: &&SetPolicySettings| {
        set.policy_type == Some(OneOf::Known(SetPolicyType::NestedIpSet))
    });
    let id = |set: &SetPolicySettings| set.id.clone().unwrap_or_default();
    let mut members: HashMap<String, Vec<IpNet>> =
        plain.into_iter().map(|set| (id(set), lists::places(set.values.as_deref()))).collect();
    for set in nested {
        let parts = lists::words(set.values.as_deref()).filter_map(|part| members.get(part)).flatten();
        let all = parts.copied().collect();
        members.insert(id(set), all);
    }
    members
}

/// What a policy is called in lists of rules: its type, its place among the policies, and its own name.
fn named(policy: &str, index: usize, id: Option<&str>) -> String {
    format!("{policy} Policies[{index}] {}", id.unwrap_or_default()).trim_end().to_owned()
}

fn set_name(network: &Network, id: &str) -> String {
    names::address_set(&network.bridge, network.meta.id, id)
}

fn known<T: Enumeration>(given: Option<&OneOf<T>>) -> Option<T> {
    given.and_then(OneOf::known)
}

fn type_of(rule: &AclSettings) -> RuleType {
    known(rule.rule_type.as_ref()).unwrap_or(RuleType::Switch)
}

fn verdict(action: Option<&OneOf<ActionType>>, allowed: Verdict) -> Option<Verdict> {
    Some(match known(action)? {
        ActionType::Allow => allowed,
        ActionType::Block => Verdict::Drop,
        ActionType::Pass => Verdict::Next,
    })
}

type Rank<'a> = (Option<u16>, Option<&'a OneOf<ActionType>>);

/// Lower priorities first; of equal ones Block first (contract 10, question 16), else as the client has them.
fn order(one: Rank<'_>, other: Rank<'_>) -> Ordering {
    let rank = |(priority, action): Rank<'_>| {
        (priority.unwrap_or_default(), known(action) != Some(ActionType::Block))
    };
    rank(one).cmp(&rank(other))
}
