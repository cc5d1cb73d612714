//! Policy lists of version 1: load balancers and SDN routes under one roof.

use hcn_schema::base::Version;
use hcn_schema::call::Kind;
use hcn_schema::enums::{LoadBalancerFlags, PortMappingFlags};
use hcn_schema::load_balancer::{HostComputeLoadBalancer, LoadBalancerPortMapping};
use hcn_schema::sdn_route::HostComputeRoute;
use hcn_schema::settings::SdnRouteSettings;
use hcn_schema::v1::{HnsElbPolicy, HnsPolicyList};
use hcn_schema::{Error, Guid, HResult, Raw, Result};
use serde::de::DeserializeOwned;

use super::policies::type_of;
use super::{Origins, Read, Versioned};
use crate::entity::{LoadBalancer, Meta, SdnRoute};
use crate::registry::Registry;
use crate::text;

/// What leads to an endpoint in a reference.
const ENDPOINTS: &str = "endpoints";

/// The kind of entity that a policy list is: routes, else a load balancer.
pub(super) fn kind_of(text: &str) -> Result<Kind> {
    let given: HnsPolicyList = hcn_schema::parse(text)?;
    let is_route = |flat: &Raw| type_of(flat).is_some_and(|name| name.eq_ignore_ascii_case("ROUTE"));
    Ok(if given.policies.first().is_some_and(is_route) { Kind::SdnRoute } else { Kind::LoadBalancer })
}

/// The policies of a list, all of one type.
fn policies<T: DeserializeOwned>(given: &HnsPolicyList, name: &str) -> Result<Vec<T>> {
    super::policies::check(&given.policies)?;
    let read = |(index, flat): (usize, &Raw)| {
        let path = format!("Policies[{index}]");
        match type_of(flat) {
            Some(other) if other.eq_ignore_ascii_case(name) => {
                hcn_schema::parse(flat.get()).map_err(|error| error.within(&path))
            }
            other => {
                let shown = other.map_or_else(|| "no type".to_owned(), |other| text::shown(&other));
                let message = format!("{shown} is not the type of a policy in a policy list of this kind");
                let error = Error::new(HResult::INVALID_POLICY_TYPE, message);
                Err(error.at(format!("{path}.Type")).expected("ELB, or ROUTE in all policies of the list"))
            }
        }
    };
    given.policies.iter().enumerate().map(read).collect()
}

/// The IDs of the endpoints that a list refers to.
fn endpoints(given: &HnsPolicyList, origins: &mut Origins) -> Result<Vec<String>> {
    origins.branch("HostComputeEndpoints", "References");
    let id = |(index, reference): (usize, &String)| {
        let mut parts = reference.split('/').filter(|part| !part.is_empty());
        match (parts.next(), parts.next(), parts.next()) {
            (Some(kind), Some(id), None) if kind.eq_ignore_ascii_case(ENDPOINTS) => Ok(id.to_owned()),
            (Some(id), None, None) => Ok(id.to_owned()),
            _ => {
                let message = format!("{} does not refer to an endpoint", text::shown(reference));
                let error = Error::new(HResult::INVALID_JSON_REFERENCE, message);
                Err(error.at(format!("References[{index}]")).expected("/endpoints/ID"))
            }
        }
    };
    given.references.iter().enumerate().map(id).collect()
}

impl Versioned for HostComputeLoadBalancer {
    fn from_v1(text: &str, _: &Registry) -> Result<Read<Self>> {
        let given: HnsPolicyList = hcn_schema::parse(text)?;
        let mut origins = Origins::default();
        let endpoints = endpoints(&given, &mut origins)?;
        let ports: Vec<HnsElbPolicy> = policies(&given, "ELB")?;
        for (index, port) in ports.iter().enumerate() {
            let same = |port: &HnsElbPolicy| (port.source_vip.clone(), port.vips.clone(), port.is_dsr);
            if same(port) != same(&ports[0]) {
                let message = "all policies of a list have the same SourceVIP, VIPs and IsDSR";
                let error = Error::new(HResult::INVALID_POLICY, message);
                return Err(error.at(format!("Policies[{index}]")).expected("a policy list of its own"));
            }
        }
        origins.branch("PortMappings", "Policies");
        origins.branch("FrontendVIPs", "Policies[0].VIPs");
        origins.leaf("SourceVIP", "Policies[0].SourceVIP");
        origins.leaf("Flags", "Policies[0].IsDSR");
        let first = ports.first().cloned().unwrap_or_default();
        let direct = first.is_dsr.unwrap_or_default();
        let document = Self {
            id: given.id,
            owner: given.owner,
            name: given.name,
            additional_params: given.additional_params,
            host_compute_endpoints: endpoints,
            source_vip: first.source_vip,
            frontend_vips: first.vips,
            port_mappings: ports.into_iter().map(mapping).collect(),
            flags: if direct {
                LoadBalancerFlags::ENABLE_DIRECT_SERVER_RETURN
            } else {
                LoadBalancerFlags::default()
            },
            ..Self::default()
        };
        Ok(Read { document, flat: Vec::new(), origins })
    }
}

