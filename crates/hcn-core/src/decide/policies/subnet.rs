//! Policies of subnets: VLAN and VSID, also in their old flat form (contract 2.5, 2.17).

use hcn_schema::enums::{OneOf, SubnetPolicyType};
use hcn_schema::policy::SubnetPolicy;
use hcn_schema::settings::VlanSettings;
use hcn_schema::{Error, HResult, Result};

use super::{in_document, in_settings, settings, underlay, unknown_kind};

/// Policies of a subnet: at most one of a type.
pub(super) fn check(policies: &[SubnetPolicy]) -> Result<()> {
    for (index, policy) in policies.iter().enumerate() {
        let earlier = policies[..index].iter().any(|other| other.kind == policy.kind);
        subnet_policy(policy, earlier).map_err(in_document(index))?;
    }
    Ok(())
}

fn subnet_policy(policy: &SubnetPolicy, earlier: bool) -> Result<()> {
    let last = match &policy.kind {
        Some(OneOf::Known(SubnetPolicyType::Vlan)) => underlay::LAST_VLAN,
        Some(OneOf::Known(SubnetPolicyType::Vsid)) => underlay::LAST_VSID,
        other => return Err(unknown_kind(other.as_ref())),
    };
    if earlier {
        let message = "the subnet has a policy of this type already";
        return Err(Error::new(HResult::POLICY_ALREADY_EXISTS, message));
    }
    match policy.settings.as_ref().filter(|raw| !raw.is_blank()) {
        Some(raw) => settings::<VlanSettings>(Some(raw))
            .and_then(|given| underlay::isolation_id(given.isolation_id, last))
            .map_err(in_settings),
        None if policy.isolation_id.is_some() => underlay::isolation_id(policy.isolation_id, last),
        None => underlay::isolation_id(None, last).map_err(in_settings),
    }
}
