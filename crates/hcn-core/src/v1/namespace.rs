//! Namespaces in version 1.

use hcn_schema::base::Version;
use hcn_schema::enums::{NamespaceType, OneOf};
use hcn_schema::namespace::HostComputeNamespace;
use hcn_schema::v1::{HnsNamespace, HnsResource, HnsResourceData};
use hcn_schema::{Raw, Result};

use super::{Origins, Read, Versioned};
use crate::entity::{Namespace, Resource};
use crate::registry::Registry;

impl Versioned for HostComputeNamespace {
    fn from_v1(text: &str, _: &Registry) -> Result<Read<Self>> {
        let given: HnsNamespace = hcn_schema::parse(text)?;
        let default = given.is_default.unwrap_or_default();
        let kind = if default { NamespaceType::HostDefault } else { NamespaceType::Host };
        let document = Self {
            id: given.id,
            owner: given.owner,
            name: given.name,
            additional_params: given.additional_params,
            namespace_id: given.compartment_id,
            kind: Some(OneOf::Known(kind)),
            ..Self::default()
        };
        let mut origins = Origins::default();
        origins.leaf("NamespaceId", "CompartmentId");
        Ok(Read { document, flat: Vec::new(), origins })
    }
}

pub(super) fn write(namespace: &Namespace, resources: Option<Raw>) -> Raw {
    let resource = |resource: &Resource| HnsResource {
        kind: Some(resource.kind().name().to_owned()),
        data: Some(HnsResourceData { id: Some(resource.id()) }),
    };
    let containers = namespace.resources.iter().filter(|resource| matches!(resource, Resource::Container(_)));
    Raw::of(&HnsNamespace {
        owner: namespace.document.owner.clone(),
        name: namespace.document.name.clone(),
        containers: containers.map(Resource::id).collect(),
        resource_list: namespace.resources.iter().map(resource).collect(),
        additional_params: namespace.document.additional_params.clone(),
        resources,
        health: Some(super::health(&namespace.meta)),
        state: Some(super::state(&namespace.meta)),
        version: Some(namespace.meta.revision),
        schema_version: Some(Version::V1),
        ..short(namespace)
    })
}

/// What an endpoint says of the namespace that it is in.
pub(super) fn short(namespace: &Namespace) -> HnsNamespace {
    HnsNamespace {
        id: Some(namespace.meta.id.to_string()),
        is_default: Some(is_default(namespace.kind)),
        compartment_id: Some(namespace.number),
        compartment_guid: Some(namespace.meta.id.to_string()),
        ..HnsNamespace::default()
    }
}

/// Whether a namespace is the one that is there without being made.
pub(crate) fn is_default(kind: NamespaceType) -> bool {
    matches!(kind, NamespaceType::HostDefault | NamespaceType::GuestDefault)
}
