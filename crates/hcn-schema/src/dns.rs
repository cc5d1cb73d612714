//! DNS settings of networks and endpoints (contract 2.5).

use crate::document::document;

document! {
    /// DNS.
    Dns ("DNS") {
        /// Connection-specific domain.
        domain: text "Domain" or "Suffix",
        /// Search list.
        search: texts "Search",
        /// Server addresses, in order of preference.
        server_list: texts "ServerList",
        /// Resolver options, as in resolv.conf(5).
        options: texts "Options",
    }
}