fn mapping(port: HnsElbPolicy) -> LoadBalancerPortMapping {
    let internal = PortMappingFlags::ENABLE_INTERNAL_LOAD_BALANCER.0;
    LoadBalancerPortMapping {
        protocol: port.protocol,
        internal_port: port.internal_port,
        external_port: port.external_port,
        distribution_type: port.distribution_type,
        flags: PortMappingFlags(port.flags.0 | if port.ilb.unwrap_or_default() { internal } else { 0 }),
    }
}

pub(super) fn write_load_balancer(balancer: &LoadBalancer, resources: Option<Raw>) -> Raw {
    let document = &balancer.document;
    let internal = PortMappingFlags::ENABLE_INTERNAL_LOAD_BALANCER;
    let policy = |mapping: &LoadBalancerPortMapping| HnsElbPolicy {
        kind: Some("ELB".to_owned()),
        protocol: mapping.protocol.clone(),
        internal_port: mapping.internal_port,
        external_port: mapping.external_port,
        source_vip: document.source_vip.clone(),
        vips: document.frontend_vips.clone(),
        ilb: mapping.flags.has(internal).then_some(true),
        is_dsr: document.flags.has(LoadBalancerFlags::ENABLE_DIRECT_SERVER_RETURN).then_some(true),
        distribution_type: mapping.distribution_type.clone(),
        flags: PortMappingFlags(mapping.flags.0 & !internal.0),
    };
    let policies: Vec<HnsElbPolicy> = document.port_mappings.iter().map(policy).collect();
    let list = HnsPolicyList {
        owner: document.owner.clone(),
        name: document.name.clone(),
        additional_params: document.additional_params.clone(),
        policies: policies.iter().map(Raw::of).collect(),
        resources,
        ..common(&balancer.meta, &balancer.endpoints)
    };
    Raw::of(&list)
}

impl Versioned for HostComputeRoute {
    fn from_v1(text: &str, _: &Registry) -> Result<Read<Self>> {
        let given: HnsPolicyList = hcn_schema::parse(text)?;
        let mut origins = Origins::default();
        let endpoints = endpoints(&given, &mut origins)?;
        let routes: Vec<SdnRouteSettings> = policies(&given, "ROUTE")?;
        origins.branch("Routes", "Policies");
        let document = Self {
            id: given.id,
            owner: given.owner,
            name: given.name,
            additional_params: given.additional_params,
            host_compute_endpoints: endpoints,
            routes,
            ..Self::default()
        };
        Ok(Read { document, flat: Vec::new(), origins })
    }
}

pub(super) fn write_route(route: &SdnRoute, resources: Option<Raw>) -> Raw {
    let flat = |settings: &SdnRouteSettings| {
        let mut members = super::members::Members::of(&Raw::of(settings)).unwrap_or_default();
        members.put_first("Type", &"ROUTE");
        members.raw()
    };
    let policies: Vec<Raw> = route.document.list().iter().map(flat).collect();
    let list = HnsPolicyList {
        owner: route.document.owner.clone(),
        name: route.document.name.clone(),
        additional_params: route.document.additional_params.clone(),
        policies,
        resources,
        ..common(&route.meta, &route.endpoints)
    };
    Raw::of(&list)
}

fn common(meta: &Meta, endpoints: &[Guid]) -> HnsPolicyList {
    HnsPolicyList {
        id: Some(meta.id.to_string()),
        references: endpoints.iter().map(|id| format!("/{ENDPOINTS}/{id}")).collect(),
        health: Some(super::health(meta)),
        state: Some(super::state(meta)),
        version: Some(meta.revision),
        schema_version: Some(Version::V1),
        ..HnsPolicyList::default()
    }
}
