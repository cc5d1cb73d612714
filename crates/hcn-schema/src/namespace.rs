//! HostComputeNamespace (contract 2.7).

use crate::document::document;
use crate::enums::{NamespaceResourceType, NamespaceType};

document! {
    /// A namespace document.
    HostComputeNamespace: Base {
        /// Compartment number.
        namespace_id: u32 "NamespaceId",
        /// Compartment GUID; output only.
        namespace_guid: guid "NamespaceGuid",
        /// Host when absent.
        kind: choice(NamespaceType) "Type",
        /// What is in the namespace, in the order of adding; output only.
        resources: objects(NamespaceResource) "Resources",
    }
}

document! {
    /// NamespaceResource.
    NamespaceResource {
        /// What it is.
        kind: strict(NamespaceResourceType) "Type",
        /// Which one it is.
        data: object(ResourceData) "Data",
    }
}

document! {
    /// The identifier of a namespace resource.
    ResourceData ("NamespaceResourceData") {
        /// Endpoint GUID in upper case, or the container's id as it was given.
        id: text "ID" or "Id",
    }
}
