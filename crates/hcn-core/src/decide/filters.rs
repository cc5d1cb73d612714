//! Rules about packets that the host carries: whether this kernel has what they take, and the bridge that they are enforced
//! on.

use hcn_schema::enums::{EndpointPolicyType, Enumeration, NetworkPolicyType, OneOf, RuleType};
use hcn_schema::policy::{EndpointPolicy, NetworkPolicy, Policy};
use hcn_schema::settings::AclSettings;
use hcn_schema::{Error, HResult, Result};

use super::{View, shards};
use crate::compile::is_filtered;
use crate::entity::{Endpoint, Network};
use crate::lists;

/// Refuses rules among the policies of an endpoint that this kernel cannot enforce. `path` is that of the list.
pub(super) fn check_endpoint(
    view: &View<'_>,
    network: &Network,
    policies: &[EndpointPolicy],
    path: &str,
) -> Result<()> {
    check(
        view,
        network,
        first_rule(policies, EndpointPolicyType::Acl, Some(EndpointPolicyType::TierAcl)),
        path,
    )
}

/// The same for the policies of a network.
pub(super) fn check_network(
    view: &View<'_>,
    network: &Network,
    policies: &[NetworkPolicy],
    path: &str,
) -> Result<()> {
    check(view, network, first_rule(policies, NetworkPolicyType::NetworkAcl, None), path)
}

/// The place of the first policy that is enforced at the switch.
fn first_rule<T: Enumeration + PartialEq>(policies: &[Policy<T>], acl: T, tier: Option<T>) -> Option<usize> {
    let at_switch = |rule: &AclSettings| rule.rule_type != Some(OneOf::Known(RuleType::Host));
    let acls = lists::settings(policies, acl).filter(|(_, rule)| at_switch(rule)).map(|(index, _)| index);
    let is_tier = |policy: &Policy<T>| tier.is_some() && policy.kind.as_ref().and_then(OneOf::known) == tier;
    acls.chain(policies.iter().position(is_tier)).min()
}

fn check(view: &View<'_>, network: &Network, first: Option<usize>, path: &str) -> Result<()> {
    let Some(index) = first.filter(|_| network.sharing().is_none()) else { return Ok(()) };
    if view.context.host.kernel.bridge_filter {
        return Ok(());
    }
    let message =
        "this kernel shows bridged frames to no rules (CONFIG_BRIDGE_NETFILTER, module br_netfilter)";
    let error = Error::new(HResult::REQUEST_UNSUPPORTED, message).at(format!("{path}[{index}]"));
    Err(error.expected("rules of RuleType Host"))
}

/// Moves the port of an endpoint to where its rules are enforced; `moved` = how many others come there by this change.
pub(super) fn settle(
    view: &View<'_>,
    network: &Network,
    endpoint: &mut Endpoint,
    moved: usize,
) -> Result<()> {
    if endpoint.shard != 0 && endpoint.port().is_some() && is_filtered(network, endpoint) {
        shards::check_first(view, network, moved + 1)?;
        endpoint.shard = 0;
    }
    Ok(())
}
