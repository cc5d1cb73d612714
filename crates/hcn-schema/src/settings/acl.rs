//! Rules about which packets may pass.

use crate::document::document;
use crate::enums::{ActionType, DirectionType, RuleType};

document! {
    /// FiveTuple: what packets a rule is about. What is absent matches everything.
    FiveTuple: FiveTuple {}
}

document! {
    /// Settings of the endpoint policy ACL.
    AclSettings ("AclPolicySetting"): FiveTuple {
        /// Name of the rule.
        id: text "Id",
        /// Allow or Block.
        action: choice(ActionType) "Action",
        /// Towards the endpoint or from it.
        direction: choice(DirectionType) "Direction",
        /// Where the rule is enforced; at the switch when absent.
        rule_type: choice(RuleType) "RuleType",
    }
}

/// Settings of the network policy NetworkACL: the same, for all endpoints of the network.
pub type NetworkAclSettings = AclSettings;

document! {
    /// Settings of the endpoint policy TierAcl: rules of one tier. Tiers are gone through in their order.
    TierAclSettings ("TierAclPolicySetting") {
        /// Name of the tier.
        name: text "Name",
        /// Towards the endpoint or from it.
        direction: choice(DirectionType) "Direction",
        /// Lower comes first.
        order: u16 "Order",
        /// The rules.
        tier_acl_rules: objects(TierAclRule) "TierAclRules",
    }
}

document! {
    /// TierAclRule.
    TierAclRule: FiveTuple {
        /// Name of the rule.
        id: text "Id",
        /// Allow, Block, or Pass to the next tier.
        action: choice(ActionType) "TierAclRuleAction",
    }
}
