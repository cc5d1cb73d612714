//! The kernel objects of a namespace of type Host: a named network namespace and its resolver configuration.

use std::net::IpAddr;

use hcn_dataplane::{NetnsFile, Object, Resolver};
use hcn_schema::call::Kind;
use hcn_schema::dns::Dns;
use hcn_schema::enums::{EndpointFlags, NamespaceType};

use super::responders;
use crate::entity::{Endpoint, Namespace};
use crate::names;
use crate::registry::Registry;

pub(super) fn objects(registry: &Registry, namespace: &Namespace) -> Vec<Object> {
    if namespace.kind != NamespaceType::Host {
        return Vec::new();
    }
    let name = namespace.document.name.as_deref().unwrap_or_default();
    let alias = names::alias(Kind::Namespace, namespace.meta.id, name);
    let mut objects =
        vec![Object::Netns(NetnsFile { name: namespace.file(), alias, from: namespace.from.clone() })];
    let mut endpoints: Vec<_> = namespace.endpoints().filter_map(|id| registry.endpoints.get(id)).collect();
    // Those first that want to be.
    endpoints.sort_by_key(|endpoint| !endpoint.document.flags.has(EndpointFlags::OVERRIDE_DNS_SERVER_ORDER));
    let settings: Vec<Dns> = endpoints.into_iter().map(|endpoint| settings(registry, endpoint)).collect();
    let contents = resolv_conf(settings.iter());
    if !contents.is_empty() {
        objects.push(Object::Resolver(Resolver { netns: namespace.file(), contents }));
    }
    objects
}

/// The settings of an endpoint. Where they name no server, the host is one if it resolves names.
fn settings(registry: &Registry, endpoint: &Endpoint) -> Dns {
    let mut settings = endpoint.document.dns.clone().unwrap_or_default();
    if settings.server_list.is_empty()
        && let Some(network) = registry.networks.get(endpoint.network)
    {
        let servers = responders::servers(network, endpoint);
        settings.server_list = servers.iter().map(IpAddr::to_string).collect();
    }
    settings
}

/// resolv.conf(5) of the settings together, in the order of the endpoints.
fn resolv_conf<'a>(settings: impl Iterator<Item = &'a Dns>) -> String {
    let (mut servers, mut search, mut options) = (Vec::new(), Vec::new(), Vec::new());
    for dns in settings {
        add_new(&mut servers, dns.server_list.iter());
        add_new(&mut search, dns.domain.iter().chain(&dns.search));
        add_new(&mut options, dns.options.iter());
    }
    let mut contents = String::new();
    for server in servers {
        contents.push_str(&format!("nameserver {server}\n"));
    }
    for (keyword, words) in [("search", search), ("options", options)] {
        if !words.is_empty() {
            contents.push_str(&format!("{keyword} {}\n", words.join(" ")));
        }
    }
    contents
}

/// Adds what is not there yet. A word with white space in it would be read as something else: it is left out.
fn add_new<'a>(words: &mut Vec<&'a str>, new: impl Iterator<Item = &'a String>) {
    for word in new {
        if !words.contains(&word.as_str()) && !word.contains(char::is_whitespace) {
            words.push(word);
        }
    }
}
