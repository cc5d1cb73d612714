//! What ACL, TierAcl, NetworkACL and SetPolicy mean for packets: where rules are enforced, in which order, about whom.

use hcn_core::compile;
use hcn_dataplane::{Addresses, Filter, FilterRule, Kernel, Object, Site, Tier, Verdict};
use hcn_schema::call::{Action, Kind, Reference, Verb};
use hcn_schema::{Guid, HResult};

use super::{Service, one, refused};

impl Service {
    /// An endpoint in a namespace of its own, or with `host` on the host itself.
    pub(super) fn attached(&mut self, network: Guid, policies: &str, host: bool) -> Guid {
        let endpoint = self.endpoint(network, policies).unwrap();
        let target = |id| Reference { id, incarnation: None };
        if host {
            let document = Some(r#"{"SystemType":"Host"}"#.to_owned());
            let attach = Verb::Act { target: target(endpoint), action: Action::Attach, document };
            self.call(Kind::Endpoint, attach).unwrap();
            return endpoint;
        }
        let document = Some(r#"{"SchemaVersion":{"Major":2}}"#.to_owned());
        let namespace =
            self.call(Kind::Namespace, Verb::Create { id: None, parent: None, document }).unwrap();
        let document = Some(format!(
            r#"{{"ResourceType":"Endpoint","RequestType":"Add","Settings":{{"EndpointId":"{endpoint}"}}}}"#
        ));
        self.call(Kind::Namespace, Verb::Modify { target: target(namespace), document }).unwrap();
        endpoint
    }

    fn filters(&self) -> Vec<Filter> {
        let state = compile::all(&self.published);
        let filters = state.iter().filter_map(|(_, object)| match object {
            Object::Filter(filter) => Some(filter.clone()),
            _ => None,
        });
        filters.collect()
    }
}

/// Tiers in few words: names of the policies, and of each rule what becomes of packets.
fn told(tiers: &[Tier]) -> Vec<String> {
    let verdicts = |rule: &FilterRule| match rule.verdict {
        Verdict::Allow => "allow",
        Verdict::Next => "next",
        Verdict::Drop => "drop",
    };
    let tier = |tier: &Tier| {
        let rules: Vec<_> =
            tier.rules.iter().map(|rule| format!("{} {}", rule.name, verdicts(rule))).collect();
        format!("{}: {}", tier.name, rules.join(", "))
    };
    tiers.iter().map(tier).collect()
}

fn acls(rules: &[&str]) -> String {
    let rules: Vec<String> =
        rules.iter().map(|rule| format!(r#"{{"Type":"ACL","Settings":{{{rule}}}}}"#)).collect();
    format!("[{}]", rules.join(","))
}

#[test]
fn rules_of_the_switch_are_on_the_bridge_and_those_of_the_host_in_the_namespace() {
    let mut service = Service::default();
    let network = service.network("NAT", "[]").unwrap();
    let rules = acls(&[
        r#""Action":"Block","Direction":"In","RuleType":"Switch""#,
        r#""Action":"Block","Direction":"Out","RuleType":"Host""#,
        r#""Action":"Allow","Direction":"Out""#,
    ]);
    service.attached(network, &rules, false);
    let filters = service.filters();
    let [switch, host] = &filters[..] else { panic!("{filters:?}") };
    assert!(matches!(switch.site, Site::Bridge(_)) && switch.addresses.len() == 1);
    assert_eq!(told(&switch.incoming), ["ACL: ACL Policies[0] drop"]);
    assert_eq!(told(&switch.outgoing), ["ACL: ACL Policies[2] allow"]);
    assert!(matches!(&host.site, Site::Link(link) if link.name == "eth0"));
    assert_eq!((host.incoming.len(), told(&host.outgoing)), (0, vec!["ACL: ACL Policies[1] drop".into()]));
    // On the host there is one place for both.
    service.attached(network, &rules, true);
    let on_host = service.filters().into_iter().find(|filter| matches!(filter.site, Site::Host(_))).unwrap();
    assert_eq!(told(&on_host.outgoing), ["ACL: ACL Policies[1] drop, ACL Policies[2] allow"]);
}

#[test]
fn lower_priorities_and_blocks_come_first_and_all_lists_must_agree() {
    let mut service = Service::default();
    let network = one("NetworkACL", r#"{"Action":"Allow","Direction":"In","Id":"all"}"#);
    let network = service.network("L2Bridge", &network).unwrap();
    let acl = |action: &str, priority: u16, id: &str| {
        format!(
            r#"{{"Type":"ACL","Settings":{{"Action":"{action}","Direction":"In","Priority":{priority},"Id":"{id}"}}}}"#
        )
    };
    let tier = |name: &str, order: u16, rules: &str| {
        format!(
            r#"{{"Type":"TierAcl","Settings":{{"Name":"{name}","Direction":"In","Order":{order},"TierAclRules":[{rules}]}}}}"#
        )
    };
    let policies = [
        tier("second", 20, r#"{"Id":"x","TierAclRuleAction":"Allow","Priority":1}"#),
        acl("Allow", 300, "a"),
        acl("Allow", 200, "b"),
        acl("Block", 200, "c"),
        tier(
            "first",
            10,
            r#"{"Id":"y","TierAclRuleAction":"Block","Priority":9},{"Id":"z","TierAclRuleAction":"Pass","Priority":8}"#,
        ),
    ];
    service.attached(network, &format!("[{}]", policies.join(",")), false);
    let filters = service.filters();
    assert_eq!(
        told(&filters[0].incoming),
        [
            "NetworkACL: NetworkACL Policies[0] all next",
            "ACL: ACL Policies[3] c drop, ACL Policies[2] b next, ACL Policies[1] a next",
            "TierAcl Policies[4] first: TierAcl Policies[4] first z next, TierAcl Policies[4] first y drop",
            "TierAcl Policies[0] second: TierAcl Policies[0] second x allow",
        ]
    );
    assert!(filters[0].outgoing.is_empty());
}

#[test]
fn addresses_belong_to_a_side_and_sets_to_sources_and_destinations() {
    let mut service = Service::default();
    let network = service.network("L2Bridge", "[]").unwrap();
    let set = |id: &str, values: &str| {
        one("SetPolicy", &format!(r#"{{"Id":"{id}","PolicyType":"IPSET","Values":"{values}"}}"#))
    };
    service.modify(Kind::Network, network, "Add", &set("s-1", "10.0.0.7,10.1.0.9/16")).unwrap();
    let rules = acls(&[
        r#""Action":"Allow","Direction":"Out","LocalAddresses":"10.0.0.1","RemoteAddresses":"192.0.2.0/24,192.0.2.9",
           "Protocols":"6,256","LocalPorts":"1-9","RemotePorts":"80""#,
        r#""Action":"Allow","Direction":"In","LocalAddresses":"s-1","LocalPorts":"80","Protocols":"6""#,
    ]);
    service.attached(network, &rules, false);
    let filters = service.filters();
    let out = &filters[0].outgoing[0].rules[0];
    assert_eq!(out.source, [Addresses::Prefixes(vec!["10.0.0.1/32".parse().unwrap()])]);
    assert!(matches!(&out.destination[..], [Addresses::Prefixes(list)] if list.len() == 2));
    assert!(
        out.protocols.is_empty() && out.source_ports[0].last == 9 && out.destination_ports[0].first == 80
    );
    let incoming = &filters[0].incoming[0].rules[0];
    let [Addresses::Set(name)] = &incoming.source[..] else { panic!("{incoming:?}") };
    assert!(incoming.destination.is_empty() && incoming.destination_ports[0].first == 80);
    let state = compile::all(&service.published);
    let set = state.iter().find_map(|(_, object)| match object {
        Object::AddressSet(set) => Some(set),
        _ => None,
    });
    assert!(set.is_some_and(|set| set.name == *name && set.members[1].to_string() == "10.1.0.0/16"));
}

#[test]
fn a_change_of_a_set_touches_those_alone_whose_rules_cannot_name_it() {
    let mut service = Service::default();
    let network = service.network("NAT", "[]").unwrap();
    let set = |values: &str| one("SetPolicy", &format!(r#"{{"Id":"s","Values":"{values}"}}"#));
    service.modify(Kind::Network, network, "Add", &set("10.0.0.7")).unwrap();
    let rule = |kind: &str| {
        acls(&[&format!(r#""Action":"Block","Direction":"In","LocalAddresses":"s","RuleType":"{kind}""#)])
    };
    service.attached(network, &rule("Switch"), false);
    service.attached(network, &rule("Host"), false);
    service.submit_modify(Kind::Network, network, "Update", &set("10.0.0.8"));
    let plan: Vec<String> = service.jobs[0].plan.ops.iter().map(|op| op.key().to_string()).collect();
    assert!(plan[0].starts_with("address set") && plan[1].ends_with("in its namespace"), "{plan:?}");
    assert_eq!(plan.len(), 2, "{plan:?}");
    service.finish_all();
}

#[test]
fn a_kernel_that_shows_no_bridged_frames_is_told_of() {
    let kernel = Kernel { bridge_filter: false, ..Kernel::default() };
    let mut service = Service { kernel, ..Service::default() };
    let network = service.network("NAT", "[]").unwrap();
    let rule = |kind: &str| acls(&[&format!(r#""Action":"Block","Direction":"In","RuleType":"{kind}""#)]);
    let endpoint = service.endpoint(network, &rule("Host")).unwrap();
    let added = service.modify(Kind::Endpoint, endpoint, "Add", &rule("Switch"));
    refused(added, HResult::REQUEST_UNSUPPORTED, "Settings.Policies[0]");
    let rule = one("NetworkACL", r#"{"Action":"Block","Direction":"In"}"#);
    refused(service.network("NAT", &rule), HResult::REQUEST_UNSUPPORTED, "Policies[0]");
    let added = service.modify(Kind::Network, network, "Add", &rule);
    refused(added, HResult::REQUEST_UNSUPPORTED, "Settings.Policies[0]");
}
