//! Sets: their Ids, what nested ones hold, which rules name them, and what may be removed when (contract B75).

use hcn_schema::call::Kind;
use hcn_schema::{Error, Guid, HResult};

use crate::{Service, one, refused};

fn set(id: &str, values: &str) -> String {
    format!(
        r#"{{"Type":"SetPolicy","Settings":{{"Id":"{id}","Name":"name of {id}","PolicyType":"IPSET","Values":"{values}"}}}}"#
    )
}

fn nested(id: &str, values: &str) -> String {
    set(id, values).replace("IPSET", "NESTEDIPSET")
}

fn acl(local: &str, remote: &str) -> String {
    format!(
        r#"{{"Type":"ACL","Settings":{{"Action":"Allow","Direction":"In","LocalAddresses":"{local}","RemoteAddresses":"{remote}"}}}}"#
    )
}

fn change(service: &mut Service, network: Guid, request: &str, policies: &[String]) -> Result<(), Error> {
    service.modify(Kind::Network, network, request, &format!("[{}]", policies.join(",")))
}

#[test]
fn an_id_is_taken_once_and_updated_where_it_is() {
    let mut service = Service::default();
    let network = service.network("NAT", "[]").unwrap();
    change(&mut service, network, "Add", &[set("a", "10.0.0.1"), set("b", "")]).unwrap();
    let result = change(&mut service, network, "Add", &[set("c", ""), set("a", "10.0.0.2")]);
    refused(result, HResult::POLICY_ALREADY_EXISTS, "Settings.Policies[1].Settings.Id");
    let result = change(&mut service, network, "Add", &[set("d", ""), set("d", "")]);
    refused(result, HResult::POLICY_ALREADY_EXISTS, "Settings.Policies[1].Settings.Id");
    let twice = format!("[{},{}]", set("a", ""), set("a", ""));
    refused(service.network("NAT", &twice), HResult::POLICY_ALREADY_EXISTS, "Policies[1].Settings.Id");
    let result = change(&mut service, network, "Update", &[set("b", "10.0.0.3"), set("c", "10.0.0.2")]);
    refused(result, HResult::POLICY_NOT_FOUND, "Settings.Policies[1].Settings.Id");
    let result = change(&mut service, network, "Update", &[nested("a", "b")]);
    refused(result, HResult::INVALID_POLICY, "Settings.Policies[0].Settings.PolicyType");
    let result = change(&mut service, network, "Update", &[set("a", "door")]);
    refused(result, HResult::INVALID_POLICY, "Settings.Policies[0].Settings.Values");
    change(
        &mut service,
        network,
        "Update",
        &[set("b", "10.0.0.3"), set("a", "10.0.0.0/8"), set("b", "10.0.0.4")],
    )
    .unwrap();
    let found = service.policies(Kind::Network, network);
    assert_eq!(found.len(), 2);
    assert!(found[0].contains(r#""Id":"a""#) && found[0].contains("10.0.0.0/8"), "{found:?}");
    assert!(found[1].contains(r#""Id":"b""#) && found[1].contains("10.0.0.4"), "{found:?}");
}

#[test]
fn nested_sets_hold_sets_of_addresses_that_were_there_before() {
    let mut service = Service::default();
    let network = service.network("NAT", "[]").unwrap();
    let path = "Settings.Policies[0].Settings.Values";
    let result = change(&mut service, network, "Add", &[nested("n", "a"), set("a", "")]);
    refused(result, HResult::INVALID_POLICY, path);
    change(&mut service, network, "Add", &[set("a", ""), set("b", ""), nested("n", "a, b")]).unwrap();
    for values in ["n", "a,n", "a,10.0.0.1", "a,", "A"] {
        let result = change(&mut service, network, "Add", &[nested("m", values)]);
        refused(result, HResult::INVALID_POLICY, path);
    }
    change(&mut service, network, "Update", &[nested("n", "b")]).unwrap();
    let result = change(&mut service, network, "Update", &[nested("n", "c")]);
    refused(result, HResult::INVALID_POLICY, path);
    let document = format!("[{},{},{}]", set("a", "10.0.0.1"), nested("n", "a"), nested("m", "a"));
    service.network("NAT", &document).unwrap();
}

#[test]
fn rules_name_sets_of_their_network() {
    let mut service = Service::default();
    let network = service.network("NAT", &format!("[{},{}]", set("a", ""), nested("n", "a"))).unwrap();
    let other = service.network("NAT", &format!("[{}]", set("c", ""))).unwrap();
    let path = "Policies[0].Settings.LocalAddresses";
    for lists in ["a", "n", "a,n", " a , n "] {
        service.endpoint(network, &format!("[{}]", acl(lists, ""))).unwrap();
        refused(service.endpoint(other, &format!("[{}]", acl(lists, ""))), HResult::INVALID_POLICY, path);
    }
    service.endpoint(network, &format!("[{}]", acl("a", "10.0.0.0/8"))).unwrap();
    // Sets restrict each other, addresses add up.
    for lists in ["a,10.0.0.1", "10.0.0.1,a"] {
        refused(service.endpoint(network, &format!("[{}]", acl(lists, ""))), HResult::INVALID_POLICY, path);
    }
    let tier = |remote: &str| {
        one(
            "TierAcl",
            &format!(
                r#"{{"Direction":"In","TierAclRules":[{{"TierAclRuleAction":"Pass","RemoteAddresses":"{remote}"}}]}}"#
            ),
        )
    };
    service.endpoint(network, &tier("a,n")).unwrap();
    let path = "Policies[0].Settings.TierAclRules[0].RemoteAddresses";
    refused(service.endpoint(network, &tier("c")), HResult::INVALID_POLICY, path);
    let network_acl = acl("", "b").replace("ACL", "NetworkACL");
    let result = change(&mut service, network, "Add", std::slice::from_ref(&network_acl));
    refused(result, HResult::INVALID_POLICY, "Settings.Policies[0].Settings.RemoteAddresses");
    change(&mut service, network, "Add", &[set("b", ""), network_acl]).unwrap();
}

#[test]
fn what_is_named_is_not_removed() {
    let mut service = Service::default();
    let sets = [set("a", "10.0.0.1"), set("b", ""), set("c", ""), set("d", ""), nested("n", "a")];
    let network = service.network("NAT", &format!("[{}]", sets.join(","))).unwrap();
    let remove = |service: &mut Service, ids: &[&str]| {
        let policies: Vec<String> = ids.iter().map(|id| set(id, "other values")).collect();
        change(service, network, "Remove", &policies)
    };
    let in_use = |result: Result<(), Error>, place: usize, by: &str| {
        let error = result.as_ref().unwrap_err().clone();
        assert!(error.message.contains(by), "{error}");
        refused(result, HResult::ENTITY_HAS_REFERENCES, &format!("Settings.Policies[{place}]"));
    };

    in_use(remove(&mut service, &["b", "a"]), 1, "the set \"n\"");
    let network_acl = acl("", "b").replace("ACL", "NetworkACL");
    change(&mut service, network, "Add", std::slice::from_ref(&network_acl)).unwrap();
    in_use(remove(&mut service, &["b"]), 0, "a NetworkACL");
    let endpoint = service.endpoint(network, &format!("[{}]", acl("c", ""))).unwrap();
    in_use(remove(&mut service, &["d", "c"]), 1, &endpoint.to_string());
    let tier = one(
        "TierAcl",
        r#"{"Direction":"In","TierAclRules":[{"TierAclRuleAction":"Pass","RemoteAddresses":"\u0064"}]}"#,
    );
    let tiers = service.endpoint(network, &tier).unwrap();
    in_use(remove(&mut service, &["d"]), 0, &tiers.to_string());
    let nested_too = service.endpoint(network, &format!("[{}]", acl("", "n"))).unwrap();
    in_use(remove(&mut service, &["n", "a"]), 0, &nested_too.to_string());
    assert_eq!(service.policies(Kind::Network, network).len(), 6, "nothing is gone");

    // With those that named them.
    service.delete(Kind::Endpoint, nested_too);
    remove(&mut service, &["a", "n"]).unwrap();
    change(&mut service, network, "Remove", &[set("b", ""), network_acl]).unwrap();
    service.modify(Kind::Endpoint, endpoint, "Update", "[]").unwrap();
    service.modify(Kind::Endpoint, tiers, "Remove", &tier).unwrap();
    remove(&mut service, &["c", "d"]).unwrap();
    assert!(service.policies(Kind::Network, network).is_empty());
    let result = remove(&mut service, &["c"]);
    refused(result, HResult::POLICY_NOT_FOUND, "Settings.Policies[0].Settings.Id");
}

/// Azure NPM, scenario 16.
#[test]
fn sets_live_as_their_client_drives_them() {
    let mut service = Service::default();
    let network = service.network("L2Bridge", "[]").unwrap();
    let endpoint = service.endpoint(network, "[]").unwrap();
    let (first, second, all) = ("azure-npm-1001", "azure-npm-1002", "azure-npm-2001");
    let sets = [
        set(first, "192.0.2.11,192.0.2.12"),
        set(second, "192.0.2.12,192.0.2.13"),
        nested(all, &format!("{first},{second}")),
    ];
    change(&mut service, network, "Add", &sets).unwrap();
    let rules = format!(
        r#"[{{"Type":"ACL","Settings":{{"Id":"azure-acl-prod-p1","Action":"Allow","Direction":"In","LocalAddresses":"{first},{second}","LocalPorts":"80","Protocols":"6","RuleType":"Switch","Priority":222}}}},
            {{"Type":"ACL","Settings":{{"Id":"azure-acl-prod-p1","Action":"Block","Direction":"In","RuleType":"Switch","Priority":3000}}}}]"#
    );
    service.modify(Kind::Endpoint, endpoint, "Update", &rules).unwrap();
    change(&mut service, network, "Update", &[set(first, "192.0.2.14,192.0.2.12,192.0.2.13")]).unwrap();
    let remove = |service: &mut Service, id: &str| change(service, network, "Remove", &[set(id, "")]);
    let path = "Settings.Policies[0]";
    refused(remove(&mut service, second), HResult::ENTITY_HAS_REFERENCES, path);
    remove(&mut service, all).unwrap();
    refused(remove(&mut service, second), HResult::ENTITY_HAS_REFERENCES, path);
    service.modify(Kind::Endpoint, endpoint, "Remove", &rules).unwrap();
    remove(&mut service, second).unwrap();
    let left = service.policies(Kind::Network, network);
    assert_eq!(left.len(), 1);
    assert!(left[0].contains(r#""Values":"192.0.2.14,192.0.2.12,192.0.2.13""#), "{left:?}");
}

#[test]
fn a_set_waits_for_rules_that_may_come_back() {
    for fails in [false, true] {
        let mut service = Service::default();
        let network = service.network("NAT", &format!("[{}]", set("a", ""))).unwrap();
        let endpoint = service.endpoint(network, &format!("[{}]", acl("a", ""))).unwrap();
        let clear = service.submit_modify(Kind::Endpoint, endpoint, "Update", "[]");
        let remove = service.submit_modify(Kind::Network, network, "Remove", &format!("[{}]", set("a", "")));
        let create = service.submit_endpoint(network, &format!("[{}]", acl("a", "")));
        assert!(service.reply(remove).is_none(), "it waits to see what becomes of the rule");
        service.finish(fails);
        service.finish_all();
        assert_eq!(service.reply(clear).unwrap().is_err(), fails);
        let code =
            |reply: Option<&Result<Guid, Error>>| reply.unwrap().as_ref().err().map(|error| error.code);
        assert_eq!(code(service.reply(remove)), fails.then_some(HResult::ENTITY_HAS_REFERENCES));
        // Whoever came later names a set that is there or not.
        assert_eq!(code(service.reply(create)), (!fails).then_some(HResult::INVALID_POLICY));
    }
}
