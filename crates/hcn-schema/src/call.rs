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
    /// HostComputeRoute.
    SdnRoute,
    /// GuestNetworkService.
    GuestNetworkService,
    /// A port, or a range of ports, that a guest network service keeps from the host.
    PortReservation,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Network,
        Self::Endpoint,
        Self::Namespace,
        Self::LoadBalancer,
        Self::SdnRoute,
        Self::GuestNetworkService,
        Self::PortReservation,
    ];

    /// The name, as in interface names and events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Network => "Network",
            Self::Endpoint => "Endpoint",
            Self::Namespace => "Namespace",
            Self::LoadBalancer => "LoadBalancer",
            Self::SdnRoute => "SdnRoute",
            Self::GuestNetworkService => "GuestNetworkService",
            Self::PortReservation => "PortReservation",
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
            Self::SdnRoute => "SDN route",
            Self::GuestNetworkService => "guest network service",
            Self::PortReservation => "port reservation",
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
    /// Changes an entity as HNS version 1 does (contract 5.2).
    Act {
        /// Which entity.
        target: Reference,
        /// How.
        action: Action,
        /// The version 1 request.
        document: Option<String>,
    },
    /// An entity's document.
    Query {
        /// Which entity.
        target: Reference,
        /// HostComputeQuery; its filter is ignored.
        query: Option<String>,
    },
    /// The counters of an endpoint's link.
    QueryStats {
        /// Which endpoint.
        target: Reference,
        /// HostComputeQuery.
        query: Option<String>,
    },
    /// The addresses of an endpoint.
    QueryAddresses {
        /// Which endpoint.
        target: Reference,
        /// HostComputeQuery.
        query: Option<String>,
    },
    /// What becomes of a packet of an endpoint, or for one.
    Explain {
        /// Which endpoint.
        target: Reference,
        /// The packet.
        question: Option<String>,
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
        matches!(self, Self::Create { .. } | Self::Modify { .. } | Self::Act { .. } | Self::Delete { .. })
    }

    /// The name, as in method names.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Enumerate { .. } => "Enumerate",
            Self::Create { .. } => "Create",
            Self::Open { .. } => "Open",
            Self::Modify { .. } => "Modify",
            Self::Act { action, .. } => action.name(),
            Self::Query { .. } => "Query",
            Self::QueryStats { .. } => "QueryStats",
            Self::QueryAddresses { .. } => "QueryAddresses",
            Self::Explain { .. } => "Explain",
            Self::Delete { .. } => "Delete",
        }
    }
}

/// What HNS version 1 does with an entity besides creating, reading and deleting it (contract 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `POST /networks/ID`, `POST /endpoints/ID`: changes the members that are given.
    Update,
    /// `POST /endpoints/ID/attach`.
    Attach,
    /// `POST /endpoints/ID/detach`.
    Detach,
    /// `POST /namespaces/ID/addresource`.
    AddResource,
    /// `POST /namespaces/ID/removeresource`.
    RemoveResource,
}

impl Action {
    /// The name, as in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Update => "Update",
            Self::Attach => "Attach",
            Self::Detach => "Detach",
            Self::AddResource => "AddResource",
            Self::RemoveResource => "RemoveResource",
        }
    }
}

/// A request of HNS version 1: HNSCall, or HTTP (contract 5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HnsRequest {
    /// `GET`, `POST` or `DELETE`.
    pub method: String,
    /// As `/networks/ID`.
    pub path: String,
    /// The version 1 document; none or empty where there is none.
    pub body: Option<String>,
}

impl HnsRequest {
    /// Whether the request may change anything.
    pub fn is_change(&self) -> bool {
        self.method != "GET"
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
