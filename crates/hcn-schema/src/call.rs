//! The calls of the API, uniform over all kinds of entity.

use std::fmt;

use crate::{Guid, Raw};

/// Kinds of entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// HostComputeNetwork.
    Network,
    /// HostComputeEndpoint.
    Endpoint,
    /// HostComputeNamespace.
    Namespace,
    /// HostComputeLoadBalancer.
    LoadBalancer,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Network, Self::Endpoint, Self::Namespace, Self::LoadBalancer];

    /// The name, as in interface names and events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Network => "Network",
            Self::Endpoint => "Endpoint",
            Self::Namespace => "Namespace",
            Self::LoadBalancer => "LoadBalancer",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Network => "network",
            Self::Endpoint => "endpoint",
            Self::Namespace => "namespace",
            Self::LoadBalancer => "load balancer",
        })
    }
}

/// An entity that a call is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Which entity.
    pub id: Guid,
    /// Which incarnation of it, when the client holds a handle: an entity that was deleted and made again
    /// under its old ID is another one.
    pub incarnation: Option<u64>,
}

/// The verbs, handles resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// IDs of the entities that match the query.
    Enumerate {
        /// HostComputeQuery.
        query: Option<String>,
    },
    /// Makes an entity.
    Create {
        /// Wins over the document's own ID.
        id: Option<Guid>,
        /// The network of a new endpoint.
        parent: Option<Reference>,
        /// The document.
        document: Option<String>,
    },
    /// Checks that an entity is there and gives its incarnation.
    Open {
        /// Which entity.
        id: Guid,
    },
    /// Changes an entity.
    Modify {
        /// Which entity.
        target: Reference,
        /// The modify request.
        document: Option<String>,
    },
    /// An entity's document.
    Query {
        /// Which entity.
        target: Reference,
        /// HostComputeQuery; its filter is ignored.
        query: Option<String>,
    },
    /// Deletes an entity.
    Delete {
        /// Which entity.
        id: Guid,
    },
}

impl Verb {
    /// Whether the call changes anything.
    pub fn is_change(&self) -> bool {
        matches!(self, Self::Create { .. } | Self::Modify { .. } | Self::Delete { .. })
    }

    /// The name, as in method names.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Enumerate { .. } => "Enumerate",
            Self::Create { .. } => "Create",
            Self::Open { .. } => "Open",
            Self::Modify { .. } => "Modify",
            Self::Query { .. } => "Query",
            Self::Delete { .. } => "Delete",
        }
    }
}

/// A call: a verb on a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The kind of entity.
    pub kind: Kind,
    /// What to do.
    pub verb: Verb,
}

/// What a call answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Of Enumerate.
    Ids(Vec<Guid>),
    /// Of Create and Open: what a handle is bound to.
    Entity {
        /// Which entity.
        id: Guid,
        /// Which incarnation of it.
        incarnation: u64,
    },
    /// Of Query.
    Document(Raw),
    /// Of Modify and Delete.
    Done,
}
