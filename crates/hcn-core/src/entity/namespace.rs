//! The record of a namespace.

use hcn_dataplane::Existing;
use hcn_schema::Guid;
use hcn_schema::enums::{NamespaceResourceType, NamespaceType};
use hcn_schema::namespace::HostComputeNamespace;
use serde::{Deserialize, Serialize};

use super::Meta;

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Common part.
    pub meta: Meta,
    /// The document as it is returned, without the fields that are filled on query.
    pub document: HostComputeNamespace,
    /// Parsed `Type`.
    pub kind: NamespaceType,
    /// Compartment number.
    pub number: u32,
    /// The network namespace that it is, which somebody else made; none = one of hcnd's own.
    #[serde(default)]
    pub from: Option<Existing>,
    /// What is in it, in the order of adding.
    pub resources: Vec<Resource>,
}

/// A member of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resource {
    /// An endpoint.
    Endpoint(Guid),
    /// A container, by the identifier that the client gave.
    Container(String),
}

impl Resource {
    /// The type in documents.
    pub fn kind(&self) -> NamespaceResourceType {
        match self {
            Self::Endpoint(_) => NamespaceResourceType::Endpoint,
            Self::Container(_) => NamespaceResourceType::Container,
        }
    }

    /// The identifier in documents.
    pub fn id(&self) -> String {
        match self {
            Self::Endpoint(id) => id.to_string(),
            Self::Container(id) => id.clone(),
        }
    }
}

impl Namespace {
    /// The endpoints in it, in the order of adding.
    pub fn endpoints(&self) -> impl Iterator<Item = Guid> {
        self.resources.iter().filter_map(|resource| match resource {
            Resource::Endpoint(id) => Some(*id),
            Resource::Container(_) => None,
        })
    }

    /// The name of its file in the netns folder: the ID in upper case.
    pub fn file(&self) -> String {
        self.meta.id.to_string()
    }
}
