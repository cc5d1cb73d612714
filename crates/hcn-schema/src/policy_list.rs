//! HostComputePolicyList: what load balancers and SDN routes are in version 1 (contract 2.15, 2.16).

use crate::document::document;

document! {
    /// A policy list document.
    HostComputePolicyList: Base {
        /// What the policies are for, as `/endpoints/ID`.
        references: texts "References",
        /// Policies in version 1, each a flat object.
        policies: anys "Policies",
    }
}
