//! The record of a guest network service.

use hcn_schema::enums::GuestNetworkServiceState;
use hcn_schema::guest_network_service::GuestNetworkService as Document;
use serde::{Deserialize, Serialize};

use super::Meta;

/// A guest network service: what the network of a virtual machine looks like from the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestNetworkService {
    /// Common part.
    pub meta: Meta,
    /// The document as it is returned, without the fields that are filled on query.
    pub document: Document,
    /// How far the guest has got.
    pub state: GuestNetworkServiceState,
}
