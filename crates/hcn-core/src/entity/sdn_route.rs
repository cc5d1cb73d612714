//! The record of an SDN route.

use hcn_schema::Guid;
use hcn_schema::sdn_route::HostComputeRoute;
use serde::{Deserialize, Serialize};

use super::Meta;

/// An SDN route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SdnRoute {
    /// Common part.
    pub meta: Meta,
    /// The document as it is returned, without the fields that are filled on query.
    pub document: HostComputeRoute,
    /// The network of its endpoints.
    pub network: Option<Guid>,
    /// The endpoints that it is for, in the order of the document, each once.
    pub endpoints: Vec<Guid>,
}
